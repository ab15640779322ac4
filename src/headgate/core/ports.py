"""What the engine needs from outside. Signatures are async; `engine/blocking.py` runs them without an event loop.

Await nothing but ports, and hold no lock across an `await`: that is what lets one source serve both colours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from headgate.core.approvals import Parked
from headgate.core.cache import CacheStats, Stored
from headgate.core.caller import Caller
from headgate.core.checks import Check, Passage
from headgate.core.errors import NoTurn
from headgate.core.exchange import Attempt, Exchange, Headers, Kept, Route, Upload
from headgate.core.guards import Finding
from headgate.core.limits import Amount, Exceeded, Place, Taken
from headgate.core.secret import Secret


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> float:
        """Seconds since the epoch, never running backwards within a process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait. `seconds` >= 0."""
        ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `total` is what is left of the exchange, not the attempt's own: it bounds all the others together, from
    waiting for a connection to the last byte read, but for a body that is sent while it comes in."""

    connect: float = 5.0
    pool: float = 5.0
    write: float = 10.0
    first_byte: float = 60.0
    idle: float = 60.0
    total: float = 600.0


@dataclass(slots=True)
class Outgoing:
    """One HTTP request, ready to send. `headers` include the credential; never log them. Immutable by convention."""

    method: str
    url: str  # absolute, http or https
    headers: Headers
    body: bytes
    timeouts: Timeouts
    upload: Upload | None = None  # in place of `body`


class Incoming(Protocol):
    """One HTTP answer whose headers have arrived."""

    status: int
    headers: Headers

    async def read(self) -> bytes:
        """The next piece as it came, b"" at the end.

        Raises:
            UpstreamTimeout: nothing came for `timeouts.idle` seconds, or all of `timeouts.total` is over.
            UpstreamBroken: the connection was lost, or the body ended early.
        """
        ...

    async def wait(self, seconds: float) -> bool:
        """Whether `read` has something to tell, a piece, the end or a failure, within `seconds`; waits no longer.

        Waiting here is silence as waiting in `read` is: both together are at most `timeouts.idle`. It is True at once
        where it cannot be told.
        """
        ...

    def whole(self) -> bytes | None:
        """What nobody has read of the body yet, where its end is here; None: `read` it. Never waits, never raises.

        After it there is nothing to read, and nothing to close.
        """
        ...

    def arrived(self) -> bytes:
        """What has come and was not read yet, without waiting; b"" where nothing has. Never raises.

        The provider bills it, whoever reads it: ask before closing.
        """
        ...

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else drop it at once. Idempotent, never waits."""
        ...


class Upstream(Protocol):
    """Sending over the network."""

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Send and wait for the response's headers.

        Raises:
            UpstreamTimeout, UpstreamBroken, UpstreamBusy (kind "saturated"), UpstreamRejected (kind "config"):
                classified as wire-formats section 6; `maybe_billed` is True once any byte of the request was sent.
        """
        ...


class Ledger(Protocol):
    """The durable record of money."""

    def intend(
        self, exchange: Exchange, attempt: Attempt, *, until: float = 0.0, may_wait: bool = True
    ) -> Awaitable[None]:
        """Write the intent row and set its bound aside on all accounts that it claims; to be awaited: done when both
        are durable (survive `kill -9`). Fills in `attempt.left_nano` and `attempt.warning`.

        Args:
            until: seconds since the epoch; up to then it waits for others to settle, where that may make room.
            may_wait: else it is refused where it does not fit now.

        Raises:
            Unavailable: it could not be written; the request must not be sent.
            BudgetExceeded: it does not fit; nothing was set aside.
        """
        ...

    def close(self, exchange: Exchange, attempt: Attempt) -> None:
        """Queue the end of an attempt that others may follow: its row, its cost, its hold's release. Never waits,
        never raises. Idempotent."""
        ...

    def settle(self, exchange: Exchange) -> None:
        """Queue the final rows: one for the exchange, one for each attempt. Never waits, never raises. Idempotent."""
        ...

    async def kept(self, ids: Sequence[str]) -> Sequence[Kept]:
        """Those of `ids` that settled exchanges have told of: see `core.exchange.Exchange.kept`.

        Raises:
            Unavailable: the ledger cannot be read now.
        """
        ...

    async def flush(self) -> None:
        """Return when everything queued before is durable."""
        ...


