"""The ledger: exchanges, attempts, owners, keys, meta.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Written out, not taken from schema.py: a migration describes what was, and must not change when the schema does.
TOKENS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "output_tokens",
    "reasoning_tokens",
    "web_searches",
)


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False, server_default="") for name in names]


def _whole(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0")) for name in names]


def _real(*names: str) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Float, nullable=True) for name in names]


def upgrade() -> None:
    op.create_table(
        "exchanges",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        *_real("ended"),
        *_text("way_in", "dialect", "endpoint", "key", "tenant", "user", "session", "task", "feature"),
        *_text("environment", "tags", "model_asked", "model_served", "provider"),
        *_whole("stream"),
        *_text("ending"),
        *_whole("status"),
        *_text("error_code", "error_kind"),
        *_whole("attempts", *TOKENS, "cost_nano", "estimated", "estimated_nano"),
        *_text("price_version"),
        *_real("latency_ms", "ttft_ms", "waited_ms"),
        *_text("stop_reason", "correlation_id", "request_id"),
        *_whole("client_retries", "simulated"),
        *_text("upstream_gateway"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "attempts",
        sa.Column("exchange_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        *_text("owner", "provider", "model"),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("bound_nano", sa.BigInteger, nullable=True),
        sa.Column("facts", sa.Text, nullable=True),
        sa.Column("outcome", sa.Text, nullable=True),
        *_real("ended"),
        *_whole("status"),
        *_text("error_kind", "provider_code", "model_served"),
        *_whole(*TOKENS, "cost_nano", "estimated"),
        *_text("price_version"),
        *_real("waited_ms", "first_byte", "first_content"),
        *_text("stop_reason", "request_id"),
        sa.PrimaryKeyConstraint("exchange_id", "number"),
        sqlite_with_rowid=False,
    )
    still_open = sa.text("outcome IS NULL")
    op.create_index("attempts_open", "attempts", ["owner"], sqlite_where=still_open, postgresql_where=still_open)
    op.create_table(
        "owners",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("heartbeat", sa.Float, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
        sa.Column("last4", sa.Text, nullable=False),
        *_text("tenant", "environment"),
        sa.Column("created", sa.Float, nullable=False),
        *_real("rotated", "revoked"),
        *_whole("may_speak_for_tenants"),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for table in ("meta", "keys", "owners", "attempts", "exchanges"):
        op.drop_table(table)
