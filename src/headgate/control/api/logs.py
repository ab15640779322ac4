"""Routes about the log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field

from headgate.control.api.base import Id, Limit, Routes, Text, Who, named_values
from headgate.control.api.models import Named, Seconds, Taken, Told, Usd
from headgate.control.context import Control
from headgate.control.people import Right
from headgate.core.errors import BadRequest
from headgate.settings.units import Unfit, usd
from headgate.stores.logs.query import LogQuery

Moment = Annotated[float, Query(ge=0, le=1e11)]
Cursor = Annotated[str, Query(pattern=r"^\d{0,18}$")]


class LoggedExchange(Told):
    """One exchange as its line in the log has it. Texts are "" where they are not kept."""

    id: str
    at: Seconds
    exchange_id: str
    request_id: str
    correlation_id: str
    session: str
    user: str
    key: str
    tenant: str
    task: str
    feature: str
    environment: str
    way_in: str
    dialect: str
    endpoint: str
    stream: bool
    provider: str
    model_asked: str
    model_served: str
    system_prompt_hash: str
    ending: str
    stop_reason: str
    attempts: int
    client_retries: int
    estimated: bool
    price_version: str
    status_code: int
    error_type: str
    error_kind: str
    simulated: bool
    verdict: str
    cache: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    latency_ms: float | None
    ttft_ms: float | None
    cost_usd: Usd
    user_message: str
    response_text: str
    more: dict[str, Any]


class ShownExchange(LoggedExchange):
    """The same with the whole request, where it is kept, and the attempts."""

    request: str
    attempts_made: list[dict[str, Any]]


class LogPage(Told):
    """A page. `next`: where the next one begins, "" = nowhere. `searched_to`: time was up before the page was full, and
    everything newer than this has been looked at."""

    exchanges: list[LoggedExchange]
    next: str
    searched_to: Seconds | None


class Session(Told):
    """The exchanges of a session of one tenant's. `whole`: false = time was up before all were summed up."""

    session: str
    tenant: str
    user: str
    first: Seconds
    last: Seconds
    exchanges: int
    failed: int
    blocked: int
    cost_usd: Usd
    models: list[str]
    excerpt: str
    whole: bool


class Sessions(Told):
    """A page of sessions; `next` and `searched_to` as of exchanges."""

    sessions: list[Session]
    next: str
    searched_to: Seconds | None


class Event(Told):
    """A line that is not about an exchange."""

    id: str
    at: Seconds
    name: str
    fields: dict[str, Any]


class Events(Told):
    """Events."""

    events: list[Event]


class Sums(Told):
    """What was summed over one step of time, and one value of the dimension."""

    start: Seconds
    value: str
    exchanges: int
    attempts: int
    failed: int
    refused: int
    blocked: int
    hits: int
    truncated: int
    cost_usd: Usd
    estimated_usd: Usd
    saved_usd: Usd
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    latency_ms: dict[str, float | None]
    ttft_ms: dict[str, float | None]


class Rollup(Told):
    """Sums over time."""

    rows: list[Sums]


class GuardCount(Told):
    """Exchanges in which a guard said a word ("injection:override"), of those with one verdict; and the newest."""

    word: str
    verdict: str
    exchanges: int
    last: Seconds
    exchange_id: str


class GuardCounts(Told):
    """What guards found. `counted_from`: time was up, and what is older than this was not counted."""

    counts: list[GuardCount]
    counted_from: Seconds | None


class ToErase(Taken):
    """Whose words and name are to go. `tenant`: of a user or session, only this tenant's."""

    kind: Literal["user", "session", "tenant"]
    value: Named
    tenant: Annotated[str, Field(max_length=200)] | None = None


class Erased(Told):
    """What was erased. The exchanges stay, with their costs, under the pseudonym.

    `spools_left` are files of lines of other gateways on PostgreSQL, each emptied by its own gateway in its next turn.
    `answers` were kept in the cache: all that the subject's may be among; null = the cache does not tell.
    `batches_left` are not over: they are cancelled, and go with another try."""

    exchanges: int
    bodies: int
    events: int
    pseudonym: str
    spool_emptied: bool
    spools_left: int
    answers: int | None
    jobs: int
    batches: int
    batches_left: int
    approvals: int


