"""Text as every store takes it, as every terminal may be shown it, and as no spreadsheet acts on it."""

from __future__ import annotations

import re

# Control characters (C0, DEL, C1), line separators, and the marks that turn the reading direction around: names and
# prompts come from strangers, and a terminal obeys what it is shown.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")


def storable(text: str) -> str:
    """Lone surrogates (no UTF-8 has them) and NULs (no text of PostgreSQL's does) become question marks."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")


def safe(text: object) -> str:
    """`text` with everything that a terminal could act on written out as ``\\x1b``."""
    return _UNSAFE.sub(_escaped, str(text))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def csv_cell(text: object) -> str:
    """A stranger's text as a cell of CSV: one that would begin a formula begins with a `'` (OWASP, "CSV injection"),
    and what a terminal or a reader could act on is written out."""
    told = str(text)
    plain = safe(told)
    return f"'{plain}" if plain.lstrip(" '\"").startswith(_FORMULA) or told.startswith(_FORMULA) else plain
