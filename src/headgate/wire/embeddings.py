"""OpenAI's Embeddings, and requests that need no more than a model: Moderations, counting tokens (wire-formats 2.2)."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.errors import BadRequest
from headgate.core.exchange import Facts
from headgate.wire import bodies, lenient, openai_usage
from headgate.wire.dialect import Answer, ProviderError
from headgate.wire.lenient import table, text


class _Embed(bodies.Body):
    input: msgspec.Raw
    user: Any = None


class _Named(msgspec.Struct):
    model: Any = None


class _Answer(msgspec.Struct):
    model: Any = None
    usage: Any = None
    error: Any = None


_embed = msgspec.json.Decoder(_Embed)
_named = msgspec.json.Decoder(_Named)
_answer = msgspec.json.Decoder(_Answer)


def read_request(body: bytes) -> Facts:
    """See `Dialect.read_request`. An embedding has no output tokens, so its cap is 0."""
    request = bodies.decode(_embed, body)
    return Facts(model=request.model, max_output_tokens=0, user=text(request.user))


def read_named(body: bytes) -> Facts:
    """Facts of a request whose model is optional. Whatever else it holds is the provider's to judge."""
    request = lenient.decode(_named, body)
    if request is None:
        raise BadRequest("the request body is not a JSON object")
    return Facts(model=text(request.model))


def read_answer(body: bytes) -> Answer:
    """See `Dialect.read_answer`. The vectors are not read: floats and base64 pass alike."""
    answer = lenient.decode(_answer, body)
    if answer is None:
        return Answer(error=ProviderError(type="malformed_answer", message="the answer is not a JSON object"))
    if answer.error:
        return Answer(error=lenient.error_body(body))
    fields = openai_usage.of_embeddings(table(answer.usage))
    return Answer(openai_usage.reported_whole(fields), text(answer.model))
