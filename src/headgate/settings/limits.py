"""`limits:`, everybody's and those of keys: read, checked against each other, and as the core's limits."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from headgate.core.limits import Limit
from headgate.settings.fields import DEFAULT, Context, Section
from headgate.settings.model import LimitSettings, Settings
from headgate.settings.policies import Names
from headgate.settings.scopes import ScopeReader
from headgate.settings.traffic import REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE
from headgate.settings.tree import Node, Table
from headgate.settings.units import one_of

LIMIT_KEYS = ("per", "only", "requests_per_minute", "tokens_per_minute", "then")
ADDRESS = "address"
"""The dimension that budgets do not have: the caller's network address."""

_RATES = ("requests_per_minute", "tokens_per_minute")


def limits_of(settings: Settings) -> tuple[Limit, ...]:
    """Every limit that the configuration asks for: everybody's, then those of keys, with where each is written."""
    found = [
        _limit(each, settings.origins.get(f"limits[{number}]", DEFAULT)) for number, each in enumerate(settings.limits)
    ]
    for place, key in enumerate(settings.keys):
        for number, each in enumerate(key.limits):
            found.append(_limit(each, settings.origins.get(f"keys[{place}].limits[{number}]", DEFAULT), key.name))
    return tuple(found)


def _limit(entry: LimitSettings, source: str, key: str | None = None) -> Limit:
    """`key`: whose own it is."""
    return Limit(
        per=entry.per,
        requests_per_minute=entry.requests_per_minute,
        tokens_per_minute=entry.tokens_per_minute,
        only=entry.only if key is None else tuple(sorted((*entry.only, ("key", key)))),
        source=source,
        queues=entry.queues,
    )


class LimitReader:
    """Reads the lists of limits, and sees whether two of them are about the same."""

    def __init__(self, names: Names, served: Collection[str]) -> None:
        """`served`: the models of virtual models' routes."""
        self._scopes = ScopeReader(names, served, "limit", (ADDRESS,))
        self._found: dict[object, tuple[Limit, str]] = {}  # by scope, filter and unit, with the path it is written at

    def read(self, section: Section, *, key: str | None = None) -> tuple[LimitSettings, ...]:
        """The `limits:` of a section. `key`: the name of the key whose section it is."""
        return tuple(self._read(section.context, node, path, key) for node, path in section.items("limits"))

    def _read(self, context: Context, node: Node, path: str, key: str | None) -> LimitSettings:
        before = len(context.mistakes)
        section = Section(context, node, path, LIMIT_KEYS)
        if isinstance(node, Table) and not any(rate in node.entries for rate in _RATES):
            context.wrong(path, "a limit needs requests_per_minute or tokens_per_minute")
        found = LimitSettings(
            per=self._scopes.per(section),
            requests_per_minute=section.take("requests_per_minute", REQUESTS_PER_MINUTE, None),
            tokens_per_minute=section.take("tokens_per_minute", TOKENS_PER_MINUTE, None),
            only=self._scopes.only(section, key),
            queues=section.take("then", one_of(("refuse", "queue")), "refuse") == "queue",
        )
        if key != "" and len(context.mistakes) == before:  # a key without a name is a mistake already
            self._keep(context, path, _limit(found, context.origins[path], key))
        return found

    def _keep(self, context: Context, path: str, limit: Limit) -> None:
        for rate in _units(limit):
            other, where = self._found.setdefault((limit.per, limit.only, rate), (limit, path))
            if other is not limit:
                context.wrong(
                    path, f"limits {rate} of the same calls as {where} ({other.source}): the lower one counts, keep it"
                )


def _units(limit: Limit) -> Iterator[str]:
    if limit.requests_per_minute is not None:
        yield "requests"
    if limit.tokens_per_minute is not None:
        yield "tokens"
