"""The tables of the ledger. Money is integer nano-dollars, times are seconds since the epoch, durations milliseconds.

A change here needs a new script in `migrations/versions` and a new :data:`REVISION`; a test compares the two.
Every value that is written costs CPU in each exchange, so what repeats is written once (`shapes`), what follows from
other columns is computed by the views, and there are no indexes but the keys.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

REVISION = "0007"
"""The newest migration this Headgate knows."""

metadata = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _whole(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _real(name: str) -> Column[float]:
    return Column(name, Float, nullable=True)


NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""Of a row. SQLite's own row number is an INTEGER; in PostgreSQL its upper bits tell the session that gave it out."""
ORDERED = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared byte by byte, whatever language the database speaks: ids tell the time by their order."""


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

SHAPE_COLUMNS = (
    *("owner", "way_in", "dialect", "endpoint", "key", "tenant", "task", "feature", "environment"),
    *("model_asked", "route_model", "model_served", "provider"),
    *("ending", "error_code", "error_kind", "price_version", "stop_reason"),
    *("outcome", "attempt_error_kind", "provider_code", "service"),
    *("stream", "status", "attempts", "estimated", "client_retries", "simulated", "attempt_status"),
    "cache",
)
"""What thousands of exchanges have in common, kept once. A bound text costs 0.1 us of CPU, and these are most of them.
Seven are numbers; `route_model`, `outcome` and what follows, up to them, tell of an only attempt."""
_NUMBERS = 7

shapes = Table(
    "shapes",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=False),
    *map(_text, SHAPE_COLUMNS[: -_NUMBERS - 1]),
    *map(_whole, SHAPE_COLUMNS[-_NUMBERS - 1 : -1]),
    _text("cache"),
)

exchange_rows = Table(
    "exchange_rows",
    metadata,
    Column("id", ORDERED, nullable=False),
    Column("shape", NUMBER, nullable=False),
    Column("started", Float, nullable=False),
    _real("ended"),
    *map(_text, ("user", "session", "tags", "correlation_id", "request_id", "upstream_gateway")),
    *map(_whole, TOKEN_CLASSES),  # sums over the attempts, as the money is
    *map(_whole, ("cost_nano", "estimated_nano")),
    *map(_real, ("waited_ms", "first_byte", "first_content")),
    # Of an only attempt, which has no row of its own; NULL where there were none or several.
    *map(_real, ("attempt_started", "attempt_ended")),
    Column("bound_nano", BigInteger, nullable=True),
    _text("asked"),  # what the audit has to know of the request: see `asked.py`
    PrimaryKeyConstraint("id"),
    # The id is time-ordered (`core.ids`), so the table itself is the index, of times too: one B-tree to append to.
    sqlite_with_rowid=False,
)

_ATTEMPT: tuple[Column[Any], ...] = (
    Column("exchange_id", ORDERED, nullable=False),
    Column("number", Integer, nullable=False),
    *map(_text, ("owner", "provider", "model")),
    Column("started", Float, nullable=False),
    Column("bound_nano", BigInteger, nullable=True),  # NULL: could not be bounded
    _text("outcome"),
    _real("ended"),
    _whole("status"),  # the provider's HTTP status, 0 = none
    *map(_text, ("error_kind", "provider_code", "model_served")),
    *map(_whole, TOKEN_CLASSES),
    *map(_whole, ("cost_nano", "estimated")),
    _text("price_version"),
    *map(_real, ("waited_ms", "first_byte", "first_content")),
    *map(_text, ("stop_reason", "request_id")),
    _text("service"),  # what else decides about its price: "tier/speed/geography", as reported; "" = nothing was
)

attempt_rows = Table(
    "attempt_rows",
    metadata,
    *_ATTEMPT,
    PrimaryKeyConstraint("exchange_id", "number"),
    sqlite_with_rowid=False,
)

intents = Table(
    "intents",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    # JSON, all of one commit: see `intents.py`. Gone once the last of them is settled.
    Column("intents", Text, nullable=False),
)

views = MetaData()
"""What is read: one row per exchange and one per attempt, every column in its place (made by the migrations)."""

exchanges = Table(
    "exchanges",
    views,
    Column("id", ORDERED, primary_key=True),
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
    _text("cache"),  # hit, miss, bypass, similar; "" = no answer of its kind is kept
    _text("asked"),
)

attempts = Table("attempts", views, *(Column(each.name, each.type, nullable=each.nullable) for each in _ATTEMPT))
"""Settled attempts. Those on their way are in `intents`."""

owners = Table(
    "owners",
    metadata,
    Column("id", Text, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("started", Float, nullable=False),
    Column("heartbeat", Float, nullable=False),
    _whole("session"),  # PostgreSQL: which connection of the owner may write intents; see `postgres_session.py`
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

accounts = Table(
    "accounts",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=False),
    Column("budget", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("period_start", Float, nullable=False),
    Column("period_end", Float, nullable=False),
    *map(_whole, ("spent_nano", "spent_tokens")),
    # What is set aside. In SQLite it is in the writer's memory, and in `intents`; here it stays 0.
    *map(_whole, ("held_nano", "held_tokens")),
    *map(_whole, ("alerted", "alerted_tokens")),  # the highest share that was told, in basis points
    UniqueConstraint("budget", "scope", "period_start"),
)
"""One row per budget, scope value and period: see `core.budget`."""

caps = Table(
    "caps",
    metadata,
    Column("budget", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("cap_nano", BigInteger, nullable=True),
    Column("cap_tokens", BigInteger, nullable=True),
    Column("changed", Float, nullable=False),
    PrimaryKeyConstraint("budget", "scope"),
)
"""Overrides of a budget's own cap for one scope value; they outlive its periods."""

