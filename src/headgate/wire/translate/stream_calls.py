"""Tool calls of a Chat Completions stream: whose each fragment is, and when a call is whole."""

from __future__ import annotations

import re
from typing import Any

from headgate.wire.lenient import table, text
from headgate.wire.translate.reading import Json

_SIGNIFICANT = re.compile(r'[\\"{}\[\]]')


class Call:
    """One call, as far as it has come.

    Attributes:
        id, name: "" until told.
        held: pieces of its arguments that have not been handed on.
        told: a piece of its arguments has been handed on.
    """

    __slots__ = ("_begun", "_depth", "_escaped", "_in_string", "held", "id", "name", "number", "told")

    def __init__(self, number: int) -> None:
        self.number = number
        self.id = ""
        self.name = ""
        self.held: list[str] = []
        self.told = False
        self._depth = 0
        self._begun = False
        self._in_string = False
        self._escaped = False

    @property
    def whole(self) -> bool:
        """Its arguments are a complete JSON object: brackets closed."""
        return self._begun and self._depth == 0 and not self._in_string

    def add(self, piece: str) -> None:
        """Hold the next piece of its arguments."""
        self.held.append(piece)
        start = 1 if self._escaped else 0
        self._escaped = False
        skip = -1
        for found in _SIGNIFICANT.finditer(piece, start):
            at, mark = found.start(), found.group()
            if at == skip:
                continue
            if self._in_string:
                if mark == "\\":
                    skip = at + 1
                elif mark == '"':
                    self._in_string = False
            elif mark == '"':
                self._in_string = True
            elif mark in "{[":
                self._depth += 1
                self._begun = True
            elif mark in "}]":
                self._depth -= 1
        if skip == len(piece):
            self._escaped = True


class Fragments:
    """Tells the call of each fragment by its index, and by its id where a provider gives all of them one index."""

    __slots__ = ("_by_index", "_number")

    def __init__(self) -> None:
        self._by_index: dict[int, Call] = {}
        self._number = 0

    def read(self, given: Any) -> tuple[Call, bool, str]:
        """(the call, whether it is new, the next piece of its arguments)."""
        fragment: Json = table(given)
        function = table(fragment.get("function"))
        index = fragment.get("index")
        index = index if type(index) is int else 0
        told, name = text(fragment.get("id")), text(function.get("name"))
        call = self._by_index.get(index)
        new = call is None or bool(told and call.id and told != call.id)
        if call is None or new:
            call = self._by_index[index] = Call(self._number)
            self._number += 1
        call.id = call.id or told
        call.name = call.name or name
        return call, new, text(function.get("arguments"))

    def old(self, given: Any) -> tuple[Call, bool, str]:
        """The same for the old `function_call`, of which there is one."""
        return self.read({"index": 0, "function": given})
