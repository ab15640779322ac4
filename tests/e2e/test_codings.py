"""Content codings through the gateway: bodies in them are read, answers in them arrive as they were asked for."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import brotli
import pytest
from e2e_upstream import RawUpstream, Received, whole
from e2e_world import Gateway, only

try:
    from compression import zstd
except ImportError:
    from backports import zstd

CODERS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "br": (brotli.compress, brotli.decompress),
    "zstd": (zstd.compress, zstd.decompress),
}
ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": "hello " * 50}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1000, "output_tokens": 2000},
    }
).encode()
COST = 1000 * 1_000 + 2000 * 5_000  # nano-dollars, at $1 and $5 per million tokens
EVENTS = b"".join(
    f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    for event in (
        {"type": "message_start", "message": {"model": "claude-haiku-4-5", "usage": {"input_tokens": 1000}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2000}},
        {"type": "message_stop"},
    )
)


class World:
    """A gateway and a provider that compresses."""

    def __init__(self, gateway: Gateway, upstream: RawUpstream) -> None:
        self.gateway = gateway
        self.upstream = upstream

    def post(self, body: dict[str, Any] | bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
        host, _, port = self.gateway.url.removeprefix("http://").partition(":")
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        with closing(HTTPConnection(host, int(port), timeout=10)) as connection:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", "/v1/messages", sent, {"content-type": "application/json", **fields})
            answer = connection.getresponse()
            return answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with (
        RawUpstream(lambda request: whole("200 OK", ANSWER)) as upstream,
        Gateway(tmp_path, upstream.url, upstream.url) as gateway,
    ):
        yield World(gateway, upstream)


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **more}


def coded(coding: str) -> Callable[[Received], bytes]:
    return lambda request: whole("200 OK", CODERS[coding][0](ANSWER), f"content-encoding: {coding}")


@pytest.mark.parametrize("coding", CODERS)
def test_an_answer_arrives_in_the_coding_that_the_client_asked_for_and_is_metered(world: World, coding: str) -> None:
    world.upstream.answer = coded(coding)
    status, headers, body = world.post(ask(), accept_encoding=f"{coding}, unknown")
    assert (status, headers["content-encoding"], CODERS[coding][1](body)) == (200, coding, ANSWER)
    assert only(world.upstream.received).values(b"accept-encoding") == [coding.encode()]
    assert world.gateway.exchange(headers["x-headgate-exchange"])["cost_nano"] == COST


@pytest.mark.parametrize("coding", CODERS)
def test_a_request_body_in_a_coding_is_read_and_goes_on_plain(world: World, coding: str) -> None:
    status, headers, body = world.post(CODERS[coding][0](json.dumps(ask()).encode()), content_encoding=coding)
    assert (status, body) == (200, ANSWER)
    got = only(world.upstream.received)
    assert json.loads(got.body) == ask()
    assert got.values(b"content-encoding") == []
    assert world.gateway.exchange(headers["x-headgate-exchange"])["model_asked"] == "claude-haiku-4-5"


def test_a_client_that_asks_for_nothing_gets_a_plain_answer(world: World) -> None:
    world.post(ask(), accept_encoding="identity")
    assert only(world.upstream.received).values(b"accept-encoding") == [b"identity"]


@pytest.mark.parametrize("coding", CODERS)
def test_a_stream_that_is_compressed_unasked_is_decoded_metered_and_handed_on(world: World, coding: str) -> None:
    world.upstream.answer = lambda request: whole(
        "200 OK", CODERS[coding][0](EVENTS), f"content-encoding: {coding}", kind="text/event-stream"
    )
    _, headers, body = world.post(ask(stream=True), accept_encoding=coding)
    assert only(world.upstream.received).values(b"accept-encoding") == [b"identity"]
    assert "content-encoding" not in headers
    assert body.startswith(EVENTS)
    assert world.gateway.exchange(headers["x-headgate-exchange"])["cost_nano"] == COST


def test_a_broken_body_is_a_400_with_a_row_and_nothing_is_sent(world: World) -> None:
    status, headers, body = world.post(gzip.compress(b"{}" * 900)[:-5], content_encoding="gzip")
    assert (status, json.loads(body)["error"]["type"]) == (400, "invalid_request_error")
    assert world.upstream.received == []
    assert world.gateway.exchange(headers["x-headgate-exchange"])["ending"] == "refused"


def test_a_bomb_is_a_413_and_nothing_is_sent(world: World) -> None:
    status, _, body = world.post(gzip.compress(b" " * 60_000_000), content_encoding="gzip")
    assert (status, b"once decoded" in body) == (413, True)
    assert world.upstream.received == []


def test_an_unknown_coding_is_a_415_that_names_the_known_ones(world: World) -> None:
    status, _, body = world.post(b"x", content_encoding="lzma")
    assert (status, b"gzip" in body) == (415, True)


def test_an_error_in_a_coding_is_classified_and_passed_on_as_it_came(world: World) -> None:
    error = json.dumps({"type": "error", "error": {"type": "not_found_error", "message": "model: x"}}).encode()
    world.upstream.answer = lambda request: whole("404 Not Found", gzip.compress(error), "content-encoding: gzip")
    status, headers, body = world.post(ask(), accept_encoding="gzip")
    assert (status, headers["content-encoding"], gzip.decompress(body)) == (404, "gzip", error)
