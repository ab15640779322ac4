"""`models:` and `fallback:`: virtual models, which are routes in order, routes with a preference, or rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from headgate.policy.error_classes import ANY, FAILURES
from headgate.policy.fallback import Fallbacks, Lists, loops
from headgate.policy.preferences import PREFERENCES, Virtual
from headgate.policy.rules import DIMENSIONS, Rule, When
from headgate.settings.fields import Context, Section, read_texts, suggestion
from headgate.settings.lossy import read_lossy
from headgate.settings.model import ProviderSettings, RouteName, Settings, VirtualSettings, frozen
from headgate.settings.providers import check_routes, route_name
from headgate.settings.tree import Items, Table, shown
from headgate.settings.units import one_of, switch, text_up_to, whole

MODEL_KEYS = ("routes", "prefer", "rules", "use", "fallback", "lossy")
ROUTE_KEYS = ("to", "weight", "quality")
RULE_KEYS = ("when", "use")
_COUNTS = ("max_input_tokens", "min_input_tokens", "max_output_tokens", "min_output_tokens")
_SWITCHES = ("tools", "media", "stream")
WHEN_KEYS = (*DIMENSIONS, *_COUNTS, *_SWITCHES)
_FALLBACK_KEYS = (*FAILURES, ANY)

_tokens = whole(0, 100_000_000)
_word = text_up_to(200)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadModels:
    """What `models:` and `fallback:` say.

    Attributes:
        routes: of each virtual model, in the order written; of one with rules, all that they can lead to.
        names: every name under `models:`, those with mistakes too: who refers to one of these is not wrong.
        virtual: of those that are more than routes in order.
        fallback: the top level's.
    """

    routes: Mapping[str, tuple[RouteName, ...]]
    names: frozenset[str]
    virtual: Mapping[str, VirtualSettings]
    fallback: Lists


def read_models(root: Section, providers: Mapping[str, ProviderSettings]) -> ReadModels:
    """`models:` and `fallback:`."""
    context = root.context
    entries = list(root.named("models"))
    reader = _Reader(context, providers, frozenset(name for name, _, _ in entries))
    routes: dict[str, tuple[RouteName, ...]] = {}
    virtual: dict[str, VirtualSettings] = {}
    for name, node, path in entries:
        if not name or len(name) > 128 or any(ch in "/: " for ch in name):
            context.wrong_name(path, "a virtual model's name has 1 to 128 characters and no /, : or space")
        if isinstance(node, Table):
            routes[name], virtual[name] = reader.virtual(name, node, path)
            continue
        routes[name] = read_texts(context, node, path, reader.route)
        check_routes(context, node, path, routes[name])
    for name in virtual:
        if virtual[name].use:
            routes[name] = _led_to(name, routes, virtual, reader)
    reader.check_fallbacks(routes, virtual)
    fallback = reader.lists(root, "fallback", "") if "fallback" in root.table.entries else frozen({})
    known = {name: found for name, found in routes.items() if found}
    return ReadModels(frozen(known), reader.names, frozen(virtual), fallback)


def virtual_of(settings: Settings) -> Mapping[str, Virtual]:
    """What the router has to know of virtual models besides their routes, by name."""
    return frozen(
        {
            name: Virtual(
                prefer=each.prefer,
                weights=frozen({_spot(route): each.weights.get(str(route), 1) for route in settings.models[name]}),
                rules=each.rules,
                use=each.use,
            )
            for name, each in settings.virtual.items()
            if each.prefer or each.use
        }
    )


def ordered(settings: Settings, name: str) -> tuple[RouteName, ...]:
    """A virtual model's routes, the best first where quality is preferred; else in the order written."""
    routes, virtual = settings.models[name], settings.virtual.get(name)
    if virtual is None or virtual.prefer != "quality":
        return routes
    return tuple(sorted(routes, key=lambda route: -virtual.qualities[str(route)]))


def fallbacks_of(settings: Settings) -> Fallbacks:
    """The lists of all models, and the top level's."""
    models = {name: each.fallback for name, each in settings.virtual.items() if each.fallback}
    return Fallbacks(frozen(models), settings.fallback)


def _spot(route: RouteName) -> tuple[str, str]:
    return route.provider, route.model


