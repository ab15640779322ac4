"""The calls of a ledger, as `headgate audit` looks at them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from sqlalchemy import Connection, select

from headgate.core.exchange import Ending
from headgate.core.usage import Usage
from headgate.policy.audit.calls import Call
from headgate.policy.reprice import ASSUMED, EXACT, Charged, Repricer
from headgate.stores.asked import Asked, read_asked
from headgate.stores.dimensions import check
from headgate.stores.reader import FILTERS, Reader, Record
from headgate.stores.schema import attempts, exchanges
from headgate.stores.selecting import ids_tell_time, wanted

_AT_ONCE = 1_000  # rows fetched in one go
_OF_EXCHANGE = ("key", "tenant", "user", "session", "task", "feature", "stream", "dialect", "ending", "asked")
_UNFINISHED = frozenset({"max_tokens", "length", "incomplete", "refusal", "content_filter", "pause_turn"})
_DEFAULT_TOKENS_PER_BYTE = 0.25  # where nothing else is known: four bytes of English to a token


def calls_of(
    reader: Reader, since: float | None, until: float | None, filters: Mapping[str, str], repricer: Repricer
) -> list[Call]:
    """The charged attempts of the exchanges that started in [since, until), seconds since the epoch.

    What the ledger cannot price again (`policy.reprice`) is `fixed`.

    Raises:
        ConfigError: an unknown filter, or there is no ledger.
    """
    check("filter", filters, FILTERS)

    def ask(connection: Connection) -> list[tuple[Record, Asked]]:
        return [(row, read_asked(row["asked"])) for row in _rows(connection, since, until, filters)]

    found = reader._ask(ask)
    per_byte = _tokens_per_byte(found)
    return [_call(row, told, per_byte, repricer) for row, told in found]


def _rows(
    connection: Connection, since: float | None, until: float | None, filters: Mapping[str, str]
) -> Iterator[Record]:
    narrowed = wanted(since, until, filters, connection.dialect.name, narrow=ids_tell_time(connection))
    mine = [exchanges.c[name].label(f"of_{name}") for name in _OF_EXCHANGE]
    joined = attempts.join(exchanges, attempts.c.exchange_id == exchanges.c.id)
    charged = (attempts.c.cost_nano > 0) | (attempts.c.output_tokens > 0)
    query = select(*attempts.c, *mine).select_from(joined).where(*narrowed, charged)
    names = [*attempts.c.keys(), *_OF_EXCHANGE]
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(query):
        yield dict(zip(names, tuple(row), strict=True))


def _usage(row: Record) -> Usage:
    tier, speed, geography = (row["service"] or "//").split("/", 2)
    return Usage(
        row["input_tokens"],
        row["cache_read_tokens"],
        row["cache_write_tokens"],
        row["cache_write_long_tokens"],
        row["output_tokens"],
        row["reasoning_tokens"],
        web_searches=row["web_searches"],
        service_tier=tier,
        speed=speed,
        inference_geo=geography,
    )


def _tokens_per_byte(found: Iterable[tuple[Record, Asked]]) -> Callable[[Record], float]:
    """Tokens for each byte of a request's body, as the provider counted them, by model."""
    tokens: defaultdict[str, int] = defaultdict(int)
    size: defaultdict[str, int] = defaultdict(int)
    for row, told in found:
        if told.body_bytes:
            tokens[row["model"]] += _usage(row).prompt_tokens
            size[row["model"]] += told.body_bytes
    return lambda row: tokens[row["model"]] / size[row["model"]] if size[row["model"]] else _DEFAULT_TOKENS_PER_BYTE


def _call(row: Record, told: Asked, per_byte: Callable[[Record], float], repricer: Repricer) -> Call:
    usage = _usage(row)
    charged = Charged(
        row["provider"],
        row["model"],
        row["model_served"],
        row["started"],
        usage,
        row["cost_nano"],
        row["price_version"],
        bool(row["estimated"]),
        row["bound_nano"],
    )
    _, how = repricer.reprice(charged)
    return Call(
        at=row["started"],
        provider=row["provider"],
        model=row["model"],
        usage=usage,
        charged_nano=row["cost_nano"],
        ready=row["first_byte"] or row["ended"] or row["started"],
        dialect=row["dialect"],
        served=row["model_served"],
        task=row["task"],
        feature=row["feature"],
        tenant=row["tenant"],
        user=row["user"],
        session=row["session"],
        owner=row["tenant"] or row["key"],
        digest=told.digest,
        system=told.system,
        system_tokens=min(usage.prompt_tokens, round(told.system_bytes * per_byte(row))),
        cap=told.cap,
        batch=told.batch,
        streamed=bool(row["stream"]),
        whole=row["ending"] == Ending.COMPLETE and row["stop_reason"] not in _UNFINISHED,
        fixed=how not in (EXACT, ASSUMED),
    )
