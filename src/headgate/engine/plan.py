"""What was decided at admission, for one exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Protocol

import msgspec

from headgate.core.caller import Caller
from headgate.core.checks import Check
from headgate.core.errors import UnknownPrice, UpstreamError, UpstreamTimeout
from headgate.core.exchange import Attempt, Facts, Headers, Request, Route
from headgate.core.guards import Inspector
from headgate.core.ports import Timeouts
from headgate.core.usage import Usage
from headgate.engine.choosing import ANSWERS, choose
from headgate.policy.budgets import Budgets
from headgate.policy.caching import CacheRules
from headgate.policy.calibration import Shown
from headgate.policy.estimate import Bound
from headgate.policy.guards.answers import AnswerRules
from headgate.policy.guards.incoming import Memory
from headgate.policy.guards.loops import LoopWatch
from headgate.policy.guards.querying import Queries
from headgate.policy.guards.rules import GuardRules
from headgate.policy.incidents import Incidents
from headgate.policy.ladder import Descent, Step
from headgate.policy.prompt_caching import PromptCaching
from headgate.policy.recovery import Recovery
from headgate.policy.routing import Router
from headgate.policy.shaping import Shape
from headgate.policy.tracing import Tracing
from headgate.wire.dialect import Dialect
from headgate.wire.thinking_room import thinking_budget, thinking_room
from headgate.wire.translate import DEFAULT as LOSSY_BY_DEFAULT
from headgate.wire.translate import LossPolicy

if TYPE_CHECKING:
    from headgate.engine.crossing import Crossed

PRICED = frozenset({"messages", "chat", "responses", "embeddings"})
"""Endpoints whose answers cost money that we can work out. The rest is passed on and logged as unpriced."""
FREE = frozenset({"count_tokens", "models", "moderations"})
METERED = PRICED | FREE
"""Endpoints whose JSON answers are read whole before anything is handed on."""

ASKS = ANSWERS | {"count_tokens"}
"""Endpoints that a task's model serves in place of what is asked for."""

UNREAD = frozenset({"other", "stored"})
"""Endpoints whose request bodies say nothing of money: they go through piece by piece, however large."""

SECONDS_PER_TOKEN = 3600 / 128_000
"""The pace that Anthropic's SDK expects an answer at, where it says which ones have to be streamed
(`_calculate_nonstreaming_timeout`)."""

_MOST_OUTLINES, _LONGEST_MODEL = 1024, 256  # of a task: models are named by callers; characters
_MOST_TIMERS = 256  # of an outline: so are caps
_NEARLY = 0.999  # of `total`; timers this little off the exchange's end are not worth a set of their own


_NOTHING = Request("", "", "", "", (), b"", Facts(), Caller(), "")


class Charges(Protocol):
    """Money for one attempt; `policy/charging.py` is the real one."""

    def check(self, route: Route, now: float) -> None:
        """Raises `UnknownPrice` where the route's model has no price and policy is to refuse."""
        ...

    def bound(
        self,
        route: Route,
        facts: Facts,
        body_bytes: int,
        now: float,
        *,
        prompt_tokens: int | None = None,
        ceiling: bool = False,
    ) -> Bound | None:
        """The most the attempt can cost; None = no bound is known. Raises as `check` does.

        Args:
            prompt_tokens: the prompt as somebody has counted it.
            ceiling: where there is no bound, the documented ceiling in place of None.
        """
        ...

    def most_output(self, route: Route, now: float) -> int | None:
        """The most tokens that the route's model answers with; None where that is not known. Raises as `check`."""
        ...

    def ordinary(self, attempt: Attempt, request: Request, shown: Shown | None) -> tuple[int, str] | None:
        """(nano-dollars, price version) of an attempt's final usage, from which is learned, where all about it is as
        nearly always; None, and nothing is done: the steps below say what is to be done.

        Args:
            request: as it was sent.
            shown: what the stream has shown; None: no stream.
        """
        ...

    def charge(self, route: Route, served: str, usage: Usage, now: float) -> tuple[int, str]:
        """(nano-dollars, price version) of what the provider reported."""
        ...

    def doubts(self, route: Route, served: str, usage: Usage, now: float) -> tuple[str, ...]:
        """What of that charge had to be guessed, in words for the log; () = nothing that was not told lately."""
        ...

    def believable(self, route: Route, usage: Usage, now: float) -> bool:
        """Whether these can be the counts of an answer."""
        ...

    def cut(
        self,
        route: Route,
        usage: Usage | None,
        shown: Shown,
        facts: Facts,
        body: bytes,
        now: float,
        *,
        to_end: bool = False,
    ) -> Usage:
        """The usage to charge where the provider reported no final one, or none that can be believed.

        Args:
            to_end: the provider goes on to the answer's end, and bills it.
        """
        ...

    def learn(self, route: Route, usage: Usage, shown: Shown | None, facts: Facts, body: bytes) -> None:
        """A final usage, and what the stream has shown (None: no stream): the next estimates are closer by it."""
        ...

    def likely(self, route: Route, facts: Facts, body: bytes) -> int:
        """Prompt and output tokens, together, that such a call is expected to take, >= 0."""
        ...

    def output_nano(self, route: Route, shown: Shown, now: float) -> int:
        """What this much of an answer is expected to cost, in nano-dollars."""
        ...


