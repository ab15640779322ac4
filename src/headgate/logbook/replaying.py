"""Replay: cases asked again, through a gate: governed, budgeted, paced, and recorded like any other call."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from headgate.build import Built
from headgate.core.errors import HeadgateError
from headgate.core.exchange import Ending, Exchange, Request
from headgate.core.money import usd_text
from headgate.core.usage import Usage
from headgate.engine.blocking import run_blocking
from headgate.engine.engine import Engine
from headgate.gate import Gate
from headgate.jobs.requests import cost_of
from headgate.logbook.asking import TAG, judge_call, request_of
from headgate.logbook.cases import Case
from headgate.logbook.judging import conditions, unmet
from headgate.policy.comparing import Said, judge_request, judged
from headgate.settings.model import BudgetSettings, Settings, frozen
from headgate.wire import DIALECTS
from headgate.wire.endings import endings
from headgate.wire.said import said

CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class Terms:
    """How cases are asked again.

    Attributes:
        model: in place of each case's own; "" = its own.
        system: in place of each case's system prompt; None = its own.
        most_nano: nano-dollars that the whole run may cost, judges included; held like any budget.
        expect: look whether answers are what their cases expect.
        judge: the model that judges; "" = there is none.
    """

    model: str = ""
    system: str | None = None
    most_nano: int = 1_000_000_000
    expect: bool = False
    judge: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One case, then and now.

    Attributes:
        text: the new answer; calls: (name, arguments) of the tools that it calls, which nobody runs.
        error: why there is no answer, in words; "" where there is one.
        failures: conditions that are not met; None = nothing was expected of it.
    """

    case: Case
    exchange_id: str
    model: str
    text: str
    calls: tuple[tuple[str, str], ...]
    error: str
    cost_nano: int
    latency_ms: float | None
    verdict: str
    failures: tuple[str, ...] | None = None

    @property
    def same(self) -> bool:
        """Whether the answer is the one of then, but for white space."""
        return not self.error and self.text.split() == self.case.output.split()

    @property
    def regressed(self) -> bool:
        """It was expected to be otherwise."""
        return bool(self.failures)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        then = {name: self.case.metadata.get(name) for name in ("model", "cost_usd", "latency_ms", "verdict")}
        now = {
            "model": self.model,
            "cost_usd": usd_text(self.cost_nano),
            "latency_ms": self.latency_ms,
            "verdict": self.verdict,
        }
        return {
            "id": self.case.id,
            "exchange_id": self.exchange_id or None,
            "same": self.same,
            "failures": None if self.failures is None else list(self.failures),
            "error": self.error or None,
            "before": {**then, "output": self.case.output},
            "after": {**now, "output": self.text, "calls": [list(each) for each in self.calls]},
        }


def then_nano(case: Case) -> int:
    """What a case has cost, in nano-dollars; 0 where nobody knows."""
    try:
        return int(Decimal(str(case.metadata.get("cost_usd") or 0)) * 10**9)
    except ArithmeticError:
        return 0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run is likely to cost, in nano-dollars, and the most that it can. `unknown`: cases without a bound."""

    expected_nano: int
    most_nano: int
    unknown: int


def settings_for(settings: Settings, terms: Terms, run_id: str) -> Settings:
    """The configuration of a run: its tasks leave the model to `terms`, and one more budget holds the run's cap."""
    tasks = {
        name: replace(task, model="" if terms.model else task.model, shadow=None, cache_seconds=0.0)
        for name, task in settings.tasks.items()
    }
    cap = BudgetSettings(usd_nano=terms.most_nano, only=((f"tag:{TAG}", run_id),))
    return replace(settings, tasks=frozen(tasks), budgets=(*settings.budgets, cap), similar=None)


def served_by(built: Built, model: str) -> str:
    """A plain model name as ``provider/model``, of a provider that has a price for it: a case of any dialect can
    then be asked of it. A virtual model, a name with a provider, and one that nobody knows stay as they are."""
    router = built.router
    if (
        not model
        or model in router.models
        or model.startswith(tuple(f"{p}{mark}" for p in router.providers for mark in "/:"))
    ):
        return model
    charges, now = built.engine.policies.charges, built.engine.ports.clock.now()
    for provider in router.defaults.values():
        try:
            charges.check(replace(router.providers[provider], model=model), now)
        except HeadgateError:
            continue
        return f"{provider}/{model}"
    return model


def new_run() -> str:
    """A run's name, as the tag `replay` of its exchanges has it."""
    return f"replay_{secrets.token_hex(6)}"


