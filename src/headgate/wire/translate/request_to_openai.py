"""A Messages request as a Chat Completions request (wire-formats 4, from left to right)."""

from __future__ import annotations

from typing import Any

from headgate.core.errors import BadRequest
from headgate.wire.translate import models, reading, schemas, tools
from headgate.wire.translate.messages_to_openai import Conversation
from headgate.wire.translate.reading import Json
from headgate.wire.translate.report import NOT_TRANSLATABLE, Report

_TRANSLATED = {"model", "messages", "max_tokens", "system", "tools", "tool_choice", "stop_sequences", "stream"}
_TRANSLATED |= {"metadata", "temperature", "top_p", "thinking", "output_config"}
# What has no counterpart: the word for it, and the values that say no more than leaving it out.
_LOST: dict[str, tuple[str, tuple[Any, ...]]] = {
    "top_k": ("top_k", ()),
    "cache_control": ("cache_control", ()),
    "service_tier": ("service_tier", ("auto",)),
    "speed": ("speed", ("standard",)),
    "inference_geo": ("inference_geo", ("global",)),
    "container": ("server_state", ()),
    "thread": ("server_state", ()),
    "previous_message_id": ("server_state", ()),
    "mcp_servers": ("server_tools", ([],)),
    "fallbacks": ("beta_features", ([],)),
    "fallback_credit_token": ("beta_features", ()),
    "compaction": ("beta_features", ()),
    "context_management": ("beta_features", ({},)),
    "diagnostics": ("beta_features", ({},)),
    "billing_policy": ("beta_features", ()),
}
_TOOL_OPTIONS = ("defer_loading", "input_examples", "eager_input_streaming", "allowed_callers")
_CALLERS_TOOLS = ("bash_", "text_editor_", "computer_", "memory_", "browser_")  # as `wire.anthropic` tells them
_MAX_NAME = 64
_MAX_STOPS = 4
_SCHEMA_NAME = "answer"


def to_openai(request: Json, report: Report, *, model: str, limit: int | None, newest: bool) -> Json:
    """The request in the other dialect. Arguments as `translate_request`'s."""
    facts = models.gpt(model)
    _check_fields(request, report)
    conversation = Conversation(report)
    if request.get("system") is not None:
        conversation.system(request["system"])
    for index, message in enumerate(reading.array(request.get("messages"), "messages")):
        conversation.turn(message, f"messages.{index}")
    conversation.end()
    out: Json = {"model": model, "messages": conversation.messages}
    out["max_completion_tokens" if newest else "max_tokens"] = _cap(request.get("max_tokens"), limit, report)
    _tools(request, out, report)
    _stops(request, out, facts, report)
    _output(request, out, report)
    effort = _effort(request, bool(out.get("tools")), facts, report)
    if effort:
        out["reasoning_effort"] = effort
    _sampling(request, out, facts, report)
    metadata = request.get("metadata")
    if metadata is not None:
        user = reading.table(metadata, "metadata").get("user_id")
        if user is not None:
            out["safety_identifier" if newest else "user"] = reading.text(user, "metadata.user_id")
    if request.get("stream") is not None and reading.flag(request["stream"], "stream"):
        # Anthropic always reports usage, so its caller expects it.
        out |= {"stream": True, "stream_options": {"include_usage": True}}
    return out


def _check_fields(request: Json, report: Report) -> None:
    for name, value in request.items():
        if name in _TRANSLATED or value is None:
            continue
        word, neutral = _LOST.get(name, ("unknown_fields", ()))
        if value not in neutral:
            report.lose(word, name)


def _cap(given: Any, limit: int | None, report: Report) -> int:
    if given == 0 and not isinstance(given, bool):
        raise BadRequest(
            "`max_tokens: 0` only fills Anthropic's prompt cache; it cannot be translated", code=NOT_TRANSLATABLE
        )
    cap = reading.cap(given, "max_tokens")
    if limit is not None and cap > limit:
        report.lose("max_tokens", "max_tokens")
        return limit
    return cap


