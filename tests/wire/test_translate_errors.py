"""Errors between the dialects: the real SDKs raise the class that stands for them."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.dialect import ProviderError
from headgate.wire.translate import error_frame, translate_error

MESSAGE: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def a_error(kind: str, message: str = "m", code: str = "") -> bytes:
    details = {"details": {"error_code": code}} if code else {}
    return json.dumps({"type": "error", "error": {"type": kind, "message": message, **details}}).encode()


def o_error(kind: str, code: str | None = None, message: str = "m") -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def raised_by_openai(status: int, body: bytes) -> openai.APIStatusError:
    told = translate_error("openai", "anthropic", status, body)
    answer = httpx2.Response(told.status, content=told.body, headers={"content-type": "application/json"})
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    client = openai.OpenAI(api_key="not-a-key", base_url="http://headgate.test/v1", http_client=http, max_retries=0)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    return caught.value


def raised_by_anthropic(status: int, body: bytes) -> anthropic.APIStatusError:
    told = translate_error("anthropic", "openai", status, body)
    answer = httpx2.Response(told.status, content=told.body, headers={"content-type": "application/json"})
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    client = anthropic.Anthropic(api_key="not-a-key", base_url="http://headgate.test", http_client=http, max_retries=0)
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**MESSAGE)
    return caught.value


@pytest.mark.parametrize(
    ("status", "body", "raised", "code"),
    [
        (400, a_error("invalid_request_error"), openai.BadRequestError, None),
        (
            400,
            a_error("invalid_request_error", "prompt is too long: 9 > 8"),
            openai.BadRequestError,
            "context_length_exceeded",
        ),
        (
            400,
            a_error("invalid_request_error", "You have reached your specified API usage limits."),
            openai.RateLimitError,
            "insufficient_quota",
        ),
        (401, a_error("authentication_error"), openai.AuthenticationError, "invalid_api_key"),
        (402, a_error("billing_error"), openai.RateLimitError, "insufficient_quota"),
        (403, a_error("permission_error"), openai.PermissionDeniedError, None),
        (404, a_error("not_found_error"), openai.NotFoundError, "model_not_found"),
        (409, a_error("conflict_error"), openai.ConflictError, None),
        (413, a_error("request_too_large"), openai.APIStatusError, None),
        (429, a_error("rate_limit_error"), openai.RateLimitError, "rate_limit_exceeded"),
        (
            429,
            a_error("rate_limit_error", code="enforced_spend_limit_reached"),
            openai.RateLimitError,
            "insufficient_quota",
        ),
        (500, a_error("api_error"), openai.InternalServerError, None),
        (504, a_error("timeout_error"), openai.InternalServerError, None),
        (529, a_error("overloaded_error"), openai.InternalServerError, "server_is_overloaded"),
    ],
)
def test_an_error_of_anthropics_is_raised_by_the_openai_sdk(
    status: int, body: bytes, raised: type[openai.APIStatusError], code: str | None
) -> None:
    error = raised_by_openai(status, body)
    assert type(error) is raised
    assert error.code == code


@pytest.mark.parametrize(
    ("status", "body", "raised", "kind"),
    [
        (400, o_error("invalid_request_error"), anthropic.BadRequestError, "invalid_request_error"),
        (
            400,
            o_error("invalid_request_error", "context_length_exceeded"),
            anthropic.BadRequestError,
            "invalid_request_error",
        ),
        (
            401,
            o_error("invalid_request_error", "invalid_api_key"),
            anthropic.AuthenticationError,
            "authentication_error",
        ),
        (403, o_error("permission_error"), anthropic.PermissionDeniedError, "permission_error"),
        (404, o_error("invalid_request_error", "model_not_found"), anthropic.NotFoundError, "not_found_error"),
        (409, o_error("conflict"), anthropic.ConflictError, "conflict_error"),
        (413, o_error("too_large"), anthropic.ContentTooLargeError, "request_too_large"),
        (422, b'{"detail": "bad"}', anthropic.UnprocessableEntityError, "invalid_request_error"),
        (429, o_error("tokens", "rate_limit_exceeded"), anthropic.RateLimitError, "rate_limit_error"),
        (429, o_error("insufficient_quota", "insufficient_quota"), anthropic.PaymentRequiredError, "billing_error"),
        (402, b'{"error": "no credits"}', anthropic.PaymentRequiredError, "billing_error"),
        (498, o_error("capacity_exceeded"), anthropic.OverloadedError, "overloaded_error"),
        (500, o_error("server_error"), anthropic.InternalServerError, "api_error"),
        (502, b"<html>", anthropic.InternalServerError, "api_error"),
        (
            503,
            o_error("service_unavailable_error", "server_is_overloaded"),
            anthropic.OverloadedError,
            "overloaded_error",
        ),
        (504, o_error("server_error"), anthropic.GatewayTimeoutError, "timeout_error"),
    ],
)
def test_an_error_of_openais_is_raised_by_the_anthropic_sdk(
    status: int, body: bytes, raised: type[anthropic.APIStatusError], kind: str
) -> None:
    error = raised_by_anthropic(status, body)
    assert type(error) is raised
    assert error.type == kind


def test_a_context_that_is_too_long_is_told_in_anthropics_words() -> None:
    error = raised_by_anthropic(400, o_error("invalid_request_error", "context_length_exceeded", "maximum is 8 tokens"))
    assert "prompt is too long: maximum is 8 tokens" in error.message


def test_an_error_of_the_same_dialect_is_the_same() -> None:
    assert translate_error("openai", "openai", 529, b"x") == (529, b"x")


@pytest.mark.parametrize("source", ["anthropic", "openai"])
@given(status=st.integers(400, 599), body=st.binary(max_size=80))
def test_whatever_the_provider_sends_is_some_error(source: str, status: int, body: bytes) -> None:
    target = "openai" if source == "anthropic" else "anthropic"
    told = translate_error(source, target, status, body)
    assert 400 <= told.status <= 599
    assert json.loads(told.body)["error"]["message"]


def test_an_error_inside_a_stream_is_a_frame_of_the_callers_dialect() -> None:
    error = ProviderError("overloaded_error", "", "busy")
    assert error_frame("anthropic", error).startswith(b'event: error\ndata: {"type":"error","error":{"type":"overl')
    told = json.loads(error_frame("openai", error).removeprefix(b"data: "))
    assert told["error"] == {
        "message": "busy",
        "type": "service_unavailable_error",
        "param": None,
        "code": "server_is_overloaded",
    }
