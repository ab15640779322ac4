"""Models as each dialect lists them: entries of either vendor in the other's shape, and Anthropic's pages.

Sources: wire-formats 1.1; the types `ModelInfo` and `Model` of the SDKs anthropic 2.11 and openai 3.52.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec

from headgate.core.errors import BadRequest
from headgate.wire.lenient import count, text

Json = dict[str, Any]

OURS = "headgate"
"""Who owns the virtual models."""

_DEFAULT_LIMIT = 20
_MOST = 1000
_UNKNOWN_DATE = "1970-01-01T00:00:00Z"  # what Anthropic shows where a release date is unknown


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the merged list.

    Attributes:
        id: the name to ask for it.
        owner: the provider that serves it, or `OURS`.
        dialect: whose shape `told` has; "" for a virtual model.
        told: the provider's own object.
    """

    id: str
    owner: str
    dialect: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)

    def shown(self, dialect: str) -> Json:
        """The entry in a dialect's shape. In its provider's own shape it keeps every field, known to us or not."""
        return _as_anthropic(self) if dialect == "anthropic" else _as_openai(self)


def _as_anthropic(entry: Entry) -> Json:
    told = entry.told
    if entry.dialect == "anthropic":
        made: Json = {"type": "model", **told, "id": entry.id}
    else:
        created = count(told.get("created"))
        made = {
            "type": "model",
            "id": entry.id,
            "created_at": _UNKNOWN_DATE if created is None else _date(created),
            # Not known of it, and null in the SDK's type.
            **dict.fromkeys(("capabilities", "deprecated_at", "line", "max_input_tokens", "max_tokens", "retires_at")),
        }
    made["display_name"] = text(told.get("display_name")) or (OURS if entry.owner == OURS else entry.id)
    made.setdefault("created_at", _UNKNOWN_DATE)
    made.setdefault("lifecycle", "active")
    return made


def _as_openai(entry: Entry) -> Json:
    told = entry.told
    if entry.dialect == "openai":
        made: Json = {"object": "model", "created": 0, **told, "id": entry.id}
    else:
        made = {"id": entry.id, "object": "model", "created": _seconds(text(told.get("created_at")))}
    made["owned_by"] = text(made.get("owned_by")) or entry.owner
    return made


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return _UNKNOWN_DATE


def _seconds(date: str) -> int:
    """Seconds since the epoch of an RFC 3339 date; 0 where it is none."""
    try:
        return int(datetime.fromisoformat(date).timestamp())
    except (ValueError, OverflowError):
        return 0


def page(entries: Sequence[Entry], dialect: str, query: bytes) -> bytes:
    """The list, or the page of it that Anthropic's query asks for (`limit`, `after_id`, `before_id`, `lifecycle`).

    A cursor that names no model of the list counts as none, as at Anthropic: the list may have changed in between.

    Raises:
        BadRequest: a `limit` that is not a number from 1 to 1000.
    """
    if dialect != "anthropic":  # OpenAI's has no pages
        return msgspec.json.encode({"object": "list", "data": [entry.shown(dialect) for entry in entries]})
    asked = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    wanted = {*asked.get("lifecycle", ()), *asked.get("lifecycle[]", ())}
    shown = [entry.shown(dialect) for entry in entries]
    listed = [model for model in shown if not wanted or model["lifecycle"] in wanted]
    limit = _limit(asked.get("limit", [""])[-1])
    at = {model["id"]: place for place, model in enumerate(listed)}
    after = at.get(asked.get("after_id", [""])[-1], -1) + 1
    before = at.get(asked.get("before_id", [""])[-1])
    if before is None:
        data, more = listed[after : after + limit], len(listed) > after + limit
    else:
        start = max(after, before - limit)
        data, more = listed[start:before], start > after
    return msgspec.json.encode(
        {
            "data": data,
            "has_more": more,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
    )


def _limit(told: str) -> int:
    if not told:
        return _DEFAULT_LIMIT
    if not (told.isascii() and told.isdecimal() and 1 <= int(told[:9]) <= _MOST):
        raise BadRequest(f"`limit` must be a number from 1 to {_MOST}")
    return int(told)
