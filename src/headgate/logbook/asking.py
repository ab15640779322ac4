"""A case as a request, for another model or with another system prompt. What acts on the world is left out: tools that
the provider would run itself, answers that it would keep, work that goes on without anybody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headgate.core.caller import Caller
from headgate.core.exchange import Request
from headgate.jobs.requests import HEADERS
from headgate.logbook.cases import Case
from headgate.wire import DIALECTS

TAG = "replay"
WAY_IN = "replay"
_PATHS = {"messages": "/v1/messages", "chat": "/chat/completions", "responses": "/responses"}
_CLIENT_TOOLS = frozenset({"", "custom", "function"})
"""Types of tools that the caller would run: nobody runs them here, and what the model calls is compared."""
_ACTS = frozenset(
    {"mcp_servers", "container", "web_search_options", "background", "previous_response_id", "conversation", "prompt"}
)


def body_of(case: Case, model: str, system: str | None) -> dict[str, Any]:
    """The body to send.

    Args:
        model: in place of the one that served; "" = that one.
        system: in place of its system prompt; None = its own.
    """
    body = {name: value for name, value in case.body.items() if name not in _ACTS}
    body["model"] = model or str(case.metadata.get("model") or "")
    tools = [each for each in body.get("tools") or () if _is_clients(each)]
    if tools:
        body["tools"] = tools
    else:
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            body.pop(name, None)
    if case.endpoint == "responses":
        body["store"] = False
    else:
        body.pop("store", None)
    return body if system is None else _with_system(body, case.endpoint, system)


def _is_clients(tool: object) -> bool:
    return isinstance(tool, Mapping) and str(tool.get("type") or "") in _CLIENT_TOOLS


def _with_system(body: dict[str, Any], endpoint: str, system: str) -> dict[str, Any]:
    if endpoint == "messages":
        return {**body, "system": system}
    if endpoint == "responses":
        return {**body, "instructions": system}
    turns = [
        t for t in body.get("messages") or () if not (isinstance(t, dict) and t.get("role") in ("system", "developer"))
    ]
    return {**body, "messages": [{"role": "system", "content": system}, *turns]}


def request_of(case: Case, model: str, system: str | None, run_id: str) -> Request:
    """As a way in hands it over; nobody's but the task's."""
    raw = json.dumps(body_of(case, model, system), separators=(",", ":")).encode()
    caller = Caller(task=str(case.metadata.get("task") or ""), feature=TAG, tags={TAG: run_id})
    return _request(case.dialect, case.endpoint, raw, caller, case.id)


def judge_call(body: bytes, run_id: str) -> Request:
    """A question to a judge: `policy.comparing.judge_request`'s body, or one like it."""
    return _request("openai", "chat", body, Caller(feature=TAG, tags={TAG: run_id}), "")


def _request(dialect: str, endpoint: str, raw: bytes, caller: Caller, of: str) -> Request:
    return Request(
        dialect=dialect,
        endpoint=endpoint,
        method="POST",
        path=_PATHS[endpoint],
        headers=HEADERS[dialect],
        body=raw,
        facts=DIALECTS[dialect].read_request(endpoint, raw),
        caller=caller,
        way_in=WAY_IN,
        correlation_id=of,
        batch=True,
        cache="off",
    )
