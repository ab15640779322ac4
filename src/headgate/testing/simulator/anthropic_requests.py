"""Reading an Anthropic Messages request the way the API does: what it refuses, and what it counts.

Sources: wire-formats 1.2, 1.3, 1.6, 1.8. Token counts are the simulator's own (see `tokens`), plus 3 per prompt and
per message for framing, 300 for the hidden prompt that comes with tools, and 1,600 per image or document without text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from headgate.testing.simulator.answers import signature, unsealed
from headgate.testing.simulator.asked import Asked, Fail, Json, Tool
from headgate.testing.simulator.models import MODELS, Model
from headgate.testing.simulator.prices import Counts
from headgate.testing.simulator.promptcache import PromptBlock, PromptCache
from headgate.testing.simulator.tokens import count

VERSIONS = (b"2023-06-01", b"2026-10-21")
_FRAME = 3
_TOOLS_PROMPT = 300
_MEDIA = 1600
_MAX_BREAKPOINTS = 4
_LOUD = ("high", "xhigh", "max")


def invalid(message: str) -> Fail:
    """A 400 in Anthropic's words."""
    return Fail(400, "invalid_request_error", message)


def check_version(headers: Mapping[bytes, bytes]) -> bytes:
    """The API version of a request.

    Raises:
        Fail: it is missing or unknown.
    """
    version = headers.get(b"anthropic-version")
    if version is None:
        raise invalid("anthropic-version: header is required")
    if version not in VERSIONS:
        raise invalid(f"anthropic-version: '{version.decode('latin-1')}' is not a valid version")
    return version


def read(headers: Mapping[bytes, bytes], body: Json, *, scope: str, cache: PromptCache, seed: int, now: float) -> Asked:
    """Check a `/v1/messages` request and count it. `scope`: what its cache entries are isolated by."""
    version = check_version(headers)
    model = _model(body)
    cap = body.get("max_tokens")
    if not isinstance(cap, int) or isinstance(cap, bool):
        raise invalid("max_tokens: Field required" if cap is None else "max_tokens: Input should be a valid integer")
    if not 0 <= cap <= model.max_output:
        raise invalid(
            f"max_tokens: {cap} > {model.max_output}, which is the maximum allowed number of output tokens for "
            f"{model.served}"
        )
    _check_sampling(model, version, body)
    blocks = _count(body, seed)
    total = sum(block.tokens for block in blocks)
    if total > model.context:
        raise invalid(f"prompt is too long: {total} tokens > {model.context} maximum")
    used = cache.anthropic(f"{scope}:{model.id}", blocks, model.min_cache, now)
    counts = Counts(used.fresh, used.read, used.write, used.write_1h, tier="standard", speed="standard")
    counts.geo = _geo(model, body)
    counts.speed = _speed(model, body)
    tools, must_call, parallel = _tools(model, body)
    text = _last_text(body["messages"])
    schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    thinking, shown = _thinking(model, body, text)
    return Asked(
        model=model,
        stream=body.get("stream") is True,
        cap=cap,
        counts=counts,
        text=text,
        tools=tools,
        must_call=must_call,
        parallel_tools=parallel,
        json="schema" if isinstance(schema, dict) else "",
        schema=schema if isinstance(schema, dict) else {},
        stops=body.get("stop_sequences") or (),
        thinking=thinking,
        thinking_shown=shown,
        redacted="redacted" in text.lower(),
        user=str((body.get("metadata") or {}).get("user_id") or ""),
        commit_cache=used.commit,
    )


def count_tokens(headers: Mapping[bytes, bytes], body: Json, seed: int) -> int:
    """The answer to `/v1/messages/count_tokens`."""
    check_version(headers)
    _model(body)
    return sum(block.tokens for block in _count(body, seed))


def _model(body: Json) -> Model:
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise invalid("model: Field required" if name is None else "model: Input should be a valid string")
    model = MODELS.get(name)
    if model is None or model.dialect != "anthropic":
        raise Fail(404, "not_found_error", f"model: {name}")
    return model


def _check_sampling(model: Model, version: bytes, body: Json) -> None:
    for name, neutral in (("temperature", 1), ("top_p", 1), ("top_k", None)):
        if name not in body:
            continue
        if version == VERSIONS[1]:
            raise invalid(f"{name}: Extra inputs are not permitted")
        if not model.sampling and body[name] != neutral:
            raise invalid(f"{name}: only the default value is supported by {model.id}")


def _geo(model: Model, body: Json) -> str:
    asked = body.get("inference_geo")
    if asked is not None and not model.geo:
        raise invalid(f"inference_geo: not supported by {model.id}")
    if not model.geo:
        return "not_available"
    return "us" if asked == "us" else "global"


def _speed(model: Model, body: Json) -> str:
    if body.get("speed") != "fast":
        return "standard"
    if not model.fast:
        raise invalid(f"speed: fast mode is not supported by {model.id}")
    return "fast"


def _tools(model: Model, body: Json) -> tuple[list[Tool], str, bool]:
    tools = [
        Tool(tool["name"], tool.get("input_schema") or {})
        for tool in body.get("tools") or ()
        if isinstance(tool, dict) and isinstance(tool.get("name"), str) and "input_schema" in tool
    ]
    choice = body.get("tool_choice") or {}
    kind = choice.get("type", "auto")
    if kind in ("any", "tool") and not model.forced_tools:
        raise invalid(f"tool_choice: forced tool use is not supported by {model.id}")
    must_call = {"auto": "", "any": "any", "none": "none"}.get(kind, choice.get("name", ""))
    return tools, must_call, choice.get("disable_parallel_tool_use") is not True


