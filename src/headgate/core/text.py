"""Text as every store takes it."""

from __future__ import annotations


def storable(text: str) -> str:
    """Lone surrogates (no UTF-8 has them) and NULs (no text of PostgreSQL's does) become question marks."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")
