"""The endpoints that generate nothing and keep nothing: token counts and models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.testing.simulator import anthropic_answers, anthropic_requests, openai_answers
from headgate.testing.simulator.models import MODELS, Model
from headgate.testing.simulator.provider import typed

if TYPE_CHECKING:
    from headgate.testing.simulator.call import Call


async def count_tokens(call: Call) -> None:
    """`POST /v1/messages/count_tokens`."""
    seed = call.provider.seed
    tokens = typed(lambda: anthropic_requests.count_tokens(call.headers, call.json, seed))
    await call.send(b'{"input_tokens":%d}' % tokens)


async def anthropic_models(call: Call) -> None:
    """`GET /v1/models` at Anthropic."""
    anthropic_requests.check_version(call.headers)
    await call.send(anthropic_answers.models_page(call.query, call.queries("lifecycle")))


async def anthropic_model(call: Call) -> None:
    """`GET /v1/models/{id}` at Anthropic."""
    anthropic_requests.check_version(call.headers)
    await call.send(anthropic_answers.model(_found(call)))


async def openai_models(call: Call) -> None:
    """`GET /v1/models` at OpenAI, which has no pages."""
    await call.send(openai_answers.models_page())


async def openai_model(call: Call) -> None:
    """`GET /v1/models/{id}` at OpenAI."""
    await call.send(openai_answers.model(_found(call)))


def _found(call: Call) -> Model:
    found = MODELS.get(call.ids[0])
    if found is None or found.dialect != call.dialect.name:
        raise call.dialect.missing(call.ids[0])
    return found
