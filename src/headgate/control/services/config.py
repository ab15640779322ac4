"""The configuration in force: each setting with its value, and where that comes from. Never a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headgate.control.people import Principal, Right
from headgate.core.money import usd_text
from headgate.core.secret import Secret
from headgate.settings.model import Settings
from headgate.settings.secrets import SecretRef, scrub

if TYPE_CHECKING:
    from headgate.control.context import Control

HIDDEN = "(not shown)"

_APART = frozenset({"source", "warnings", "origins"})
_URLS = frozenset({"storage", "shared", "base_url", "proxy"})
_SUFFIXES = ("_seconds", "_nano", "_basis_points", "_bytes", "_pico_per_token")
_MAX_TEXT = 2_000


class Config:
    """Not for a tenant-admin."""

    def __init__(self, control: Control) -> None:
        self._settings = control.built.settings

    def show(self, who: Principal) -> dict[str, Any]:
        """``{"source", "warnings", "settings": [{"path", "value", "origin"}]}``.

        `path` is the setting's name inside, `retry.deadline_seconds`; `origin` is "headgate.yaml:3:5", a variable of
        the environment, a flag, or "default".
        """
        who.need(Right.READ_ALL)
        settings = self._settings
        shown = [
            {"path": path, "value": value, "origin": _origin(settings, path)} for path, value in _flat(settings, "")
        ]
        return {"source": settings.source, "warnings": list(settings.warnings), "settings": shown}


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value below `path`."""
    if isinstance(value, SecretRef):
        yield path, str(value)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            if not path and each.name in _APART:
                continue
            below = f"{path}.{each.name}" if path else each.name
            found = getattr(value, each.name)
            if each.repr or isinstance(found, SecretRef) or found is None:
                yield from _flat(found, below)
            else:
                yield below, _url(found) if each.name in _URLS else HIDDEN
    elif isinstance(value, Mapping):
        if not value:
            yield path, {}
        for name, each in value.items():
            yield from _flat(each, f"{path}.{name}")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if all(each is None or isinstance(each, str | int | float | bool) for each in value):
            yield path, [_plain(path, each) for each in value]
        else:
            for place, each in enumerate(value):
                yield from _flat(each, f"{path}[{place}]")
    else:
        yield path, _plain(path, value)


def _plain(path: str, value: Any) -> Any:
    """As JSON has it, in the units that people write."""
    if value is None or isinstance(value, bool):
        return value
    name = path.rpartition(".")[2]
    if isinstance(value, int):
        return usd_text(value) if name.endswith("_nano") else value
    if isinstance(value, float):
        return value if abs(value) != float("inf") else None
    if isinstance(value, Secret | bytes):
        return HIDDEN
    text = str(value)
    return scrub(_url(text) if name in _URLS or "://" in text else text)[:_MAX_TEXT]


def _url(text: Any) -> str:
    """A URL without user, password, query and fragment: each of them may be a credential."""
    try:
        parts = urlsplit(str(text))
        if not parts.netloc:
            return str(text).partition("?")[0]
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return HIDDEN


def _origin(settings: Settings, path: str) -> str:
    """Where a value comes from: of its own, or else of the nearest part of the configuration around it."""
    for name in _names(path):
        found = settings.origins.get(name)
        if found is not None:
            return found
    return "default"


def _names(path: str) -> Iterator[str]:
    """What the configuration may call it: the units are not in its names; then what is around it."""
    while path:
        yield path
        for suffix in _SUFFIXES:
            if path.endswith(suffix):
                yield path.removesuffix(suffix)
        path = re.sub(r"(\.[^.\[\]]*|\[\d+\]|^[^.\[\]]*)$", "", path)
