"""Anomalies: what a caller does that it does not usually do. Pure detectors over settled exchanges.

Nothing is refused for being unusual; caps are the budgets' (`policy.budgets`). Time is that of the exchanges, and what
is remembered is bounded: see `policy.usual`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headgate.core.caller import Caller
from headgate.core.exchange import Exchange
from headgate.core.money import NANO_PER_USD, usd_text
from headgate.policy.recent import Recent
from headgate.policy.usual import DAY, LOOP_CALLS, PARTS, Days, Level, Run, Window

TOKENS_JUMP = "tokens_jump"
DAILY_SPEND = "daily_spend"
SESSION_SPEND = "session_spend"
AGENT_LOOP = "agent_loop"
NEW_MODEL = "new_model"
KINDS = (TOKENS_JUMP, DAILY_SPEND, SESSION_SPEND, AGENT_LOOP, NEW_MODEL)

FLOOR_TOKENS = 1_000
"""A call of fewer tokens is no jump, whatever the caller's average: 40 after 15 is no news."""
FLOOR_SPEND_NANO = NANO_PER_USD
"""A day that costs less than this above the usual is not off its trend."""
QUIET_SECONDS = 3_600.0
"""After a caller's jump, a session's spending or a session's loop was told, the same is not told again for so long."""
LEARNING_SECONDS = DAY
LEARNING_CALLS = 20
"""A tenant's models are learnt for a day, and for so many calls, before a new one is told."""
MOST_CALLERS = 10_000
"""Callers, sessions and tenants that are remembered, each; the least recently seen go."""
MOST_MODELS = 256
"""Models of one tenant that are remembered."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts as unusual. Defaults are `settings.model.AnomalySettings`'."""

    tokens_ratio: float = 2.0  # > 1; a call's tokens over the caller's moving average
    spend_ratio: float = 2.0  # > 1; a day's spending over the usual day's
    session_nano: int = 5_000_000_000  # nano-dollars of one session within the window
    session_window_seconds: float = 600.0  # > 0; also for loops
    new_model: bool = True


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something unusual, with the facts.

    Attributes:
        kind: one of `KINDS`.
        caller: who; for `daily_spend` only the tenant is told, or nothing where it is everybody together.
        exchange_id, at: the exchange that was one too many, and when it ended, in seconds since the epoch.
        unit: of `seen` and `usual`: "tokens", "usd" (both in nano-dollars), "calls", or "" where neither is a number.
        seen: the tokens of the call, the day's or the session's spending, the calls in a row.
        usual: the caller's average, a usual day's spending, the session's cap; 0 where nothing is.
        provider, model: that served the exchange.
    """

    kind: str
    caller: Caller
    exchange_id: str
    at: float
    unit: str = ""
    seen: int = 0
    usual: int = 0
    provider: str = ""
    model: str = ""

    @property
    def message(self) -> str:
        """One sentence for people, without names that callers choose."""
        seen, usual = (self._amount(self.seen), self._amount(self.usual))
        if self.kind == TOKENS_JUMP:
            return f"one call of {seen} tokens, where this caller's calls take {usual} on average"
        if self.kind == DAILY_SPEND:
            whose = "the tenant" if self.caller.tenant else "everybody together"
            return f"{whose} has spent {seen} USD today; a usual day is {usual} USD"
        if self.kind == SESSION_SPEND:
            return f"one session has spent {seen} USD within its window; it is told from {usual} USD on"
        if self.kind == AGENT_LOOP:
            return f"{seen} calls in a row, each prompt a little longer than the last: perhaps an agent in a loop"
        return "a model that the tenant has not used before"

    def fields(self) -> dict[str, object]:
        """For a log line: the names of the exchanges' lines, numbers as `seen_<unit>` and `usual_<unit>`, dollars as
        decimal strings. What is not told is left out."""
        caller = self.caller
        told = {
            "kind": self.kind,
            "message": self.message,
            "exchange_id": self.exchange_id,
            "key": caller.key,
            "tenant": caller.tenant,
            "user_id": caller.user,
            "session_id": caller.session,
            "task": caller.task,
            "feature": caller.feature,
            "environment": caller.environment,
            "provider": self.provider,
            "model": self.model,
        }
        found: dict[str, object] = {name: value for name, value in told.items() if value}
        if self.unit:
            found[f"seen_{self.unit}"] = self._amount(self.seen)
            if self.usual:
                found[f"usual_{self.unit}"] = self._amount(self.usual)
        return found

    def _amount(self, value: int) -> int | str:
        return usd_text(value) if self.unit == "usd" else value


@dataclass(frozen=True, slots=True)
class Past:
    """What the ledger says of one tenant's use of one model on one day, before this process began."""

    tenant: str
    provider: str
    model: str  # "" = nothing was served
    day: int  # since the epoch, UTC
    nano: int
    calls: int