homes = Table(
    "homes",
    metadata,
    Column("id", Text, primary_key=True),
    *map(_text, ("provider", "model")),
    _whole("place"),  # which of the provider's keys
    _text("owner"),
    Column("made", Float, nullable=False),
)
"""What providers keep, and by which route: see `policy.homes`."""

approvals = Table(
    "approvals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("state", Text, nullable=False),
    *map(_text, ("key", "tenant", "user", "session", "task", "feature", "environment")),
    *map(_text, ("call_id", "tool", "arguments", "place")),
    Column("edited", Text, nullable=True),  # NULL: as the model wrote them
    *map(_text, ("exchange_id", "digest", "answer")),
    _text("decided_by"),
    _real("decided_at"),
    _text("note"),
)
"""Tool calls that wait for a person: see `core.approvals`. They hold what the model wrote."""

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("kind", "scope", "value")),
    _text("to"),
    _whole("rate"),
    *map(_text, ("by", "why")),
    Column("since", Float, nullable=False),
    Column("expires", Float, nullable=False),
    _real("lifted"),
    _text("lifted_by"),
)
"""What somebody has stopped, slowed or degraded for a while: see `core.incidents`."""

people = Table(
    "people",
    metadata,
    Column("name", Text, primary_key=True),
    *map(_text, ("role", "tenant", "password")),  # an argon2id hash with its salt and cost
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
    Column("sessions_from", Float, nullable=False),  # a session that began before is over
)
"""Who may use the dashboard and the admin API."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),  # SHA-256 of the cookie, hex
    *map(_text, ("person",)),
    Column("began", Float, nullable=False),
    Column("seen", Float, nullable=False),
    *map(_text, ("address",)),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    *map(_text, ("name", "hash", "role", "tenant", "made_by")),  # SHA-256 of the whole token, hex
    Column("created", Float, nullable=False),
    _real("expires"),
    _real("revoked"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    *map(_text, ("actor", "role", "way", "address", "action", "subject", "tenant", "before", "after")),
    *map(_text, ("previous", "hash")),
)
"""What people change: see `audit_log.py`. Triggers forbid to update or delete."""

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    *map(_text, ("rule", "scope", "severity")),
    *(Column(name, Float, nullable=False) for name in ("since", "last", "value", "threshold")),
    *map(_text, ("summary", "evidence")),
    _whole("count"),
    *map(_real, ("resolved", "acknowledged")),
    _text("acknowledged_by"),
    Column("told", Float, nullable=False),
    _text("firers"),  # JSON: the processes that see it, and when they last did
)
"""See `core.alerts`."""

alert_outbox = Table(
    "alert_outbox",
    metadata,
    Column("id", Text, primary_key=True),
    *map(_text, ("place", "alert", "body")),
    *(Column(name, Float, nullable=False) for name in ("created", "next_try")),
    _whole("tries"),
    _text("claimed_by"),
    Column("claimed_until", Float, nullable=False),
    *map(_text, ("state", "error")),
    _real("ended"),
)
"""What is to be told of them, and to whom: on record before the first try."""

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
