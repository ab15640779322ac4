"""One exchange: where its time and its money went, what guards said, and what it said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from headgate.core.errors import NotServed
from headgate.pages import format as formats
from headgate.pages import tenants
from headgate.pages.asked import Asked, link
from headgate.pages.figures import Figures, by_value
from headgate.pages.periods import HOUR
from headgate.pages.search_words import tagged, written
from headgate.pages.site import Site
from headgate.stores.logs.query import LogRow
from headgate.stores.reader import StoredExchange

_MOST_BODY = 200_000
"""Characters of a whole request that are shown; the log keeps up to 64 KB of each text."""


_OTHERS = 20


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the timeline: `kind` is a class of `app.css`; `left` and `width` are shares of the whole."""

    kind: str
    words: str
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Lane:
    """One attempt on the timeline, and its facts. `record` is its row in the ledger."""

    record: Mapping[str, Any]
    pieces: Sequence[Piece]
    took_ms: float | None
    words: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the time that an exchange took."""

    words: str
    milliseconds: float


def show(site: Site, asked: Asked) -> Response:
    """The page.

    Raises:
        NotServed: there is no such exchange, or it is another tenant's.
    """
    exchange_id = asked.parts["id"]
    logs = site.sources.logs
    row = None if logs is None else logs.show(exchange_id, asked.tenant)
    stored = site.sources.exchange(exchange_id)
    if row is None and stored is not None and stored.exchange:
        row = _from_ledger(stored.exchange)
    if row is None or asked.tenant not in (None, row.tenant):
        raise NotServed("There is no such exchange here. It may have been removed by age, or be another tenant's.")
    lanes = _lanes(row, stored)
    parts = where_time_went(row, [lane.record for lane in lanes])
    return site.render(
        asked,
        "exchange.html",
        here="exchanges",
        title="Exchange",
        row=row,
        lanes=lanes,
        parts=parts,
        said=_sentence(row, parts),
        usual=_usual(site, asked, row),
        held=sum(lane.record["bound_nano"] or 0 for lane in lanes),
        headers=_headers(row),
        caller=_caller(row),
        others=_others(site, asked, row),
        request=_pretty(row.request),
        facts=_facts(asked, row),
    )


def _from_ledger(record: Mapping[str, Any]) -> LogRow:
    """What the ledger knows of an exchange that the log no longer has, or does not have yet."""
    names = set(LogRow.__dataclass_fields__) & set(record)
    told = {name: record[name] for name in names if name not in ("id", "estimated", "stream", "simulated")}
    return LogRow(
        id="0",
        at=record["ended"] or record["started"],
        exchange_id=record["id"],
        status_code=record["status"],
        error_type=record["error_code"],
        estimated=bool(record["estimated"]),
        stream=bool(record["stream"]),
        simulated=bool(record["simulated"]),
        more={"tags": json.loads(record["tags"])} if record["tags"] else {},
        **{
            name: value
            for name, value in told.items()
            if name not in ("at", "exchange_id", "status_code", "error_type")
        },
    )


def _lanes(row: LogRow, stored: StoredExchange | None) -> list[Lane]:
    if stored is None:
        return []
    start = stored.exchange.get("started") or min((each["started"] for each in stored.attempts), default=row.at)
    ends = [each["ended"] or each["first_content"] or each["started"] for each in stored.attempts]
    end = max([stored.exchange.get("ended") or row.at, *ends])
    whole = max(end - start, 0.001)
    return [_lane(each, start, whole, end) for each in stored.attempts]


def _lane(record: Mapping[str, Any], start: float, whole: float, end: float) -> Lane:
    begun, ended = record["started"], record["ended"] or end
    waited = (record["waited_ms"] or 0.0) / 1000
    failed = record["outcome"] not in (None, "", "complete", "ok", "abandoned")
    marks: list[tuple[str, str, float, float]] = []
    if waited > 0.0005:
        marks.append(("t-wait", "waited", begun - waited, begun))
    first_byte, content = record["first_byte"], record["first_content"]
    if content is not None:
        marks.append(("t-connect", "to the headers", begun, min(first_byte or content, content)))
        marks.append(("t-think", "to the first content", min(first_byte or content, content), content))
        marks.append(("t-fail" if failed else "t-answer", "broke off" if failed else "answer", content, ended))
    else:
        marks.append(("t-fail" if failed else "t-connect", "failed" if failed else "to the end", begun, ended))
    pieces = [
        Piece(
            kind,
            f"{words} {formats.ms((last - first) * 1000)}",
            max(0.0, (first - start) / whole),
            max((last - first) / whole, 0.003),
        )
        for kind, words, first, last in marks
        if last > first
    ]
    return Lane(record, pieces, (ended - begun) * 1000, ", ".join(piece.words for piece in pieces))


def where_time_went(row: LogRow, attempts: Sequence[Mapping[str, Any]]) -> list[Part]:
    """The parts of an exchange's time, the largest first; nothing where its duration is not known."""
    if row.latency_ms is None:
        return []
    waited = float(row.more.get("waited_ms", 0.0) or 0.0)
    waited = max(waited, sum((each["waited_ms"] or 0.0) for each in attempts))
    found = [Part("waiting on purpose (for a turn, for money, between attempts)", waited)]
    answered = attempts[-1] if attempts and attempts[-1]["first_content"] is not None else None
    failed = [each for each in attempts if each is not answered and each["ended"] is not None]
    lost = sum((each["ended"] - each["started"]) * 1000 for each in failed)
    found.append(Part(f"in {len(failed)} attempt{'s' if len(failed) != 1 else ''} that did not answer", lost))
    if answered is not None:
        first = (answered["first_content"] - answered["started"]) * 1000
        found.append(Part(f"until {answered['provider']} began to answer", first))
        ended = answered["ended"] if answered["ended"] is not None else answered["first_content"]
        found.append(Part("while the answer was coming", (ended - answered["first_content"]) * 1000))
    rest = row.latency_ms - sum(part.milliseconds for part in found)
    found.append(Part("in Headgate itself and on the way back", max(0.0, rest)))
    return sorted((part for part in found if part.milliseconds >= 0.05), key=lambda part: -part.milliseconds)


