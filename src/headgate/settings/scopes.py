"""`per:` and `only:` of budgets and limits: whose calls are counted together, and which calls count at all."""

from __future__ import annotations

from collections.abc import Collection

from headgate.policy.budgets import TAG
from headgate.settings.fields import Section, complaint, suggestion
from headgate.settings.policies import DIMENSIONS, Names, dimension
from headgate.settings.tree import Items, Table, shown
from headgate.settings.units import text_up_to

_MAX_DIMENSIONS = 8
_MAX_VALUE = 256  # characters: callers' values are cut there (policy.attribution)


class ScopeReader:
    """Reads both, of one kind of entry."""

    def __init__(self, names: Names, served: Collection[str], what: str, more: tuple[str, ...] = ()) -> None:
        """
        Args:
            served: the models of virtual models' routes.
            what: the kind of entry, for messages: "budget", "limit".
            more: dimensions that this kind has beside those of `DIMENSIONS`.
        """
        self._names = names
        self._served = served
        self._what = what
        self._more = more

    def per(self, section: Section) -> tuple[str, ...]:
        """`per: user`, or `per: [tenant, user]`, in one order whatever the order written: it is the same scope."""
        if not isinstance(section.table.entries.get("per"), Items):
            one = section.take("per", self._dimension, "")
            return (one,) if one else ()
        found = section.texts("per", self._dimension)
        twice = sorted({name for name in found if found.count(name) > 1})
        if twice:
            section.wrong("per", f"names {shown(twice[0])} twice: keep one")
        self._few(section, "per", len(found))
        order = {name: place for place, name in enumerate((*DIMENSIONS, *self._more))}
        return tuple(sorted(set(found), key=lambda name: (order.get(name, len(order)), name.removeprefix(TAG))))

    def only(self, section: Section, key: str | None) -> tuple[tuple[str, str], ...]:
        """`only: {tenant: acme}`, sorted. `key`: the name of the key whose section it is."""
        node = section.node("only")
        filters = Section(
            section.context, node, section.at("only"), tuple(node.entries) if isinstance(node, Table) else ()
        )
        found = {}
        for name, where in filters.table.keys.items():
            section.context.keys[filters.at(name)] = where
            try:
                self._dimension(name)
            except ValueError as error:
                section.context.wrong_name(filters.at(name), complaint(error, name))
            if name == "key" and key is not None:
                section.context.wrong_name(filters.at(name), f"a key's own {self._what}s are for its calls already")
            found[name] = filters.take(name, text_up_to(_MAX_VALUE), "")
        self._few(section, "only", len(found))
        self._check_only(filters, found)
        return tuple(sorted(found.items()))

    def _check_only(self, filters: Section, found: dict[str, str]) -> None:
        providers = self._names.providers
        provider, model = found.get("provider", ""), found.get("model", "")
        if provider and provider not in providers:
            hint = suggestion(provider, tuple(providers), label="providers")
            filters.wrong("provider", f"no provider is named {shown(provider)}{hint}")
        if model in self._names.models and model not in self._served:
            filters.wrong("model", f"{shown(model)} is a virtual model; name the one that serves, as its provider does")

    def _dimension(self, text: str) -> str:
        return dimension(text, self._more)

    def _few(self, section: Section, key: str, count: int) -> None:
        if count > _MAX_DIMENSIONS:
            section.wrong(key, f"has {count} dimensions, and a {self._what} has at most {_MAX_DIMENSIONS}")
