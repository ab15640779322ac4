"""What a head asks for arrives in the request under its own name: the request is made by place."""

from __future__ import annotations

from headgate.gateway.auth import KeyRing
from headgate.gateway.entrance import read_head
from headgate.testing.canned import messages_request


def test_each_thing_that_a_head_asks_for_has_its_own_place() -> None:
    asked = {
        b"x-headgate-on-cut": b"buffer",
        b"x-headgate-approval": b"hga_token",
        b"x-headgate-priority": b"batch",
        b"x-headgate-timeout": b"7",
        b"x-headgate-correlation-id": b"c-1",
        b"x-stainless-retry-count": b"2",
        b"x-stainless-read-timeout": b"600",
    }
    scope = {
        "method": "POST",
        "path": "/v1/messages",
        "raw_path": b"/v1/messages",
        "query_string": b"",
        "scheme": "http",
        "client": ("127.0.0.1", 5),
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), *asked.items()],
    }
    request, wrong = read_head(scope, KeyRing(loopback=True), {}).request(messages_request(), keep_text=False)
    assert wrong is None
    assert (request.on_cut, request.approval, request.batch) == ("buffer", "hga_token", True)
    assert (request.timeout, request.patience, request.correlation_id, request.client_retries) == (7.0, 600.0, "c-1", 2)
    assert (request.way_in, request.of_guard, request.address, request.own_url) == ("gateway", "", "", "")
