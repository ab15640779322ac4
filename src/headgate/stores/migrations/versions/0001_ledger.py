"""The ledger: exchanges, attempts, intents, accounts of budgets, what providers keep, owners, keys, meta.

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


NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
SEQUENCES = ("session_numbers", "row_numbers")  # of PostgreSQL, where many processes write
ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

EXCHANGES = """
CREATE VIEW exchanges AS SELECT
    exchange_rows.id AS id, started, ended, way_in, dialect, endpoint, "key", tenant, "user", session, task, feature,
    environment, tags, model_asked, CASE model_served WHEN '' THEN route_model ELSE model_served END AS model_served,
    provider, stream, ending, status, error_code, error_kind, attempts, input_tokens, cache_read_tokens,
    cache_write_tokens, cache_write_long_tokens, output_tokens, reasoning_tokens, web_searches, cost_nano, estimated,
    estimated_nano, price_version, (ended - started) * 1000.0 AS latency_ms,
    (first_content - started) * 1000.0 AS ttft_ms, waited_ms, stop_reason, correlation_id, request_id, client_retries,
    simulated, upstream_gateway
FROM exchange_rows LEFT JOIN shapes ON shapes.id = exchange_rows.shape
"""
# An attempt has a row of its own, or is told in its exchange's row, which is the last word.
ATTEMPTS = """
CREATE VIEW attempts AS SELECT
    exchange_id, number, owner, provider, model, started, bound_nano, outcome, ended, status, error_kind, provider_code,
    model_served, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_long_tokens, output_tokens,
    reasoning_tokens, web_searches, cost_nano, estimated, price_version, waited_ms, first_byte, first_content,
    stop_reason, request_id, service
FROM attempt_rows WHERE NOT EXISTS (
    SELECT 1 FROM exchange_rows WHERE exchange_rows.id = attempt_rows.exchange_id AND attempt_started IS NOT NULL
)
UNION ALL SELECT
    exchange_rows.id, 1, owner, provider, CASE route_model WHEN '' THEN model_asked ELSE route_model END,
    attempt_started, bound_nano, outcome, attempt_ended, attempt_status, attempt_error_kind, provider_code,
    model_served, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_long_tokens, output_tokens,
    reasoning_tokens, web_searches, cost_nano, estimated, price_version, waited_ms, first_byte, first_content,
    stop_reason, request_id, service
FROM exchange_rows LEFT JOIN shapes ON shapes.id = exchange_rows.shape WHERE attempt_started IS NOT NULL
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for sequence in SEQUENCES:
            op.execute(f"CREATE SEQUENCE {sequence}")
    op.create_table(
        "shapes",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        *_text("owner", "way_in", "dialect", "endpoint", "key", "tenant", "task", "feature", "environment"),
        *_text("model_asked", "route_model", "model_served", "provider"),
        *_text("ending", "error_code", "error_kind", "price_version", "stop_reason"),
        *_text("outcome", "attempt_error_kind", "provider_code", "service"),
        *_whole("stream", "status", "attempts", "estimated", "client_retries", "simulated", "attempt_status"),
    )
    op.create_table(
        "exchange_rows",
        sa.Column("id", ORDERED, nullable=False),
        sa.Column("shape", NUMBER, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        *_real("ended"),
        *_text("user", "session", "tags", "correlation_id", "request_id", "upstream_gateway"),
        *_whole(*TOKENS, "cost_nano", "estimated_nano"),
        *_real("waited_ms", "first_byte", "first_content", "attempt_started", "attempt_ended"),
        sa.Column("bound_nano", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "attempt_rows",
        sa.Column("exchange_id", ORDERED, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        *_text("owner", "provider", "model"),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("bound_nano", sa.BigInteger, nullable=True),
        *_text("outcome"),
        *_real("ended"),
        *_whole("status"),
        *_text("error_kind", "provider_code", "model_served"),
        *_whole(*TOKENS, "cost_nano", "estimated"),
        *_text("price_version"),
        *_real("waited_ms", "first_byte", "first_content"),
        *_text("stop_reason", "request_id", "service"),
        sa.PrimaryKeyConstraint("exchange_id", "number"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "intents",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("intents", sa.Text, nullable=False),
    )
    op.execute(EXCHANGES)
    op.execute(ATTEMPTS)
    op.create_table(
        "owners",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("heartbeat", sa.Float, nullable=False),
        *_whole("session"),
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
        "accounts",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("budget", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("period_start", sa.Float, nullable=False),
        sa.Column("period_end", sa.Float, nullable=False),
        *_whole("spent_nano", "spent_tokens", "held_nano", "held_tokens", "alerted", "alerted_tokens"),
        sa.UniqueConstraint("budget", "scope", "period_start"),
    )
    op.create_table(
        "caps",
        sa.Column("budget", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("cap_nano", sa.BigInteger, nullable=True),
        sa.Column("cap_tokens", sa.BigInteger, nullable=True),
        sa.Column("changed", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("budget", "scope"),
    )
    op.create_table(
        "homes",
        sa.Column("id", sa.Text, primary_key=True),
        *_text("provider", "model"),
        *_whole("place"),
        *_text("owner"),
        sa.Column("made", sa.Float, nullable=False),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for view in ("attempts", "exchanges"):
        op.execute(f"DROP VIEW {view}")
    for table in (
        "meta",
        "homes",
        "caps",
        "accounts",
        "keys",
        "owners",
        "intents",
        "attempt_rows",
        "exchange_rows",
        "shapes",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        for sequence in SEQUENCES:
            op.execute(f"DROP SEQUENCE {sequence}")
