"""An SDK's HTTP request as an exchange's request."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.caller import Caller
from headgate.core.errors import BadRequest
from headgate.core.exchange import Request, Route
from headgate.testing.canned import chat_request, messages_request
from headgate.transport.reading import Bases, Heads, read_head

VERSION = ("anthropic-version", "2026-10-21")
PROVIDERS = {
    route.provider: route
    for route in (
        Route("anthropic", "", "anthropic", "https://api.anthropic.com"),
        Route("openai", "", "openai", "https://api.openai.com/v1"),
        Route("proxy", "", "anthropic", "https://api.anthropic.com/proxy", drain=True),
        Route("local", "", "openai", "http://127.0.0.1:11434/v1"),
    )
}


def read(
    url: str, *headers: tuple[str, str], method: str = "POST", body: bytes | None = None, caller: Caller | None = None
) -> tuple[Request, BadRequest | None]:
    if body is None:
        other = b'{"model": "m", "input": "x"}' if url.partition("?")[0].endswith(("embeddings", "responses")) else b""
        body = chat_request() if "completions" in url else messages_request() if "messages" in url else other
    raw = [(name.encode(), value.encode()) for name, value in headers]
    caller = caller or Caller()
    return read_head(Bases(PROVIDERS), method, url, raw, caller).request(body, caller, False)


@pytest.mark.parametrize(
    ("url", "headers", "provider", "base", "endpoint"),
    [
        ("https://api.anthropic.com/v1/messages", [], "anthropic", "https://api.anthropic.com", "messages"),
        ("https://api.anthropic.com/v1/messages?beta=true", [], "anthropic", "https://api.anthropic.com", "messages"),
        ("https://api.anthropic.com/proxy/v1/messages", [], "proxy", "https://api.anthropic.com/proxy", "messages"),
        ("https://api.anthropic.com/proxyx/v1/messages", [], "anthropic", "https://api.anthropic.com", "other"),
        ("https://api.openai.com/v1/chat/completions", [], "openai", "https://api.openai.com/v1", "chat"),
        ("http://127.0.0.1:11434/v1/chat/completions", [], "local", "http://127.0.0.1:11434/v1", "chat"),
        ("https://x.local/v1/messages", [VERSION], "anthropic", "https://x.local", "messages"),
        ("https://x.local/a/b/v1/messages/count_tokens", [VERSION], "anthropic", "https://x.local/a/b", "count_tokens"),
        ("https://x.local/v1/models?limit=3", [VERSION], "anthropic", "https://x.local", "models"),
        ("https://x.local/v1/files", [VERSION], "anthropic", "https://x.local", "stored"),
        ("https://x.local/v1/chat/completions", [], "openai", "https://x.local/v1", "chat"),
        (
            "https://x.local/openai/deployments/d/chat/completions",
            [],
            "openai",
            "https://x.local/openai/deployments/d",
            "chat",
        ),
        (
            "https://x.local/openai/deployments/e/embeddings?api-version=1",
            [],
            "openai",
            "https://x.local/openai/deployments/e",
            "embeddings",
        ),
        ("https://x.local/openai/responses?api-version=1", [], "openai", "https://x.local/openai", "responses"),
        ("https://x.local/v1beta/openai/embeddings", [], "openai", "https://x.local/v1beta/openai", "embeddings"),
        ("https://x.local/v1/responses", [], "openai", "https://x.local/v1", "responses"),
        ("https://x.local/v1/models", [], "openai", "https://x.local/v1", "models"),
        ("https://x.local/elsewhere", [], "openai", "https://x.local", "other"),
        ("https://x.local", [], "openai", "https://x.local", "other"),
    ],
)
def test_the_sdks_base_url_tells_the_provider_and_what_is_behind_it_is_the_path(
    url: str, headers: list[tuple[str, str]], provider: str, base: str, endpoint: str
) -> None:
    request, wrong = read(url, *headers, method="GET" if "models" in url else "POST")
    assert wrong is None
    assert request.direct is not None
    assert (request.direct.provider, request.direct.base_url, request.endpoint) == (provider, base, endpoint)
    assert request.direct.base_url + request.path == url
    assert request.direct.credential is None
    assert request.direct.drain is (provider == "proxy")
    assert request.dialect == request.direct.dialect


def test_what_belongs_to_the_connection_is_left_out_and_names_are_lower_case() -> None:
    request, _ = read(
        "https://api.anthropic.com/v1/messages",
        ("Host", "api.anthropic.com"),
        ("Connection", "keep-alive"),
        ("Content-Length", "9"),
        ("Accept-Encoding", "br"),
        ("X-Custom", "1"),
    )
    assert request.headers == [(b"x-custom", b"1")]


def test_the_contexts_caller_the_headers_and_the_body_are_put_together() -> None:
    body = messages_request(metadata={"user_id": "from-the-body"})
    request, _ = read(
        "https://api.anthropic.com/v1/messages",
        ("X-Headgate-Session", "s"),
        ("X-Stainless-Retry-Count", "2"),
        ("X-Stainless-Timeout", "30"),
        body=body,
        caller=Caller(task="t"),
    )
    assert (request.caller.user, request.caller.session, request.caller.task) == ("from-the-body", "s", "t")
    assert (request.client_retries, request.patience, request.way_in) == (2, 30, "in-process")


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ([("x-headgate-timeout", "soon")], messages_request(), "x-headgate-timeout"),
        ([], b'{"model": "claude-haiku-4-5"', "JSON"),
        ([], b'{"model": 7, "max_tokens": 1, "messages": []}', "model"),
        ([("x-headgate-timeout", "soon")], b"{", "x-headgate-timeout"),
    ],
)
def test_what_cannot_be_run_is_still_a_request_that_can_be_recorded(
    headers: list[tuple[str, str]], body: bytes, said: str
) -> None:
    request, wrong = read("https://api.anthropic.com/v1/messages", ("x-custom", "1"), *headers, body=body)
    assert wrong is not None
    assert said in str(wrong)
    assert request.headers == [(b"x-custom", b"1")]
    assert request.body == body


@pytest.mark.parametrize(
    ("context", "header", "batch"),
    [
        (False, None, False),
        (True, None, True),
        (True, "interactive", False),
        (False, "batch", True),
        (True, "", True),
    ],
)
def test_a_requests_own_priority_wins_over_its_contexts(context: bool, header: str | None, batch: bool) -> None:
    raw = [] if header is None else [(b"x-headgate-priority", header.encode())]
    url = "https://api.anthropic.com/v1/messages"
    head = read_head(Bases(PROVIDERS), "POST", url, raw, Caller())
    request, wrong = head.request(messages_request(), Caller(), False, batch=context)
    assert (request.batch, wrong) == (batch, None)


BODIES = [messages_request(), messages_request(metadata={"user_id": "ada"}), b"{", b""]
CALLERS = [Caller(), Caller(user="bea", tags=MappingProxyType({"a": "b"})), Caller(tenant="t", task="x")]
FIELDS = st.sampled_from(
    [
        (b"Authorization", b"Bearer one"),
        (b"Authorization", b"Bearer two"),
        (b"X-Custom", b"1"),
        (b"Connection", b"keep-alive"),
        (b"content-length", b"7"),
        (b"X-Headgate-User", b"eve"),
        (b"X-Headgate-Tenant", b"other"),
        (b"X-Headgate-Tags", b"c=d"),
        (b"X-Headgate-Timeout", b"soon"),
        (b"X-Headgate-Timeout", b"5"),
        (b"X-Headgate-Priority", b"batch"),
        (b"X-Headgate-Priority", b"interactive"),
        (b"X-Headgate-Approval", b"token"),
        (b"X-Stainless-Retry-Count", b"1"),
        (b"X-Stainless-Read-Timeout", b"600"),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
)
CALLS = st.tuples(
    st.sampled_from(["POST", "GET"]),
    st.sampled_from(["https://api.anthropic.com/v1/messages", "https://x.local/v1/files", "https://x.local/v1/x"]),
    st.lists(FIELDS, max_size=3),
    st.sampled_from([None, b"Content-Length", b"content-length", b"CONTENT-LENGTH"]),
    st.sampled_from(BODIES),
    st.sampled_from(CALLERS),
    st.booleans(),
    st.sampled_from(["", "approved"]),
)


@given(st.lists(CALLS, max_size=12))
def test_a_head_that_was_seen_before_says_what_a_new_one_says(calls: list[Any]) -> None:
    bases = Bases(PROVIDERS)
    heads = Heads(bases)
    for method, url, fields, length, body, caller, batch, approval in calls:
        raw = [*fields, (length, str(len(body)).encode())] if length else fields
        told = (body, caller, True, None, batch, approval)
        for _ in range(2):
            found, wrong = heads.head(method, url, list(raw), caller).request(*told)
            same, why = read_head(bases, method, url, raw, caller).request(*told)
            assert (found, str(wrong)) == (same, str(why))
            found.timeout, found.batch, found.body = 1.0, not found.batch, b"changed"  # nobody else's


def test_what_is_kept_of_heads_is_bounded_and_no_two_calls_share_what_changes() -> None:
    heads = Heads(Bases(PROVIDERS))
    url = "https://api.anthropic.com/v1/messages"
    told: tuple[Any, ...] = (messages_request(), Caller(), False)
    first, _ = heads.head("POST", url, [(b"x-custom", b"1"), (b"Content-Length", b"9")], Caller()).request(*told)
    again, _ = heads.head("POST", url, [(b"x-custom", b"1"), (b"Content-Length", b"1234")], Caller()).request(*told)
    assert first is not again
    assert first.headers is again.headers  # the pool has them encoded
    for number in range(1_000):
        heads.head("POST", url, [(b"traceparent", b"%d" % number)], Caller())
    heads.head("POST", url, [(b"x-long", b"x" * 9_000)], Caller())
    assert len(heads._known) <= 32
    assert not any(len(place[2][0][1]) > 8_000 for place in heads._known)