def _tools(request: Json, out: Json, report: Report) -> None:
    given = request.get("tools")
    listed = [] if given is None else reading.array(given, "tools")
    translated = [tool for i, each in enumerate(listed) for tool in _tool(each, f"tools.{i}", report)]
    if translated:
        out["tools"] = translated
    if request.get("tool_choice") is None:
        return
    choice = reading.table(request["tool_choice"], "tool_choice")
    kind = reading.one_of(choice.get("type"), ("auto", "any", "tool", "none"), "tool_choice.type")
    if not translated:
        if kind in ("any", "tool") and not listed:
            raise BadRequest("`tool_choice` asks for a tool, and `tools` has none")
        return
    if kind == "tool":
        named = reading.filled(choice.get("name"), "tool_choice.name")
        _known(named, [tool["function"]["name"] for tool in translated])
        out["tool_choice"] = {"type": "function", "function": {"name": named}}
    else:
        out["tool_choice"] = {"auto": "auto", "any": "required", "none": "none"}[kind]
    parallel = choice.get("disable_parallel_tool_use")
    if parallel is not None and reading.flag(parallel, "tool_choice.disable_parallel_tool_use"):
        out["parallel_tool_calls"] = False


def _known(named: str, names: list[str]) -> None:
    if named not in names:
        raise BadRequest("`tool_choice.name` is none of the tools that can be translated")


def _tool(given: Any, where: str, report: Report) -> list[Json]:
    tool = reading.table(given, where)
    if tool.get("cache_control"):
        report.lose("cache_control", f"{where}.cache_control")
    kind = tool.get("type")
    if kind not in (None, "custom"):
        own = isinstance(kind, str) and kind.startswith(_CALLERS_TOOLS)
        report.lose("custom_tools" if own else "server_tools", where)
        return []
    for option in _TOOL_OPTIONS:
        if tool.get(option):
            report.lose("tool_options", f"{where}.{option}")
    schema = reading.table(tool.get("input_schema"), f"{where}.input_schema")
    function: Json = {"name": tools.name(tool.get("name"), f"{where}.name", _MAX_NAME), "parameters": schema}
    if tool.get("description") is not None:
        function["description"] = reading.text(tool["description"], f"{where}.description")
    if tool.get("strict") is not None and reading.flag(tool["strict"], f"{where}.strict"):
        function["strict"] = schemas.strict(schema)
        if not function["strict"]:
            report.lose("json_schema", f"{where}.strict")
    return [{"type": "function", "function": function}]


def _stops(request: Json, out: Json, facts: models.Gpt, report: Report) -> None:
    given = request.get("stop_sequences")
    if given is None:
        return
    stops = [
        reading.filled(each, f"stop_sequences.{i}") for i, each in enumerate(reading.array(given, "stop_sequences"))
    ]
    allowed = _MAX_STOPS if facts.stop else 0
    if len(stops) > allowed:
        report.lose("stop", "stop_sequences")
    if stops[:allowed]:
        out["stop"] = stops[:allowed]


def _output(request: Json, out: Json, report: Report) -> None:
    wanted = reading.table(request.get("output_config") or {}, "output_config").get("format")
    if wanted is None:
        return
    form = reading.table(wanted, "output_config.format")
    reading.one_of(form.get("type"), ("json_schema",), "output_config.format.type")
    schema = reading.table(form.get("schema"), "output_config.format.schema")
    strict = schemas.strict(schema)
    if not strict:
        report.lose("json_schema", "output_config.format.schema")
    described = {"name": _SCHEMA_NAME, "schema": schema, "strict": strict}
    out["response_format"] = {"type": "json_schema", "json_schema": described}


def _effort(request: Json, with_tools: bool, facts: models.Gpt, report: Report) -> str:
    """The `reasoning_effort` to ask for; "" = none is said."""
    effort = reading.table(request.get("output_config") or {}, "output_config").get("effort")
    if effort is not None:
        reading.one_of(effort, models.LADDER[2:], "output_config.effort")
    thinking = reading.table(request.get("thinking") or {}, "thinking")
    kind = thinking.get("type", "")
    if kind == "disabled":
        effort = "none" if facts.efforts else effort  # a model that does not reason has nothing to turn off
    elif kind:
        reading.one_of(kind, ("enabled", "adaptive", "between_tools"), "thinking.type")
        report.lose("thinking", "thinking")
    if with_tools and facts.with_tools != "any":
        if effort not in (None, "none"):
            report.lose("effort", "output_config.effort")
        return "none" if facts.with_tools == "none" else ""
    if effort is None:
        return ""
    told = models.nearest(effort, facts.efforts) if facts.efforts else ""
    if told != effort:
        report.lose("effort", "output_config.effort")
    return told


def _sampling(request: Json, out: Json, facts: models.Gpt, report: Report) -> None:
    for name in ("temperature", "top_p"):
        value = request.get(name)
        if value is None:
            continue
        reading.number(value, name)
        if facts.sampling:
            out[name] = value
        elif value != 1:
            report.lose(name, name)
