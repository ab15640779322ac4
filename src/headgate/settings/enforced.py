"""What this version reads and checks but does not act on yet: one warning line for each, and never silence.

Whoever makes a setting work removes its line here and in docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.settings.fields import DEFAULT
from headgate.settings.model import Settings


def not_enforced(settings: Settings) -> list[str]:
    """The warnings, in the order of the documentation. Values that ask for nothing (`guards: off`) are left out."""
    found: dict[str, list[tuple[str, str]]] = {}  # by kind: (path, origin)
    for label, path, active in _candidates(settings):
        origin = settings.origins.get(path, DEFAULT)
        if active and origin != DEFAULT:
            found.setdefault(label, []).append((path, origin))
    return [_line(label, places) for label, places in found.items()]


def unenforced(settings: Settings) -> frozenset[str]:
    """The paths that somebody has set and that this version does not act on."""
    origin = settings.origins.get
    return frozenset(path for _, path, active in _candidates(settings) if active and origin(path, DEFAULT) != DEFAULT)


def _candidates(s: Settings) -> Iterator[tuple[str, str, bool]]:
    """(kind, path, does it ask for anything) of everything that is not enforced yet."""
    yield from ()


def _line(label: str, places: list[tuple[str, str]]) -> str:
    path, origin = places[0]
    name = path if len(places) == 1 else label
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    plural = label == "alerts"
    return f"{name} ({origin}{more}) {'are' if plural else 'is'} read but not enforced yet"
