"""A Chat Completions request as a Messages request (wire-formats 4, from right to left)."""

from __future__ import annotations

from typing import Any

from headgate.core.errors import BadRequest
from headgate.wire.translate import models, reading, schemas, tools
from headgate.wire.translate.messages_to_anthropic import Conversation
from headgate.wire.translate.reading import Json
from headgate.wire.translate.report import NOT_TRANSLATABLE, Report

_TRANSLATED = {"model", "messages", "max_completion_tokens", "max_tokens", "tools", "tool_choice", "stop", "stream"}
_TRANSLATED |= {"parallel_tool_calls", "response_format", "reasoning_effort", "safety_identifier", "user"}
_TRANSLATED |= {"stream_options"}  # about the answer's form, which is ours
# What has no counterpart: the word for it, and the values that say no more than leaving it out.
_LOST: dict[str, tuple[str, tuple[Any, ...]]] = {
    "temperature": ("temperature", (1,)),
    "top_p": ("top_p", (1,)),
    "frequency_penalty": ("frequency_penalty", (0,)),
    "presence_penalty": ("presence_penalty", (0,)),
    "seed": ("seed", ()),
    "logit_bias": ("logit_bias", ({},)),
    "logprobs": ("logprobs", (False,)),
    "top_logprobs": ("logprobs", (0,)),
    "n": ("n", (1,)),
    "audio": ("audio", ()),
    "modalities": ("audio", (["text"],)),
    "prediction": ("prediction", ()),
    "verbosity": ("verbosity", ("medium",)),
    "store": ("store", (False,)),
    "metadata": ("metadata", ({},)),
    "service_tier": ("service_tier", ("auto", "default")),
    "prompt_cache_key": ("prompt_cache", ()),
    "prompt_cache_options": ("prompt_cache", ()),
    "prompt_cache_retention": ("prompt_cache", ()),
    "web_search_options": ("server_tools", ()),
    "search_parameters": ("server_tools", ()),
    "plugins": ("server_tools", ([],)),
    "conversation": ("server_state", ()),
    "previous_response_id": ("server_state", ()),
    "moderation": ("moderation", ()),
    "functions": ("functions", ([],)),
    "function_call": ("functions", ("none",)),
}
_MAX_NAME = 128
_JSON_MODE = "Answer with one valid JSON object and nothing else: no words around it, no code fence."
_IN_SCHEMA = "Answer with one JSON value and nothing else, valid under this JSON schema: "
_CALL_ANY = "Call at least one of the tools before you answer."


def to_anthropic(request: Json, report: Report, *, model: str, default: int | None, limit: int | None) -> Json:
    """The request in the other dialect. Arguments as `translate_request`'s."""
    facts = models.claude(model)
    for name, value in request.items():
        if name not in _TRANSLATED and value is not None:
            word, neutral = _LOST.get(name, ("unknown_fields", ()))
            if value not in neutral:
                report.lose(word, name)
    conversation = Conversation(report, facts)
    for index, message in enumerate(reading.array(request.get("messages"), "messages")):
        conversation.add(message, f"messages.{index}")
    out: Json = {"model": model, "max_tokens": _cap(request, default, limit, report), "messages": conversation.turns}
    _tools(request, out, facts, conversation, report)
    _output(request, out, facts, conversation, report)
    _effort(request, out, facts, report)
    _stops(request, out, report)
    conversation.end()
    system = conversation.system()
    if system is not None:
        out["system"] = system
    for name in ("safety_identifier", "user"):
        if request.get(name) is not None:
            out["metadata"] = {"user_id": reading.text(request[name], name)}
            break
    if request.get("stream") is not None and reading.flag(request["stream"], "stream"):
        out["stream"] = True
    return out


def _cap(request: Json, default: int | None, limit: int | None, report: Report) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        if request.get(name) is not None:
            cap = reading.cap(request[name], name)
            if limit is not None and cap > limit:
                report.lose("max_tokens", name)
                return limit
            return cap
    if default is None:
        raise BadRequest(
            "`max_completion_tokens` is missing, and the model that would serve requires an output cap: send one",
            code=NOT_TRANSLATABLE,
        )
    return default if limit is None else min(default, limit)


def _tools(request: Json, out: Json, facts: models.Claude, conversation: Conversation, report: Report) -> None:
    given = request.get("tools")
    listed = [] if given is None else reading.array(given, "tools")
    translated = [tool for i, each in enumerate(listed) for tool in _tool(each, f"tools.{i}", report)]
    kind, named, allowed = _choice(request.get("tool_choice"), report)
    if allowed is not None:
        translated = [tool for tool in translated if tool["name"] in allowed]
    if not translated:
        if kind in ("any", "tool") and not listed:
            raise BadRequest("`tool_choice` asks for a tool, and `tools` has none")
        return
    if named and named not in [tool["name"] for tool in translated]:
        raise BadRequest("`tool_choice.function.name` is none of the tools that can be translated")
    out["tools"] = translated
    parallel = request.get("parallel_tool_calls")
    single = parallel is not None and not reading.flag(parallel, "parallel_tool_calls")
    if kind in ("any", "tool") and not facts.forced_tools:
        report.lose("tool_choice", "tool_choice")
        conversation.instruct(f"Call the tool `{named}` before you answer." if named else _CALL_ANY)
        kind, named = "auto", ""
    if kind or single:
        choice: Json = {"type": kind or "auto", **({"name": named} if named else {})}
        if single and kind != "none":
            choice["disable_parallel_tool_use"] = True
        out["tool_choice"] = choice


