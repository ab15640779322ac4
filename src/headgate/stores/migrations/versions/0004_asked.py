"""What the audit has to know of a request.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

EXCHANGES = """
CREATE VIEW exchanges AS SELECT
    exchange_rows.id AS id, started, ended, way_in, dialect, endpoint, "key", tenant, "user", session, task, feature,
    environment, tags, model_asked, CASE model_served WHEN '' THEN route_model ELSE model_served END AS model_served,
    provider, stream, ending, status, error_code, error_kind, attempts, input_tokens, cache_read_tokens,
    cache_write_tokens, cache_write_long_tokens, output_tokens, reasoning_tokens, web_searches, cost_nano, estimated,
    estimated_nano, price_version, (ended - started) * 1000.0 AS latency_ms,
    (first_content - started) * 1000.0 AS ttft_ms, waited_ms, stop_reason, correlation_id, request_id, client_retries,
    simulated, upstream_gateway, cache{more}
FROM exchange_rows LEFT JOIN shapes ON shapes.id = exchange_rows.shape
"""


def upgrade() -> None:
    op.execute("DROP VIEW exchanges")
    op.add_column("exchange_rows", sa.Column("asked", sa.Text, nullable=False, server_default=""))
    op.execute(EXCHANGES.format(more=", asked"))


def downgrade() -> None:
    op.execute("DROP VIEW exchanges")
    op.drop_column("exchange_rows", "asked")
    op.execute(EXCHANGES.format(more=""))
