"""Text as every store takes it, as every terminal may be shown it, and as no spreadsheet acts on it."""

from __future__ import annotations

import re
from typing import Any

# Control characters (C0, DEL, C1), line separators, and the marks that turn the reading direction around: names and
# prompts come from strangers, and a terminal obeys what it is shown.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")
_NEXT = re.compile(r"""(;)(?=[ '"]*[=+\-@|%＝＋－＠])""")


def storable(text: str) -> str:
    """Lone surrogates (no UTF-8 has them) and NULs (no text of PostgreSQL's does) become question marks."""
    return sendable(text).replace("\x00", "?")


def sendable(text: str) -> str:
    """Lone surrogates become question marks: JSON can hold half of a pair as an escape, and no UTF-8 can."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def sendable_json(value: Any) -> Any:
    """JSON of a stranger's, decoded, with every text and name in it made `sendable`."""
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, dict):
        return {sendable_json(name): sendable_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [sendable_json(each) for each in value]
    return value


def printable(text: str) -> str:
    """`text` in one line: everything that is not shown as itself becomes a question mark."""
    return "".join(c if c.isprintable() else "?" for c in text)


def safe(text: object) -> str:
    """`text` with everything that a terminal could act on written out as ``\\x1b``."""
    return _UNSAFE.sub(_escaped, str(text))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def csv_cell(text: object) -> str:
    """A stranger's text as a cell of CSV: one that would begin a formula begins with a `'`, and so does what is behind
    a `;` in it, where spreadsheets of many countries begin the next cell, whatever quotes say (OWASP, "CSV
    injection"). What a terminal or a reader could act on is written out."""
    told = str(text)
    plain = _NEXT.sub(r"\1'", safe(told))
    return f"'{plain}" if plain.lstrip(" '\"").startswith(_FORMULA) or told.startswith(_FORMULA) else plain
