"""The tables of the ledger. Money is integer nano-dollars, times are seconds since the epoch, durations milliseconds.

A change here needs a new script in `migrations/versions` and a new :data:`REVISION`; a test compares the two.
Few indexes on purpose: each costs about 1 us of CPU per exchange.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

REVISION = "0001"
"""The newest migration this Headgate knows."""

metadata = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _whole(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _real(name: str) -> Column[float]:
    return Column(name, Float, nullable=True)


TOKEN_CLASSES = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "output_tokens",
    "reasoning_tokens",
    "web_searches",
)
"""Columns of both tables, named and defined as in :class:`headgate.core.usage.Usage`."""

exchanges = Table(
    "exchanges",
    metadata,
    Column("id", Text, nullable=False),
    Column("started", Float, nullable=False),
    _real("ended"),
    *map(_text, ("way_in", "dialect", "endpoint", "key", "tenant", "user", "session", "task", "feature")),
    *map(_text, ("environment", "tags", "model_asked", "model_served", "provider")),
    _whole("stream"),
    _text("ending"),
    _whole("status"),  # the HTTP status the caller got, 0 = none
    *map(_text, ("error_code", "error_kind")),
    _whole("attempts"),
    *map(_whole, TOKEN_CLASSES),  # sums over the attempts
    *map(_whole, ("cost_nano", "estimated", "estimated_nano")),
    _text("price_version"),
    *map(_real, ("latency_ms", "ttft_ms", "waited_ms")),
    *map(_text, ("stop_reason", "correlation_id", "request_id")),
    *map(_whole, ("client_retries", "simulated")),
    _text("upstream_gateway"),
    PrimaryKeyConstraint("id"),
    # The id is time-ordered (`core.ids`), so the table itself is the index, of times too: one B-tree to append to.
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column("exchange_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    *map(_text, ("owner", "provider", "model")),
    Column("started", Float, nullable=False),
    Column("bound_nano", BigInteger, nullable=True),  # NULL: could not be bounded
    Column("facts", Text, nullable=True),  # JSON: what a sweep needs to write the exchange's row; NULL once settled
    Column("outcome", Text, nullable=True),  # NULL: an open intent
    _real("ended"),
    _whole("status"),  # the provider's HTTP status, 0 = none
    *map(_text, ("error_kind", "provider_code", "model_served")),
    *map(_whole, TOKEN_CLASSES),
    *map(_whole, ("cost_nano", "estimated")),
    _text("price_version"),
    *map(_real, ("waited_ms", "first_byte", "first_content")),
    *map(_text, ("stop_reason", "request_id")),
    PrimaryKeyConstraint("exchange_id", "number"),
    sqlite_with_rowid=False,
)
# Only open intents are in it: a handful of entries, whatever the size of the table.
_open = text("outcome IS NULL")
Index("attempts_open", attempts.c.owner, sqlite_where=_open, postgresql_where=_open)

owners = Table(
    "owners",
    metadata,
    Column("id", Text, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("started", Float, nullable=False),
    Column("heartbeat", Float, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),  # SHA-256 of the whole key, hex
    Column("last4", Text, nullable=False),
    *map(_text, ("tenant", "environment")),
    Column("created", Float, nullable=False),
    _real("rotated"),
    _real("revoked"),
    _whole("may_speak_for_tenants"),
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