class Credentials(Protocol):
    """Secrets that may have changed where they are kept."""

    async def renew(self, credential: Secret, since: float) -> bool:
        """A provider answered 401: look where the credential is kept, unless that was done just now. Never raises.

        Args:
            since: when the refused attempt began, in seconds since the epoch.

        Returns:
            Whether the credential is another one than at `since`, so that sending again may work.
        """
        ...


class Log(Protocol):
    """The searchable record of exchanges."""

    def write(self, exchange: Exchange) -> None:
        """Queue one record. Never waits, never raises."""
        ...

    def event(self, name: str, **fields: Any) -> None:
        """Queue a line about something other than an exchange's end. Never waits, never raises.

        Args:
            name: one word.
            fields: plain JSON values; the one who calls answers for their holding no credential and no body.
        """
        ...


AskAtOnce = Callable[[Caller, float, int, str, str, str], "Taken | Exceeded"]


class CallerLimits(Protocol):
    """Callers' limits: requests and tokens per minute, for this process or for all replicas together."""

    @property
    def at_once(self) -> AskAtOnce | None:
        """`ask`, by position and with the clock's reading behind the caller, for those who cannot await it: of limits
        that are this process's own. None: somebody else has to be asked."""
        ...

    async def ask(
        self, caller: Caller, *, tokens: int, model: str = "", provider: str = "", address: str = ""
    ) -> Taken | Exceeded:
        """Let one request in by all limits that apply to it, or take nothing. Never raises: where the shared store is
        gone, this process's share of the limits decides.

        Args:
            caller: who asks.
            tokens: >= 0, an estimate.
            model, provider, address: for limits per one of them; "" = not known, and those do not apply.
        """
        ...

    def correct(self, taken: Taken, tokens: int, now: float) -> None:
        """What a call that was let in has really used: the rest is charged, or what it left given back. Only the
        first time counts. Never waits, never raises.

        Args:
            tokens: >= 0; 0 where it never reached a provider.
            now: seconds since the epoch, just read.
        """
        ...


class SharedPace(Protocol):
    """What all replicas together have sent into providers' limits. Asked after this process's own `policy.pace.Pace`
    has said 0; `policy.pace_shared` makes the amounts from it."""

    async def take(self, place: Place, amounts: Sequence[Amount]) -> float:
        """Take all `amounts`, or nothing. Never raises: where the shared store is gone, this process's share of the
        limits decides.

        Amounts whose limit neither this process nor another has been told of are let through.

        Returns:
            Seconds to wait, 0.0 = taken. More than a full bucket goes when the bucket is full.
        """
        ...

    def give_back(self, place: Place, amounts: Sequence[Amount]) -> None:
        """What `take` has taken was not sent, or not let in. Never waits, never raises; nor do the others."""
        ...

    def correct(self, place: Place, more: Sequence[Amount]) -> None:
        """An attempt has used so much more than it had taken; less, where an amount is negative."""
        ...

    def learn(self, place: Place, told: Sequence[Amount]) -> None:
        """The provider has told that at most these amounts are left, and what its limits are. Nothing is ever more
        than before by it: what others have on their way is not in it."""
        ...

    def block(self, place: Place, seconds: float) -> None:
        """Nobody goes before `seconds` have passed (`retry-after`); >= 0."""
        ...


