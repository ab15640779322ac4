"""Our own errors on the wire: what both dialects share."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core import errors


def _status_hints(parent: type[errors.HeadgateError]) -> dict[str, int]:
    hints = {parent.code: parent.status_hint}
    for child in parent.__subclasses__():
        hints |= _status_hints(child)
    return hints


_STATUS = _status_hints(errors.HeadgateError)


def status_of(code: str) -> int:
    """The HTTP status that stands for one of our codes where a stream has already begun; 500 for an unknown one."""
    return _STATUS.get(code, 500)


def our_error(body: dict[str, Any], code: str, exchange_id: str) -> bytes:
    """An error body in its dialect's shape, with ours beside it: where `headgate.refusal(error)` finds it."""
    return msgspec.json.encode({**body, "headgate": {"code": code, "exchange": exchange_id}})