class _Caller:
    __slots__ = ("level", "looped", "run")

    def __init__(self) -> None:
        self.level = Level()
        self.run = Run()
        self.looped = 0.0  # quiet about loops until then


class _Session(Window):
    """One session's spending, and its run. Of short sessions there are as many as a window has: so it is small."""

    __slots__ = ("burned", "looped", "run")

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.run = Run()
        self.looped = 0.0
        self.burned = 0.0  # quiet about money until then

    def idle(self, at: float) -> bool:
        """Nothing is known of it that still counts."""
        return self.over(at) and self.burned <= at and self.looped <= at


@dataclass(slots=True)
class _Tenant:
    days: Days
    since: float  # known for sure
    calls: int = 0
    models: dict[tuple[str, str], None] = field(default_factory=dict)  # the oldest first

    def learn(self, pair: tuple[str, str]) -> None:
        if len(self.models) >= MOST_MODELS:
            del self.models[next(iter(self.models))]
        self.models[pair] = None


class Anomalies:
    """The detectors, and what they remember. One thread at a time."""

    __slots__ = ("_all", "_callers", "_rules", "_sessions", "_tenants", "_turn")

    def __init__(self, rules: Rules, *, most: int = MOST_CALLERS) -> None:
        """`most`: callers, sessions and tenants to remember, each; >= 2."""
        self._rules = rules
        self._callers: Recent[tuple[str, str, str, str], _Caller] = Recent(most)
        self._sessions: Recent[int, _Session] = Recent(most)  # by hash: half of each would be its name
        self._tenants: Recent[str, _Tenant] = Recent(most)
        self._turn = 0.0  # then sessions go of which nothing was heard for a window
        self._all = Days(rules.spend_ratio, FLOOR_SPEND_NANO)

    def __len__(self) -> int:
        """Callers, sessions and tenants remembered now."""
        return len(self._callers) + len(self._sessions) + len(self._tenants)

    def remember(self, past: Past) -> None:
        """Learn from what was before, and tell nothing. Days come in order, and before any exchange of a later one."""
        tenant = self._tenants.get(past.tenant)
        if tenant is None:
            # At what time of its first day it came is not known: at the end of it, it had.
            tenant = self._met(past.tenant, (past.day + 1) * DAY)
        if past.nano:
            tenant.days.remember(past.day, past.nano)
            self._all.remember(past.day, past.nano)
        if past.model:
            tenant.calls += past.calls
            pair = (past.provider, past.model)
            if pair not in tenant.models:
                tenant.learn(pair)

    def look(self, exchange: Exchange) -> Sequence[Anomaly]:
        """What is unusual about a settled exchange: nothing, as a rule."""
        return self.look_at((exchange,))

    def look_at(self, exchanges: Iterable[Exchange]) -> list[Anomaly]:
        """What is unusual about settled exchanges, in order."""
        # Inlined, without properties and helpers where nothing is unusual: this runs once per call.
        found: list[Anomaly] = []
        every, ratio = self._all, self._rules.tokens_ratio
        tenants, callers = self._tenants, self._callers
        for exchange in exchanges:
            attempts = exchange.attempts
            if not attempts:
                continue
            last = attempts[-1]
            usage, cost = last.usage, last.cost_nano
            if len(attempts) > 1:
                cost = exchange.cost_nano
            if usage is None and not cost:
                continue
            at = exchange.ended or exchange.started
            request = exchange.request
            caller = request.caller
            name = caller.tenant
            tenant = tenants.new.get(name) or tenants.get(name) or self._met(name, at)
            if cost:
                day = int(exchange.started / DAY)
                days = tenant.days
                # What `Days.take` does on a day that is not over its limit.
                if day == days.day and days.spent + cost <= days.limit:
                    days.spent += cost
                elif days.take(day, cost) and name:  # without a tenant it is in "everybody together" only
                    found.append(_day(Caller(tenant=name), exchange, days))
                if day == every.day and every.spent + cost <= every.limit:
                    every.spent += cost
                elif every.take(day, cost):
                    found.append(_day(Caller(), exchange, every))
            prompt = -1
            if usage is not None:
                # As the ledger's reader names it, so that what is remembered and what is seen are the same.
                pair = (last.route.provider, last.model_served or request.facts.model)
                if pair not in tenant.models:
                    self._new_model(exchange, at, pair, tenant, found)
                tenant.calls += 1
                if not last.estimated:  # an estimate counts bytes where nobody has told tokens
                    prompt = usage.input_tokens + usage.cache_read_tokens  # `Usage.prompt_tokens`
                    prompt += usage.cache_write_tokens + usage.cache_write_long_tokens
                    # An embedding of a book is no jump of a chat's.
                    key = (name, caller.key, caller.user, request.endpoint)
                    mine = callers.new.get(key) or callers.get(key)
                    if mine is None:
                        mine = _Caller()
                        callers.put(key, mine)
                    level = mine.level
                    usual, tokens = level.average, prompt + usage.output_tokens
                    if level.take(tokens, ratio, FLOOR_TOKENS) and at >= level.quiet_until:
                        level.quiet_until = at + QUIET_SECONDS
                        found.append(_anomaly(TOKENS_JUMP, exchange, "tokens", tokens, round(usual)))
                    if not caller.session:
                        run = mine.run
                        if prompt <= run.prompt:  # what `Run.take` does where it has not grown
                            run.calls, run.prompt, run.since = 1, prompt, at
                        else:
                            self._loop(exchange, at, prompt, mine, found)
            if caller.session:
                self._session(exchange, at, cost, prompt, found)
        return found

    def _met(self, name: str, since: float) -> _Tenant:
        tenant = _Tenant(Days(self._rules.spend_ratio, FLOOR_SPEND_NANO), since)
        self._tenants.put(name, tenant)
        return tenant

    def _new_model(
        self, exchange: Exchange, at: float, pair: tuple[str, str], tenant: _Tenant, found: list[Anomaly]
    ) -> None:
        tenant.learn(pair)
        learnt = tenant.calls >= LEARNING_CALLS and at - tenant.since >= LEARNING_SECONDS
        if learnt and self._rules.new_model:
            found.append(_anomaly(NEW_MODEL, exchange))

    def _session(self, exchange: Exchange, at: float, cost: int, prompt: int, found: list[Anomaly]) -> None:
        rules, caller = self._rules, exchange.request.caller
        key = hash((caller.tenant, caller.key, caller.session))
        if at >= self._turn:
            self._turn = at + rules.session_window_seconds / PARTS
            self._sessions.turn(lambda each: not each.idle(at))
        session = self._sessions.get(key)
        if session is None:
            session = _Session(rules.session_window_seconds)
            self._sessions.put(key, session)
        if session.take(cost, at) > rules.session_nano and at >= session.burned:
            session.burned = at + QUIET_SECONDS
            found.append(_anomaly(SESSION_SPEND, exchange, "usd", session.spent, rules.session_nano))
        if prompt >= 0:
            self._loop(exchange, at, prompt, session, found)

    def _loop(self, exchange: Exchange, at: float, prompt: int, who: _Caller | _Session, found: list[Anomaly]) -> None:
        calls = who.run.take(prompt, at, self._rules.session_window_seconds)
        if calls >= LOOP_CALLS and at >= who.looped:
            who.looped = at + QUIET_SECONDS
            found.append(_anomaly(AGENT_LOOP, exchange, "calls", calls))


def _anomaly(kind: str, exchange: Exchange, unit: str = "", amount: int = 0, usual: int = 0) -> Anomaly:
    return _told(kind, exchange.request.caller, exchange, unit, amount, usual)


def _day(who: Caller, exchange: Exchange, days: Days) -> Anomaly:
    return _told(DAILY_SPEND, who, exchange, "usd", days.spent, days.usual)


def _told(kind: str, who: Caller, exchange: Exchange, unit: str, amount: int, usual: int) -> Anomaly:
    last = exchange.attempts[-1]
    at, model = exchange.ended or exchange.started, last.model_served or exchange.request.facts.model
    return Anomaly(kind, who, exchange.id, at, unit, amount, usual, last.route.provider, model)