def _sentence(row: LogRow, parts: Sequence[Part]) -> str:
    if row.latency_ms is None or not parts:
        return ""
    return (
        f"It took {formats.ms(row.latency_ms)}: "
        + ", ".join(f"{formats.ms(p.milliseconds)} {p.words}" for p in parts)
        + "."
    )


def _usual(site: Site, asked: Asked, row: LogRow) -> Figures | None:
    """How the same model did in the hour that this exchange ended in."""
    logs = site.sources.logs
    if logs is None or not row.model_served:
        return None
    since = row.at // HOUR * HOUR
    found = by_value(logs.rollup(since, since + HOUR, "hour", "model", asked.tenant)).get(row.model_served)
    return found if found is not None and found.latency else None


def _headers(row: LogRow) -> str:
    """What the caller got, as far as it is on record."""
    told = {
        "x-headgate-exchange": row.exchange_id,
        "x-headgate-correlation-id": row.correlation_id,
        "x-headgate-model": row.model_served,
        "x-headgate-attempts": str(row.attempts),
        "x-headgate-cache": row.cache,
        "x-headgate-degraded": str(row.more.get("degraded", "")),
        "request-id": row.request_id,
    }
    return "\n".join(f"{name}: {formats.plain(value)}" for name, value in told.items() if value)


def _caller(row: LogRow) -> str:
    """Request headers that make a call the same caller's."""
    told = {"user": row.user, "session": row.session, "task": row.task, "feature": row.feature, "tenant": row.tenant}
    tags = ",".join(f"{name}={value}" for name, value in row.tags.items())
    lines = [f"x-headgate-{name}: {formats.plain(value)}" for name, value in {**told, "tags": tags}.items() if value]
    return "\n".join(lines)


def _others(site: Site, asked: Asked, row: LogRow) -> list[LogRow]:
    """Other exchanges of the same correlation id."""
    logs = site.sources.logs
    if logs is None or not row.correlation_id:
        return []
    found = logs.correlated(row.correlation_id, asked.tenant, _OTHERS)
    return [each for each in found.rows if each.exchange_id != row.exchange_id]


def _pretty(raw: str) -> str:
    if not raw:
        return ""
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)[:_MOST_BODY]
    except (ValueError, RecursionError):
        return raw[:_MOST_BODY]


def _facts(asked: Asked, row: LogRow) -> list[tuple[str, str, str]]:
    """(Name, value, address of a search for it) of what is known, in the order people ask for it."""
    return list(_each_fact(asked, row))


def _each_fact(asked: Asked, row: LogRow) -> Iterator[tuple[str, str, str]]:
    def found(condition: str) -> str:
        return link("/ui/exchanges", q=condition) if condition else ""

    if row.user:
        yield "User", row.user, tenants.exchanges(asked, row.tenant, written("user", row.user))
    for name, label in (
        ("tenant", "Tenant"),
        ("key", "Key"),
        ("task", "Task"),
        ("feature", "Feature"),
        ("environment", "Environment"),
        ("provider", "Provider"),
        ("stop_reason", "Stop reason"),
        ("error_type", "Error"),
        ("error_kind", "Kind of error"),
        ("cache", "Cache"),
    ):
        value = str(getattr(row, name))
        if value:
            yield label, value, found(written("error" if name == "error_type" else name, value))
    for name, value in row.tags.items():
        yield f"Tag {name}", str(value), found(tagged(name, str(value)))
    streamed = ", streamed" if row.stream else ""
    yield "Way in", f"{row.way_in}, {row.dialect} {row.endpoint}{streamed}", ""
    if row.system_prompt_hash:
        short = row.system_prompt_hash[:12]
        yield "System prompt", f"hash {short}…", found(written("system_prompt_hash", row.system_prompt_hash))
    for name, label in (
        ("degraded", "Degraded"),
        ("limit", "Limit"),
        ("pruned", "Pruned"),
        ("error_cause", "Cause"),
        ("prompt_prefix", "Prompt prefix"),
        ("upstream_gateway", "Charged by"),
        ("price_version", "Prices"),
    ):
        other = row.more.get(name) or getattr(row, name, "")
        if other:
            yield label, str(other), ""
    if row.client_retries:
        yield "The caller's SDK", f"had tried {row.client_retries} times before", ""
