"""Answers under an inspector's eyes: streams through a gate, whole ones before they are handed on.

The inspector sees what the caller would get, in the caller's dialect. Every attempt has one of its own. What is ours
(refusals, stand-ins) is not inspected.
"""

from __future__ import annotations

from collections.abc import Callable

from headgate.core.errors import ContentBlocked
from headgate.core.exchange import Exchange
from headgate.core.guards import Finding, Inspector
from headgate.wire.dialect import Meter
from headgate.wire.gated import GATED, Gated, blocked, gated
from headgate.wire.whole import inspect_whole

__all__ = ["answer_of", "blocked", "content_blocked", "note", "watched", "whole_frames"]


def watched(exchange: Exchange, inspects: Callable[[], Inspector], meter: Meter, *, keep_text: bool) -> Meter:
    """The meter of a stream, with an inspector behind it where the stream is an answer."""
    endpoint = exchange.request.endpoint
    return gated(endpoint, meter, inspects(), keep_text=keep_text) if endpoint in GATED else meter


def answer_of(exchange: Exchange, inspects: Callable[[], Inspector], body: bytes) -> bytes:
    """A whole answer as it goes out. What the inspector has found is noted.

    Args:
        body: decoded, in the caller's dialect.

    Raises:
        ContentBlocked: none of it does.
    """
    inspector = inspects()
    made = inspect_whole(exchange.request.endpoint, body, inspector)
    _note(exchange, inspector)
    if inspector.stopped is not None:
        raise content_blocked(inspector.stopped)
    return made


def note(exchange: Exchange, meter: Meter) -> Finding | None:
    """Note what was found in a stream; returns what it was stopped for."""
    if not isinstance(meter, Gated):
        return None
    _note(exchange, meter.inspector)
    return meter.blocked


def _note(exchange: Exchange, inspector: Inspector) -> None:
    found = list(inspector.findings)
    if inspector.stopped is not None and inspector.stopped not in found:
        found.append(inspector.stopped)
    exchange.findings += tuple(each for each in found if each not in exchange.findings)


def whole_frames(meter: Meter, rest: bytes) -> bytes:
    """What `Meter.finish` gave back of a stream that was cut, if the caller can read it: only a gate gives back whole
    frames, which had waited in it."""
    return rest if isinstance(meter, Gated) else b""


def content_blocked(finding: Finding) -> ContentBlocked:
    """The refusal of an answer. It names the guard and its reasons, and nothing of the answer."""
    reasons = f" ({', '.join(finding.reasons)})" if finding.reasons else ""
    return ContentBlocked(
        f"the {finding.guard} guard blocked the answer{reasons}", guard=finding.guard, reasons=finding.reasons
    )
