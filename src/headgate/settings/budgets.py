"""`budgets:`, everybody's and those of keys: read, checked against each other, and as the core's budgets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain, combinations

from headgate.core.budget import FULL, WARN_AT, Budget
from headgate.policy.budgets import budget_id
from headgate.policy.periods import PERIODS
from headgate.settings.fields import DEFAULT, Context, Section
from headgate.settings.model import BudgetSettings, Settings
from headgate.settings.policies import Names
from headgate.settings.scopes import ScopeReader
from headgate.settings.tree import Node, Table
from headgate.settings.units import Unfit, basis_points, one_of, usd, whole
from headgate.settings.zones import UTC_NAME, zone, zone_name

BUDGET_KEYS = ("per", "only", "usd", "soft_usd", "tokens", "every", "zone", "alert_at", "then")

QUEUE = "queue"
"""`then: queue`: see docs/jobs.md."""

_CAPS = ("usd", "soft_usd", "tokens")


def budgets_of(settings: Settings) -> tuple[Budget, ...]:
    """Every budget that the configuration asks for: everybody's, then those of keys, with where each is written.

    One entry with both `soft_usd` and another cap is two budgets. No two have the same id.
    """
    found: list[Budget] = []
    for number, each in enumerate(settings.budgets):
        found += _budgets(each, settings.origins.get(f"budgets[{number}]", DEFAULT))
    for place, key in enumerate(settings.keys):
        for number, each in enumerate(key.budgets):
            found += _budgets(each, settings.origins.get(f"keys[{place}].budgets[{number}]", DEFAULT), key.name)
    return tuple(found)


def _budgets(entry: BudgetSettings, source: str, key: str | None = None) -> Iterator[Budget]:
    """The hard one, where there is one, and the soft one. `key`: whose own they are."""
    only = entry.only if key is None else tuple(sorted((*entry.only, ("key", key))))
    # Minutes and "for good" are the same in every zone: a change of the zone begins no new account for them.
    name = entry.zone if entry.every not in ("", "minute") else UTC_NAME
    about = budget_id(entry.per, only, entry.every) + (f"/{name}" if name != UTC_NAME else "")
    hard = entry.usd_nano is not None or entry.tokens is not None
    if hard:
        yield Budget(
            id=about,
            per=entry.per,
            only=only,
            cap_nano=entry.usd_nano,
            cap_tokens=entry.tokens,
            every=entry.every,
            zone=zone(name),
            alerts=entry.alert_at_basis_points,
            degrade_to=entry.degrade_to,
            queues=entry.queues,
            source=source,
        )
    if entry.soft_usd_nano is not None:
        yield Budget(
            id=f"{about}/soft",
            per=entry.per,
            only=only,
            cap_nano=entry.soft_usd_nano,
            every=entry.every,
            zone=zone(name),
            alerts=(FULL,) if hard else entry.alert_at_basis_points,
            soft=True,
            source=source,
        )


class BudgetReader:
    """Reads the lists of budgets, and sees how they are to each other."""

    def __init__(self, names: Names, served: Collection[str], default_zone: str) -> None:
        """`served`: the models of virtual models' routes. `default_zone`: of budgets that name none."""
        self._names = names
        self._scopes = ScopeReader(names, served, "budget")
        self._zone = default_zone
        self._found: dict[str, tuple[Budget, str]] = {}  # by id, with the path it is written at

    def read(self, section: Section, *, key: str | None = None) -> tuple[BudgetSettings, ...]:
        """The `budgets:` of a section. `key`: the name of the key whose section it is."""
        return tuple(self._read(section.context, node, path, key) for node, path in section.items("budgets"))

    def _read(self, context: Context, node: Node, path: str, key: str | None) -> BudgetSettings:
        before = len(context.mistakes)
        section = Section(context, node, path, BUDGET_KEYS)
        caps = {each: section.take(each, usd, None) for each in ("usd", "soft_usd")}
        every = section.take("every", one_of(PERIODS), "")
        then = section.take("then", self._then, "")
        found = BudgetSettings(
            per=self._scopes.per(section),
            usd_nano=caps["usd"],
            tokens=section.take("tokens", whole(0, 10**15), None),
            every=every,
            alert_at_basis_points=_shares(section),
            degrade_to="" if then == QUEUE else then,
            queues=then == QUEUE,
            soft_usd_nano=caps["soft_usd"],
            only=self._scopes.only(section, key),
            zone=section.take("zone", zone_name, self._zone),
        )
        if isinstance(node, Table):
            _check(section, found)
        if key != "" and len(context.mistakes) == before:  # a key without a name is a mistake already
            self._keep(context, path, _budgets(found, context.origins[path], key))
        return found

    def _then(self, text: str) -> str:
        if text in ("refuse", QUEUE):
            return "" if text == "refuse" else QUEUE
        verb, _, model = text.partition(" ")
        if verb != "degrade" or not model.strip():
            raise Unfit("expected `refuse`, `queue`, or `degrade <model>`")
        return self._names.model(model.strip())

    def _keep(self, context: Context, path: str, budgets: Iterable[Budget]) -> None:
        for budget in budgets:
            other, where = self._found.setdefault(budget.id, (budget, path))
            if other is not budget:
                context.wrong(
                    path,
                    f"has the scope, filter and period of {where} ({other.source}), and a budget has one cap: keep one",
                )

    def never_reached(self) -> list[str]:
        """A warning for each budget that allows less than others for the same calls, and so makes them idle."""
        alike: dict[object, list[tuple[Budget, str]]] = {}
        for budget, path in self._found.values():
            if not budget.soft:
                alike.setdefault((budget.every, budget.zone, budget.only), []).append((budget, path))
        idle: dict[str, list[str]] = {}
        for budget, path in self._found.values():
            # Filters are few: every subset of this one's is where a wider budget would stand.
            subsets = chain.from_iterable(combinations(budget.only, size) for size in range(len(budget.only) + 1))
            others = chain.from_iterable(alike.get((budget.every, budget.zone, only), ()) for only in subsets)
            covered = next((each for each in others if each[1] != path and _covers(each[0], budget)), None)
            if covered is not None:
                wider, where = covered
                idle.setdefault(f"{where} ({wider.source})", []).append(f"{path} ({budget.source})")
        return [_idle(where, paths) for where, paths in idle.items()]


