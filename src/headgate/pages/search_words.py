"""What people type into the search box: `user:ada tag:team=chat "refund policy" cost>0.01 latency>2s`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.core.search_words import written

__all__ = ["ALIASES", "Words", "read", "summed", "tagged", "written"]

ALIASES = {
    "model": "model",
    "asked": "model_asked",
    "served": "model_served",
    "error": "error_type",
    "code": "error_type",
    "status": "status_code",
    "stop": "stop_reason",
    "correlation": "correlation_id",
    "id": "exchange_id",
    "exchange": "exchange_id",
    "request": "request_id",
    "prompt": "system_prompt_hash",
    "user_id": "user",
    "session_id": "session",
}
"""Words that people use for fields of the log, beside the fields' own names."""

_PART = re.compile(
    r"""(?P<name>[a-z_]{2,32}(?:\.[^\s:"]{1,64})?):(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<value>\S+))"""
    r"""|(?P<measure>cost|latency)>(?P<least>\$?[0-9.]+)(?P<unit>ms|s|min)?(?=\s|$)"""
    r"""|(?P<phrase>"[^"]*")|(?P<word>\S+)"""
)
_UNITS = {"ms": 1.0, "s": 1_000.0, "min": 60_000.0, "": 1_000.0}


@dataclass(frozen=True, slots=True)
class Words:
    """A search, read.

    Attributes:
        text: for the full text; phrases stay in their quotes.
        fields: value by field's name; a tag's is `tag:<its name>`.
        min_cost: USD. min_latency_ms: milliseconds. 0 = any.
        errors: only exchanges that failed.
        unknown: names before a colon that are no field: they are searched as text.
    """

    text: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    min_cost: str = ""
    min_latency_ms: float = 0.0
    errors: bool = False
    unknown: tuple[str, ...] = ()


def read(typed: str, known: frozenset[str]) -> Words:
    """Read a search. In the quotes around a value, two quotes are one that belongs to it.

    Args:
        known: the fields that there are, beside tags.
    """
    words: list[str] = []
    fields: dict[str, str] = {}
    unknown: list[str] = []
    cost, latency, errors = "", 0.0, False
    for part in _PART.finditer(typed):
        name = part["name"]
        if name is not None:
            value = part["value"] if part["quoted"] is None else part["quoted"].replace('""', '"')
            field_name = ALIASES.get(name, name)
            if name == "is" and value in ("error", "failed"):
                errors = True
            elif field_name in known:
                fields[field_name] = value
            elif name == "tag" and "=" in value:
                tag, _, worth = value.partition("=")
                fields[f"tag:{tag}"] = worth
            else:
                unknown.append(name)
                words.append(part.group())
        elif part["measure"] == "cost":
            cost = part["least"].removeprefix("$")
        elif part["measure"]:
            latency = _float(part["least"]) * _UNITS[part["unit"] or ""]
        else:
            words.append(part.group())
    return Words(" ".join(words), fields, cost, latency, errors, tuple(unknown))


def _float(text: str) -> float:
    try:
        return float(text.removeprefix("$"))
    except ValueError:
        return 0.0


def summed(dimension: str, value: str) -> str:
    """The condition that finds what a sum by a dimension counts: a model is the one that served."""
    return written("model_served" if dimension == "model" else dimension, value)


def tagged(tag: str, value: str) -> str:
    """A tag's condition as it is typed; "" where it cannot be: its name has a `=`, or its value is empty.

    An empty value is searched for among those that have no such tag, too.
    """
    return "" if "=" in tag or not value else written("tag", f"{tag}={value}")
