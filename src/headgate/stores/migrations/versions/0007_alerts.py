"""Alerts, and what is still to be told of them.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False, server_default="") for name in names]


def _moment(*names: str, nullable: bool = False) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Float, nullable=nullable) for name in names]


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text, primary_key=True),
        *_text("rule", "scope", "severity"),
        *_moment("since", "last", "value", "threshold"),
        *_text("summary", "evidence"),
        sa.Column("count", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        *_moment("resolved", "acknowledged", nullable=True),
        *_text("acknowledged_by"),
        *_moment("told"),
        *_text("firers"),
    )
    op.create_table(
        "alert_outbox",
        sa.Column("id", sa.Text, primary_key=True),
        *_text("place", "alert", "body"),
        *_moment("created", "next_try"),
        sa.Column("tries", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        *_text("claimed_by"),
        *_moment("claimed_until"),
        *_text("state", "error"),
        *_moment("ended", nullable=True),
    )


def downgrade() -> None:
    op.drop_table("alert_outbox")
    op.drop_table("alerts")