@dataclass(frozen=True, slots=True)
class TaskPolicy:
    """How exchanges of one task behave. Durations are in seconds."""

    recovery: Recovery = field(default_factory=Recovery)
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry_deadline: float = 120.0  # admission to first content
    most_nano: int | None = None  # nano-dollars: the ceiling of one exchange, all attempts together; None = none
    ladder: Sequence[Step] = ()  # what is tried when an answer cannot be had
    on_cut: str = "error"  # of a stream: "error", "buffer" or "restart"; see `engine.mending`
    timeouts_at: Mapping[str, Timeouts] = field(default_factory=dict)  # by provider, where they differ from `timeouts`
    model: str = ""  # serves in place of what is asked for; "" = what is asked for
    max_tokens: int | None = None  # the largest output cap, per choice; None = the caller's
    drops_thinking: bool = False  # `thinking: drop`: what another model has thought does not keep a call from a route
    answer: AnswerRules | None = None  # what its answers have to be; None = whatever comes
    default_cap: int | None = None  # tokens of visible text, where `max_tokens` says nothing; None = no cap
    enforces_cap: bool = False  # it also lowers a cap that the caller has given
    shape: Shape | None = None  # what is taken out of its requests; None = nothing
    prompt_caching: bool = True  # its prompts are marked for providers' caches, where that pays
    # What plans of alike exchanges have in common.
    outlines: dict[Alike, Outline] = field(default_factory=dict, init=False, repr=False, compare=False)


def lossy_by_default(task: str, model: str) -> LossPolicy:
    """What translation may lose where nobody has said anything: each feature's own default."""
    return LOSSY_BY_DEFAULT


@dataclass(frozen=True, slots=True)
class Policies:
    """Every decision the engine asks for."""

    router: Router
    charges: Charges
    dialects: Callable[[str], Dialect]
    tasks: Callable[[str], TaskPolicy]
    keep_text: bool = False  # log bodies: full
    budgets: Budgets = field(default_factory=Budgets)
    unbounded_ceiling: bool = False  # hold what cannot be bounded at its ceiling, in place of refusing it
    budget_status: int = 429  # of a budget's refusal
    lossy: Callable[[str, str], LossPolicy] = lossy_by_default  # by task and model asked: what translation may lose
    guards: Callable[[Caller], GuardRules] | None = None  # None: no guard is on for anybody
    known_texts: Memory = field(default_factory=Memory)  # what guards have found in texts
    queries: Queries = field(default_factory=Queries)  # what callers ask, one after the other
    loops: LoopWatch | None = None  # what sessions have called; None: nobody remembers
    isolation_key: Callable[[], bytes] = bytes  # the installation's secret that delimiters are made with
    caching: CacheRules | None = None  # None: no answer is kept
    prompts: PromptCaching | None = None  # None: no prompt is marked for a provider's cache
    incidents: Incidents = field(default_factory=Incidents)  # what is stopped, slowed or degraded now
    counts_tokens: bool = True  # a caller's limit is in tokens: calls are estimated before they are let in
    tracing: Tracing | None = None  # None: nothing is traced


