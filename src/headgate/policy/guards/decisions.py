"""What a person, or a program in a person's place, answers about a tool call that waits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headgate.core.approvals import Decision
from headgate.policy.guards.tools import MAX_ARGUMENTS, read_arguments

MAX_NOTE = 500
MAX_BODY = 16 * MAX_ARGUMENTS + 64 * 1024
"""Bytes of a request that brings a decision: a character of arguments is 16 at most, a pair of escapes in a form."""
_FIELDS = frozenset({"decision", "arguments", "reason"})


def read_decision(told: Mapping[str, Any], by: str) -> Decision | None:
    """``{"decision": "approve"|"deny"|"edit", "arguments": {...}, "reason": "..."}``; None: nothing is decided yet.

    Args:
        by: who says so: "cli", "api", "webhook".

    Raises:
        ValueError: it is none. The message repeats nothing of it.
    """
    word = told.get("decision")
    if word is None:
        return None
    if word not in ("approve", "deny", "edit"):
        raise ValueError("decision has to be approve, deny or edit")
    if not set(told) <= _FIELDS:
        raise ValueError("only decision, arguments and reason are known")
    note = told.get("reason", "")
    if not isinstance(note, str) or len(note) > MAX_NOTE or not note.isprintable():
        raise ValueError(f"reason has to be a text of at most {MAX_NOTE} printable characters")
    arguments = told.get("arguments")
    if (arguments is not None) != (word == "edit"):
        raise ValueError("arguments belong to the decision edit, and only to that")
    edited = None if arguments is None else edited_arguments(arguments)
    return Decision(word != "deny", edited, by, note)


def edited_arguments(arguments: Any) -> str:
    """Arguments in place of a model's, as JSON text.

    Args:
        arguments: a JSON object, or the text of one.

    Raises:
        ValueError: they are none.
    """
    written = isinstance(arguments, str)
    text = arguments if written else json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    found = read_arguments(text)
    if found is None or not text.strip():
        raise ValueError(
            f"the arguments have to be one JSON object, without a key twice, of at most {MAX_ARGUMENTS:,} characters"
        )
    return json.dumps(found)