def _thinking(model: Model, body: Json, text: str) -> tuple[int, bool]:
    """(most thinking tokens, whether they are shown)."""
    thinking = body.get("thinking") or {}
    kind = thinking.get("type")
    shown = thinking.get("display") != "omitted"
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if not model.budget_thinking:
            raise invalid(f'thinking: "enabled" is not supported by {model.id}; use "adaptive"')
        if not isinstance(budget, int) or budget < 1024:
            raise invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= body["max_tokens"]:
            raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`")
        return budget, shown
    effort = (body.get("output_config") or {}).get("effort")
    if kind in ("adaptive", "between_tools") and (effort in _LOUD or "think" in text.lower()):
        return model.max_output, shown
    return 0, shown


def _count(body: Json, seed: int) -> list[PromptBlock]:
    """Every block of the prompt in cache order: tools, system, messages."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise invalid("messages: Field required" if messages is None else "messages: Input should be a valid list")
    if not messages:
        raise invalid("messages: at least one message is required")
    blocks = list(_tool_blocks(body))
    blocks.extend(_content("system", body.get("system") or [], seed))
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
            raise invalid(f"messages.{index}.role: Input should be 'user', 'assistant' or 'system'")
        blocks.append(PromptBlock(f"<{message['role']}>", _FRAME))
        blocks.extend(_content(f"messages.{index}.content", message.get("content"), seed))
    model = MODELS[body["model"]]
    if messages[-1]["role"] == "assistant" and not model.prefill:
        raise invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    blocks.append(PromptBlock("", _FRAME))
    automatic = body.get("cache_control")
    if isinstance(automatic, dict):
        last = max(i for i, block in enumerate(blocks) if block.text or i == 0)
        blocks[last] = PromptBlock(blocks[last].text, blocks[last].tokens, _ttl(body))
    points = sum(1 for block in blocks if block.ttl)
    if points > _MAX_BREAKPOINTS:
        raise invalid(f"A maximum of {_MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {points}.")
    return blocks


def _tool_blocks(body: Json) -> Iterator[PromptBlock]:
    tools = body.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        raise invalid("tools: Input should be a valid list")
    if tools:
        yield PromptBlock("<tools>", _TOOLS_PROMPT)
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise invalid(f"tools.{index}: Input should be an object")
        text = json.dumps({k: v for k, v in tool.items() if k != "cache_control"}, ensure_ascii=False)
        yield PromptBlock(text, count(text), _ttl(tool))


def _content(where: str, content: Any, seed: int) -> Iterator[PromptBlock]:
    if isinstance(content, str):
        yield PromptBlock(content, count(content))
        return
    if not isinstance(content, list):
        raise invalid(f"{where}: Field required" if content is None else f"{where}: Input should be a valid list")
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise invalid(f"{where}.{index}.type: Field required")
        text, tokens = _block(f"{where}.{index}", block, seed)
        yield PromptBlock(text, tokens, _ttl(block))


def _block(where: str, block: Json, seed: int) -> tuple[str, int]:
    kind = block["type"]
    if kind == "text":
        text = block.get("text")
        if not isinstance(text, str):
            raise invalid(f"{where}.text: Field required")
        return text, count(text)
    if kind == "thinking":
        text = str(block.get("thinking", ""))
        if block.get("signature") != signature(seed, text):
            raise invalid(f"{where}: Invalid `signature` in `thinking` block")
        return text, count(text)
    if kind == "redacted_thinking":
        if not unsealed(seed, block.get("data")):
            raise invalid(f"{where}: Invalid `data` in `redacted_thinking` block")
        return str(block["data"]), count(str(block["data"]))
    if kind == "image" or kind == "document":
        source = block.get("source") or {}
        plain = source.get("data") if source.get("type") == "text" else None
        text = json.dumps(source, ensure_ascii=False, sort_keys=True)
        return text, count(plain) if isinstance(plain, str) else _MEDIA
    if kind == "tool_result" and isinstance(block.get("content"), list):
        inner = list(_content(f"{where}.content", block["content"], seed))
        return "".join(b.text for b in inner), sum(b.tokens for b in inner) + _FRAME
    text = json.dumps({k: v for k, v in block.items() if k != "cache_control"}, ensure_ascii=False)
    return text, count(text)


def _ttl(holder: Json) -> str:
    control = holder.get("cache_control")
    if not isinstance(control, dict):
        return ""
    ttl = control.get("ttl", "5m")
    if ttl not in ("5m", "1h"):
        raise invalid("cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
    return str(ttl)


def _last_text(messages: list[Json]) -> str:
    """The text of the last user turn; "" where it brings tool results."""
    # Instructions may follow it, as Claude Code sends them.
    content = next((m.get("content") for m in reversed(messages) if m["role"] != "system"), "")
    if isinstance(content, str):
        return content
    if any(b.get("type") == "tool_result" for b in content or ()):
        return ""
    return "".join(b.get("text", "") for b in content or () if b.get("type") == "text")
