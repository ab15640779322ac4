"""What `policy.turns` is made of: a provider's rules and shared state, lanes, turns, and those who wait."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from headgate.core.errors import NoTurn
from headgate.core.exchange import Request, Route
from headgate.core.secret import Secret
from headgate.policy.breaker import BreakerRules
from headgate.policy.breakers import Blocked, Breakers, Permit
from headgate.policy.concurrency import CEILING, Concurrency
from headgate.policy.estimate import likely_tokens
from headgate.policy.fair_queue import Entry, FairQueue
from headgate.policy.pace import Pace
from headgate.policy.pace_need import NO_CEILINGS, Ceilings, Look, Need
from headgate.policy.rate_facts import HeaderCounts
from headgate.policy.retry_budget import SHARE, RetryBudget

INITIAL_CAP = 64
"""Calls at once to begin with, where the cap follows the provider's capacity. The pace's slow start is below it."""
BYTES_PER_TOKEN = 4
"""A first guess of a prompt's tokens; the pace learns what the account's calls really count."""
USUAL_OUTPUT = 1024
"""Likewise of an answer's, where the cap is above it or there is none."""

MOST_NAME = 200
"""Characters of a model's name by which it is known here: callers write it."""

PACED = frozenset({"messages", "chat", "responses", "embeddings"})
"""Endpoints whose calls count against the limits that headers tell. The others have limits of their own, or none."""

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class TurnRules:
    """How one provider is treated.

    Attributes:
        pacing: follow its limits; else only caps and breakers count.
        ceilings: limits from the configuration, beside what it tells.
        concurrency: calls at once; None = follows its capacity; 0 = no cap.
        breaker: None = no breakers.
        retry_share: retries per success, 0 to 10; None = no budget.
    """

    pacing: bool = True
    ceilings: Ceilings = NO_CEILINGS
    concurrency: int | None = None
    breaker: BreakerRules | None = field(default_factory=BreakerRules)
    retry_share: float | None = SHARE


class Shared:
    """What all lanes of one provider share."""

    __slots__ = ("breakers", "budget", "cap", "desk", "headers", "rules", "waiting")

    def __init__(self, rules: TurnRules, desk: object) -> None:
        self.rules = rules
        self.desk = desk  # whose it is: a child process has another one
        fixed = rules.concurrency
        self.cap = None if fixed == 0 else Concurrency(initial=INITIAL_CAP, ceiling=CEILING, fixed=fixed)
        self.budget = RetryBudget(rules.retry_share)
        self.headers = HeaderCounts()
        self.breakers = None if rules.breaker is None else Breakers(rules.breaker)
        self.waiting: dict[Lane, None] = {}  # lanes where somebody waits, whoever went last at the end


class Lane:
    """The queue before one pace."""

    __slots__ = ("name", "next_at", "not_before", "pace", "provider", "queue", "read_at")

    def __init__(self, name: tuple[str, str], provider: Shared, pace: Pace | None, queue: FairQueue[Waiting]) -> None:
        self.name = name  # (account, family): the same in every process that uses the credential
        self.provider = provider
        self.pace = pace
        self.queue = queue
        self.next_at = NEVER  # when it is worth looking again, whatever happens
        self.not_before = 0.0  # nobody goes: other replicas have used what there is
        self.read_at = 0.0  # the owner's: from when on headers are read again


class Way:
    """What asking for a turn at one route finds each time, as long as its credential has the same value.

    It is found by being that very route, by its identity: no other can have it while this one is kept here.

    Attributes:
        route: with its credential.
        live: the credential's value may change; `secret` is what it was.
        permit: the last one that its breakers gave.
        openings: of its breakers when they gave it, where they would give it again; -1 = they have to be asked. Without
            breakers 0.
    """

    __slots__ = ("breakers", "cap", "credential", "lane", "live", "openings", "permit", "route", "secret")

    def __init__(self, route: Route, credential: Secret, lane: Lane) -> None:
        self.route = route
        self.credential = credential
        self.secret = credential.reveal()
        self.live = type(credential) is not Secret
        self.lane = lane
        self.breakers, self.cap = lane.provider.breakers, lane.provider.cap
        self.permit: Permit | None = None
        self.openings = 0

    def keep(self, permit: Permit) -> None:
        """Its breakers have given this one just now."""
        breakers = self.breakers
        if breakers is not None:
            self.permit = permit
            self.openings = breakers.openings if breakers.gives_again(permit) else -1

    def is_of(self, request: Request) -> bool:
        """Whether a request at the route goes this way."""
        if request.endpoint not in PACED or request.facts.fast:
            return False
        return not self.live or self.credential.reveal() is self.secret