@dataclass(frozen=True, slots=True)
class Refused:
    """A complete answer in which the model refuses, as the caller would have got it."""

    attempt: Attempt
    status: int
    headers: Headers
    body: bytes


class Plan(msgspec.Struct, eq=False):
    """One exchange's routes and deadlines. Times are seconds since the epoch.

    Every call has one, copied from its task's outline: as a `Struct` that is one call into C.

    Attributes:
        asked: the request as it is routed: its task's model may stand in place of its own, and later the one
            that a step of the ladder or a budget has led to.
        answer: what the answer has to be; None = whatever comes.
        checks: guards that are asked about the answer.
        follows: what is sent in place of the caller's request, because an answer to that would not do. There is no
            `direct` route then.
        inspects: makes what watches an attempt's answer; None = nothing does.
        came: `asked` before any of that: its model is the one that a session's later calls will ask for again, and its
            body the caller's, before anything was changed in it.
        output_cap: tokens per choice that the body has to be given, in place of a larger cap; 0 = leave it.
        learns: what answers is remembered, for later calls.
        impatient: other models are named for overload, so the last route is not waited for to the end.
        takes_refusals: a model's refusal is followed by other models.
        refused: an answer that was a refusal, for the caller where nothing better follows.
        plain: all that is to be done is to attempt: nothing takes the place of an answer, looks at it or mends it.
    """

    dialect: Dialect
    routes: Sequence[Route]
    recovery: Recovery
    timeouts: Timeouts
    first_content_by: float  # no attempt begins after it
    ends_by: float
    asked: Request
    most_nano: int | None = None
    descent: Descent | None = None  # None: there is no ladder
    on_cut: str = "error"  # what is done about this very stream's
    timeouts_at: Mapping[str, Timeouts] = msgspec.field(default_factory=dict)  # see `TaskPolicy`
    timers: dict[tuple[str, int | None], Timeouts] = msgspec.field(default_factory=dict)  # see `attempt_timeouts`
    home: Route | None = None  # whose model wrote what thinking there is, as far as anybody can tell
    direct: Route | None = None  # gets the request as it is, without a look at it: `home`, in the caller's dialect
    crossed: dict[tuple[str, str], Crossed] | None = None  # by provider and model: what they get in its place
    output_cap: int = 0
    learns: bool = False
    impatient: bool = False
    takes_refusals: bool = False
    refused: Refused | None = None
    inspects: Callable[[], Inspector] | None = None
    answer: AnswerRules | None = None
    checks: tuple[Check, ...] = ()
    follows: Request | None = None
    came: Request = _NOTHING
    shape: Shape | None = None  # see `TaskPolicy`
    patience: float = inf  # seconds, of a caller that is shown the answer as it comes: it leaves after such a silence
    heard_by: float = inf  # … and by then, if nothing (more) has come
    retry_by: float = inf  # no attempt begins after it, whatever the caller has heard meanwhile
    plain: bool = False

    def sent_to(self, route: Route) -> Crossed | None:
        """What a route gets in place of the caller's request; None = that request."""
        return None if self.crossed is None else self.crossed.get((route.provider, route.model))

    @property
    def shown_by(self) -> float:
        """When the caller has to hear something, be it life-cycle frames: well before it leaves."""
        return self.heard_by - self.patience / 2 if self.patience < inf else inf

    def heard(self, at: float) -> None:
        """The caller has heard something: its silence begins anew, and with it the time for another attempt."""
        if self.patience < inf:
            self.heard_by = at + self.patience
            self.first_content_by = min(self.retry_by, self.heard_by)

    def tell_whose(self, error: UpstreamError, attempt: Attempt, now: float) -> None:
        """Of an attempt that has just failed: whether it was the caller who bears no more silence, or we. What the
        caller has heard before says nothing of that."""
        if isinstance(error, UpstreamTimeout) and self.patience < inf:
            if attempt.first_byte is None:
                error.by_caller = now >= self.heard_by - 0.01 * self.patience
            else:
                error.by_caller = self.patience < self.timeouts_at.get(attempt.route.provider, self.timeouts).idle

    def attempt_timeouts(self, now: float, stretch: float, provider: str = "", unseen: int | None = 0) -> Timeouts:
        """This attempt's timers: its provider's, the first byte's stretched after a timeout, none past the end.

        Args:
            unseen: tokens that are written before the first byte is shown; None = nobody knows how many.
        """
        t = self.timers.get((provider, unseen)) or self._timers(provider, unseen)
        left, patience = self.ends_by - now, self.patience
        if left > t.total * _NEARLY and stretch == 1.0:
            if patience == inf or (patience >= t.idle and self.heard_by - now >= t.first_byte):
                return t
        elif left < 0.001:
            left = 0.001
        return Timeouts(
            connect=min(t.connect, left),
            pool=min(t.pool, left),
            write=min(t.write, left),
            first_byte=min(t.first_byte * stretch, left, max(0.001, self.heard_by - now)),
            idle=min(t.idle, left, patience),
            total=left,
        )

    def _timers(self, provider: str, unseen: int | None) -> Timeouts:
        """A provider's timers for an answer that shows nothing before so many tokens are written."""
        t = self.timeouts_at.get(provider, self.timeouts)
        if unseen != 0:
            written = t.total if unseen is None else min(t.first_byte + unseen * SECONDS_PER_TOKEN, t.total)
            t = replace(t, first_byte=max(t.first_byte, written))
        if len(self.timers) >= _MOST_TIMERS:
            self.timers.clear()
        self.timers[provider, unseen] = t
        return t


