"""Searches as people type them, written: every link of ours to what it is about is made of these words."""

from __future__ import annotations

import re


def written(name: str, value: str) -> str:
    """A field's condition as it is typed: `pages.search_words.read` has exactly this value of it again."""
    if value and not re.search(r"[\s\"]", value):
        return f"{name}:{value}"
    return f'{name}:"{value.replace(chr(34), chr(34) * 2)}"'
