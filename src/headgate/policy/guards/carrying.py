"""Whether an address carries data: in its query, its path, its fragment, or the labels of its host."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterable
from urllib.parse import unquote, unquote_plus

_BLOB = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){8,}")
_PLACEHOLDER = re.compile(r"\[[A-Za-z][A-Za-z_ ]{1,40}[_ -][0-9]{1,6}\b")
_WORD = re.compile(r"[^\W\d_]{2,}")
_SPLIT = re.compile(r"[&;=]")
_LONG_VALUE = 40
_LONG_LABEL = 24
_MANY_WORDS = 4
_TOLD = 6  # characters of a value that stands in the conversation and is data there


class Private:
    """What the conversation holds: what an address must not tell.

    Args:
        trusted: texts of the application and of the user.
        others: documents, tool results, earlier answers.
    """

    __slots__ = ("_all", "_lower", "_trusted")

    def __init__(self, trusted: Iterable[str] = (), others: Iterable[str] = ()) -> None:
        self._trusted = "\n".join(trusted)
        self._all = "\n".join((self._trusted, *others))
        self._lower: str | None = None

    def trusts(self, address: str) -> bool:
        """Whether the application or the user has written this very address, or one that begins so."""
        return len(address) > _TOLD and address in self._trusted

    def holds(self, text: str) -> bool:
        """Whether it stands in the conversation as it is."""
        return bool(text) and text in self._all

    def tells(self, value: str) -> bool:
        """Whether a value of an address is one of the conversation: an address, a number, a name with digits in it, or
        some words in a row."""
        if len(value) < _TOLD or not (any(c.isdigit() or c == "@" for c in value) or len(_WORD.findall(value)) > 2):
            return False
        if self._lower is None:
            self._lower = self._all.lower()
        return value.lower() in self._lower


def carries(host: str, rest: str, private: Private, *, strict: bool, whole: bool) -> bool:
    """Whether it carries data.

    Args:
        host: lower case.
        rest: path, query and fragment, as far as they have come.
        strict: whatever could be data is.
        whole: nothing comes behind `rest`: a value is at its end.
    """
    before, _, fragment = rest.partition("#")
    path, _, query = before.partition("?")
    if any(len(label) > _LONG_LABEL or _tells(label) for label in host.split(".")):
        return True
    if strict and (query or len(fragment) >= _LONG_LABEL or host.count(".") > 4):
        return True
    values = [unquote_plus(value) for value in (*_SPLIT.split(query), *_SPLIT.split(fragment))]
    segments = [unquote(segment) for segment in path.split("/")]
    if any(len(v) >= _LONG_VALUE or len(_WORD.findall(v)) > _MANY_WORDS or _tells(v) or _random(v) for v in values):
        return True
    if any(_tells(segment) or (strict and (_random(segment) or " " in segment)) for segment in segments):
        return True
    return whole and any(private.tells(value) for value in (*values, *segments))


def _tells(value: str) -> bool:
    """It is text in an encoding, or stands for a value that was taken out of the request."""
    return _PLACEHOLDER.search(value) is not None or any(_readable(decoded) for decoded in _decoded(value))


def _decoded(value: str) -> Iterable[bytes]:
    for found in _HEX.finditer(value):
        yield bytes.fromhex(found.group())
    for found in _BLOB.finditer(value):
        blob = found.group().rstrip("=").replace("-", "+").replace("_", "/")
        try:
            yield base64.b64decode(blob[: len(blob) // 4 * 4])
        except (binascii.Error, ValueError):
            continue


def _readable(decoded: bytes) -> bool:
    shown = sum(32 <= byte < 127 for byte in decoded)
    letters = sum(65 <= (byte & 0xDF) <= 90 or byte == 32 for byte in decoded)
    return len(decoded) >= 8 and shown == len(decoded) and letters * 2 >= len(decoded)


def _random(value: str) -> bool:
    """It looks like a key or a digest: long, of many different characters, digits and letters mixed."""
    if len(value) < _LONG_LABEL or not any(c.isdigit() for c in value) or not any(c.isalpha() for c in value):
        return False
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return entropy > 3.3 and " " not in value
