"""Whole answers in the caller's dialect."""

from __future__ import annotations

from typing import Any

from headgate.core.errors import UpstreamBroken
from headgate.wire.translate import reading
from headgate.wire.translate.answer_to_anthropic import to_anthropic
from headgate.wire.translate.answer_to_openai import to_openai
from headgate.wire.translate.report import Report, Translated


def translate_answer(source: str, target: str, body: bytes, *, created: int = 0) -> Translated:
    """A provider's complete 2xx answer in the caller's dialect.

    Args:
        source: the caller's dialect.
        target: the provider's.
        created: seconds since the epoch, for `created` of Chat Completions, which Anthropic does not tell.

    Raises:
        UpstreamBroken: it is no answer, carries an error, or is none that the caller's dialect can say (a turn that
            Anthropic has paused). It may have been billed.
    """
    if source == target:
        return Translated(body)
    answer = _load(body)
    report = Report()
    translated = to_openai(answer, report, created) if source == "openai" else to_anthropic(answer, report)
    return Translated(reading.dump(translated), report.words)


def _load(body: bytes) -> dict[str, Any]:
    try:
        answer = reading.parse(body.decode())
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise UpstreamBroken(
            "the provider's answer is not a JSON object, so it cannot be translated", kind="broken", maybe_billed=True
        )
    if answer.get("error"):
        raise UpstreamBroken(
            "the provider answered 200 with an error, which is no answer to translate", kind="broken", maybe_billed=True
        )
    return answer
