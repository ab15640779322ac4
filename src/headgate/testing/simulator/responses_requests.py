"""Reading an OpenAI Responses request the way the API does: what it refuses, what it continues, and what it counts.

Sources: wire-formats 2.2 to 2.5, and the types of openai 3.52. Tokens are counted as for Chat Completions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headgate.testing.simulator.answers import unsealed
from headgate.testing.simulator.asked import Asked, Fail, Json, Tool
from headgate.testing.simulator.openai_requests import (
    FRAME,
    MEDIA,
    REASONING,
    invalid,
    model_of,
    tier_of,
    too_long,
)
from headgate.testing.simulator.prices import Counts
from headgate.testing.simulator.promptcache import PromptCache
from headgate.testing.simulator.responses_store import ResponseStore
from headgate.testing.simulator.tokens import count

_ROLES = ("user", "assistant", "system", "developer")
_TEXTS = ("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text")
_MIN_OUTPUT = 16


def read(body: Json, *, scope: str, cache: PromptCache, store: ResponseStore, seed: int, now: float) -> Asked:
    """Check a `/v1/responses` request and count it. `scope`: whose state and cache entries it sees."""
    model = model_of(body)
    items = _items(body, store, scope, seed)
    context = [*_before(body, store, scope, now), *items]
    _check_calls(context)
    prompt, total = _prompt(body, context)
    cap = body.get("max_output_tokens")
    if cap is not None and (not isinstance(cap, int) or isinstance(cap, bool) or cap < _MIN_OUTPUT):
        raise invalid(
            f"Invalid 'max_output_tokens': expected an integer of at least {_MIN_OUTPUT}.",
            param="max_output_tokens",
            code="integer_below_min_value",
        )
    if cap is not None and cap > model.max_output:
        raise invalid(f"max_output_tokens is too large: {cap}.", param="max_output_tokens")
    if total + (cap or 0) > model.context:
        raise too_long(model, total, "input")
    if body.get("background") is True and body.get("store") is False:
        raise invalid("Background mode requires store to be true.", param="background")
    used = cache.openai(f"{scope}:{model.id}", prompt, total, writes_billed=model.cache_writes, now=now)
    tools, must_call = _tools(body)
    kind, schema = _format(body)
    return Asked(
        model=model,
        stream=body.get("stream") is True,
        cap=model.max_output if cap is None else cap,
        cap_told=cap is not None,
        counts=Counts(used.fresh, used.read, used.write, tier=tier_of(model, body, total)),
        text=_last_text(items),
        tools=tools,
        must_call=must_call,
        parallel_tools=body.get("parallel_tool_calls") is not False,
        json=kind,
        schema=schema,
        thinking=_reasoning(body) if model.reasoning else 0,
        thinking_shown=False,
        include_usage=True,
        user=str(body.get("safety_identifier") or body.get("user") or ""),
        commit_cache=used.commit,
        scope=scope,
        request=body,
        items=items,
        context=context,
    )


def count_tokens(body: Json, *, scope: str, store: ResponseStore, seed: int, now: float) -> int:
    """The answer to `/v1/responses/input_tokens`."""
    model_of(body)
    items = _items(body, store, scope, seed)
    return _prompt(body, [*_before(body, store, scope, now), *items])[1]


def _before(body: Json, store: ResponseStore, scope: str, now: float) -> Sequence[Json]:
    if body.get("conversation") is not None:
        raise Fail(404, "invalid_request_error", "Conversations are not simulated.", param="conversation")
    told = body.get("previous_response_id")
    return () if told is None else store.previous(scope, told, now)


def _items(body: Json, store: ResponseStore, scope: str, seed: int) -> list[Json]:
    """This request's own input, every item with an id and in its full form."""
    told = body.get("input")
    if told is None:
        if body.get("previous_response_id") is None:
            raise invalid("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
        return []
    if isinstance(told, str):
        told = [{"role": "user", "content": told}]
    if not isinstance(told, list):
        raise invalid("Invalid 'input': expected a string or an array.", param="input", code="invalid_type")
    return [_item(item, index, store, scope, seed) for index, item in enumerate(told)]


def _item(item: Any, index: int, store: ResponseStore, scope: str, seed: int) -> Json:
    where = f"input[{index}]"
    if not isinstance(item, dict):
        raise invalid(f"Invalid '{where}': expected an object.", param=where, code="invalid_type")
    kind = item.get("type", "message")
    if kind == "item_reference" or (kind == "reasoning" and not item.get("encrypted_content")):
        found = store.item(scope, str(item.get("id")))
        if found is None:
            raise Fail(404, "invalid_request_error", f"Item with id '{item.get('id')}' not found.", param="input")
        return found
    if kind == "reasoning" and not unsealed(seed, item["encrypted_content"]):
        raise invalid(
            f"The encrypted content for item {item.get('id')} could not be verified.",
            param=where,
            code="invalid_encrypted_content",
        )
    if kind != "message":
        return {"id": f"{kind.partition('_')[0]}_in{index}", **item}
    if item.get("role") not in _ROLES:
        raise invalid(f"Invalid '{where}.role'.", param=f"{where}.role", code="invalid_value")
    content = item.get("content")
    if isinstance(content, str):
        text = "output_text" if item["role"] == "assistant" else "input_text"
        content = [{"type": text, "text": content, **({"annotations": []} if text == "output_text" else {})}]
    if not isinstance(content, list):
        raise invalid(f"Invalid '{where}.content'.", param=f"{where}.content", code="invalid_type")
    return {"id": f"msg_in{index}", "status": "completed", **item, "type": "message", "content": content}


def _check_calls(context: Sequence[Json]) -> None:
    """Calls and their outputs come in pairs."""
    calls = {item.get("call_id") for item in context if item.get("type") == "function_call"}
    outputs = {item.get("call_id") for item in context if item.get("type") == "function_call_output"}
    for call_id in outputs - calls:
        raise invalid(f"No tool call found for function call output with call_id {call_id}.", param="input")
    for call_id in calls - outputs:
        raise invalid(f"No tool output found for function call {call_id}.", param="input")


def _prompt(body: Json, context: Sequence[Json]) -> tuple[str, int]:
    """(the prompt as one text, its tokens)."""
    texts: list[str] = []
    total = FRAME
    for name in ("tools", "instructions"):
        told = body.get(name)
        if told:
            text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
            texts.append(text)
            total += count(text)
    for item in context:
        text, tokens = _weigh(item)
        texts.append(text)
        total += tokens + FRAME
    return "".join(texts), total


def _weigh(item: Json) -> tuple[str, int]:
    kind = item["type"]
    if kind == "message":
        text, tokens = _parts(item["content"])
        return f"{item['role']}\n{text}", tokens
    if kind == "function_call_output":
        output = item.get("output")
        text, tokens = _parts(output) if isinstance(output, list) else (str(output), count(str(output)))
        return f"{item.get('call_id')}\n{text}", tokens
    if kind == "function_call":
        text = f"{item.get('name')}{item.get('arguments')}"
        return text, count(text)
    if kind == "reasoning":
        # Reasoning of earlier turns is kept out of the context; what comes back is only checked.
        return "", 0
    text = json.dumps(item, ensure_ascii=False)
    return text, count(text)


def _parts(content: Sequence[Any]) -> tuple[str, int]:
    texts: list[str] = []
    tokens = 0
    for part in content:
        text = part.get("text", part.get("refusal")) if part.get("type") in _TEXTS else None
        if isinstance(text, str):
            tokens += count(text)
        else:
            text = json.dumps(part, ensure_ascii=False)
            tokens += MEDIA
        texts.append(text)
    return "".join(texts), tokens


def _tools(body: Json) -> tuple[list[Tool], str]:
    tools = [
        Tool(tool["name"], tool.get("parameters") or {})
        for tool in body.get("tools") or ()
        if tool.get("type") == "function" and isinstance(tool.get("name"), str)
    ]
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        return tools, str(choice.get("name") or "any")
    return tools, {"required": "any", "none": "none"}.get(choice, "")


def _format(body: Json) -> tuple[str, Json]:
    wanted = (body.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        return "schema", wanted.get("schema") or {}
    return ("object" if wanted.get("type") == "json_object" else ""), {}


def _reasoning(body: Json) -> int:
    return REASONING.get(str((body.get("reasoning") or {}).get("effort") or "none"), 0)


def _last_text(items: Sequence[Json]) -> str:
    """The text of the last user turn; "" where the input ends otherwise."""
    if not items or items[-1].get("role") != "user":
        return ""
    return "".join(part.get("text") or "" for part in items[-1]["content"])
