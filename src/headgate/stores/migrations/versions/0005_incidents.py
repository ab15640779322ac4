"""Incidents: what somebody has stopped, slowed or degraded for a while.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("kind", "scope", "value")),
        sa.Column("to", sa.Text, nullable=False, server_default=""),
        sa.Column("rate", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        *(sa.Column(name, sa.Text, nullable=False, server_default="") for name in ("by", "why")),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("lifted", sa.Float, nullable=True),
        sa.Column("lifted_by", sa.Text, nullable=False, server_default=""),
    )


def downgrade() -> None:
    op.drop_table("incidents")