class Replay:
    """One run. Blocks; make the gate of `settings_for`."""

    def __init__(self, gate: Gate, terms: Terms, run_id: str) -> None:
        self._gate = gate
        self._built: Built = gate.built
        self._terms = terms
        self._run_id = run_id
        self._model = served_by(self._built, terms.model)
        ports, policies = self._built.blocking_engine.ports, self._built.blocking_engine.policies
        # Nobody is asked to approve a call that nobody would run, and nothing stands in for the model.
        alone = replace(ports, approvals=None, cache=None, similar=None, witnesses=(), substitutes={})
        self._engine = Engine(alone, policies)

    def forecast(self, cases: Iterable[Case]) -> Forecast:
        """What it will cost, by the tokens of then and today's prices. Sends nothing."""
        expected = most = unknown = 0
        now = self._built.engine.ports.clock.now()
        charges = self._built.engine.policies.charges
        for case in cases:
            cost = cost_of(self._built, self._request(case), now)
            if cost is None or cost.nano is None:
                unknown += 1
                continue
            most += cost.nano
            told = [case.metadata.get(name) for name in ("input_tokens", "output_tokens")]
            if all(isinstance(each, int) for each in told) and any(told):
                usage = Usage(input_tokens=told[0] or 0, output_tokens=told[1] or 0)
                expected += min(cost.nano, charges.charge(cost.route, "", usage, now)[0])
            else:
                expected += cost.nano
        return Forecast(expected, most, unknown)

    def run(
        self, cases: Sequence[Case], *, concurrency: int = CONCURRENCY, progress: bool = False
    ) -> Iterator[Replayed]:
        """Ask each, so many at once, in their order."""
        for outcome in self._gate.map(self._one, cases, limit=concurrency, progress=progress):
            yield outcome.value

    def _request(self, case: Case) -> Request:
        return request_of(case, self._model, self._terms.system, self._run_id)

    def _one(self, case: Case) -> Replayed:
        request = self._request(case)
        exchange, body = self._ask(request)
        last = exchange.last
        answer = None
        if body is not None and exchange.ending is Ending.COMPLETE and exchange.status in (0, 200) and last is not None:
            answer = said(DIALECTS[case.dialect], case.endpoint, request.facts, body, last.stop_reason)
        error = "" if answer is not None else _why(exchange)
        failures = None
        if self._terms.expect and conditions(case):
            failures = (error,) if answer is None else tuple(unmet(case, answer, self._judge))
        took = None if exchange.ended is None else round((exchange.ended - exchange.started) * 1000, 1)
        return Replayed(
            case,
            exchange.id,
            (last.model_served or last.route.model) if last is not None else request.facts.model,
            "" if answer is None else answer.text,
            () if answer is None else answer.calls,
            error,
            exchange.cost_nano,
            took,
            exchange.verdict,
            failures,
        )

    def _judge(self, wanted: str, answer: Said) -> bool | None:
        """Whether two answers say the same, as the judge sees it. Its cost counts into the run's cap."""
        if not self._terms.judge:
            return None
        mark = f"data-{secrets.token_hex(8)}"
        body = judge_request(
            served_by(self._built, self._terms.judge), "(see the two answers)", Said(wanted), answer, mark
        )
        _, said_so = self._ask(judge_call(body, self._run_id))
        found = endings("chat", said_so) if said_so is not None else []
        return judged(found[0].text) if found else None

    def _ask(self, request: Request) -> tuple[Exchange, bytes | None]:
        exchange = self._engine.begin(request)

        async def ask() -> bytes:
            reply = await self._engine.open(exchange)
            pieces = []
            try:
                while piece := await reply.read():
                    pieces.append(piece)
            finally:
                reply.close()
            return b"".join(pieces)

        try:
            return exchange, run_blocking(ask())
        except HeadgateError:
            return exchange, None  # it is settled, and says why


def _why(exchange: Exchange) -> str:
    if exchange.error is not None:
        return f"{exchange.error.code}: {exchange.error.message}"[:500]
    return f"{exchange.ending or 'no answer'} {exchange.status or ''}".strip()


def document(found: Sequence[Replayed], forecast: Forecast, run_id: str) -> dict[str, Any]:
    """The run for programs."""
    return {
        "run": run_id,
        "expected_usd": usd_text(forecast.expected_nano),
        "totals": totals(found),
        "cases": [each.as_json() for each in found],
    }


def totals(found: Sequence[Replayed]) -> dict[str, Any]:
    """Counts and sums, then and now."""
    judged_ones = [each for each in found if each.failures is not None]
    then = [t for each in found if isinstance(t := each.case.metadata.get("latency_ms"), int | float)]
    now = [each.latency_ms for each in found if each.latency_ms is not None]
    return {
        "cases": len(found),
        "same": sum(each.same for each in found),
        "errors": sum(bool(each.error) for each in found),
        "expected": len(judged_ones),
        "regressions": sum(each.regressed for each in found),
        "cost_usd_before": usd_text(sum(then_nano(each.case) for each in found)),
        "cost_usd_after": usd_text(sum(each.cost_nano for each in found)),
        "latency_ms_before": _median(then),
        "latency_ms_after": _median(now),
        "verdicts_changed": sum(
            each.verdict != (each.case.metadata.get("verdict") or "")
            for each in found
            if "verdict" in each.case.metadata
        ),
    }


def _median(values: Sequence[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None