class Turn(Need):
    """Leave to send one attempt, until `Turns.end`; and what the attempt needs, worked out when somebody asks.

    Attributes:
        lane: None = its endpoint has no pace and is under no cap.
        open: it has not been ended.
        shared: taken from what all replicas share, too.
        ticket: its place in the queue, once it has had one; 0 = it has had none.
    """

    __slots__ = ("_request", "lane", "open", "permit", "provider", "shared", "ticket")

    def __init__(
        self, provider: Shared, lane: Lane | None, request: Request, permit: Permit | None, now: float = 0.0
    ) -> None:
        # Not `Need`'s: `estimate` sets the numbers.
        self.provider = provider
        self.lane = lane
        self._request: Request | None = request
        self.permit = permit
        self.open = True
        self.shared = False
        self.ticket = 0
        self.asked_at = now
        self.counted = False
        self.taken = None

    def estimate(self) -> None:
        """See `Need`."""
        request = self._request
        if request is None:
            return
        self._request = None
        facts = request.facts
        if facts.has_media:  # their bytes are no text
            prompt = likely_tokens(replace(facts, max_output_tokens=0), len(request.body), prompt=None, output=None)
        else:
            prompt = len(request.body) // BYTES_PER_TOKEN
        self.input_tokens = prompt
        if request.endpoint == "embeddings":
            self.output_tokens, self.tokens = 0, prompt
            return
        cap = facts.max_output_tokens
        told = cap * facts.choices if cap is not None else USUAL_OUTPUT
        if told < 0:
            told = 0  # callers write it
        self.output_tokens = told if told < USUAL_OUTPUT else USUAL_OUTPUT
        self.tokens = prompt + told


class Waiting(Entry):
    """One that waits for its turn.

    Attributes:
        need: the turn that it waits for.
        turn, error: one of them is there once it waits no longer; `turn` is `need` then.
        waker: the owner's own object, to be told then.
    """

    __slots__ = ("asked", "error", "lane", "need", "route", "turn", "waker")

    def __init__(self, lane: Lane, route: Route, need: Turn, request: Request, deadline: float, cost: float) -> None:
        caller = request.caller
        super().__init__(caller.tenant or caller.key, caller.user, cost=cost, deadline=deadline, batch=request.batch)
        self.lane = lane
        self.route = route
        self.asked = asked_of(request, route)
        self.need = need
        self.turn: Turn | None = None
        self.error: NoTurn | None = None
        self.waker: Any = None


@dataclass(frozen=True, slots=True)
class RouteLook:
    """How things stand with a route: for `explain`, `doctor` and health pages.

    Attributes:
        pace: None = not paced, or nothing was sent yet.
        waiting: exchanges in its lane's queue.
        cap, in_flight: of its provider; None = no cap.
        blocked: what a breaker says; None = nothing.
        retries_left: of the provider's retry budget; None = it has none.
        attempt_errors, exchange_errors: shares over five minutes; `hidden`: retries hide the former.
    """

    pace: Look | None
    waiting: int
    cap: int | None
    in_flight: int | None
    blocked: Blocked | None
    retries_left: float | None
    attempt_errors: float
    exchange_errors: float
    hidden: bool


def no_turn(route: Route, blocked: Blocked) -> NoTurn:
    """The error of a route that a breaker keeps from being tried."""
    why = CAUSES.get(blocked.cause, blocked.cause)
    return NoTurn(
        f"{_name(route)} is left alone for {blocked.retry_after:.1f} s: {why}",
        kind="open",
        cause=blocked.cause,
        retry_after=blocked.retry_after,
        provider=route.provider,
    )


CAUSES = {
    "failures": "too many of its latest calls failed",
    "slow": "its latest calls were too slow",
    "money": "its account has no money left",
    "auth": "it has refused its credential",
    "forbidden": "the credential may not use it",
}
"""Why a breaker is open, for people."""


def too_late(route: Route, seconds: float) -> NoTurn:
    """The error of a call that could not go before its deadline; `seconds` later it could have."""
    return NoTurn(
        f"{_name(route)} is at its limits: this call could not have gone before its deadline",
        kind="paced",
        retry_after=max(0.0, seconds),
        provider=route.provider,
    )


def _name(route: Route) -> str:
    return f"{route.provider}/{route.model}" if route.model else route.provider


def cost_of(lane: Lane, need: Need) -> float:
    """What fairness counts, see `Pace.cost`."""
    return 1.0 if lane.pace is None else lane.pace.cost(need)


def asked_of(request: Request, route: Route) -> str:
    """What a breaker takes for the route's model: in process routes name none. An endpoint beside the answering ones
    is alone, so that a provider without `count_tokens` is not taken for one whose model fails."""
    model = (route.model or request.facts.model)[:MOST_NAME]
    return model if request.endpoint in PACED else f"{model} {request.endpoint}"


def callers_own(request: Request) -> bytes:
    """The caller's own credential, which passes through; b"" = none. Never shown."""
    for name, value in request.headers:
        if name in (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"):
            return value
    return b""


def account_of(route: Route, request: Request) -> str:
    """A name of the account behind a route: the provider's, and a digest of its address and credential."""
    secret = route.credential.reveal().encode() if route.credential is not None else callers_own(request)
    return account_name(route.provider, route.base_url, secret)


def account_name(provider: str, base_url: str, secret: bytes) -> str:
    """As `account_of`, for a credential's value; b"" = none."""
    digest = hashlib.sha256(b"%s\0%s" % (base_url.encode(), secret)).hexdigest()
    return f"{provider}#{digest[:16]}"