def unseen_tokens(request: Request, given: int | None = None) -> int | None:
    """How much of an answer is written before its first byte comes: nothing of a stream, all of a whole one.

    Args:
        given: the output cap that its attempt is given, per choice; None = the request's own.

    Returns:
        Tokens, at most; None = nobody knows how many.
    """
    facts = request.facts
    if facts.stream or facts.background or request.endpoint not in ANSWERS:
        return 0
    return given or facts.max_output_tokens


def make_plan(request: Request, policies: Policies, now: float) -> Plan:
    """Admission's decision: who serves, by when.

    Raises:
        NotServed: no route.
        UnknownPrice: no route with a price, where policy is to refuse.
    """
    task, facts = policies.tasks(request.caller.task), request.facts
    alike = request.dialect, request.endpoint, facts.model, facts.stream, request.timeout, request.patience
    outline = task.outlines.get(alike)
    if outline is None or outline.policies is not policies:
        outline = _outline(alike, policies, task)
    plan = outline.copy()
    plan.first_content_by, plan.ends_by = now + outline.deadline, now + outline.total
    if plan.patience < inf:
        plan.retry_by, plan.heard_by = plan.first_content_by, now + plan.patience
        plan.first_content_by = min(plan.retry_by, plan.heard_by)
    own = request.provider or facts.state or facts.keeps or request.direct is not None
    if outline.settled and not own and outline.settled not in policies.router.unready:
        plan.asked = plan.came = request
        return plan
    plan.asked = plan.came = asked = as_asked(request, task)
    router = policies.router
    routes = router.routes(asked, now)
    if len(routes) > 1 and request.endpoint in PRICED:
        routes = _with_price(routes, policies.charges, now)
    plan.routes = routes
    plan.home = plan.direct = _home(routes, request.dialect)
    if task.ladder:
        plan.descent = Descent(task.ladder)
    if request.endpoint in ANSWERS:
        plan.output_cap = _cap(request, task)
        if task.answer is not None and _is_written(request):
            plan.answer, plan.plain = task.answer, False
        if len(routes) > 1 or router.fallbacks or plan.descent is not None or policies.budgets.degrade:
            choose(plan, policies, task, now)
            if plan.takes_refusals:
                plan.plain = False
    return plan


Alike = tuple[str, str, str, bool, float | None, float | None]
"""Of a request: its dialect, endpoint and model, whether it streams, its time and its caller's patience."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What is the same in every plan of one task for requests that are alike. Durations are in seconds.

    Attributes:
        policies: that it was made by.
        copy: makes a plan that is to be filled in.
        deadline: from admission to the first content.
        total: from admission to the end.
        settled: the provider of the one route that serves, whoever asks: the route is in the plan. But for requests
            with a direct route, a provider of their own, or something that it keeps; "" = more has a say.
    """

    policies: Policies
    copy: Callable[[], Plan]
    deadline: float
    total: float
    settled: str


