"""What can be asked of the log store, and what it answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_NOTHING: Mapping[Any, Any] = MappingProxyType({})

SHARED_FIELDS = (
    *("key", "tenant", "task", "feature", "environment", "way_in", "dialect", "endpoint", "stream", "provider"),
    *("model_asked", "model_served", "system_prompt_hash", "ending", "stop_reason", "attempts", "client_retries"),
    *("estimated", "price_version", "status_code", "error_type", "error_kind", "simulated", "verdict", "cache"),
)
"""Fields of a line that thousands of exchanges have in common; see `stores.log_line`."""

OWN_FIELDS = ("exchange_id", "request_id", "correlation_id", "session", "user")
"""Fields that an exchange has to itself and that can be searched by."""

EXTRA_FIELDS = ("guard", "degraded", "limit", "error_cause", "prompt_prefix", "upstream_gateway", "pruned")
"""Fields that few exchanges have. `guard` is a word of it, or what comes before its colon: "injection"."""

LEAST_FIELDS = (
    *("min_ttft_ms", "min_latency_ms", "min_waited_ms"),
    *("min_input_tokens", "min_output_tokens", "min_cache_read_tokens", "min_cache_write_tokens"),
)
"""Numbers of a line, by the least that they are to be."""

ATTEMPT_FAILED = "attempt_failed"
"""A field that is derived: `true` of exchanges with an attempt that failed, even if a retry or fallback saved them."""

FIELDS = frozenset((*SHARED_FIELDS, *OWN_FIELDS, *EXTRA_FIELDS, *LEAST_FIELDS, ATTEMPT_FAILED)) | {
    *("model", "status", "error")
}
"""What `LogQuery.fields` may name, besides ``tag:<name>``. `model` is the one asked for or the one served; `status` and
`error` are short for `status_code` and `error_type`."""

ALIASES = MappingProxyType({"status": "status_code", "error": "error_type", "session_id": "session", "user_id": "user"})

DIMENSIONS = (
    *("tenant", "key", "user", "task", "feature", "environment", "provider", "model", "model_asked"),
    *("ending", "error", "stop_reason", "verdict", "cache", "dialect", "way_in"),
)
"""What `rollup` can break down by. `model` is the one that served."""

STEPS = MappingProxyType({"minute": 60, "hour": 3600, "day": 86_400})
"""Steps of `rollup` in seconds. Days are UTC's."""

LARGEST_PAGE = 1000


class BadQuery(ValueError):
    """A question that the log store does not understand, in words for whoever asked."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What exchanges are looked for. All that is told has to be so.

    Attributes:
        text: words that the user's message or the answer has, all of them; "in quotes" for a phrase, a trailing * for
            beginnings, a leading - for words that must not be there.
        fields: by `FIELDS` and ``tag:<name>``; the value is the whole value, and its case counts.
        since, until: seconds since the epoch of the exchange's end; `until` is not included.
        min_cost_nano: nano-dollars, >= 0.
        min_latency_ms: >= 0.
        errors: only those that ended with an error: failed, refused, cut, or with a status of 400 and above.
        tenant: only this one's, whatever `fields` says; None: all.
        before: `LogPage.next` of the page before; "" = from the newest on.
        limit: 1..1000 rows of a page.
    """

    text: str = ""
    fields: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    since: float | None = None
    until: float | None = None
    min_cost_nano: int = 0
    min_latency_ms: float = 0.0
    errors: bool = False
    tenant: str | None = None
    before: str = ""
    limit: int = 50

    def checked(self) -> LogQuery:
        """Itself.

        Raises:
            BadQuery: a field that there is not, a cursor that is none, a limit out of range.
        """
        for name in self.fields:
            if name not in FIELDS and not name.startswith("tag:") and name not in ALIASES:
                raise BadQuery(
                    f"there is no field {name!r} in the log; there are: {', '.join(sorted(FIELDS))}, tag:<name>"
                )
        cursor_of(self.before)
        if not 1 <= self.limit <= LARGEST_PAGE:
            raise BadQuery(f"a page has 1 to {LARGEST_PAGE} rows")
        return self


def cursor_of(text: str) -> int | None:
    """The place that a cursor names; None for "".

    Raises:
        BadQuery: it is no cursor.
    """
    if not text:
        return None
    try:
        found = int(text)
    except ValueError:
        found = -1
    if not 0 <= found < 1 << 62 or len(text) > 20:
        raise BadQuery("this is no cursor of the log: give what a page before it gave as `next`")
    return found


