"""Anthropic Messages <-> OpenAI Chat Completions: requests, answers, streams and errors (wire-formats 4).

In all of it, `source` is the dialect that the caller speaks and `target` the one that serves: requests go from source
to target, answers come back. What cannot be mapped is refused or dropped by policy, and reported by a short word.
"""

from __future__ import annotations

from headgate.core.errors import BadRequest
from headgate.wire.translate import reading
from headgate.wire.translate.answer import translate_answer
from headgate.wire.translate.errors import TranslatedError, error_frame, translate_error
from headgate.wire.translate.report import (
    DEFAULT,
    FEATURES,
    NOT_TRANSLATABLE,
    Choice,
    Feature,
    LossPolicy,
    Report,
    Translated,
)
from headgate.wire.translate.request_to_anthropic import to_anthropic
from headgate.wire.translate.request_to_openai import to_openai
from headgate.wire.translate.same_dialect import other_model
from headgate.wire.translate.stream import AnswerStream

__all__ = [
    "DEFAULT",
    "FEATURES",
    "NOT_TRANSLATABLE",
    "AnswerStream",
    "Choice",
    "Feature",
    "LossPolicy",
    "Translated",
    "TranslatedError",
    "error_frame",
    "translate_answer",
    "translate_error",
    "translate_request",
]


def translate_request(
    source: str,
    target: str,
    body: bytes,
    *,
    model: str,
    max_output_tokens_default: int | None = None,
    max_output_tokens_limit: int | None = None,
    policy: LossPolicy = DEFAULT,
    newest: bool = True,
) -> Translated:
    """A Messages or Chat Completions request in the dialect, and for the model, that will serve it.

    With `source` and `target` the same, it is a hop to another model: thinking is dropped, which belongs to the model
    that wrote it.

    Args:
        source, target: "anthropic" or "openai".
        model: as the target's provider knows it; what it takes is told by its name (`models`).
        max_output_tokens_default: tokens, for a request without a cap where the target requires one.
        max_output_tokens_limit: the most tokens that `model` can answer with; a higher cap is lowered, and reported.
        newest: the provider is the vendor itself, and knows its newest fields (as `Dialect.rewrite`).

    Raises:
        BadRequest: what cannot be understood, or, with the code `NOT_TRANSLATABLE`, what is refused by policy or cannot
            be said in the target's dialect. The message names the field and why.
    """
    report = Report(policy)
    if not model:
        raise BadRequest("no model to translate for")
    request = reading.load(body)
    reading.filled(request.get("model"), "model")
    if source == target:
        translated = other_model(source, request, report, model)
    elif (source, target) == ("anthropic", "openai"):
        translated = to_openai(request, report, model=model, limit=max_output_tokens_limit, newest=newest)
    elif (source, target) == ("openai", "anthropic"):
        translated = to_anthropic(
            request, report, model=model, default=max_output_tokens_default, limit=max_output_tokens_limit
        )
    else:
        raise ValueError(f"no translation from {source} to {target}")
    return Translated(reading.dump(translated), report.words)
