"""Reading an OpenAI Chat Completions request the way the API does: what it refuses, and what it counts.

Sources: wire-formats 2.2, 2.3, 2.5. Token counts are the simulator's own (see `tokens`), plus 3 per prompt and per
message for framing, and 765 per image, file or audio part.
"""

from __future__ import annotations

import json
from typing import Any

from headgate.testing.simulator.asked import Asked, Fail, Json, Tool
from headgate.testing.simulator.models import MODELS, Model
from headgate.testing.simulator.prices import Counts
from headgate.testing.simulator.promptcache import PromptCache
from headgate.testing.simulator.tokens import count

FRAME = 3
MEDIA = 765
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
REASONING = {"none": 0, "minimal": 16, "low": 32, "medium": 64, "high": 128, "xhigh": 256, "max": 512}
_LONG_PROMPT = 272_000  # above it, priority is not sold: the answer comes back as default


def invalid(message: str, *, param: str = "", code: str = "") -> Fail:
    """A 400 in OpenAI's words."""
    return Fail(400, "invalid_request_error", message, param=param, code=code)


def read(body: Json, *, scope: str, cache: PromptCache, now: float) -> Asked:
    """Check a `/v1/chat/completions` request and count it. `scope`: what its cache entries are isolated by."""
    model = model_of(body)
    prompt, total = _prompt(body)
    cap, told = _cap(model, body)
    if total + (cap if told else 0) > model.context:
        raise too_long(model, total, "messages")
    used = cache.openai(f"{scope}:{model.id}", prompt, total, writes_billed=model.cache_writes, now=now)
    counts = Counts(used.fresh, used.read, used.write, tier=tier_of(model, body, total))
    tools, must_call = _tools(body)
    kind, schema = _format(body)
    stop = body.get("stop")
    choices = body.get("n") or 1
    if not isinstance(choices, int) or not 1 <= choices <= 128:
        raise invalid("Invalid 'n': expected an integer between 1 and 128.", param="n")
    return Asked(
        model=model,
        stream=body.get("stream") is True,
        cap=cap,
        cap_told=told,
        counts=counts,
        choices=choices,
        text=_last_text(body["messages"]),
        tools=tools,
        must_call=must_call,
        parallel_tools=body.get("parallel_tool_calls") is not False,
        json=kind,
        schema=schema,
        stops=[stop] if isinstance(stop, str) else stop or (),
        thinking=REASONING.get(str(body.get("reasoning_effort") or "none"), 0) if model.reasoning else 0,
        thinking_shown=False,
        include_usage=(body.get("stream_options") or {}).get("include_usage") is True,
        user=str(body.get("safety_identifier") or body.get("user") or ""),
        commit_cache=used.commit,
    )


def model_of(body: Json, kind: str = "chat") -> Model:
    """The model of a request, which must be of the `kind` that its path serves."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise invalid("you must provide a model parameter", param="model")
    found = MODELS.get(name)
    if found is None or found.dialect != "openai" or found.kind != kind:
        raise missing(name)
    return found


def too_long(model: Model, total: int, param: str) -> Fail:
    """The 400 of a prompt beyond the context window."""
    return invalid(
        f"This model's maximum context length is {model.context} tokens. However, your messages resulted in "
        f"{total} tokens. Please reduce the length of the messages.",
        param=param,
        code="context_length_exceeded",
    )


def missing(name: str) -> Fail:
    """The 404 of an unknown model."""
    message = f"The model `{name}` does not exist or you do not have access to it."
    return Fail(404, "invalid_request_error", message, code="model_not_found", param="model")


def _cap(model: Model, body: Json) -> tuple[int, bool]:
    """(most output tokens per choice, whether the caller said so)."""
    old, new = body.get("max_tokens"), body.get("max_completion_tokens")
    if old is not None and model.reasoning:
        raise invalid(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    name, cap = ("max_completion_tokens", new) if new is not None else ("max_tokens", old)
    if cap is None:
        return model.max_output, False
    if not isinstance(cap, int) or isinstance(cap, bool) or cap < 1:
        raise invalid(f"Invalid '{name}': expected an integer of at least 1.", param=name)
    if cap > model.max_output:
        raise invalid(
            f"{name} is too large: {cap}. This model supports at most {model.max_output} completion tokens.", param=name
        )
    return cap, True


def tier_of(model: Model, body: Json, prompt: int) -> str:
    """The tier that serves the request, which is the one the response names and the bill follows."""
    asked = body.get("service_tier") or "auto"
    if asked == "flex":
        if not model.flex:
            raise invalid("Invalid service_tier argument: flex is not available for this model", param="service_tier")
        return "flex"
    if asked in ("priority", "fast") and model.priority and prompt <= _LONG_PROMPT:
        return "priority"
    return "default"


def _tools(body: Json) -> tuple[list[Tool], str]:
    tools = []
    for tool in body.get("tools") or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            tools.append(Tool(function["name"], function.get("parameters") or {}))
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        return tools, str((choice.get("function") or {}).get("name") or "any")
    return tools, {"required": "any", "none": "none"}.get(choice, "")


def _format(body: Json) -> tuple[str, Json]:
    wanted = body.get("response_format") or {}
    kind = wanted.get("type")
    if kind == "json_object":
        return "object", {}
    if kind == "json_schema":
        return "schema", (wanted.get("json_schema") or {}).get("schema") or {}
    return "", {}


def _prompt(body: Json) -> tuple[str, int]:
    """(the prompt as one text, its tokens)."""
    messages = body.get("messages")
    if messages is None:
        raise invalid("Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter")
    if not isinstance(messages, list) or not messages:
        raise invalid("Invalid 'messages': expected a non-empty array.", param="messages", code="invalid_type")
    texts: list[str] = []
    total = FRAME
    if body.get("tools"):
        text = json.dumps(body["tools"], ensure_ascii=False)
        texts.append(text)
        total += count(text)
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise invalid(f"Invalid 'messages[{index}].role'.", param=f"messages[{index}].role", code="invalid_value")
        text, tokens = _message(message, index)
        texts.append(text)
        total += tokens + FRAME
    return "".join(texts), total


def _message(message: Json, index: int) -> tuple[str, int]:
    text, tokens = _content(message.get("content"), index)
    text = message["role"] + "\n" + text
    if message.get("tool_calls"):
        calls = json.dumps(message["tool_calls"], ensure_ascii=False)
        return text + calls, tokens + count(calls)
    return text, tokens


def _content(content: Any, index: int) -> tuple[str, int]:
    if isinstance(content, str):
        return content, count(content)
    if content is None:
        return "", 0
    if not isinstance(content, list):
        where = f"messages[{index}].content"
        raise invalid(f"Invalid '{where}': expected a string or an array.", param=where, code="invalid_type")
    texts: list[str] = []
    tokens = 0
    for part in content:
        text = part.get("text", part.get("refusal")) if isinstance(part, dict) else None
        if isinstance(text, str):
            tokens += count(text)
        else:
            text = json.dumps(part, ensure_ascii=False)
            tokens += MEDIA
        texts.append(text)
    return "".join(texts), tokens


def _last_text(messages: list[Json]) -> str:
    """The text of the last user turn; "" where the last message brings a tool's result."""
    last = messages[-1]
    content = last.get("content")
    if last["role"] != "user" or content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(p.get("text") or "" for p in content if isinstance(p, dict))