def _led_to(
    name: str,
    routes: Mapping[str, tuple[RouteName, ...]],
    virtual: Mapping[str, VirtualSettings],
    reader: _Reader,
) -> tuple[RouteName, ...]:
    """All routes that a model's rules can lead to, each once, in the order written. Rules in a circle are mistakes."""
    found: dict[RouteName, None] = {}
    seen = set()
    left = [name]
    while left:
        each = left.pop()
        seen.add(each)
        rules = virtual.get(each)
        if rules is None or not rules.use:
            found.update(dict.fromkeys(routes[each] if each in reader.names else (reader.route(each),)))
            continue
        uses = [use for use in dict.fromkeys((*(rule.use for rule in rules.rules), rules.use)) if use]
        if name in uses:
            reader.context.wrong(
                f"models.{name}", f"its rules lead back to {shown(name)} itself, so that no model ever serves"
            )
        left += [use for use in reversed(uses) if use not in seen]
    return tuple(found)


class _Reader:
    """Reads models and lists of them; knows which names there are."""

    def __init__(self, context: Context, providers: Mapping[str, ProviderSettings], names: frozenset[str]) -> None:
        self.context = context
        self.names = names
        self.route = partial(route_name, providers=providers)

    def virtual(self, name: str, node: Table, path: str) -> tuple[tuple[RouteName, ...], VirtualSettings]:
        """One model in its long form: (its own routes, the rest)."""
        section = Section(self.context, node, path, MODEL_KEYS)
        rules = self._rules(section)
        ruled = "rules" in node.entries
        if ruled and "routes" in node.entries:
            section.wrong("rules", "stand beside routes: a virtual model has the ones or the others")
        if ruled and "use" not in node.entries:
            section.wrong("use", "is missing: the model for calls that no rule is about")
        if not ruled and "use" in node.entries:
            section.wrong("use", "means nothing without rules: add them, or name routes")
        if not ruled and "routes" not in node.entries:
            self.context.wrong(
                path, "a virtual model needs routes, like {routes: [anthropic/claude-haiku-4-5]}, or rules"
            )
        use = section.take("use", self._target, "")
        routes, weights, qualities = self._routes(section)
        prefer = section.take("prefer", one_of(PREFERENCES), "")
        _check_preference(section, prefer, ruled, weights, qualities, len(routes))
        return routes, VirtualSettings(
            prefer=prefer or ("weight" if weights else ""),
            weights=frozen(weights),
            qualities=frozen(qualities),
            rules=rules,
            use=use if ruled else "",
            fallback=self.lists(section, "fallback", name),
            lossy=read_lossy(section),
        )

    def _target(self, text: str) -> str:
        """A virtual model, or provider/model. Raises ValueError."""
        if text in self.names:
            return text
        if "/" in text or ":" in text:
            return str(self.route(text))
        hint = suggestion(text, tuple(sorted(self.names)), label="virtual models")
        raise ValueError(f"no virtual model is named {shown(text)}, and it is no provider/model{hint}")

    def _routes(self, section: Section) -> tuple[tuple[RouteName, ...], dict[str, int], dict[str, int]]:
        """(routes, weights, qualities), the latter by provider/model."""
        found: list[RouteName] = []
        weights: dict[str, int] = {}
        qualities: dict[str, int] = {}
        for node, path in section.items("routes"):
            if not isinstance(node, Table):
                found += read_texts(self.context, Items(node.where, [node]), path, self.route)
                continue
            each = Section(self.context, node, path, ROUTE_KEYS)
            if "to" not in node.entries:
                self.context.wrong(path, "a route needs `to`, like {to: anthropic/claude-haiku-4-5, weight: 3}")
            to = each.take("to", self.route, None)
            weight = each.take("weight", whole(0, 1_000_000), None)
            quality = each.take("quality", whole(0, 100), None)
            if to is not None:
                found.append(to)
                weights |= {} if weight is None else {str(to): weight}
                qualities |= {} if quality is None else {str(to): quality}
        routes = section.table.entries.get("routes")
        if routes is not None:
            check_routes(self.context, routes, section.at("routes"), tuple(found))
        return tuple(found), weights, qualities

    def _rules(self, section: Section) -> tuple[Rule, ...]:
        found = []
        for node, path in section.items("rules"):
            each = Section(self.context, node, path, RULE_KEYS)
            when = self._when(each)
            if isinstance(node, Table) and when == When():
                each.wrong("when", "asks for nothing, so that no later rule counts: write such a model as `use`")
            if isinstance(node, Table) and "use" not in node.entries:
                each.wrong("use", "is missing: the model that serves such calls")
            found.append(Rule(when, each.take("use", self._target, "")))
        return tuple(found)

    def _when(self, rule: Section) -> When:
        section = rule.section("when", WHEN_KEYS)
        asked = ((name, self._one_or_more(section, name, _word)) for name in DIMENSIONS)
        counts = {name: section.take(name, _tokens, None) for name in _COUNTS}
        for what in ("input", "output"):
            least, most = counts[f"min_{what}_tokens"], counts[f"max_{what}_tokens"]
            if least is not None and most is not None and least > most:
                section.wrong(f"min_{what}_tokens", f"is above max_{what}_tokens: no call is like that")
        tools, media, stream = (section.take(name, switch, None) for name in _SWITCHES)
        callers = tuple((name, frozenset(values)) for name, values in asked if values)
        return When(callers, **counts, tools=tools, media=media, stream=stream)

    def _one_or_more(self, section: Section, key: str, read: Callable[[str], T]) -> tuple[T, ...]:
        """`a`, or `[a, b]`."""
        if isinstance(section.table.entries.get(key), Items):
            return section.texts(key, read)
        one = section.take(key, read, None)
        return () if one is None else (one,)

    def lists(self, section: Section, key: str, name: str) -> Lists:
        """`fallback:`, lists by class; a list alone is for any class. `name`: the virtual model whose they are."""
        node = section.table.entries.get(key)
        if node is not None and not isinstance(node, Table):
            return frozen({ANY: self._list(section, key, name)})
        classes = section.section(key, _FALLBACK_KEYS)
        return frozen(
            {each: self._list(classes, each, name) for each in classes.table.entries if each in _FALLBACK_KEYS}
        )

    def _list(self, section: Section, key: str, name: str) -> tuple[str, ...]:
        def read(text: str) -> str:
            if text == name:
                raise ValueError(f"{shown(text)} would fall back to itself: name other models")
            return self._target(text)

        found = self._one_or_more(section, key, read)
        if len(set(found)) < len(found):
            section.wrong(key, "names one model twice: keep one")
        return found

    def check_fallbacks(
        self, routes: Mapping[str, tuple[RouteName, ...]], virtual: Mapping[str, VirtualSettings]
    ) -> None:
        """No list leads back to where it began, and none is of the model's own only route."""
        every = {name: each.fallback for name, each in virtual.items()}
        told: set[frozenset[str]] = set()
        for name, failure, way in loops(every):
            if frozenset(way) not in told:
                told.add(frozenset(way))
                self.context.wrong(
                    _list_path(name, failure, every[name]),
                    f"leads in a circle: {' -> '.join(way)}. Name routes (provider/model) in place of a virtual model: "
                    "they bring no list of their own",
                )
        for name, lists in every.items():
            alone = {str(route) for route in routes.get(name, ())}
            for failure, listed in lists.items():
                if len(alone) == 1 and listed and alone >= set(listed):
                    self.context.wrong(
                        _list_path(name, failure, lists), f"is {listed[0]}, which is the route that has failed by then"
                    )


def _list_path(name: str, failure: str, lists: Lists) -> str:
    return f"models.{name}.fallback.{failure if failure in lists else ANY}"


def _check_preference(
    section: Section, prefer: str, ruled: bool, weights: Mapping[str, int], qualities: Mapping[str, int], count: int
) -> None:
    if prefer and ruled:
        section.wrong("prefer", "means nothing beside rules: it is of the models that they lead to")
    if weights and prefer:
        section.wrong("prefer", "stands beside weights: routes are drawn by weight, or ordered by preference")
    if weights and not any(weights.values()) and len(weights) == count:
        section.wrong("routes", "have no weight above 0: none would ever be the first")
    if qualities and prefer != "quality":
        section.wrong("routes", "have a quality, which means nothing without `prefer: quality`")
    if prefer == "quality" and len(qualities) < count:
        section.wrong("routes", "need a quality each, 0 to 100, for `prefer: quality`")
