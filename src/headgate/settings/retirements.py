"""Models that a configuration names, and when models stop answering, from a dated file (docs/cli.md says how to renew
it)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from urllib.parse import urlsplit

from headgate.policy.similar import LOCAL, PYTHON
from headgate.settings.fields import DEFAULT
from headgate.settings.model import Settings

DATA_FILE = "retirements-2026-11-20.json"
DATED = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2}|latest)$")
"""What a model's name may end with."""
_VENDORS = {"api.anthropic.com": "anthropic", "api.openai.com": "openai"}


@dataclass(frozen=True, slots=True)
class Retirement:
    """When a model stops answering. `successor_by`: "vendor" or "line" (the newest of its line, our reading)."""

    retires: date
    successor: str
    successor_by: str
    source: str


@dataclass(frozen=True, slots=True)
class Use:
    """A model that the configuration names, and where."""

    provider: str
    model: str
    path: str
    origin: str


def retirements() -> tuple[str, Mapping[tuple[str, str], Retirement]]:
    """(the file's date, retirement by (vendor, model))."""
    content = json.loads(files("headgate").joinpath("data").joinpath(DATA_FILE).read_text("utf-8"))
    found: dict[tuple[str, str], Retirement] = {}
    for vendor, told in content["providers"].items():
        for each in told["models"]:
            retirement = Retirement(
                date.fromisoformat(each["retires"]), each["successor"], each["successor_by"], told["source"]
            )
            found.update({(vendor, name): retirement for name in each["models"]})
    return content["date"], found


def used(settings: Settings) -> list[Use]:
    """Every model that the configuration names, with its provider as the router would find it."""
    found: list[Use] = []
    origins = settings.origins
    for name, routes in settings.models.items():
        for place, route in enumerate(routes):
            paths = (f"models.{name}[{place}]", f"models.{name}.routes[{place}]", f"models.{name}")
            origin = next((at for path in paths if (at := origins.get(path, DEFAULT)) != DEFAULT), DEFAULT)
            found.append(Use(route.provider, route.model, f"models.{name}", origin))
    named = list(_in_fallbacks(settings))
    named += [(f"tasks.{name}.model", task.model) for name, task in settings.tasks.items()]
    shadows = [(name, task.shadow) for name, task in settings.tasks.items()]
    named += [(f"tasks.{name}.shadow.model", each.model) for name, each in shadows if each is not None]
    named += [(f"tasks.{name}.shadow.judge", each.judge) for name, each in shadows if each is not None]
    if settings.similar is not None and not settings.similar.embedder.startswith((PYTHON, LOCAL)):
        named.append(("similar.embedder", settings.similar.embedder))
    named += [(f"budgets[{place}].then", each.degrade_to) for place, each in enumerate(settings.budgets)]
    for path, model in named:
        if model and model not in settings.models:
            found += [Use(*_served(model, settings), path, origins.get(path, DEFAULT))]
    for priced in settings.prices:
        path = f"prices.{priced}"
        found.append(Use(*_served(priced, settings), path, origins.get(path, DEFAULT)))
    return found


def _in_fallbacks(settings: Settings) -> Iterator[tuple[str, str]]:
    """(path, name) of every list under `fallback`."""
    every = [(f"models.{name}.fallback", each.fallback) for name, each in settings.virtual.items()]
    for path, lists in (*every, ("fallback", settings.fallback)):
        for failure, names in lists.items():
            written = f"{path}.{failure}"
            at = written if settings.origins.get(written, DEFAULT) != DEFAULT else path
            yield from ((at, name) for name in names)


def _served(model: str, settings: Settings) -> tuple[str, str]:
    for mark in ("/", ":"):
        provider, sign, rest = model.partition(mark)
        if sign and provider in settings.providers:
            return provider, rest
    return ("anthropic" if model.startswith("claude") else "openai"), model


def vendor_of(provider: str, settings: Settings) -> str:
    """Whose dates apply: the vendor's at its own host or under its own name; "" for anybody else."""
    told = settings.providers.get(provider)
    if provider in _VENDORS.values():
        return provider
    return _VENDORS.get(urlsplit(told.base_url).hostname or "", "") if told is not None else ""


def retirement_of(vendor: str, model: str, known: Mapping[tuple[str, str], Retirement]) -> Retirement | None:
    """By the model's own name, else by its name without a date."""
    return known.get((vendor, model)) or known.get((vendor, DATED.sub("", model)))
