"""What every client has to see in a check, told once for all of them. Each function's name is the check's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clients_run import KEY, PROVIDERS_OWN, Run

ASKED: dict[str, Any] = json.loads((Path(__file__).parent / "programs" / "asked.json").read_text(encoding="utf-8"))
TEXT: str = ASKED["text"]
_EVENTS = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
]
_RESPONSES_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
_STATUS = {"429": 429, "overloaded": 529, "500": 500, "400": 400, "401": 401, "403": 403, "404": 404, "413": 413}
_RETRY_AFTER = {"429": "7", "overloaded": "3"}
_STOP = {"anthropic": "end_turn", "openai": "stop"}
_CAP = {"anthropic": "max_tokens", "openai": "length"}
_TOOL_STOP = {"anthropic": "tool_use", "openai": "tool_calls"}
_MEDIA = {"anthropic": 1600, "openai": 765}

Expected = Callable[[Run, str], None]


def counted(run: Run, check: str, at: int = -1) -> dict[str, int]:
    """The tokens of a check's request, as the provider's invoice has them."""
    usage: dict[str, int] = run.upstream(check)[at]["line"]["usage"]
    return usage


def _usage_is_the_invoices(saw: dict[str, Any], usage: dict[str, int], dialect: str) -> None:
    prompt = usage["input_tokens"]
    if dialect == "openai":  # its prompt holds what was cached
        prompt += usage["cache_read_tokens"] + usage["cache_write_tokens"]
    assert (saw["input"], saw["output"]) == (prompt, usage["output_tokens"])


def text(run: Run, dialect: str, check: str = "text") -> None:
    saw = run.of(check)
    assert saw["text"] == TEXT
    if "stop" in saw:
        assert saw["stop"] == _STOP[dialect]
    if "input" in saw:
        _usage_is_the_invoices(saw, counted(run, check), dialect)


def stream(run: Run, dialect: str) -> None:
    text(run, dialect, "stream")
    _in_order(run.of("stream"), dialect)
    assert run.upstream("stream")[0]["record"]["stream"] is True


def compressed(run: Run, dialect: str) -> None:
    text(run, dialect, "compressed")


def stream_async(run: Run, dialect: str) -> None:
    text(run, dialect, "stream_async")
    _in_order(run.of("stream_async"), dialect)


def _in_order(saw: dict[str, Any], dialect: str) -> None:
    if "events" in saw:
        assert saw["events"] == _EVENTS
    if "order" in saw:
        assert saw["order"] == ["text", "stop", "usage"]


def stream_uncounted(run: Run, dialect: str) -> None:
    """The gateway asks for the usage of every stream; a caller that did not must not see it."""
    saw = run.of("stream_uncounted")
    assert (saw["text"], saw["order"]) == (TEXT, ["text", "stop"])
    assert "include_usage" in run.upstream("stream_uncounted")[0]["body"]
    assert run.upstream("stream_uncounted")[0]["line"]["reported"]


def tool(run: Run, dialect: str, check: str = "tool") -> None:
    saw = run.of(check)
    assert saw["tools"] == [{"name": "weather", "arguments": ASKED["arguments"]}]
    if "stop" in saw:
        assert saw["stop"] == _TOOL_STOP[dialect]
    if "input" in saw:
        _usage_is_the_invoices(saw, counted(run, check), dialect)


def tool_stream(run: Run, dialect: str) -> None:
    tool(run, dialect, "tool_stream")


def tool_result(run: Run, dialect: str) -> None:
    saw = run.of("tool_result")
    assert len(saw["text"]) > 20
    assert "rain" in run.upstream("tool_result")[-1]["body"]


def tool_run(run: Run, dialect: str) -> None:
    saw = run.of("tool_run")
    assert saw["called"] == [ASKED["arguments"]]
    assert saw["text"]
    assert "rain" in run.upstream("tool_run")[-1]["body"]


def structured(run: Run, dialect: str) -> None:
    assert run.of("structured")["value"] == ASKED["arguments"]


def responses(run: Run, dialect: str) -> None:
    """What the same client sees of OpenAI's Responses, whole and streamed."""
    saw, calls = run.of("responses"), run.upstream("responses")
    assert [call["path"] for call in calls] == ["/v1/responses"] * 2
    for at, name in enumerate(("whole", "streamed")):
        assert saw[name]["text"] == TEXT
        _usage_is_the_invoices(saw[name], calls[at]["line"]["usage"], dialect)
    if "events" in saw["streamed"]:
        assert saw["streamed"]["events"] == _RESPONSES_EVENTS
        assert saw["streamed"]["pieces"] == TEXT
        assert saw["streamed"]["in_order"]