def _choice(given: Any, report: Report) -> tuple[str, str, set[str] | None]:
    """(Anthropic's type of choice or "", the one tool's name or "", the only tools that may be called or None)."""
    if given is None:
        return "", "", None
    if isinstance(given, str):
        word = reading.one_of(given, ("auto", "required", "none"), "tool_choice")
        return {"auto": "auto", "required": "any", "none": "none"}[word], "", None
    choice = reading.table(given, "tool_choice")
    kind = reading.one_of(choice.get("type"), ("function", "allowed_tools", "custom"), "tool_choice.type")
    if kind == "custom":
        report.lose("custom_tools", "tool_choice")
        return "", "", None
    if kind == "function":
        function = reading.table(choice.get("function"), "tool_choice.function")
        return "tool", reading.filled(function.get("name"), "tool_choice.function.name"), None
    allowed = reading.table(choice.get("allowed_tools"), "tool_choice.allowed_tools")
    mode = reading.one_of(allowed.get("mode"), ("auto", "required"), "tool_choice.allowed_tools.mode")
    where = "tool_choice.allowed_tools.tools"
    names = set()
    for index, each in enumerate(reading.array(allowed.get("tools"), where)):
        function = reading.table(reading.table(each, f"{where}.{index}").get("function"), f"{where}.{index}.function")
        names.add(reading.filled(function.get("name"), f"{where}.{index}.function.name"))
    return "any" if mode == "required" else "auto", "", names


def _tool(given: Any, where: str, report: Report) -> list[Json]:
    tool = reading.table(given, where)
    kind = tool.get("type", "function")
    if kind != "function":
        report.lose("custom_tools" if kind == "custom" else "server_tools", where)
        return []
    function = reading.table(tool.get("function"), f"{where}.function")
    schema = function.get("parameters")
    schema = {} if schema is None else reading.table(schema, f"{where}.function.parameters")
    if not schema:
        schema = {"type": "object", "properties": {}}
    elif "type" not in schema:
        schema = {"type": "object", **schema}
    out: Json = {"name": tools.name(function.get("name"), f"{where}.function.name", _MAX_NAME), "input_schema": schema}
    if function.get("description") is not None:
        out["description"] = reading.text(function["description"], f"{where}.function.description")
    if function.get("strict") is not None and reading.flag(function["strict"], f"{where}.function.strict"):
        out["strict"] = True
    return [out]


def _output(request: Json, out: Json, facts: models.Claude, conversation: Conversation, report: Report) -> None:
    wanted = reading.table(request.get("response_format") or {}, "response_format")
    if not wanted:
        return
    kind = reading.one_of(wanted.get("type"), ("text", "json_object", "json_schema"), "response_format.type")
    if kind == "json_object":
        report.lose("json_mode", "response_format")
        conversation.instruct(_JSON_MODE)
    elif kind == "json_schema":
        described = reading.table(wanted.get("json_schema"), "response_format.json_schema")
        given = reading.table(described.get("schema"), "response_format.json_schema.schema")
        schema, changed = schemas.closed(given)
        if changed or not facts.structured:
            report.lose("json_schema", "response_format.json_schema")
        if facts.structured:
            out["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        else:
            conversation.instruct(_IN_SCHEMA + reading.dump(given).decode())


def _effort(request: Json, out: Json, facts: models.Claude, report: Report) -> None:
    if request.get("reasoning_effort") is None:
        return
    effort = reading.one_of(request["reasoning_effort"], models.LADDER, "reasoning_effort")
    if effort == "none" and facts.off:
        out["thinking"] = {"type": facts.off}
        if facts.off != "disabled":
            report.lose("effort", "reasoning_effort")
        return
    told = models.nearest(effort, facts.efforts) if facts.efforts else ""
    if told != effort and not (effort == "minimal" and told == "low"):
        report.lose("effort", "reasoning_effort")
    if told:
        out.setdefault("output_config", {})["effort"] = told


def _stops(request: Json, out: Json, report: Report) -> None:
    given = request.get("stop")
    if given is None:
        return
    listed = [given] if isinstance(given, str) else reading.array(given, "stop")
    stops = [reading.text(each, f"stop.{i}") for i, each in enumerate(listed)]
    told = [stop for stop in stops if stop.strip()]
    if len(told) < len(stops):
        report.lose("stop", "stop")  # Anthropic refuses stop sequences of white space
    if told:
        out["stop_sequences"] = told
