"""Whether an answer is what a parser takes: JSON, Python, SQL. Nothing is ever run.

Each reader is bounded in size, and deep nesting is a mistake like any other.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from headgate.policy.guards import sql

LANGUAGES = ("python", "json", "sql")
MAX_CODE = 200_000
"""Characters of Python; SQL has its own bound."""
MAX_DEPTH = 200

NOTHING = object()
"""Stands for no value: null is one."""

Wrong = tuple[str, str]
"""(place, detail) of a mistake; the detail may hold words of the answer."""

_FENCE = re.compile(r"^[ \t]{0,3}(```+|~~~+)[ \t]*([A-Za-z0-9_+.-]*)[^\n`]*$", re.MULTILINE)
_TAGS = {
    "python": frozenset({"", "python", "py", "python3", "pycon"}),
    "sql": frozenset({"", "sql", "postgresql", "postgres", "mysql", "sqlite", "tsql", "plsql"}),
}


def unfenced(text: str) -> str:
    """What is inside the fence where the whole text is one fenced block; else the text."""
    stripped = text.strip()
    blocks = list(fenced(stripped))
    if len(blocks) == 1 and blocks[0][2] == 0 and blocks[0][3] == len(stripped):
        return blocks[0][1]
    return text


def fenced(text: str) -> Iterator[tuple[str, str, int, int]]:
    """The fenced blocks of a Markdown text: (tag, inside, start, end). One that is not closed goes to the end."""
    opened: re.Match[str] | None = None
    for line in _FENCE.finditer(text):
        if opened is None:
            opened = line
        elif line[1].startswith(opened[1]) and not line[2]:
            yield opened[2].lower(), text[opened.end() + 1 : line.start()], opened.start(), line.end()
            opened = None
    if opened is not None:
        yield opened[2].lower(), text[opened.end() + 1 :], opened.start(), len(text)


def read_json(text: str) -> tuple[Any, Wrong | None]:
    """(value, None), or (`NOTHING`, what is wrong). RFC 8259: no NaN, and a key twice is a mistake, because readers
    differ in which they take."""
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        return NOTHING, (f"line {error.lineno}, column {error.colno}", error.msg)
    except RecursionError:
        return NOTHING, ("", "it nests too deeply")
    except ValueError as error:  # ours, or a number with too many digits
        return NOTHING, ("", str(error)[:200])
    if _too_deep(value):
        return NOTHING, ("", f"it nests deeper than {MAX_DEPTH} levels")
    return value, None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _too_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def strings(value: Any) -> list[str]:
    """All strings in a JSON value, keys left out."""
    found, left = [], [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, dict):
            left.extend(each.values())
        elif isinstance(each, list):
            left.extend(each)
    return found


def parse(language: str, text: str, *, fences: bool) -> Wrong | None:
    """What is wrong with the code in an answer; None where all of it parses.

    Args:
        language: of `LANGUAGES`, but JSON, which `read_json` reads.
        fences: code is what the Markdown fences hold that have no tag or one of the language; where there is no fence
            at all, the whole text.
    """
    blocks = [(tag, inside) for tag, inside, _, _ in fenced(text)] if fences else []
    if blocks:
        pieces = [inside for tag, inside in blocks if tag in _TAGS[language]]
        if not pieces:
            return "", f"it has no {language} code in it"
    else:
        pieces = [text]
    read = _python if language == "python" else sql.mistake
    for piece in pieces:
        wrong = read(piece)
        if wrong is not None:
            return wrong
    return None


def _python(source: str) -> Wrong | None:
    if len(source) > MAX_CODE:
        return "", f"it is longer than {MAX_CODE} characters"
    if not source.strip():
        return "", "there is no code"
    try:
        ast.parse(source, "<answer>")
    except SyntaxError as error:
        place = f"line {error.lineno}" if error.lineno else ""
        return place, error.msg
    except (RecursionError, MemoryError):
        return "", "it nests too deeply"
    except ValueError:  # a NUL, a lone surrogate
        return "", "it holds characters that Python source must not have"
    return None