def _outline(alike: Alike, policies: Policies, task: TaskPolicy) -> Outline:
    dialect, endpoint, model, stream, timeout, patience = alike
    total = task.timeouts.total if timeout is None else min(task.timeouts.total, timeout)
    shown = stream or endpoint not in METERED  # as it comes
    if patience is not None and patience < total and not shown:
        total = patience  # nothing is shown before all of it is here: silence is the whole exchange
    route = None if _decides(task, policies) else policies.router.settled(dialect, endpoint, model)
    plan = Plan(
        policies.dialects(dialect),
        () if route is None else (route,),
        task.recovery,
        task.timeouts,
        0.0,
        0.0,
        _NOTHING,  # and no request that is here: it would be kept
        task.most_nano,
        on_cut=task.on_cut,
        timeouts_at=task.timeouts_at,
        shape=task.shape,
        patience=patience if patience is not None and shown else inf,
        plain=task.shape is None and not task.ladder and task.on_cut == "error",
    )
    plan.home = plan.direct = _home(plan.routes, dialect)
    copy = plan.__copy__  # type: ignore[attr-defined]  # it is there, and only not in msgspec's stubs
    made = Outline(policies, copy, min(task.retry_deadline, total), total, "" if route is None else route.provider)
    if len(model) <= _LONGEST_MODEL:
        if len(task.outlines) >= _MOST_OUTLINES:
            task.outlines.clear()
        task.outlines[alike] = made
    return made


def _decides(task: TaskPolicy, policies: Policies) -> bool:
    """A call may be changed by its task, or come to models that it has not asked for."""
    caps = task.max_tokens is not None or task.default_cap is not None
    more = policies.router.fallbacks or policies.budgets.degrade
    return bool(caps or more or task.model or task.answer is not None or task.ladder)


def _is_written(request: Request) -> bool:
    """The model writes an answer now: no conversation that is only compacted, and none that is asked for later."""
    if request.facts.background:
        return False
    return request.endpoint != "responses" or request.path.partition("?")[0].rstrip("/").endswith("/responses")


def as_asked(request: Request, task: TaskPolicy) -> Request:
    """The request as it is routed: with its task's model and output cap in place of its own."""
    if request.endpoint not in ASKS or not (task.model or task.max_tokens or task.default_cap):
        return request
    facts = request.facts
    cap = _cap(request, task) or facts.max_output_tokens
    return replace(request, facts=replace(facts, model=task.model or facts.model, max_output_tokens=cap))


def capped(request: Request, plan: Plan) -> Request:
    """The request with the output cap that it is sent with: what is held and charged is bounded by that."""
    if not plan.output_cap:
        return request
    return replace(request, facts=replace(request.facts, max_output_tokens=plan.output_cap))


def _cap(request: Request, task: TaskPolicy) -> int:
    """The cap that the body has to be given; 0 where its own is no higher."""
    asked, most = request.facts.max_output_tokens, task.max_tokens
    if most is None and task.default_cap is not None and (asked is None or task.enforces_cap):
        model = task.model or request.facts.model
        most = task.default_cap + thinking_room(request.dialect, request.endpoint, request.body, model)
    elif most is not None and request.endpoint == "messages":
        most += thinking_budget(request.body)  # a cap that is no larger than this is an error at the provider
    return most if most is not None and (asked is None or asked > most) else 0


def _home(routes: Sequence[Route], dialect: str) -> Route | None:
    """The first that speaks the caller's dialect."""
    return next((route for route in routes if route.dialect == dialect), None)


def cheaper_plan(request: Request, policies: Policies, now: float) -> Sequence[Route]:
    """The routes of a model that a budget degrades to. Raises as `make_plan` does."""
    return _with_price(policies.router.routes(request, now), policies.charges, now)


def _with_price(routes: Sequence[Route], charges: Charges, now: float) -> Sequence[Route]:
    if len(routes) == 1:
        return routes  # the attempt's bound needs its price, and is worked out before anything is written
    priced = []
    refused: UnknownPrice | None = None
    for route in routes:
        try:
            charges.check(route, now)
        except UnknownPrice as error:
            refused = error
        else:
            priced.append(route)
    if not priced and refused is not None:
        raise refused
    return priced