def add(routes: Routes, control: Control) -> None:
    """Declare them."""
    logs = control.logs

    @routes.get("/logs", Right.READ, "logs")
    def search_logs(
        who: Who,
        text: Text = "",
        where: Annotated[list[str], Query(max_length=16, description="field=value, each.")] = [],  # noqa: B006
        since: Moment | None = None,
        until: Moment | None = None,
        min_cost_usd: Annotated[str, Query(pattern=r"^(\d{1,9}(\.\d{1,9})?)?$")] = "",
        min_latency_ms: Annotated[float, Query(ge=0, le=1e9)] = 0.0,
        errors: bool = False,
        before: Cursor = "",
        limit: Limit = 50,
    ) -> LogPage:
        """Exchanges, the newest first, by any field and by words of the user's message and the answer."""
        try:
            least = usd(min_cost_usd) if min_cost_usd else 0
        except Unfit as error:
            raise BadRequest(f"min_cost_usd: {error}.") from None
        told = named_values(where)
        query = LogQuery(text, told, since, until, least, min_latency_ms, errors, None, before, limit)
        return LogPage.model_validate(logs.search(who, query))

    @routes.get("/logs/sessions", Right.READ, "logs")
    def list_sessions(
        who: Who,
        text: Text = "",
        where: Annotated[list[str], Query(max_length=16, description="field=value, each.")] = [],  # noqa: B006
        since: Moment | None = None,
        until: Moment | None = None,
        before: Cursor = "",
        limit: Limit = 50,
    ) -> Sessions:
        """Sessions with an exchange that fits, the one that was active last first."""
        query = LogQuery(text, named_values(where), since, until, before=before, limit=limit)
        return Sessions.model_validate(logs.sessions(who, query))

    @routes.get("/logs/events", Right.READ_ALL, "logs")
    def list_events(
        who: Who, name: Text = "", since: Moment | None = None, before: Cursor = "", limit: Limit = 50
    ) -> Events:
        """Breakers, anomalies, alerts, starts and all else that is not about an exchange."""
        names = (name,) if name else ()
        found = logs.events(who, names=names, since=since, before=before, limit=limit)
        return Events.model_validate({"events": found})

    @routes.get("/logs/conversation", Right.READ, "logs")
    def show_conversation(
        who: Who, session: Text, tenant: Text | None = None, after: Cursor = "", limit: Limit = 50
    ) -> LogPage:
        """The exchanges of a session, the oldest first. `tenant`: only this one's, whose session's name others may
        have, too."""
        return LogPage.model_validate(logs.conversation(who, session, tenant=tenant, limit=limit, after=after))

    @routes.get("/logs/rollup", Right.READ, "logs")
    def roll_up(
        who: Who,
        since: Moment,
        until: Moment,
        step: Literal["minute", "hour", "day"] = "hour",
        by: Text | None = None,
    ) -> Rollup:
        """Sums by step of time and by a dimension: exchanges, cost, tokens, latency. Quick at any size."""
        return Rollup.model_validate({"rows": logs.rollup(who, since, until, step=step, by=by)})

    @routes.get("/logs/guards", Right.READ, "logs")
    def count_guards(who: Who, since: Moment, until: Moment) -> GuardCounts:
        """What guards blocked, redacted and flagged between two times, by guard and rule."""
        return GuardCounts.model_validate(logs.guards(who, since, until))

    @routes.get("/logs/exchanges/{exchange}", Right.READ, "logs")
    def show_exchange(who: Who, exchange: Id) -> ShownExchange:
        """One exchange with its attempts."""
        return ShownExchange.model_validate(logs.show(who, exchange))

    @routes.post("/logs/erase", Right.ERASE, "logs")
    def erase_logs(who: Who, body: ToErase) -> Erased:
        """Take a user's, a session's or a tenant's words and name out of the log, kept answers, jobs and approvals."""
        return Erased.model_validate(logs.erase(who, body.kind, body.value, tenant=body.tenant))
