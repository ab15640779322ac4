"""What the argument of a tool call has to be like, for a rule to be about the call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from headgate.policy.guards.patterns import Glob, Regex

MAX_VALUE = 4_096
"""Characters of a text that is compared; of a longer one it cannot be told."""
MAX_VALUES = 1_000
"""Values that one path leads to; of more it cannot be told."""

_LABELS = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_ABSENT = object()
_MOST_ENCODED = 4  # times that a path may be percent-encoded over and over


@dataclass(frozen=True, slots=True)
class ArgumentTest:
    """What one value is compared with; all that is told has to fit.

    Attributes:
        glob: a text, with `*` for any characters.
        regex: a text, all of it.
        among: exactly one of these JSON scalars.
        prefixes: a URL or a path at or below one of them: a text that begins so, goes on with a new segment, and does
            not climb up again (`..`, also percent-encoded, and backslashes).
        domains: the host of a URL, or the domain of an e-mail address, is one of them; `*.acme.example` is any below.
        least, most: a number, both included.
    """

    glob: Glob | None = None
    regex: Regex | None = None
    among: tuple[str | int | float | bool | None, ...] = ()
    prefixes: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None

    def fits(self, value: object) -> bool | None:
        """Whether the value is as told. None: it cannot be told, since it is too long or of another kind."""
        unsure = False
        for told in self._each(value):
            if told is False:
                return False
            unsure = unsure or told is None
        return None if unsure else True

    def _each(self, value: object) -> Iterator[bool | None]:
        if self.among:
            yield any(_same(value, each) for each in self.among)
        if self.least is not None or self.most is not None:
            yield self._in_range(value)
        if self.glob is None and self.regex is None and not self.prefixes and not self.domains:
            return
        if not isinstance(value, str) or len(value) > MAX_VALUE:
            yield None
            return
        if self.glob is not None:
            yield self.glob.fits(value)
        if self.regex is not None:
            yield self.regex.fits(value)
        if self.prefixes:
            below = [is_below(value, prefix) for prefix in self.prefixes]
            yield True if True in below else None if None in below else False
        if self.domains:
            domain = domain_of(value)
            yield None if domain is None else any(in_domain(domain, each) for each in self.domains)

    def _in_range(self, value: object) -> bool | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of the values at one path of the arguments.

    Attributes:
        path: keys of objects; a key that leads into a list leads into each of its items.
    """

    path: tuple[str, ...]
    test: ArgumentTest

    def holds(self, arguments: dict[str, Any], *, for_sure: bool) -> bool:
        """Whether the arguments are as told.

        Args:
            for_sure: every value that the path leads to has to fit, and there has to be one: for rules that allow. Else
                one that fits, or of which it cannot be told, is enough: for rules that block.
        """
        found = list(_values(arguments, self.path))
        if len(found) > MAX_VALUES:
            return not for_sure
        told = [None if value is _ABSENT else self.test.fits(value) for value in found if value is not _ABSENT]
        if for_sure:
            return bool(told) and len(told) == len(found) and all(told)
        return any(each is not False for each in told)


def _values(value: object, path: tuple[str, ...]) -> Iterator[object]:
    """Bounded: a few more than `MAX_VALUES` at most."""
    left: list[tuple[object, int]] = [(value, 0)]
    count = 0
    while left and count <= MAX_VALUES:
        one, depth = left.pop()
        if isinstance(one, list):
            left += [(each, depth) for each in reversed(one[: MAX_VALUES + 1])]
            if not one:
                count += 1
                yield _ABSENT
        elif depth == len(path):
            count += 1
            yield one
        elif isinstance(one, dict) and path[depth] in one:
            left.append((one[path[depth]], depth + 1))
        else:
            count += 1
            yield _ABSENT


def _same(value: object, other: object) -> bool:
    # In Python True == 1: not in JSON.
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def is_below(value: str, prefix: str) -> bool | None:
    """Whether a URL or a path is `prefix` or lies below it. None: it begins so, and is written so that it may lead
    elsewhere."""
    if not value.startswith(prefix):
        return False
    rest = value[len(prefix) :]
    if rest and not prefix.endswith(("/", ":")) and rest[0] not in "/?#":
        return False  # https://acme.example.evil.example begins with https://acme.example
    if any(char <= " " or char in "\\\x7f" for char in value):
        return None
    where = rest.partition("#")[0].partition("?")[0] if "://" in prefix else rest
    for _ in range(_MOST_ENCODED):
        if ".." in re.split(r"[/\\;]", where) or "\\" in where or "\x00" in where:
            return None
        plain = unquote(where)
        if plain == where:
            return True
        where = plain
    return None


def domain_of(value: str) -> str | None:
    """The host of an http(s) URL, or the domain of an e-mail address, in lower case; None where it is neither, or is
    written so that programs could read different hosts from it."""
    if not value.isascii() or any(char <= " " or char in "\\\x7f<>\"'" for char in value):
        return None
    if "://" in value:
        try:
            url = urlsplit(value)
            host, user, _ = url.hostname, url.username, url.port
        except ValueError:
            return None
        if url.scheme.lower() not in ("http", "https", "ws", "wss", "ftp") or user is not None or "@" in url.netloc:
            return None
    else:
        local, at, host = value.rpartition("@")
        if not at or not local or any(char in local for char in "@,;:()[]"):
            return None
    host = (host or "").rstrip(".").lower()
    return host if _LABELS.fullmatch(host) else None


def in_domain(domain: str, pattern: str) -> bool:
    """`acme.example` is that host; `*.acme.example` any host below it."""
    if pattern.startswith("*."):
        return domain.endswith(pattern[1:]) and len(domain) >= len(pattern)
    return domain == pattern
