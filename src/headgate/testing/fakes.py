"""An engine without a network, a disk or a wait: every port is a fake, and time moves only when somebody sleeps.

    world = World(UpstreamBusy("busy", kind="busy", retryable=True), message("hello"))
    played = run_blocking(world.call())            # or asyncio.run(...)
    assert played.status == 200 and world.clock.slept == [1.0]

A script has one entry per attempt: an exception is raised, a `FakeAnswer` or a sequence of pieces is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import HeadgateError, UpstreamBroken
from headgate.core.exchange import Attempt, Exchange, Headers, Kept, Request, Route
from headgate.core.limits import Limit
from headgate.core.ports import Beside, Cache, Outgoing, Ports, Timeouts
from headgate.core.secret import Secret
from headgate.engine.answer import error_answer
from headgate.engine.engine import Engine
from headgate.engine.plan import Charges, Policies, TaskPolicy
from headgate.engine.relay import Reply
from headgate.policy.accounts import Accounts
from headgate.policy.budget_words import refusal, warning
from headgate.policy.budgets import Account, Budgets
from headgate.policy.caching import CacheRules
from headgate.policy.charging import Charging
from headgate.policy.fallback import Fallbacks
from headgate.policy.guards.rules import GuardRules
from headgate.policy.holding import Ask
from headgate.policy.ladder import Step as LadderStep
from headgate.policy.preferences import Preferences, Virtual
from headgate.policy.pricebook import PriceBook, Unknown
from headgate.policy.prompt_caching import PromptCaching
from headgate.policy.recovery import Recovery
from headgate.policy.routing import Router
from headgate.policy.turn import TurnRules
from headgate.testing.canned import JSON, SSE, chat_request, messages_request
from headgate.testing.fake_limits import FakeLimits
from headgate.testing.fake_turns import FakeTurns
from headgate.wire import DIALECTS

START = 1_795_132_800.0  # 2026-11-20, when the price file was made


class FakeClock:
    """Time that moves only when somebody sleeps.

    Attributes:
        slept: every wait on purpose, in seconds, in order.
    """

    def __init__(self, start: float = START) -> None:
        self.time = start
        self.slept: list[float] = []
        self.on_sleep: Callable[[], Awaitable[None]] | None = None  # runs in the middle of every sleep

    def now(self) -> float:
        """See `core.ports.Clock`."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """See `core.ports.Clock`. Returns at once."""
        self.slept.append(seconds)
        if self.on_sleep is not None:
            await self.on_sleep()
        self.time += seconds


@dataclass(frozen=True, slots=True)
class Passed:
    """In a script: so many seconds go by before what follows."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Arrived:
    """In a script: bytes that are here by the time that the piece before them is read; reading gives them in turn."""

    piece: bytes


Piece = bytes | BaseException | Passed | Arrived | Callable[[], Awaitable[None]]
"""Of a body: bytes that arrive (or are here already), an error that is raised, time that goes by, or a coroutine
function to await."""


@dataclass(frozen=True, slots=True)
class FakeAnswer:
    """A provider's answer. `pieces` come one per read; then the body ends. `after`: seconds until the headers."""

    status: int = 200
    headers: Headers = ((b"content-type", JSON),)
    pieces: Sequence[Piece] = ()
    after: float = 0.0


Step = FakeAnswer | BaseException | Callable[[], Awaitable[None]] | Sequence[Piece]
"""Of a script: one attempt."""


class FakeIncoming:
    """An answer being read. `closed` counts the calls of `close`."""

    def __init__(self, clock: FakeClock, answer: FakeAnswer) -> None:
        self.status = answer.status
        self.headers: Headers = answer.headers
        self.closed = 0
        self._clock = clock
        self._left = deque(answer.pieces)

    @property
    def read_to_end(self) -> bool:
        """Nothing is left to read."""
        return not self._left

    async def read(self) -> bytes:
        """See `core.ports.Incoming`."""
        if self.closed:
            raise UpstreamBroken("the answer was closed by us", kind="broken")
        while self._left:
            piece = self._left.popleft()
            if isinstance(piece, bytes):
                return piece
            if isinstance(piece, Arrived):
                return piece.piece
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, Passed):
                self._clock.time += piece.seconds
            else:
                await piece()
        return b""

    async def wait(self, seconds: float) -> bool:
        """See `core.ports.Incoming`: no time goes by but what the script says (`Passed`)."""
        if self._left and isinstance(here := self._left[0], Passed) and here.seconds > seconds:
            self._clock.time += seconds
            self._left[0] = Passed(here.seconds - seconds)
            return False
        return True

    def whole(self) -> bytes | None:
        """See `core.ports.Incoming`."""
        return None

    def arrived(self) -> bytes:
        """See `core.ports.Incoming`: what the script has next, where it is an `Arrived`."""
        found = b""
        while self._left and isinstance(here := self._left[0], Arrived):
            found += here.piece
            self._left.popleft()
        return found

    def close(self) -> None:
        """See `core.ports.Incoming`."""
        self.closed += 1


