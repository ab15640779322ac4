"""What a request's head decides."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.core.errors import BadRequest
from headgate.core.exchange import Request, Route
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.gateway.entrance import read_head
from headgate.gateway.paths import missing_version, target
from headgate.testing.canned import messages_request

PROVIDERS = {"anthropic": Route("anthropic", "", "anthropic", "https://api.anthropic.com")}


KEY = "any string may be a key"


def read(*headers: tuple[bytes, bytes]) -> tuple[Request, Any]:
    ring = KeyRing()
    ring.add(digest(KEY), KeyRecord(id="one", name="dev", tenant="", environment=""))
    scope = {
        "method": "POST",
        "path": "/v1/messages",
        "raw_path": b"/v1/messages",
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"x-api-key", KEY.encode()), (b"anthropic-version", b"2023-06-01"), *headers],
    }
    return read_head(scope, ring, PROVIDERS).request(messages_request(), keep_text=False)


@pytest.mark.parametrize(("value", "batch"), [(b"batch", True), (b"interactive", False), (b"", False)])
def test_a_call_through_the_gateway_is_batch_where_its_header_says_so(value: bytes, batch: bool) -> None:
    request, wrong = read((b"x-headgate-priority", value))
    assert (request.batch, wrong) == (batch, None)
    assert b"x-headgate-priority" not in dict(request.headers)


def test_a_call_through_the_gateway_is_interactive_by_default() -> None:
    assert read()[0].batch is False


def test_a_priority_that_does_not_exist_is_the_callers_mistake() -> None:
    _, wrong = read((b"x-headgate-priority", b"urgent"))
    assert isinstance(wrong, BadRequest)
    assert "x-headgate-priority" in wrong.message


@pytest.mark.parametrize(
    ("path", "dialect", "behind"),
    [
        (b"/v1/v1/messages", "anthropic", "/v1/messages"),
        (b"/v1/v1/chat/completions", "openai", "/chat/completions"),
        (b"/anthropic/v1/v1/messages", "anthropic", "/v1/messages"),
        (b"/p/anthropic/v1/v1/messages", "anthropic", "/v1/messages"),
        (b"/openai/v1/v1/chat/completions", "openai", "/chat/completions"),
    ],
)
def test_a_base_url_with_a_v1_too_many_leads_where_it_was_meant_to(path: bytes, dialect: str, behind: str) -> None:
    found = target(path, b"", [], PROVIDERS)
    assert found is not None
    assert (found.dialect, found.path) == (dialect, behind)


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/embeddings", "/models"])
def test_a_base_url_without_v1_is_told_so(path: str) -> None:
    assert target(path.encode(), b"", [], PROVIDERS) is None
    assert missing_version(path)
    assert not missing_version("/favicon.ico")
