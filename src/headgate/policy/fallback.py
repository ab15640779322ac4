"""Which models are tried after a failure of which class: `fallback` of a virtual model, and for all of them.

A list takes the place of the model's next routes, for its class. A virtual model in it brings its own list for that
class behind it, so lists may not lead back to where they began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from headgate.policy.error_classes import ANY, FAILURES, PROVIDERS

Lists = Mapping[str, tuple[str, ...]]
"""By class, or "any": names of virtual models, or provider/model, in order."""


def listed(lists: Lists, name: str) -> tuple[str, ...] | None:
    """What a model's lists say of a class; None = nothing. An empty list says: as if there were none."""
    found = lists.get(name)
    return lists.get(ANY) if found is None and name in PROVIDERS else found


def expanded(models: Mapping[str, Lists], model: str, name: str) -> tuple[str, ...] | None:
    """A model's list for a class, each virtual model in it followed by its own. Names are there once.

    `models` has no loop (`loop`); where there is one all the same, it ends.
    """
    first = listed(models.get(model, {}), name)
    if first is None:
        return None
    found: dict[str, None] = {}
    left = [*reversed(first)]
    while left:
        each = left.pop()
        if each in found or each == model:
            continue
        found[each] = None
        left += reversed(listed(models.get(each, {}), name) or ())
    return tuple(found)


def loop(models: Mapping[str, Lists], model: str, name: str) -> tuple[str, ...]:
    """How a model's list for a class leads back to the model: (model, ..., model); () where it does not."""
    came: dict[str, str] = {}
    left = [(each, model) for each in listed(models.get(model, {}), name) or ()]
    while left:
        each, source = left.pop()
        if each == model:
            return (*_way(came, source, model), model)
        if each not in came:
            came[each] = source
            left += [(after, each) for after in listed(models.get(each, {}), name) or ()]
    return ()


def _way(came: Mapping[str, str], to: str, model: str) -> tuple[str, ...]:
    way = [to]
    while way[-1] != model:
        way.append(came[way[-1]])
    return tuple(reversed(way))


def loops(models: Mapping[str, Lists]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(model, class, way) of every model whose list leads back to it."""
    for model in models:
        for name in FAILURES:
            way = loop(models, model, name)
            if way:
                yield model, name, way


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """All lists of a configuration. False where there are none.

    Attributes:
        models: of virtual models, by name.
        default: of every model that says nothing of a class.
    """

    models: Mapping[str, Lists] = field(default_factory=dict)
    default: Lists = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.models or self.default)

    @property
    def of_refusals(self) -> bool:
        """A model's refusal matters to some model."""
        every = (self.default, *self.models.values())
        return any(lists.get("refusal") for lists in every)

    def after(self, models: tuple[str, ...], name: str) -> tuple[str, ...]:
        """What follows a failure of class `name`; () = nothing was told: the next routes.

        Args:
            models: that led to the route, the one asked for first; the last one's word counts most.
        """
        if not name:
            return ()
        for model in reversed(models):
            found = expanded(self.models, model, name)
            if found is not None:
                return found
        # The default is everybody's, so it may name a model that it is itself the default of.
        return tuple(each for each in listed(self.default, name) or () if each not in models)
