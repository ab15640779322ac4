"""Counts settled exchanges, in the log's thread, batch by batch, so that no call pays for it.

Whatever thousands of exchanges have in common is looked up once, by its shape; what is left is a handful of additions.
Labels are bounded: never a user, a session or a key, and so many models, tasks and tenants, then "other".
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headgate.core.cache import not_attempted
from headgate.core.errors import HeadgateError, NoTurn, UpstreamError
from headgate.core.exchange import Attempt, Ending, Exchange
from headgate.stores.shape import PLAIN, Shape, shape_of
from headgate.telemetry.cells import LATENCY, OVERHEAD, TTFT, WAIT, AttemptCell, Cell, Cells, Where
from headgate.telemetry.counted import families_of
from headgate.telemetry.families import OTHER, Bounded, Distribution, Family

MOST_CELLS = 5_000
"""Combinations of labels; beyond them model, task and tenant of a new one are "other"."""
MOST_LOOKUPS = 5_000
_WORDS = 200
"""Values of labels whose words are our own: error codes, guards, kinds of failures."""
_FAILED = frozenset({Ending.FAILED, Ending.CUT})
_LEAST_WAIT = 0.0005  # seconds: what is below is the rest of a subtraction


@dataclass(frozen=True, slots=True)
class LabelRules:
    """How many values the labels may have, see `settings.telemetry.MetricsSettings`; `known_*` have theirs always."""

    models: int = 100
    tasks: int = 50
    tenants: int = 0
    known_models: tuple[str, ...] = ()
    known_tasks: tuple[str, ...] = ()


class Counts:
    """What has happened since it was made. Its methods may be called from any thread."""

    def __init__(self, rules: LabelRules | None = None) -> None:
        rules = rules or LabelRules()
        # Reentrant: the collector may settle a stream that nobody read, and the log be full, while a thread is inside.
        self._lock = threading.RLock()
        self._tenants_told = rules.tenants > 0
        self._models = Bounded(rules.models, rules.known_models)
        self._tasks = Bounded(rules.tasks, rules.known_tasks)
        self._tenants = Bounded(rules.tenants)
        self._providers = Bounded(_WORDS)
        self._words = Bounded(_WORDS)
        self._lookups: dict[Shape, Cell] = {}
        self._cells = Cells()

    def look(self, exchanges: Sequence[Exchange]) -> tuple[()]:
        """Count a batch: a `stores.log.Watcher`. Never raises."""
        with self._lock:
            known = self._lookups
            for exchange in exchanges:
                try:
                    shape: Any = exchange.shape or shape_of(exchange)
                    self._count(exchange, shape[PLAIN], known.get(shape) or self._look_up(exchange, shape))
                except Exception:  # a mistake in here must cost no line of the log; it is told as a metric
                    self._cells.wrong += 1
        return ()

    def one(self, exchange: Exchange) -> None:
        """Count one, for `stores.log.LineLog.overflow`. Never raises."""
        self.look((exchange,))

    def families(self) -> list[Family]:
        """All of it, as it stands."""
        with self._lock:
            return families_of(self._cells, tenants=self._tenants_told)

    def _count(self, exchange: Exchange, plain: bool, cell: Cell) -> None:
        cell.count += 1
        started, ended = exchange.started, exchange.ended or exchange.started
        spent = ended - started
        # `Distribution.note`, written out here and below.
        spread = cell.latency
        spread.counts[bisect_left(spread.bounds, spent)] += 1
        spread.sum += spent
        first: float | None
        if plain and cell.attempt is not None:
            attempt = exchange.attempts[0]
            _add(cell.attempt, attempt)
            spent -= (attempt.ended or ended) - attempt.started  # the seconds that it has taken
            first = attempt.first_content
        else:
            spent, first = self._several(exchange, cell.attempt, spent, ended)
        if first is not None and exchange.request.facts.stream:
            cell.ttft.note(first - started)
        if spent < 0.0:
            spent = 0.0
        spread = cell.overhead
        spread.counts[bisect_left(spread.bounds, spent)] += 1
        spread.sum += spent

    def _several(
        self, exchange: Exchange, shared: AttemptCell | None, spent: float, ended: float
    ) -> tuple[float, float | None]:
        """Any number of attempts, with their waits, and what few exchanges have. Returns what is left of the seconds,
        and when the first content came.

        Args:
            shared: where the last attempt is counted, if there is one and it has not failed.
        """
        if exchange.waited:
            spent -= exchange.waited
            self._wait("turn", exchange.waited)
        first = None
        for attempt in exchange.attempts:
            if shared is None or attempt is not exchange.attempts[-1]:
                _add(self._attempt(exchange, attempt), attempt)
            else:
                _add(shared, attempt)
            spent -= attempt.waited + (attempt.ended or ended) - attempt.started
            if attempt.waited:
                self._waited(attempt)
            first = attempt.first_content
        self._more(exchange)
        return spent, first

    def _more(self, exchange: Exchange) -> None:
        """What few exchanges have."""
        cells = self._cells
        if exchange.ending is Ending.REFUSED and exchange.error is not None:
            code = (self._words.of(exchange.error.code),)
            cells.refusals[code] = cells.refusals.get(code, 0) + 1
        elif exchange.error is not None and exchange.ending in _FAILED:
            self._failed(exchange, exchange.error)
        for finding in exchange.findings:
            found = (self._words.of(finding.guard), finding.verdict.value)
            cells.verdicts[found] = cells.verdicts.get(found, 0) + 1
        if exchange.recalled is not None:
            cells.cache_saved += exchange.recalled.cost_nano
        if exchange.degraded:
            cells.degraded += 1

    def _failed(self, exchange: Exchange, error: HeadgateError) -> None:
        last = exchange.last
        provider = "" if last is None else last.route.provider
        if isinstance(error, NoTurn):
            provider = error.provider or provider  # it may have no attempt at all
        kind = error.kind if isinstance(error, UpstreamError) else ""
        place = (self._providers.of(provider), self._words.of(kind or error.code))
        self._cells.failures[place] = self._cells.failures.get(place, 0) + 1

    def _look_up(self, exchange: Exchange, shape: Shape) -> Cell:
        """The cell of a combination that was not met of late."""
        last = exchange.attempts[-1] if exchange.attempts else not_attempted(exchange)
        if len(self._lookups) >= MOST_LOOKUPS:
            self._lookups.clear()
        cells = self._cells
        where, way_in = self._where(exchange, last), exchange.request.way_in
        outcome = "" if exchange.ending is None else exchange.ending.value
        named = (where, outcome, way_in, exchange.cache, last.error is None)
        if len(cells.exchanges) >= MOST_CELLS and named not in cells.exchanges:
            where = self._crowded(where)
            named = (where, outcome, way_in, exchange.cache, last.error is None)
        cell = cells.exchanges.get(named)
        if cell is None:
            place = (where.provider, where.model)
            cell = cells.exchanges[named] = Cell(
                cells.attempt(where, outcome) if exchange.attempts and last.error is None else None,
                cells.latency.setdefault(place, Distribution(LATENCY)),
                cells.ttft.setdefault(place, Distribution(TTFT)),
                cells.overhead.setdefault((way_in,), Distribution(OVERHEAD)),
            )
        self._lookups[shape] = cell
        return cell

    def _where(self, exchange: Exchange, attempt: Attempt) -> Where:
        caller, route = exchange.request.caller, attempt.route
        # A name that a provider has answered to, or that has a price: callers can make up any other.
        real = bool(attempt.model_served) or attempt.bound_nano is not None
        return Where(
            self._providers.of(route.provider),
            self._models.of(attempt.model_served or route.model or _asked(exchange), new=real),
            self._tasks.of(caller.task),
            self._tenants.of(caller.tenant) if self._tenants_told else "",
        )

    def _attempt(self, exchange: Exchange, attempt: Attempt) -> AttemptCell:
        """That of an attempt which is not its exchange's only one, or has failed."""
        error, ending = attempt.error, exchange.ending
        if error is not None:
            outcome = self._words.of(error.kind or error.code)
        elif attempt is exchange.attempts[-1] and ending is not None:
            outcome = ending.value
        else:
            outcome = "complete"
        where, cells = self._where(exchange, attempt), self._cells
        if len(cells.attempts) >= MOST_CELLS and (where, outcome) not in cells.attempts:
            where = self._crowded(where)
        return cells.attempt(where, outcome)

    def _crowded(self, where: Where) -> Where:
        return Where(where.provider, OTHER, OTHER, OTHER if self._tenants_told else "")

    def _waited(self, attempt: Attempt) -> None:
        turn, money = attempt.waited_turn, attempt.waited_money
        for kind, seconds in (("turn", turn), ("money", money), ("retry", attempt.waited - turn - money)):
            if seconds > _LEAST_WAIT:
                self._wait(kind, seconds)

    def _wait(self, kind: str, seconds: float) -> None:
        found = self._cells.waits.get((kind,))
        if found is None:
            found = self._cells.waits[kind,] = Distribution(WAIT)
        found.note(seconds)


def _asked(exchange: Exchange) -> str:
    return exchange.request.facts.model if exchange.attempts else ""


def _add(cell: AttemptCell, attempt: Attempt) -> None:
    cell.count += 1
    cost, usage = attempt.cost_nano, attempt.usage
    cell.cost += cost
    if attempt.estimated:
        cell.estimated += cost
    if attempt.saved_nano:
        cell.saved += attempt.saved_nano
    if usage is not None:
        cell.input += usage.input_tokens
        cell.output += usage.output_tokens
        if usage.cache_read_tokens or usage.cache_write_tokens or usage.cache_write_long_tokens:
            cell.read += usage.cache_read_tokens
            cell.written += usage.cache_write_tokens
            cell.long += usage.cache_write_long_tokens
        if usage.reasoning_tokens:
            cell.reasoning += usage.reasoning_tokens
