"""Errors: what providers send, read leniently, and ours as the real SDKs raise them."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire import ANTHROPIC, OPENAI
from headgate.wire.dialect import ProviderError
from headgate.wire.lenient import error_alone, error_body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"type": "error", "error": {"type": "rate_limit_error", "message": "m", "details": {"error_code": "ramp"}}},
            ProviderError("rate_limit_error", "ramp", "m"),
        ),
        (
            {
                "type": "error",
                "error": {"type": "not_found_error", "message": "m", "details": None},
                "request_id": "req_1",
            },
            ProviderError("not_found_error", "", "m", "req_1"),
        ),
        (
            {
                "error": {
                    "message": "m",
                    "type": "insufficient_quota",
                    "param": None,
                    "code": "billing_hard_limit_reached",
                }
            },
            ProviderError("insufficient_quota", "billing_hard_limit_reached", "m"),
        ),
        ({"error": {"code": 402, "message": "no credits"}}, ProviderError("", "402", "no credits")),
        (
            [{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "x"}]}}],
            ProviderError("RESOURCE_EXHAUSTED", "429", "m"),
        ),
        ({"code": "invalid", "error": "a sentence"}, ProviderError("", "invalid", "a sentence")),
        ({"error": "a sentence"}, ProviderError(message="a sentence")),
        ({"error": [{"code": "c", "message": "m"}]}, ProviderError("", "c", "m")),
        ({"object": "error", "message": "m", "type": "t", "code": 3}, ProviderError("t", "3", "m")),
        ({"detail": [{"loc": ["body"], "msg": "one"}, {"msg": "two"}]}, ProviderError(message="one; two")),
        ({"detail": "Not Found"}, ProviderError(message="Not Found")),
        ({"object": "error", "message": {"detail": [{"msg": "bad"}]}, "code": None}, ProviderError(message="bad")),
        ("plain", ProviderError(message="plain")),
        (["plain"], ProviderError(message="plain")),
        ([], ProviderError()),
        (None, ProviderError()),
        ({"error": None}, ProviderError()),
        ({"error": {"message": 3, "type": [], "code": True}}, ProviderError()),
    ],
)
def test_every_shape_of_error_body_is_read(body: Any, expected: ProviderError) -> None:
    raw = json.dumps(body).encode()
    assert ANTHROPIC.read_error(raw) == expected
    assert OPENAI.read_error(raw) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"upstream connect error\n or disconnect", "upstream connect error or disconnect"),
        (b"<html><h1>502 Bad Gateway</h1></html>", ""),
        (b"", ""),
        (b"\x1f\x8b\x08\x00\x01", ""),
        (b"x" * 5000, "x" * 300),
        (b"[" * 100_000, "[" * 300),
    ],
)
def test_an_error_that_is_not_json_has_at_most_a_short_message(body: bytes, message: str) -> None:
    assert OPENAI.read_error(body) == ProviderError(message=message)


@given(st.binary(max_size=80))
def test_no_error_body_raises(body: bytes) -> None:
    assert isinstance(error_body(body), ProviderError)


def test_the_request_id_is_found_under_either_name() -> None:
    assert ANTHROPIC.request_id([(b"x-request-id", b"proxy"), (b"request-id", b"req_1")]) == "req_1"
    assert OPENAI.request_id([(b"x-request-id", b"r2"), (b"request-id", b"other")]) == "r2"
    assert OPENAI.request_id([(b"request-id", b"r3")]) == "r3"
    assert OPENAI.request_id([]) == ""


def messages_client(answer: httpx2.Response) -> anthropic.Anthropic:
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    return anthropic.Anthropic(api_key="not-a-key", base_url="http://headgate.test", http_client=http, max_retries=0)


def chat_client(answer: httpx2.Response) -> openai.OpenAI:
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    return openai.OpenAI(api_key="not-a-key", base_url="http://headgate.test/v1", http_client=http, max_retries=0)


MESSAGE: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "hi"}],
}
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
OURS = {"code": "budget_exceeded", "exchange": "ex_1"}


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (401, "authentication_error", anthropic.AuthenticationError),
        (402, "billing_error", anthropic.APIStatusError),
        (403, "permission_error", anthropic.PermissionDeniedError),
        (404, "not_found_error", anthropic.NotFoundError),
        (409, "conflict_error", anthropic.ConflictError),
        (413, "request_too_large", anthropic.APIStatusError),
        (418, "invalid_request_error", anthropic.APIStatusError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (503, "api_error", anthropic.InternalServerError),
        (504, "timeout_error", anthropic.InternalServerError),
        (529, "overloaded_error", anthropic.InternalServerError),
    ],
)
def test_the_anthropic_sdk_raises_our_error_as_its_own(status: int, kind: str, raised: type[Exception]) -> None:
    body = ANTHROPIC.error_body(status, "budget_exceeded", 'the "ada" budget is spent', "ex_1")
    client = messages_client(httpx2.Response(status, content=body, headers={"content-type": "application/json"}))
    with pytest.raises(raised) as caught:
        client.messages.create(**MESSAGE)
    error = caught.value
    assert isinstance(error, anthropic.APIStatusError)
    assert (error.status_code, error.type) == (status, kind)
    assert 'the "ada" budget is spent' in str(error)
    assert isinstance(error.body, dict)
    assert error.body["headgate"] == OURS
    assert error.body["error"]["details"]["error_code"] == "budget_exceeded"
    assert error.body["request_id"] == "ex_1"


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_the_openai_sdk_raises_our_error_as_its_own(status: int, raised: type[Exception]) -> None:
    body = OPENAI.error_body(status, "budget_exceeded", "spent", "ex_1")
    client = chat_client(httpx2.Response(status, content=body, headers={"content-type": "application/json"}))
    with pytest.raises(raised) as caught:
        client.chat.completions.create(**CHAT)
    error = caught.value
    assert isinstance(error, openai.APIStatusError)
    assert (error.status_code, error.code, error.param) == (status, "budget_exceeded", None)
    assert "spent" in str(error)
    assert error.response.json()["headgate"] == OURS


def test_the_anthropic_sdk_raises_our_error_inside_a_stream() -> None:
    frame = ANTHROPIC.error_event("provider_timeout", "took too long", "ex_1")
    stream = b'event: ping\ndata: {"type":"ping"}\n\n' + frame
    client = messages_client(httpx2.Response(200, content=stream, headers={"content-type": "text/event-stream"}))
    with pytest.raises(anthropic.APIStatusError, match="took too long") as caught:
        list(client.messages.create(**MESSAGE, stream=True))
    assert (caught.value.status_code, caught.value.type) == (200, "timeout_error")
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["headgate"] == {"code": "provider_timeout", "exchange": "ex_1"}


def test_the_openai_sdk_raises_our_error_inside_a_stream() -> None:
    frame = OPENAI.error_event("provider_broken", "cut off", "ex_1")
    client = chat_client(httpx2.Response(200, content=frame, headers={"content-type": "text/event-stream"}))
    with pytest.raises(openai.APIError, match="cut off") as caught:
        list(client.chat.completions.create(**CHAT, stream=True))
    assert (caught.value.code, caught.value.type) == ("provider_broken", "server_error")


def test_our_own_error_reads_back() -> None:
    for dialect in (ANTHROPIC, OPENAI):
        error = dialect.read_error(dialect.error_body(429, "budget_exceeded", "spent", "ex_1"))
        assert (error.type, error.code, error.message) == ("rate_limit_error", "budget_exceeded", "spent")


def test_an_unknown_code_inside_a_stream_is_a_server_error() -> None:
    assert b'"api_error"' in ANTHROPIC.error_event("something_new", "m", "")
    assert b'"invalid_request_error"' in ANTHROPIC.error_event("invalid_request", "m", "")


@pytest.mark.parametrize(
    ("event", "body"),
    [
        (
            {"type": "response.failed", "response": {"error": {"code": "c", "message": "m"}}},
            {"code": "c", "message": "m"},
        ),
        ({"type": "error", "code": "c", "message": "m", "param": None}, {"code": "c", "message": "m", "param": None}),
    ],
)
def test_an_error_event_of_responses_is_an_error_body_outside_a_stream(event: object, body: object) -> None:
    assert json.loads(error_alone(json.dumps(event).encode())) == {"error": body}


@pytest.mark.parametrize(
    "event", [b'{"type":"error","error":{"type":"x"}}', b'{"error":{"code":1}}', b"not json", b"[1]"]
)
def test_any_other_error_event_stays_as_it_is_outside_a_stream(event: bytes) -> None:
    assert error_alone(event) == event
