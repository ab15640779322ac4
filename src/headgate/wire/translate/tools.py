"""What tools of both dialects have in common: names and ids, and which call belongs to which result."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from headgate.core.errors import BadRequest
from headgate.wire.translate import reading
from headgate.wire.translate.report import NOT_TRANSLATABLE, Report

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_NOT_ID = re.compile(r"[^a-zA-Z0-9_-]")
_DIGITS = 16
MAX_ID_TO_OPENAI = 40
MAX_ID_TO_ANTHROPIC = 128
INVALID = "invalid_json"
"""The one member of an input that stands for arguments which are no JSON object."""


def name(value: Any, where: str, longest: int) -> str:
    """A tool's name.

    Raises:
        BadRequest: the other dialect does not take it: answers would name a tool that the caller does not have.
    """
    told = reading.filled(value, where)
    if len(told) > longest or not _NAME.fullmatch(told):
        raise BadRequest(
            f"`{where}` cannot be translated: there, a tool's name is 1 to {longest} letters, digits, _ and -",
            code=NOT_TRANSLATABLE,
        )
    return told


def arguments(value: Any) -> dict[str, Any] | None:
    """A call's arguments as an object; None where they are none. Empty arguments are an empty object."""
    if isinstance(value, dict):
        return value  # some providers do not serialise them
    if value is None or value == "":
        return {}
    try:
        read = reading.parse(value)
    except (TypeError, ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


class Pairing:
    """Calls and their results, over a whole conversation: each call has to be answered in the turn behind it.

    Ids are opaque and kept, but for characters and lengths that the other dialect does not take and for ids used
    before; a result gets its call's.
    """

    __slots__ = ("_longest", "_open", "_used")

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._open: dict[str, str] = {}  # the caller's id: ours
        self._used: set[str] = set()

    def call(self, given: Any, where: str) -> str:
        """A new call's id, as the other dialect is told it."""
        told = reading.filled(given, where)
        if told in self._open:
            raise BadRequest(f"`{where}` is the id of another call of the same turn; ids have to differ")
        fitting = _NOT_ID.sub("_", told)
        if len(fitting) > self._longest:
            fitting = _shortened(told, self._longest)
        number = 1
        while fitting in self._used:  # providers that number the calls of each turn from zero
            number += 1
            fitting = _shortened(f"{told}#{number}", self._longest)
        self._used.add(fitting)
        self._open[told] = fitting
        return fitting

    def lost(self, given: Any) -> None:
        """A call that was dropped: its result is dropped with it."""
        if isinstance(given, str):
            self._open[given] = ""

    @property
    def complete(self) -> bool:
        """Every call has been answered."""
        return not self._open

    def result(self, given: Any, where: str) -> str:
        """The id of the call that this result answers; "" where that was dropped."""
        told = reading.filled(given, where)
        found = self._open.pop(told, None)
        if found is None:
            raise BadRequest(f"`{where}` names no open tool call of the turn before")
        return found

    def closed(self, where: str) -> None:
        """Here every call has to have been answered."""
        if self._open:
            raise BadRequest(f"`{where}`: {len(self._open)} tool call(s) before it have no result")


def _shortened(told: str, longest: int) -> str:
    digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{_NOT_ID.sub('_', told)[: longest - _DIGITS - 1]}_{digest}"


def wrapped(value: Any, report: Report, where: str) -> dict[str, Any]:
    """A call's arguments as the object that Anthropic wants; what is none is wrapped, and reported."""
    read = arguments(value)
    if read is not None:
        return read
    report.lose("tool_arguments", where)
    return {INVALID: value if isinstance(value, str) else reading.dump(value).decode()}
