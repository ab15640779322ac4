"""What passes untouched, both ways: the bytes that a scripted provider received and sent, against a direct call."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from e2e_upstream import RawUpstream, Received, whole  # it lies beside this file
from e2e_world import PROVIDER_KEYS, Gateway  # it lies beside this file

from headgate import Gate
from headgate.gateway.auth import KeyRecord
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.scenario import Pace, Scenario

KEY = "-".join(("hg", "test", "4" * 24))  # built from pieces: it is no secret, and must not look like one
PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
MODELS = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}
PROVIDERS = {"anthropic": PROVIDER_KEYS["ANTHROPIC_API_KEY"], "openai": PROVIDER_KEYS["OPENAI_API_KEY"]}
both_dialects = pytest.mark.parametrize("dialect", ["anthropic", "openai"])
both_ways = pytest.mark.parametrize("way", ["gateway", "in-process"])

# Odd on purpose: key order, spaces, escapes, numbers that no float holds, fields and types that nobody knows.
REQUESTS = {
    dialect: (
        b'{ "zz_unknown": {"deep": [1, 2.50, 12345678901234567890, "\\u00e9\\ud83c\\udf0a"]},\n\t"model" :"%s", '
        b'"max_tokens": 9, "messages":[{"role":"user","content":[{"type":"text","text":"h\xc3\xa9"},'
        b'{"type":"hologram","frames":[1e400]}]}], "stream": %%s, "stream_options": {"include_usage": true}}'
    )
    % MODELS[dialect].encode()
    for dialect in PATHS
}
ANSWERS = {
    "anthropic": b'{"id":"msg_1", "type":"message","role":"assistant","model":"claude-haiku-4-5", "new_field":[1.0],'
    b'"content":[{"type":"hologram","data":"\\u00e9"}],"stop_reason":"new_reason","stop_sequence":null,'
    b'"usage":{"input_tokens":3,"output_tokens":2,"new_tokens":7}}\n',
    "openai": b'{"id":"c1", "object":"chat.completion","created":1,"model":"gpt-6-luna","new_field":[1.0],"choices":['
    b'{"index":0,"message":{"role":"assistant","content":"\\u00e9","hologram":1},"finish_reason":"new_reason"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"new_tokens":7}}\n',
}
STREAMS = {
    "anthropic": b': a comment\n\nevent: message_start\ndata: {"type":"message_start","message":{"id":"m",'
    b'"model":"claude-haiku-4-5","role":"assistant","type":"message","content":[],"usage":{"input_tokens":3,'
    b'"output_tokens":1}}}\r\n\r\nevent: hologram_start\ndata: {"type":"hologram_start","x":[1.0]}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"hologram"}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"hologram_delta",'
    b'"data":"\xc3\xa9"}}\n\nevent: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\nid: 5\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"new_reason"},'
    b'"usage":{"output_tokens":2}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
    "openai": b': OPENROUTER PROCESSING\n\ndata: {"id":"c","model":"gpt-6-luna","choices":[{"index":0,'
    b'"delta":{"role":"assistant","hologram":"\xc3\xa9"}}],"obfuscation":"xx"}\r\n\r\n'
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\nevent: odd\ndata: {"new":1}\n\n'
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"new_reason"}]}\n\n'
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
    b"data: [DONE]\n\n",
}
# Names that the connection or the client library adds.
OF_THE_HOP = {b"host", b"connection", b"accept-encoding", b"content-length", b"user-agent", b"accept"}
CREDENTIALS = {b"authorization", b"x-api-key"}


def scripted(request: Received) -> bytes:
    dialect = "anthropic" if b"/messages" in request.line else "openai"
    kind, body = "application/json", ANSWERS[dialect]
    if b'"stream": true' in request.body:
        kind, body = "text/event-stream", STREAMS[dialect]
    return whole(
        "200 Fine", body, "request-id: r-1", "x-request-id: r-1", "x-new-header: kept", "set-cookie: a=1", kind=kind
    )


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(scripted) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("pass-through")
    with Gateway(folder, upstream.url, f"{upstream.url}/v1", keys={KEY: KeyRecord("test", "test")}) as made:
        yield made


@pytest.fixture(scope="module")
def gate(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    env = {"ANTHROPIC_BASE_URL": upstream.url, "OPENAI_BASE_URL": f"{upstream.url}/v1"}
    storage = f"sqlite:///{tmp_path_factory.mktemp('own') / 'own.db'}"
    with Gate.load(env=env, storage=storage) as made:
        yield made


Post = Callable[..., httpx2.Response]


@pytest.fixture
def post(way: str, upstream: RawUpstream, gateway: Gateway, gate: Gate) -> Iterator[Post]:
    """Sends a raw request through the way in that the test is about."""
    with gate.client() if way == "in-process" else httpx2.Client() as client:
        base = upstream.url if way == "in-process" else gateway.url

        def send(path: str, content: bytes, **headers: str) -> httpx2.Response:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return client.post(base + path, content=content, headers={"content-type": "application/json", **named})

        yield send


def _direct(upstream: RawUpstream, path: str, content: bytes, **headers: str) -> tuple[httpx2.Response, Received]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = httpx2.post(upstream.url + path, content=content, headers={"content-type": "application/json", **named})
    return answer, upstream.received[-1]


def _request(dialect: str, stream: bool) -> bytes:
    return REQUESTS[dialect] % (b"true" if stream else b"false")


@both_dialects
@both_ways
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_request_and_answer_pass_byte_for_byte(
    dialect: str, stream: bool, way: str, post: Post, upstream: RawUpstream
) -> None:
    headers = {
        "x_api_key": KEY,
        "anthropic_beta": "hologram-2026,other",
        "x_unknown": "kept",
        "openai_organization": "o",
    }
    path = f"{PATHS[dialect]}?beta=true&x=%20y"
    answer, received = _direct(upstream, path, _request(dialect, stream), **headers)
    seen = post(path, _request(dialect, stream), **headers)
    sent = upstream.received[-1]
    assert sent.line == received.line
    assert sent.body == received.body == _request(dialect, stream)
    skip = OF_THE_HOP | CREDENTIALS
    if way == "gateway":  # whose account our key is used for is part of it
        assert all(name != b"openai-organization" for name, _ in sent.headers)
        skip |= {b"openai-organization"}
    assert [h for h in sent.headers if h[0] not in skip] == [h for h in received.headers if h[0] not in skip]
    assert seen.status_code == 200
    body = seen.content
    if stream:
        body, mark, comment = body.rpartition(b": x-headgate-exchange=")
        assert mark
        assert b"x-headgate-cost-usd=" in comment
        assert b"x-headgate-stop-reason=new_reason" in comment
        assert comment.endswith(b"\n\n")
        assert b"\n\n" not in comment[:-2]
    assert body == answer.content
    ours = {name for name in seen.headers if name.startswith("x-headgate-")}
    assert ours
    untold = ours | {"connection", "date", "transfer-encoding", "content-length"}
    expected = {name: value for name, value in answer.headers.items() if name not in untold}
    assert {name: value for name, value in seen.headers.items() if name not in untold} == expected


@both_ways
@pytest.mark.parametrize("dialect", ["openai"])
def test_the_usage_chunk_that_only_we_asked_for_does_not_reach_the_caller(
    dialect: str, way: str, post: Post, upstream: RawUpstream, gate: Gate, gateway: Gateway
) -> None:
    asked = b'{"model": "gpt-6-luna", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
    seen = post(PATHS[dialect], asked, authorization=f"Bearer {KEY}")
    assert json.loads(upstream.received[-1].body)["stream_options"] == {"include_usage": True}
    assert b'"usage"' not in seen.content
    assert b"data: [DONE]" in seen.content
    books = gate.built if way == "in-process" else gateway.built
    books.ledger.flush()
    row = books.ledger.reader().exchange(seen.headers["x-headgate-exchange"])
    assert row is not None
    assert (row.exchange["input_tokens"], row.exchange["output_tokens"], row.exchange["estimated"]) == (3, 2, 0)


@both_dialects
@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
@pytest.mark.parametrize("way", ["gateway"])
@pytest.mark.parametrize("where", ["x-api-key", "authorization", "x-goog-api-key", "both"])
def test_the_callers_key_is_taken_in_any_header_and_the_providers_is_sent_instead(
    dialect: str, version: str, where: str, way: str, post: Post, upstream: RawUpstream
) -> None:
    key = {
        "x-api-key": {"x_api_key": KEY},
        "authorization": {"authorization": f"Bearer {KEY}"},
        "x-goog-api-key": {"x_goog_api_key": KEY},
        "both": {"x_api_key": KEY, "authorization": "Bearer somebody-elses"},
    }[where]
    assert post(PATHS[dialect], _request(dialect, False), anthropic_version=version, **key).status_code == 200
    sent = upstream.received[-1]
    assert sent.values(b"anthropic-version") == [version.encode()]
    assert KEY.encode() not in repr(sent).encode()
    assert b"somebody-elses" not in repr(sent).encode()
    expected = {"anthropic": [PROVIDERS["anthropic"]], "openai": [f"Bearer {PROVIDERS['openai']}"]}[dialect]
    name = b"x-api-key" if dialect == "anthropic" else b"authorization"
    assert [value.decode() for value in sent.values(name)] == expected
    others = CREDENTIALS | {b"x-goog-api-key"} - {name}
    assert all(not sent.values(other) for other in others - {name})


@both_dialects
@pytest.mark.parametrize("way", ["in-process"])
@pytest.mark.parametrize("header", ["x_api_key", "authorization"])
def test_in_process_the_sdks_own_key_is_used_as_it_is(
    dialect: str, header: str, way: str, post: Post, upstream: RawUpstream
) -> None:
    assert post(PATHS[dialect], _request(dialect, False), **{header: "Bearer mine"}).status_code == 200
    assert upstream.received[-1].values(header.replace("_", "-").encode()) == [b"Bearer mine"]


@pytest.mark.parametrize("way", ["gateway"])
@pytest.mark.parametrize(
    ("path", "reached"),
    [
        ("/anthropic/v1/messages", b"/v1/messages"),
        ("/p/anthropic/v1/messages", b"/v1/messages"),
        ("/openai/v1/chat/completions", b"/v1/chat/completions"),
        ("/openai/chat/completions", b"/v1/chat/completions"),
        ("/p/openai/v1/chat/completions", b"/v1/chat/completions"),
    ],
)
def test_prefixes_name_a_dialect_or_a_provider(
    path: str, reached: bytes, way: str, post: Post, upstream: RawUpstream
) -> None:
    dialect = "anthropic" if b"messages" in reached else "openai"
    assert post(path, _request(dialect, False), x_api_key=KEY).status_code == 200
    assert upstream.received[-1].line == b"POST " + reached + b" HTTP/1.1"


SLOW = Scenario(name="slow", pace=Pace(first_token_seconds=0.02, seconds_per_event=0.02), output_tokens=400)
WAIT = 60.0


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[SimulatorServer, Callable[..., Gateway]]]:
    opened: list[Gateway] = []
    with SimulatorServer(SLOW) as sim:

        def make(**overrides: Any) -> Gateway:
            opened.append(Gateway(tmp_path, sim.url, sim.openai_url, overrides=overrides).__enter__())
            return opened[-1]

        yield sim, make
        for gateway in opened:
            gateway.__exit__(None, None, None)


def _asked(dialect: str, stream: bool) -> dict[str, Any]:
    return {
        "model": MODELS[dialect],
        "max_tokens" if dialect == "anthropic" else "max_completion_tokens": 120,
        "stream": stream,
        "messages": [{"role": "user", "content": "tokens: 120"}],
    }


def _leave(sim: SimulatorServer, url: str, dialect: str, stream: bool) -> None:
    """Ask, and go away in the middle of the answer."""
    headers = {"anthropic-version": "2023-06-01"} if dialect == "anthropic" else {}
    if not stream:
        asyncio.run(_leave_before_it(sim, url + PATHS[dialect], _asked(dialect, stream), headers))
        return
    with (
        httpx2.Client(timeout=WAIT) as client,
        client.stream("POST", url + PATHS[dialect], json=_asked(dialect, stream), headers=headers) as answer,
    ):
        for _, piece in zip(range(3), answer.iter_raw(), strict=False):
            assert piece


async def _leave_before_it(sim: SimulatorServer, url: str, body: dict[str, Any], headers: dict[str, str]) -> None:
    """Once the provider works at it: a fixed time may be over before this machine has brought it the request."""
    async with httpx2.AsyncClient(timeout=WAIT) as client:
        call = asyncio.ensure_future(client.post(url, json=body, headers=headers))
        while not sim.simulator.requests(0):
            await asyncio.sleep(0.005)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


@both_dialects
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_caller_that_leaves_stops_the_provider_at_once(
    dialect: str, stream: bool, slow: tuple[SimulatorServer, Callable[..., Gateway]]
) -> None:
    sim, make = slow
    gateway = make()
    _leave(sim, gateway.url, dialect, stream)
    seen = sim.requests(wait=WAIT)
    assert [r["ending"] for r in seen] == ["abandoned"]
    if stream:
        assert seen[0]["events"] < 25  # of more than 30
    row = _row(gateway)
    assert row["ending"] == ("abandoned" if stream else "cancelled")
    assert row["cost_nano"] >= sim.invoice()["total"]["cost_nano"]


@both_dialects
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_where_the_provider_bills_to_the_end_a_left_answer_is_read_to_the_end(
    dialect: str, stream: bool, slow: tuple[SimulatorServer, Callable[..., Gateway]]
) -> None:
    sim, make = slow
    gateway = make(providers={dialect: {"on_disconnect": "drain"}})
    _leave(sim, gateway.url, dialect, stream)
    assert [r["ending"] for r in sim.requests(wait=WAIT)] == ["complete"]
    row = _row(gateway)
    assert (row["cost_nano"], row["estimated"]) == (sim.invoice()["total"]["cost_nano"], 0)


def _row(gateway: Gateway) -> dict[str, Any]:
    """The exchange's row, once it is there: the gateway hears of the end a moment after the simulator."""
    pause = threading.Event()
    until = time.monotonic() + WAIT
    while not (found := gateway.rows("exchanges")) and time.monotonic() < until:
        pause.wait(0.01)
    assert len(found) == 1
    return found[0]