def _covers(wider: Budget, budget: Budget) -> bool:
    """Each account of `budget` is within one of `wider`, and that one's cap is not higher."""
    fixed = {name for name, _ in budget.only}
    if not set(wider.per) <= set(budget.per) | fixed:
        return False
    caps = ((wider.cap_nano, budget.cap_nano), (wider.cap_tokens, budget.cap_tokens))
    return all(cap is None or (limit is not None and limit <= cap) for limit, cap in caps)


def _idle(where: str, paths: list[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more} can never be reached: {where} allows no more for the same calls, and every budget counts"


def _shares(section: Section) -> tuple[int, ...]:
    """Where alerts are; the whole cap always is. Of a soft cap alone, only that unless more is asked for."""
    entries = section.table.entries
    if "alert_at" in entries:
        return tuple(sorted({*section.texts("alert_at", basis_points), FULL}))
    section.node("alert_at")  # its origin: the default
    return (WARN_AT, FULL) if "usd" in entries or "tokens" in entries else (FULL,)


def _check(section: Section, found: BudgetSettings) -> None:
    """What one entry's values are to each other."""
    entries = section.table.entries
    context = section.context
    if not any(cap in entries for cap in _CAPS):
        context.wrong(section.path, "a budget needs a cap: usd, soft_usd or tokens, like {per: user, usd: 10}")
    elif "then" in entries and not ("usd" in entries or "tokens" in entries):
        section.wrong("then", "means nothing at soft_usd, which only warns: add usd or tokens, or remove this")
    if found.usd_nano is not None and found.soft_usd_nano is not None and found.soft_usd_nano > found.usd_nano:
        section.wrong("soft_usd", "is above usd: calls are refused before it warns; it has to be lower")
    if found.soft_usd_nano == 0:
        section.wrong("soft_usd", "must be above 0: it would warn of every call; with `usd: 0` nothing is let through")
    if "zone" in entries and "every" not in entries:
        section.wrong("zone", "means nothing without `every`: a budget for good begins at no midnight")