def responses_tool(run: Run, dialect: str) -> None:
    saw = run.of("responses_tool")
    wanted = [{"name": "weather", "arguments": ASKED["arguments"]}]
    assert saw["whole"]["tools"] == saw["streamed"]["tools"] == wanted
    assert saw["again"]
    assert "rain" in run.upstream("responses_tool")[1]["body"]


def responses_stops(run: Run, dialect: str) -> None:
    saw = run.of("responses_stops")
    assert (saw["status"], saw["why"]) == ("incomplete", "max_output_tokens")
    assert saw["refusal"] == ["refusal", "I can't help with that."]


def responses_errors(run: Run, dialect: str) -> None:
    errors(run, dialect, "responses_errors")


def responses_cut(run: Run, dialect: str) -> None:
    cut(run, dialect, "responses_cut")


def responses_cancel(run: Run, dialect: str) -> None:
    cancel_stream(run, dialect, "responses_cancel")


def embeddings(run: Run, dialect: str) -> None:
    saw = run.of("embeddings")
    assert saw["length"] == 1536
    assert saw["apart"] < 1e-6
    assert saw["input"] == counted(run, "embeddings", 0)["input_tokens"]


def large_body(run: Run, dialect: str) -> None:
    assert run.of("large_body")["text"]
    sent = run.upstream("large_body")[-1]
    assert sent["body_bytes"] > 1_000_000
    assert sent["line"]["usage"]["input_tokens"] + sent["line"]["usage"]["cache_write_tokens"] > 600_000


def image(run: Run, dialect: str) -> None:
    _media(run, dialect, "image", ASKED["png"])


def pdf(run: Run, dialect: str) -> None:
    _media(run, dialect, "pdf", ASKED["pdf"])


def _media(run: Run, dialect: str, check: str, data: str) -> None:
    saw = run.of(check)
    assert data in run.upstream(check)[-1]["body"]
    assert saw["text"]
    if "input" in saw:
        assert saw["input"] + ((saw["written"] + saw["read"]) if dialect == "anthropic" else 0) >= _MEDIA[dialect]
        _usage_is_the_invoices(saw, counted(run, check), dialect)


def thinking(run: Run, dialect: str, check: str = "thinking") -> None:
    saw = run.of(check)
    assert saw["thinking"]
    assert saw["signature"]
    assert saw["again"] == TEXT  # the provider refuses a block that comes back altered


def thinking_stream(run: Run, dialect: str) -> None:
    thinking(run, dialect, "thinking_stream")


def reasoning(run: Run, dialect: str) -> None:
    assert run.of("reasoning")["reasoning"] == counted(run, "reasoning")["reasoning_tokens"] > 0


def cache(run: Run, dialect: str) -> None:
    saw, first, second = run.of("cache"), counted(run, "cache", 0), counted(run, "cache", 1)
    assert saw["first"]["written"] == first["cache_write_tokens"] > 500
    assert saw["second"]["read"] == second["cache_read_tokens"] == first["cache_write_tokens"]
    _usage_is_the_invoices(saw["second"], second, dialect)


def stops(run: Run, dialect: str) -> None:
    saw = run.of("stops")
    assert saw == {name: [name] * len(both) for name, both in saw.items()}
    assert len(saw) >= 4


def refusal(run: Run, dialect: str) -> None:
    saw = run.of("refusal")
    assert saw["whole"] == saw["streamed"] == "I can't help with that."


def errors(run: Run, dialect: str, check: str = "errors") -> None:
    saw = run.of(check)
    assert len(saw) >= 8
    for name, told in saw.items():
        word = name.split()[0]
        status = 503 if (word, dialect) == ("overloaded", "openai") else _STATUS[word]
        assert told["status"] == status, name
        assert told["retry_after"] == _RETRY_AFTER.get(word), name
        if "request_id" in told:
            assert told["request_id"] in {call["record"]["request_id"] for call in run.upstream(check)}, name
        if "family" in told:
            assert told["error"] in _NAMES[status], name
    assert len(run.upstream(check)) == len(saw)  # nobody retried


