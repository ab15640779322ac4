"""Whether an answer is the model's refusal. It is a complete answer all the same (wire-formats 1.4, 2.2).

Looked for only where something is to follow it.
"""

from __future__ import annotations

import re

STOP_REASONS = frozenset({"refusal", "content_filter"})
"""Anthropic's own word; OpenAI's, and its compatibles', for what a filter has stopped."""

# As bytes: a quote inside the answer's text is escaped, so only the answer's own structure looks like this.
_SAID = {
    "chat": re.compile(rb'"refusal"\s*:\s*"[^"]'),
    "responses": re.compile(rb'"type"\s*:\s*"(?:refusal|response\.refusal\.delta)"'),
}


def is_refusal(endpoint: str, stop_reason: str, answer: bytes) -> bool:
    """Whether the model, or a filter on it, has refused.

    Args:
        endpoint: as `dialect.Dialect.endpoint` names it.
        stop_reason: as the answer says, "" where it has not yet.
        answer: a JSON body, or a stream's frames so far.
    """
    if stop_reason in STOP_REASONS:
        return True
    said = _SAID.get(endpoint)
    return said is not None and said.search(answer) is not None
