"""Isolation of a request, by its caller's session (decisions 17)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from headgate.core.caller import Caller
from headgate.core.exchange import Request
from headgate.policy.guards.provenance import delimiters
from headgate.wire.isolating import ISOLATED, isolate
from headgate.wire.segments import Segment, segments


def isolated(request: Request, mode: str, key: bytes, found: Sequence[Segment] | None = None) -> Request:
    """The request with the words of third parties marked; the same one, where there is nothing to mark.

    Its body is longer then. Bounds and estimates go by the body that is sent, so it takes the place of the exchange's
    request before any attempt; a cache's key is of the one that came in.

    Args:
        mode: one of `policy.guards.provenance.MARKINGS`.
        key: of the installation, secret, at least 16 bytes.
        found: the body's `segments`, where they are known.
    """
    if request.endpoint not in ISOLATED or not request.body:
        return request
    if found is None:
        found = segments(request.dialect, request.endpoint, request.body)
    by = delimiters(key, session_of(request.caller, found))
    body = isolate(request.dialect, request.endpoint, request.body, found, mode, by)
    return request if body is request.body else replace(request, body=body)


def session_of(caller: Caller, found: Sequence[Segment]) -> str:
    """What the delimiters of a conversation go by: who speaks, and the session; where none is told, the beginning of
    what the user says, which stays the same while the conversation grows."""
    session = caller.session
    if not session:
        first = next((each.text for each in found if each.channel == "user"), "")
        session = hashlib.sha256(first.encode("utf-8", "replace")).hexdigest()
    return "\0".join((caller.tenant, caller.key, caller.user, session))