class Turns(Protocol):
    """Leave to send: pace, caps on concurrency, breakers and retry budgets (docs/pacing.md, docs/traffic.md).

    An attempt holds at most one turn, `attempt.turn`; every turn ends in `unsent` or `ended`, which are idempotent.
    """

    def blocked(self, route: Route) -> NoTurn | None:
        """What an open breaker says of a route now; None = nothing. Takes nothing, and probes nothing."""
        ...

    def turn(self, exchange: Exchange, attempt: Attempt, *, until: float) -> Awaitable[object] | None:
        """Leave to send `attempt`: None = it may go at once, else to be awaited until it may.

        `attempt.turn` is set then, and the wait is in `attempt.waited`. Why no coroutine: most go at once, and those
        that wait may be many; each frame between them and their turn is a few hundred bytes.

        Args:
            until: the last moment to go, seconds since the epoch.

        Raises:
            NoTurn: a breaker is open, or it could not go before `until`: said at once where that is known.
        """
        ...

    async def again(self, exchange: Exchange, attempt: Attempt, *, until: float, wait: bool) -> bool:
        """A turn in the place that the attempt's last one had, which was given back with `unsent`. False where there
        is none at once and `wait` is not set. Raises as `turn` does."""
        ...

    def answered(self, attempt: Attempt, status: int, headers: Headers, code: str = "") -> None:
        """An answer's head has come, of whatever status; `code`: the error's, where there is one."""
        ...

    def unsent(self, attempt: Attempt) -> None:
        """It is not sent now: its turn is given back."""
        ...

    def ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """An attempt has ended, however it has. Never waits, never raises."""
        ...

    def closed(self, exchange: Exchange) -> None:
        """An exchange is settled: its last attempt has ended, if it has not been told, and so much for the error rate
        that callers see. Never waits, never raises."""
        ...

    def paces(self, attempt: Attempt) -> bool:
        """Its account has a pace, which knows when the next attempt may go."""
        ...

    def may_come_again(self, route: Route) -> bool:
        """Take leave for the first attempt of a call that its caller sends again (`x-stainless-retry-count`). It is
        asked for only while the provider fails: a caller that we have told to come back has cost the provider
        nothing."""
        ...

    def may_retry(self, route: Route) -> bool:
        """Take leave for one more attempt at the provider of the last one, from its retry budget."""
        ...


@dataclass(frozen=True, slots=True)
class Substitute:
    """A whole answer in the caller's dialect that no provider has given just now. Immutable by convention.

    Attributes:
        status: of HTTP: 200, or 202 for a promise.
        headers: no hop-by-hop fields, no length and no `x-headgate-*`.
        body: of the stream, if the caller streams.
    """

    status: int
    headers: Headers
    body: bytes


class Substitutes(Protocol):
    """What may stand in for an answer that cannot be had (`degrade: [{use: ...}]`)."""

    async def find(self, exchange: Exchange, why: str) -> Substitute | None:
        """The substitute for this exchange's answer, or None. Never raises.

        Args:
            why: one of `policy.ladder.CLASSES`.
        """
        ...


class Witness(Protocol):
    """Sees complete answers of providers, as their callers have got them."""

    def wants(self, exchange: Exchange) -> bool:
        """Whether the answer to `exchange.original` is to be seen. Never waits, never raises."""
        ...

    def saw(self, exchange: Exchange, answer: Substitute) -> None:
        """The answer has been handed on, all of it, and its exchange is settled: a complete one, unflagged, of the
        model that was asked for. Its body is in no coding and without our trailing comment. Never waits, never raises.
        """
        ...


class Similar(Protocol):
    """Answers to questions that are only alike (docs/similar.md)."""

    async def recall(self, exchange: Exchange) -> Stored | None:
        """A kept answer to what `exchange.original` asks, or None. Never raises."""
        ...


class Approvals(Protocol):
    """Tool calls that wait for a person (docs/guards-tools.md)."""

    def new_id(self) -> str:
        """An id that nobody can guess."""
        ...

    def token(self, parked: Parked) -> str:
        """Signed, for whoever asked: it holds for this call, caller and request until it expires.

        Raises:
            ConfigError: the key cannot be read.
        """
        ...

    def genuine(self, token: str, caller: Caller, digest: str) -> str | None:
        """The id that a token was made for; None where it is no token of ours, or another caller's or request's.
        Whether it has expired is told by what is kept. Raises as `token`."""
        ...

    def keep(self, parked: Parked) -> None:
        """Queue a record, or what is new of it while nobody has decided. Never waits, never raises."""
        ...

    async def find(self, ids: Sequence[str]) -> Sequence[Parked]:
        """Those of `ids` that are on record, in no order; everything kept before is.

        Raises:
            Unavailable: they cannot be read now.
        """
        ...

    async def take(self, ids: Sequence[str], now: float) -> bool:
        """Use all of these, durably: once, in whatever process. False, and nothing is used, where one of them is not
        approved, used already, or expired at `now`. Raises as `find`."""
        ...