class FakeUpstream:
    """Plays a script, one step per attempt. A sequence of pieces is a 200: a stream if its first bytes look like one.

    Attributes:
        sent: every request, in order.
        answers: every answer given, in order, to see whether it was read to its end and closed.

    Raises:
        AssertionError: more attempts than the script has steps.
    """

    def __init__(self, clock: FakeClock, script: Sequence[Step], happened: list[str]) -> None:
        self.sent: list[Outgoing] = []
        self.answers: list[FakeIncoming] = []
        self._clock = clock
        self._script = deque(script)
        self._happened = happened

    async def send(self, outgoing: Outgoing) -> FakeIncoming:
        """See `core.ports.Upstream`."""
        self.sent.append(outgoing)
        self._happened.append("send")
        if not self._script:
            raise AssertionError(f"attempt {len(self.sent)} is one more than the script has")
        step = self._script.popleft()
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            await step()
            raise AssertionError("a coroutine function in a script must raise or never return")
        answer = step if isinstance(step, FakeAnswer) else _answer(step)
        self._clock.time += answer.after
        incoming = FakeIncoming(self._clock, answer)
        self.answers.append(incoming)
        return incoming


def _answer(pieces: Sequence[Piece]) -> FakeAnswer:
    first = b"".join(p for p in pieces if isinstance(p, bytes))[:6]
    kind = SSE if first.startswith((b"event:", b"data:", b":")) else JSON
    return FakeAnswer(headers=((b"content-type", kind),), pieces=pieces)


class FakeLedger:
    """Remembers intents and settlements, and sets money aside; whoever does not fit is refused at once.

    Attributes:
        accounts: of budgets.
        intents: (exchange id, attempt number, bound in nano-dollars) in order.
        settled: exchanges in the order of their settlement; one that is settled twice is here twice.
        flushes: how often somebody waited for durability.
        refuses: raised by `intend`, if set.
        on_intend: awaited by `intend`, if set.
    """

    def __init__(self, happened: list[str]) -> None:
        self.intents: list[tuple[str, int, int | None]] = []
        self.settled: list[Exchange] = []
        self.flushes = 0
        self.accounts = Accounts()
        self.refuses: BaseException | None = None
        self.on_intend: Callable[[], Awaitable[None]] | None = None
        self._happened = happened

    async def intend(self, exchange: Exchange, attempt: Attempt, *, until: float = 0.0, may_wait: bool = True) -> None:
        """See `core.ports.Ledger`."""
        if self.on_intend is not None:
            await self.on_intend()
        if self.refuses is not None:
            raise self.refuses
        if attempt.claims:
            self._set_aside(exchange, attempt)
        self.intents.append((exchange.id, attempt.number, attempt.bound_nano))
        self._happened.append("intend")

    def _set_aside(self, exchange: Exchange, attempt: Attempt) -> None:
        accounts, claims = self.accounts, attempt.claims
        for claim in accounts.missing(claims):
            accounts.load(claim.key, 0, Account())
        nano, tokens = attempt.bound_nano or 0, attempt.bound_tokens
        accounts.ask(Ask(exchange.id, attempt.number, claims, nano, tokens, may_wait=False))
        for _, denial in accounts.outcomes():
            if denial is not None:
                raise refusal(denial, nano, tokens)
        accounts.commit()
        attempt.left_nano, warned, share = accounts.left(claims)
        attempt.warning = "" if warned is None else warning(warned, share)

    def close(self, exchange: Exchange, attempt: Attempt) -> None:
        """See `core.ports.Ledger`."""
        self.accounts.close(exchange.id, attempt.number, attempt.cost_nano, attempt.used_tokens)
        self.accounts.commit()

    def settle(self, exchange: Exchange) -> None:
        """See `core.ports.Ledger`."""
        self.settled.append(exchange)
        self._happened.append("settle")
        for attempt in exchange.attempts:
            self.close(exchange, attempt)

    async def kept(self, ids: Sequence[str]) -> Sequence[Kept]:
        """See `core.ports.Ledger`."""
        return [each for exchange in self.settled for each in exchange.kept if each.id in ids]

    async def flush(self) -> None:
        """See `core.ports.Ledger`."""
        self.flushes += 1


