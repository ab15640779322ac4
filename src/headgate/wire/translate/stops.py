"""Why an answer ended, in the words of either dialect (wire-formats 4)."""

from __future__ import annotations

from headgate.wire.translate.report import Report

_TO_OPENAI = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_TO_ANTHROPIC = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
UNFINISHED = ("pause_turn", "compaction")
"""Stop reasons of Anthropic's that are no ending: the provider waits for another request."""


def to_openai(reason: str, report: Report) -> str:
    """A `stop_reason`, which is not one of `UNFINISHED`, as a `finish_reason`; one that is not known is `stop`."""
    told = _TO_OPENAI.get(reason)
    if told is None:
        report.note("stop_reason")
    return told or "stop"


def to_anthropic(reason: str, *, called: bool, refused: bool, report: Report) -> str:
    """A `finish_reason` as a `stop_reason`.

    Args:
        called: the answer calls tools. A forced call, and some providers' every call, ends with `stop`.
        refused: the answer is a refusal, which ends with `stop` too.
    """
    told = _TO_ANTHROPIC.get(reason)
    if told is None:
        report.note("stop_reason")
    if told is None or told == "end_turn":
        return "refusal" if refused else "tool_use" if called else "end_turn"
    return told
