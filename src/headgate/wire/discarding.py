"""The event that says: what you have of this answer is void, and it begins anew (`on_cut: restart`).

Only for callers that have asked for it: an unmodified SDK puts what came before and what comes now together
(docs/degradation.md). A comment goes before it, for people who look at the bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.wire import sse


def discard(endpoint: str, model: str, *, exchange_id: str, attempt: int, code: str) -> bytes:
    """The comment and the event.

    Args:
        endpoint: "messages", "chat" or "responses".
        model: as the caller asked for it.
        attempt: the number of the one whose text is void.
        code: of its error.
    """
    told: dict[str, Any] = {"exchange": exchange_id, "attempt": attempt, "reason": code}
    comment = f": x-headgate-discard attempt={attempt} reason={code}\n\n".encode()
    if endpoint == "chat":  # a chunk without choices: what has no eye for it takes it for one with usage
        chunk = {"id": f"chatcmpl-{exchange_id}", "object": "chat.completion.chunk", "created": 0, "model": model}
        return comment + sse.encode(msgspec.json.encode({**chunk, "choices": [], "headgate_discard": told}))
    kind = "headgate.discard" if endpoint == "responses" else "headgate_discard"
    return comment + sse.encode(msgspec.json.encode({"type": kind, **told}), kind)