class FakeLog:
    """Remembers what was logged: exchanges in `written`, events in `events` as (name, fields)."""

    def __init__(self) -> None:
        self.written: list[Exchange] = []
        self.events: list[tuple[str, dict[str, Any]]] = []

    def write(self, exchange: Exchange) -> None:
        """See `core.ports.Log`."""
        self.written.append(exchange)

    def event(self, name: str, **fields: Any) -> None:
        """See `core.ports.Log`."""
        self.events.append((name, fields))


@dataclass(slots=True)
class Played:
    """What a caller got. `error`: the engine had no answer, and the rest is what a way in makes of that."""

    exchange: Exchange
    status: int
    headers: Mapping[bytes, bytes]
    pieces: list[bytes] = field(default_factory=list)
    error: HeadgateError | None = None

    @property
    def body(self) -> bytes:
        """All pieces."""
        return b"".join(self.pieces)


@cache
def _book(ceiling_pico: int | None) -> PriceBook:
    return PriceBook.load(unknown=Unknown() if ceiling_pico is None else Unknown(ceiling_pico=ceiling_pico))


def route(provider: str, model: str = "", dialect: str = "", **more: bool) -> Route:
    """A route with an obviously fake credential: ``https://<provider>.test``, with ``/v1`` for OpenAI."""
    dialect = dialect or ("openai" if provider == "openai" else "anthropic")
    base = f"https://{provider}.test" + ("/v1" if dialect == "openai" else "")
    return Route(provider, model, dialect, base, Secret(f"fake-{provider}"), **more)


