"""What a call will cost, before it is sent: `gate.estimate`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil
from typing import Any

from headgate.build import Built
from headgate.core.caller import Caller
from headgate.core.errors import BadRequest, UnknownPrice
from headgate.core.exchange import Facts, Request, Route
from headgate.core.money import usd
from headgate.core.usage import Usage
from headgate.engine.plan import as_asked
from headgate.policy.charging import Charging
from headgate.policy.estimate import BYTES_PER_TOKEN, hidden_tokens
from headgate.policy.tokenizing import count_messages
from headgate.wire import DIALECTS

_CAPS = {"messages": "max_tokens", "chat": "max_completion_tokens", "responses": "max_output_tokens"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call will cost.

    Attributes:
        bound_usd: the most, by the prompt's bytes, which is what budgets set aside; None where nothing bounds it
            (server tools, stored state, no cap on a model whose largest output is unknown), but with
            `unbounded: ceiling`.
        expected_usd: what is likely, from what such calls have cost this gate; without a cache read.
        input_tokens: of the prompt: counted where `exact`, else as expected.
        output_tokens: as expected; the cap where nothing was learned of the model yet.
        exact: `input_tokens` was counted with the model's own vocabulary.
        price_version: of the prices used.
        provider, model: where it would go first.
    """

    bound_usd: Decimal | None
    expected_usd: Decimal
    input_tokens: int
    output_tokens: int
    exact: bool
    price_version: str
    provider: str
    model: str


def estimate(
    built: Built,
    model: str,
    messages: object,
    max_tokens: int | None,
    dialect: str | None,
    more: Mapping[str, object],
    caller: Caller,
) -> Estimate:
    """See `Gate.estimate`."""
    task = built.engine.policies.tasks(caller.task)
    endpoint = "chat" if messages is not None else "responses" if "input" in more else "messages"
    route = _route(built, task.model or model, dialect, endpoint)
    if route.dialect == "anthropic":
        endpoint = "messages"
    body: dict[str, object] = {"model": model, **more}
    if messages is not None:
        body["messages"] = messages
    if max_tokens is not None:
        body[_CAPS[endpoint]] = max_tokens
    elif endpoint == "messages" and "max_tokens" not in body:
        raise BadRequest("Anthropic's messages need `max_tokens`; tell the one you will send")
    raw = json.dumps(body, default=_plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    facts = DIALECTS[route.dialect].read_request(endpoint, raw)
    facts = as_asked(Request(route.dialect, endpoint, "POST", "", (), raw, facts, caller, "in-process"), task).facts
    return _estimate(built, route, endpoint, facts, raw)


def _estimate(built: Built, route: Route, endpoint: str, facts: Facts, raw: bytes) -> Estimate:
    now = built.engine.ports.clock.now()
    charges = built.engine.policies.charges
    assert isinstance(charges, Charging)  # what `build` makes
    price = charges.book.price_for(route.provider, route.model, now)
    counted = _counted(route, endpoint, raw)
    # What `Books.begin` holds: bytes, though the prompt was counted here.
    policies = built.engine.policies
    bound = charges.bound(route, facts, len(raw), now, ceiling=policies.unbounded_ceiling)
    prompt, output = charges.calibration.expect(route.provider, route.model, facts.system, raw)
    cap = facts.max_output_tokens if facts.max_output_tokens is not None else price.max_output_tokens
    expected = output if output is not None else float(cap or 0)
    if cap is not None:
        expected = min(expected, cap)
    if counted is None:
        likely = prompt if prompt is not None else len(raw) / BYTES_PER_TOKEN
        tokens = ceil(min(likely, len(raw) + hidden_tokens(price)))
    else:
        tokens = counted
    usage = Usage(input_tokens=tokens, output_tokens=ceil(expected) * max(1, facts.choices))
    nano, version = charges.charge(route, "", usage, now)
    return Estimate(
        bound_usd=None if bound is None else usd(bound.nano),
        expected_usd=usd(nano if bound is None else min(nano, bound.nano)),
        input_tokens=tokens,
        output_tokens=usage.output_tokens,
        exact=counted is not None,
        price_version=version,
        provider=route.provider,
        model=route.model,
    )


def _counted(route: Route, endpoint: str, raw: bytes) -> int | None:
    if route.provider != "openai" or endpoint != "chat":
        return None
    body = json.loads(raw)
    if body.get("tools") or body.get("functions") or body.get("response_format"):
        return None  # rendered into the prompt in a way that OpenAI does not document
    return count_messages(route.model, body.get("messages"))


def _route(built: Built, name: str, dialect: str | None, endpoint: str) -> Route:
    """Where a call for this model would go first. Which keys are there does not matter: nothing is sent.

    Raises:
        BadRequest: an unknown dialect.
        UnknownPrice: no provider has a price for it.
    """
    if dialect is not None and dialect not in DIALECTS:
        raise BadRequest(f"there is no dialect {dialect[:32]!r}; known: {', '.join(DIALECTS)}")
    router = built.router
    virtual = router.models.get(name)
    if virtual:
        return virtual[0]
    for mark in ("/", ":"):
        provider, found, model = name.partition(mark)
        if found and provider in router.providers:
            return replace(router.providers[provider], model=model)
    spoken = [dialect] if dialect is not None else ["openai", "anthropic"] if endpoint == "responses" else [*DIALECTS]
    now = built.engine.ports.clock.now()
    refused: UnknownPrice | None = None
    for each in spoken:
        if each not in router.defaults:
            continue
        route = replace(router.providers[router.defaults[each]], model=name)
        try:
            built.engine.policies.charges.check(route, now)
        except UnknownPrice as error:
            refused = refused or error
        else:
            return route
    if refused is not None:
        raise refused
    raise BadRequest(f"no provider speaks {dialect}" if dialect else "no provider is configured")


def _plain(value: Any) -> Any:
    """The SDKs' own objects, as JSON."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise BadRequest(f"a {type(value).__name__} in the call cannot be written as JSON")
    return dump(exclude_unset=True)