class IncidentRecord(Protocol):
    """Incidents that are on record (docs/incidents.md)."""

    async def known(self) -> None:
        """Return when those are on in this process. Never raises: while they cannot be read, none is."""
        ...


class Cache(Protocol):
    """Answers that may be given again (docs/cache.md).

    A key is 16 hex digits of whose answers they are (`policy.caching.partition`), a colon, and 64 of what was asked.
    """

    async def get(self, key: str) -> Stored | None:
        """What is kept under `key`, and has not expired. Never raises: what is corrupt, or was written by something
        else, is not there, and is told of once; so is everything while its store is down."""
        ...

    def peek(self, key: str) -> Stored | None:
        """What `get` would find without asking anybody, None = ask. Only what is found is counted."""
        ...

    def put(self, key: str, stored: Stored) -> None:
        """Keep `stored`, which is sealed, in place of what was there. Never waits, never raises."""
        ...

    async def forget(self, prefix: str = "") -> int:
        """Drop what is kept under keys that begin so; "" = everything. Returns how many that were; -1 =
        the store does not tell.

        Raises:
            Unavailable: the store cannot be reached, and may keep them.
        """
        ...

    def stats(self) -> CacheStats:
        """How it has done in this process. Never waits, never raises."""
        ...


class Checkers(Protocol):
    """Guards over the network: moderation, judges, topics, webhooks, classifiers (docs/guards-network.md)."""

    async def check(
        self, exchange: Exchange, checks: Sequence[Check], passages: Sequence[Passage], *, output: bool = False
    ) -> tuple[Finding, ...]:
        """What those of `checks` that look at this side say of the passages. Each has its own time; where several can
        be asked at once, they are. Never raises but when it is cancelled: what cannot be asked is a finding with the
        reason "unavailable".

        Args:
            exchange: whose texts they are. What a judge costs is charged to its caller, as an exchange of its own.
            output: the passages are the model's.
        """
        ...


class News(Protocol):
    """What one that waits is told by. One use."""

    async def wait(self, seconds: float) -> None:
        """Return when it is woken, or after so many seconds; >= 0, infinity = never."""
        ...


class Beside(Protocol):
    """Work that goes on when the one who has begun it leaves: what several wait for is not one's own any more."""

    def news(self) -> News:
        """For whoever runs here."""
        ...

    def wake(self, several: Sequence[News]) -> None:
        """End their waiting, whatever thread or event loop they are in. Never waits, never raises."""
        ...

    async def start(self, work: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Begin `work`; in place, and to its end, where nobody can leave in the middle of it.

        Returns:
            What cancels it, from any thread; it may have ended.
        """
        ...

    async def go_on(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on with `work` inside of what was started: in place where that is beside everybody already."""
        ...

    @property
    def shares_thread(self) -> bool:
        """Whether what is started runs in the threads of those that wait for it, so that it stands still while one of
        them is doing something."""
        ...


class Offload(Protocol):
    """CPU-heavy work beside the event loop (decisions 23)."""

    async def run(self, slices: Iterator[object]) -> None:
        """Go through all of `slices`, each of them a few milliseconds of plain work: off the event loop, where there is
        one. What a slice raises is raised here."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside, for one colour of the engine."""

    clock: Clock
    upstream: Upstream
    ledger: Ledger
    log: Log
    random: Callable[[], float]  # uniform in [0, 1)
    new_id: Callable[[float], str]  # an exchange id from the time in seconds
    credentials: Credentials | None = None  # None: they never change
    limits: CallerLimits | None = None  # None: no caller has a limit
    substitutes: Mapping[str, Substitutes] = field(default_factory=dict)  # by name: last_good, similar, defer
    similar: Similar | None = None  # None: only the very same question has a kept answer
    witnesses: Sequence[Witness] = ()  # who sees answers; () = nobody
    offload: Offload | None = None  # None: everything is done in place
    checkers: Checkers | None = None  # None: no guard asks anybody
    turns: Turns | None = None  # None: everybody may send at once
    approvals: Approvals | None = None  # None: no tool call can wait for a person
    cache: Cache | None = None  # None: every answer is a provider's, of just now
    beside: Beside | None = None  # needed with a cache
    incidents: IncidentRecord | None = None  # None: there is nothing to look up