class World:
    """An engine with fakes. Prices are the real ones; the jitter is fixed.

    Args:
        script: what happens to each attempt, see `FakeUpstream`.
        models: virtual models: names to routes in order.
        recovery, timeouts, retry_deadline: of every task.
        ceiling_pico: pico-dollars per token for models without a price; None refuses them.
        charges: instead of the real prices.
        keep_text: as with `log: {bodies: full}`.
        jitter: what the random source always says.
        budgets: that apply; nobody waits for money here.
        virtual, fallbacks: of the router; the random source is `jitter` there, too.
        task: what it says of models, output caps and thinking, in place of nothing (`model`, `max_tokens`,
            `drops_thinking`; see `engine.plan.TaskPolicy`).
        most_nano, unbounded_ceiling, budget_status: see `engine.plan.TaskPolicy` and `engine.plan.Policies`.
        ladder: what is tried when an answer cannot be had.
        on_cut: what is done about a stream that breaks off.
        limits: the callers'.
        turns: how every provider is treated; None: everybody may send at once.
        guards: what they do, for everybody; None: there are none.
        caching, cache, beside: what is kept, where, and what outlives who has begun it; without one of them, nothing.
        prompts: marks prompts for providers' caches; None: nobody does.

    Attributes:
        happened: "intend", "send" and "settle" in order; with turns "turn", "unsent" and "ended", too.
    """

    def __init__(
        self,
        *script: Step,
        models: Mapping[str, Sequence[Route]] | None = None,
        recovery: Recovery | None = None,
        timeouts: Timeouts | None = None,
        retry_deadline: float = 120.0,
        ceiling_pico: int | None = None,
        charges: Charges | None = None,
        keep_text: bool = False,
        jitter: float = 0.5,
        budgets: Sequence[Budget] = (),
        most_nano: int | None = None,
        unbounded_ceiling: bool = False,
        budget_status: int = 429,
        ladder: Sequence[LadderStep] = (),
        on_cut: str = "error",
        limits: Sequence[Limit] = (),
        virtual: Mapping[str, Virtual] | None = None,
        fallbacks: Fallbacks | None = None,
        task: Mapping[str, Any] | None = None,
        turns: TurnRules | None = None,
        guards: GuardRules | None = None,
        caching: CacheRules | None = None,
        cache: Cache | None = None,
        beside: Beside | None = None,
        prompts: PromptCaching | None = None,
    ) -> None:
        self.happened: list[str] = []
        self.clock = FakeClock()
        self.upstream = FakeUpstream(self.clock, script, self.happened)
        self.ledger = FakeLedger(self.happened)
        self.log = FakeLog()
        self.exchange: Exchange | None = None
        of_task = TaskPolicy(
            recovery or Recovery(), timeouts or Timeouts(), retry_deadline, most_nano, ladder, on_cut, **(task or {})
        )
        charging = Charging(_book(ceiling_pico))
        virtual = virtual or {}
        policies = Policies(
            router=Router(
                providers={name: route(name) for name in ("anthropic", "openai")},
                models=models or {},
                defaults={name: name for name in DIALECTS},
                virtual=virtual,
                fallbacks=fallbacks or Fallbacks(),
                preferences=Preferences(lambda: jitter, charging.expected),
                measures=any(each.prefer == "latency" for each in virtual.values()),
            ),
            charges=charges or charging,
            dialects=DIALECTS.__getitem__,
            tasks=lambda name: of_task,
            keep_text=keep_text,
            budgets=Budgets(budgets),
            unbounded_ceiling=unbounded_ceiling,
            budget_status=budget_status,
            guards=None if guards is None else lambda caller: guards,
            caching=caching,
            prompts=prompts,
        )
        self._made = 0
        self.limits = FakeLimits(limits, self.clock.now) if limits else None
        self.turns = FakeTurns(turns, self.clock, self.happened) if turns is not None else None
        ports = Ports(
            self.clock,
            self.upstream,
            self.ledger,
            self.log,
            lambda: jitter,
            self._new_id,
            limits=self.limits,
            turns=self.turns,
            cache=cache,
            beside=beside,
        )
        self.engine = Engine(ports, policies)

    def _new_id(self, now: float) -> str:
        self._made += 1
        return f"ex_{self._made:028d}"

    def request(
        self,
        body: bytes | None = None,
        *,
        dialect: str = "anthropic",
        path: str = "",
        method: str = "POST",
        headers: Headers = (),
        caller: Caller | None = None,
        timeout: float | None = None,
        direct: Route | None = None,
        stream: bool = False,
    ) -> Request:
        """A call as a way in hands it over; without a body, a short one of the dialect's own."""
        speaks = DIALECTS[dialect]
        path = path or ("/v1/messages" if dialect == "anthropic" else "/chat/completions")
        if body is None:
            body = messages_request(stream=stream) if dialect == "anthropic" else chat_request(stream=stream)
        endpoint = speaks.endpoint(method, path.partition("?")[0])
        return Request(
            dialect=dialect,
            endpoint=endpoint,
            method=method,
            path=path,
            headers=headers,
            body=body,
            facts=speaks.read_request(endpoint, body),
            caller=caller or Caller(),
            way_in="in-process",
            timeout=timeout,
            direct=direct,
        )

    async def open(self, request: Request | None = None) -> Reply:
        """Begin an exchange, which is `world.exchange` from then on, and return the engine's reply unread."""
        self.exchange = self.engine.begin(request or self.request())
        return await self.engine.open(self.exchange)

    async def call(self, request: Request | None = None) -> Played:
        """One call from beginning to end, errors made into answers as every way in does."""
        try:
            reply = await self.open(request)
        except HeadgateError as error:
            return self._refused(error)
        played = Played(reply.exchange, reply.status, dict(reply.headers))
        while piece := await reply.read():
            played.pieces.append(piece)
        reply.close()
        return played

    def _refused(self, error: HeadgateError) -> Played:
        exchange = self.exchange
        assert exchange is not None
        dialect = DIALECTS[exchange.request.dialect]
        owns = self.engine.owns_retries(exchange)
        answer = error_answer(dialect, exchange, error, owns_retries=owns, now=self.clock.now())
        return Played(exchange, answer.status, dict(answer.headers), [answer.body], error)
