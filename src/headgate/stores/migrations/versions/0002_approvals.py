"""Tool calls that wait for a person.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False, server_default="") for name in names]


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        *_text("key", "tenant", "user", "session", "task", "feature", "environment"),
        *_text("call_id", "tool", "arguments", "place"),
        sa.Column("edited", sa.Text, nullable=True),
        *_text("exchange_id", "digest", "answer", "decided_by"),
        sa.Column("decided_at", sa.Float, nullable=True),
        *_text("note"),
    )


def downgrade() -> None:
    op.drop_table("approvals")