_NAMES = {
    400: {"BadRequestError"},
    401: {"AuthenticationError"},
    403: {"PermissionDeniedError"},
    404: {"NotFoundError"},
    # Not every SDK has a class of its own for the rest.
    413: {"APIStatusError", "APIError", "RequestTooLargeError", "ContentTooLargeError"},
    429: {"RateLimitError"},
    500: {"InternalServerError"},
    503: {"InternalServerError", "ServiceUnavailableError"},
    529: {"InternalServerError", "OverloadedError"},
}


def gateways_retries(run: Run, dialect: str) -> None:
    assert run.of("gateways_retries")["text"]
    calls = run.upstream("gateways_retries")
    assert [call["record"]["status"] for call in calls] == [529 if dialect == "anthropic" else 503] * 2 + [200]
    assert {call["headers"].get("x-stainless-retry-count", "0") for call in calls} == {"0"}


def one_owner(run: Run, dialect: str) -> None:
    saw = run.of("one_owner")
    assert len(run.upstream("one_owner")) == 4  # the gateway's attempts, and the client added none
    if "should_retry" in saw:
        assert (saw["status"], saw["should_retry"]) == (503, "false")


def wrong_key(run: Run, dialect: str) -> None:
    saw = run.of("wrong_key")
    assert saw["status"] == 401
    if "family" in saw:
        assert saw["error"] == "AuthenticationError"
    assert not run.upstream("wrong_key")


def error_event(run: Run, dialect: str) -> None:
    saw = run.of("error_event")
    assert saw["text"]
    assert saw["error"]
    assert "verloaded" in saw["message"]


def cut(run: Run, dialect: str, check: str = "cut") -> None:
    saw = run.of(check)
    assert saw["text"]
    assert saw.get("error"), "a stream that was cut was passed off as whole"


def no_terminal(run: Run, dialect: str) -> None:
    cut(run, dialect, "no_terminal")


def progress(run: Run, dialect: str) -> None:
    """The provider sends no more before the client has said that it holds the first piece."""
    saw, call = run.of("progress"), run.upstream("progress")[-1]
    assert saw["first"]
    assert saw["sent"] < len(call["sent"].encode())
    assert len(saw["first"]) < len(saw["whole"])
    assert call["record"]["ending"] == "complete"


def cancel_stream(run: Run, dialect: str, check: str = "cancel_stream") -> None:
    assert run.of(check)["first"]
    assert [call["record"]["ending"] for call in run.upstream(check)] == ["abandoned"]


def cancel_stream_async(run: Run, dialect: str) -> None:
    cancel_stream(run, dialect, "cancel_stream_async")


def cancel_whole(run: Run, dialect: str) -> None:
    assert run.of("cancel_whole")["cancelled"]
    assert [call["record"]["ending"] for call in run.upstream("cancel_whole")] == ["abandoned"]


def keep_alive(run: Run, dialect: str) -> None:
    assert run.of("keep_alive")["texts"] == [str(n) for n in range(5)]
    assert len({call["connection"] for call in run.upstream("keep_alive")}) == 1
    if "connects" in run.of("keep_alive"):
        assert run.of("keep_alive")["connects"] == 1


def count_tokens(run: Run, dialect: str) -> None:
    assert run.of("count_tokens")["input"] > 20
    assert run.upstream("count_tokens")[-1]["path"] == "/v1/messages/count_tokens"


def models(run: Run, dialect: str) -> None:
    saw = run.of("models")
    assert len(saw["ids"]) >= 5
    assert saw["one"] == saw["ids"][0]


def credentials(run: Run, dialect: str) -> None:
    """No check of its own: of all requests, none carries the caller's key, and each the provider's."""
    assert run.calls
    for call in run.calls:
        values = " ".join(call["headers"].values())
        assert KEY not in values
        assert any(own in values for own in PROVIDERS_OWN)


def books(run: Run, dialect: str) -> None:
    """No check of its own: the ledger is the invoice where usage was reported, and never below it."""
    charged = {row["request_id"]: row for row in run.attempts if row["request_id"]}
    lines = [call["line"] for call in run.calls if call["line"] and "fault:short" not in call["body"]]
    assert lines
    for line in lines:
        if line["reported"] and line["ending"] == "complete":
            row = charged[line["request_id"]]
            assert (row["cost_nano"], row["estimated"]) == (line["cost_nano"], 0), line
    assert sum(row["cost_nano"] for row in run.attempts) >= sum(line["cost_nano"] for line in lines)


def hermetic(run: Run, dialect: str) -> None:
    """No check of its own: the client wanted to talk to nobody but the gateway."""
    assert run.strangers == []