@dataclass(frozen=True, slots=True)
class LogRow:
    """One exchange as its line in the log has it (docs/log-and-ledger.md). Strings are "" where nothing is known.

    Attributes:
        id: its place in the log store, as a cursor: `LogReader.since_id` begins behind it.
        at: when it ended, in seconds since the epoch.
        more: what few exchanges have: tags, guards, degraded, limit, pruned, waited_ms, ...
        user_message, response_text: "" where bodies are off, erased, or the text had none.
        request: the whole request's JSON, or "" where it is not kept (`log: {requests: on}`); only `show` fills it.
    """

    id: str
    at: float
    exchange_id: str
    request_id: str = ""
    correlation_id: str = ""
    session: str = ""
    user: str = ""
    key: str = ""
    tenant: str = ""
    task: str = ""
    feature: str = ""
    environment: str = ""
    way_in: str = ""
    dialect: str = ""
    endpoint: str = ""
    stream: bool = False
    provider: str = ""
    model_asked: str = ""
    model_served: str = ""
    system_prompt_hash: str = ""
    ending: str = ""
    stop_reason: str = ""
    attempts: int = 0
    client_retries: int = 0
    estimated: bool = False
    price_version: str = ""
    status_code: int = 0
    error_type: str = ""
    error_kind: str = ""
    simulated: bool = False
    verdict: str = ""
    cache: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    latency_ms: float | None = None
    ttft_ms: float | None = None
    cost_nano: int = 0
    more: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    user_message: str = ""
    response_text: str = ""
    request: str = ""

    @property
    def guards(self) -> tuple[str, ...]:
        """What the guards found, as `injection:override`."""
        return tuple(self.more.get("guards", ()))

    @property
    def tags(self) -> Mapping[str, str]:
        """The caller's tags."""
        found: Mapping[str, str] = self.more.get("tags", _NOTHING)
        return found


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of exchanges.

    Attributes:
        rows: in the order that was asked for.
        next: where the next page begins, for `LogQuery.before` (or `after`); "" = there is nothing more.
        searched_to: not None: time was up before the page was full, and everything newer than this (seconds since the
            epoch) has been looked at; `next` goes on from there.
    """

    rows: tuple[LogRow, ...]
    next: str = ""
    searched_to: float | None = None


@dataclass(frozen=True, slots=True)
class LogSession:
    """The exchanges of one session of one tenant's, all of them, whatever was asked for.

    Attributes:
        user: of its newest exchange that names one.
        first, last: when its first and its last exchange ended, in seconds since the epoch.
        failed: exchanges that ended `failed`, `cut` or `killed`. `blocked`: by a guard.
        models: that served, the one of the newest exchange first.
        excerpt: how it begins, as far as texts are kept; 160 characters at most.
        whole: False: time was up before all of it was summed up; the figures are of its newest exchanges.
    """

    session: str
    tenant: str
    user: str
    first: float
    last: float
    exchanges: int
    cost_nano: int
    failed: int
    blocked: int
    models: tuple[str, ...] = ()
    excerpt: str = ""
    whole: bool = True


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A page of sessions; `next` and `searched_to` as in `LogPage`."""

    sessions: tuple[LogSession, ...]
    next: str = ""
    searched_to: float | None = None


@dataclass(frozen=True, slots=True)
class GuardCount:
    """Exchanges in which a guard said a word, of those with one verdict.

    Attributes:
        word: "injection:override": the guard, and the rule that was met; the guard alone where it names none.
        verdict: on the exchange as a whole: "block", "redact" or "flag".
        last: when the newest of them ended, in seconds since the epoch.
        exchange_id: of that one.
    """

    word: str
    verdict: str
    exchanges: int
    last: float
    exchange_id: str


@dataclass(frozen=True, slots=True)
class GuardCounts:
    """What guards found, the most first.

    Attributes:
        counted_from: not None: time was up, and what is older than this (seconds since the epoch) was not counted.
    """

    counts: tuple[GuardCount, ...]
    counted_from: float | None = None


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A line that is not about an exchange: a breaker, an anomaly, an alert, a start.

    Attributes:
        id: a cursor.
        at: seconds since the epoch.
        fields: as the line has them, without its time and name.
    """

    id: str
    at: float
    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RollupRow:
    """What was summed over one step of time, and one value of a dimension.

    Attributes:
        start: of the step, in seconds since the epoch.
        value: of the dimension; "" where there is none, or where nothing was broken down.
        exchanges, attempts: counts.
        failed: exchanges that ended `failed` or `cut`. `refused`: by Headgate. `blocked`: by a guard.
        hits: answered from the cache, similar answers too. `truncated`: stopped by the output cap.
        cost_nano, estimated_nano, saved_nano: nano-dollars; `estimated_nano` is the part of the cost in exchanges whose
            cost is an estimate in part; `saved_nano` is by the cache and providers' prompt caches, negative = lost.
        latency, ttft: histograms (see `histogram`), of exchanges that have such a time; empty but for the whole and by
            tenant, model, provider and task.
    """

    start: float
    value: str = ""
    exchanges: int = 0
    attempts: int = 0
    failed: int = 0
    refused: int = 0
    blocked: int = 0
    hits: int = 0
    truncated: int = 0
    cost_nano: int = 0
    estimated_nano: int = 0
    saved_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    latency: Mapping[int, int] = field(default_factory=dict)
    ttft: Mapping[int, int] = field(default_factory=dict)
