"""Raw bytes against a real server: what strangers may send, and what they get."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from headgate.gateway import server as server_module
from headgate.gateway.limits import Limits
from headgate.gateway.server import BackgroundServer, ServerOptions

POST = b"POST /x HTTP/1.1\r\nhost: a\r\n"
CLOSE = b"connection: close\r\n"
LIMITS = Limits(
    body_bytes=100_000,
    upload_bytes=100_000,
    header_bytes=4096,
    header_count=20,
    url_bytes=512,
    pipelined=4,
    connections=200,
)


async def app(scope, receive, send):
    if scope["path"] == "/boom":
        raise ValueError("the caller's secret text")
    if scope["path"] == "/silent":
        return
    if scope["path"] == "/half":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("the caller's secret text")
    if scope["path"] == "/split":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nset-cookie: b")]})
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.decode("latin-1"),
    }
    payload = json.dumps(told).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": payload})


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest) -> Iterator[BackgroundServer]:
    factory = server_module._loop_factory
    if request.param == "asyncio":
        server_module._loop_factory = lambda: None
    try:
        with BackgroundServer(app, ServerOptions(port=0, limits=LIMITS, drain_seconds=5, tune_gc=False)) as running:
            yield running
    finally:
        server_module._loop_factory = factory


def connect(server: BackgroundServer) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def exchange(server: BackgroundServer, data: bytes) -> bytes:
    """Send, then read until the server closes."""
    with connect(server) as client:
        client.sendall(data)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer


def parsed(answer: bytes) -> tuple[int, dict[str, str], dict]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split(" ")[1]), headers, json.loads(body)


HOSTILE = {
    "both framings": (POST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "both framings, other order": (POST + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd", 400),
    "a list of lengths": (POST + b"content-length: 3, 3\r\n\r\nabc", 400),
    "a signed length": (POST + b"content-length: +3\r\n\r\nabc", 400),
    "an overflowing length": (POST + b"content-length: 99999999999999999999999\r\n\r\n", 400),
    "obs-fold": (POST + b"x: a\r\n b\r\n\r\n", 400),
    "a bare CR": (POST + b"x: a\rb\r\n\r\n", 400),
    "bare LFs": (b"GET / HTTP/1.1\nhost: a\n\n", 400),
    "a NUL in a value": (POST + b"x: a\0b\r\n\r\n", 400),
    "a control character in a value": (POST + b"x: a\x01b\r\n\r\n", 400),
    "a space before the colon": (POST + b"x : a\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
    "a method of its own": (b"FOO / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "non-ASCII in the URL": (b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "a broken chunk": (POST + b"transfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    "a negative chunk": (POST + b"transfer-encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\nhost: a\r\n\r\n", 505),
    "another transfer coding": (POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "a tunnel": (b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n", 501),
    "a long URL": (b"GET /" + b"a" * 600 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414),
    "many headers": (POST + b"".join(b"x-%d: 1\r\n" % number for number in range(30)) + b"\r\n", 431),
    "a large header": (POST + b"x: " + b"a" * 5000 + b"\r\n\r\n", 431),
    "headers without end": (POST + b"x: " + b"a" * 300_000, 431),
    "a declared body that is too large": (POST + b"content-length: 100001\r\n\r\n", 413),
    "a chunked body that is too large": (
        POST + b"transfer-encoding: chunked\r\n\r\n" + b"2710\r\n%b\r\n" % (b"a" * 10_000) * 11,
        413,
    ),
    "a chunk extension without end": (POST + b"transfer-encoding: chunked\r\n\r\n1;" + b"a" * 400_000, 400),
    "trailers without end": (POST + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: 1\r\n" * 60_000, 400),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_gets_one_json_error_and_a_closed_connection(server: BackgroundServer, name: str) -> None:
    data, status = HOSTILE[name]
    got, headers, error = parsed(exchange(server, data))
    assert got == status
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert headers["x-should-retry"] == "false"
    assert "date" in headers
    assert "server" not in headers
    assert error["type"] == "error"
    assert set(error["error"]) == {"type", "message", "code"}


def test_a_refused_request_says_nothing_of_what_was_sent(server: BackgroundServer) -> None:
    answer = exchange(server, POST + b"x-api-key: canary\0\r\n\r\n")
    assert b"canary" not in answer


def test_a_413_reaches_a_caller_that_is_still_sending_its_body(server: BackgroundServer) -> None:
    with connect(server) as client:
        client.sendall(POST + b"content-length: 5000000\r\n\r\n")
        for _ in range(20):
            client.sendall(b"a" * 100_000)
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("offer", [b"h2c", b"websocket"])
def test_an_offer_to_upgrade_is_ignored_and_its_body_arrives(server: BackgroundServer, offer: bytes) -> None:
    first = POST + b"connection: Upgrade, HTTP2-Settings\r\nupgrade: " + offer + b"\r\ncontent-length: 3\r\n\r\nabc"
    second = POST + CLOSE + b"content-length: 3\r\n\r\ndef"
    answer = exchange(server, first + second)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.index(b'"body": "abc"') < answer.index(b'"body": "def"')
    assert b"upgrade" not in answer.lower()


def test_pipelined_requests_are_answered_in_order(server: BackgroundServer) -> None:
    requests = [b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(4)]
    answer = exchange(server, b"".join(requests) + b"GET /4 HTTP/1.1\r\nhost: a\r\n" + CLOSE + b"\r\n")
    places = [answer.index(b'"path": "/%d"' % number) for number in range(5)]
    assert places == sorted(places)


def test_too_many_pipelined_requests_get_the_first_answers_and_then_an_error(server: BackgroundServer) -> None:
    answer = exchange(server, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 50)
    assert answer.count(b"HTTP/1.1 200") == 5
    assert answer.count(b"HTTP/1.1 400") == 1
    assert b"too_many_pipelined" in answer


def test_an_error_behind_a_good_request_waits_for_its_answer(server: BackgroundServer) -> None:
    answer = exchange(server, b"GET /good HTTP/1.1\r\nhost: a\r\n\r\nnonsense\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"HTTP/1.1 400 ") == 1
    assert answer.index(b"/good") < answer.index(b"bad_http")


def test_trailers_are_not_headers(server: BackgroundServer) -> None:
    chunks = b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-headgate-tenant: evil\r\n\r\n"
    _, _, told = parsed(exchange(server, POST + CLOSE + chunks))
    assert told["body"] == "abc"
    assert ["x-headgate-tenant", "evil"] not in told["headers"]


def test_a_body_in_one_byte_chunks_is_accepted(server: BackgroundServer) -> None:
    chunks = b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n"
    status, _, told = parsed(exchange(server, POST + CLOSE + b"transfer-encoding: chunked\r\n\r\n" + chunks))
    assert status == 200
    assert told["body"] == "a" * 50_000


def test_expect_100_continue_is_answered_before_the_body(server: BackgroundServer) -> None:
    with connect(server) as client:
        client.sendall(POST + CLOSE + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_http_1_0_gets_an_answer_and_a_closed_connection(server: BackgroundServer) -> None:
    status, headers, told = parsed(exchange(server, b"GET /old HTTP/1.0\r\n\r\n"))
    assert (status, headers["connection"], told["path"]) == (200, "close", "/old")


def test_the_path_is_decoded_once_and_the_query_not_at_all(server: BackgroundServer) -> None:
    request = b"GET http://a/%2525/b?c=%20#d HTTP/1.1\r\nhost: a\r\n" + CLOSE + b"\r\n"
    _, _, told = parsed(exchange(server, request))
    assert (told["path"], told["query"]) == ("/%25/b", "c=%20")


@pytest.mark.parametrize("path", [b"/boom", b"/silent", b"/split"])
def test_an_app_that_fails_is_a_json_500_without_a_trace(
    server: BackgroundServer, path: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = exchange(server, b"GET " + path + b" HTTP/1.1\r\nhost: a\r\n\r\n")
    status, _, error = parsed(answer)
    assert (status, error["error"]["code"]) == (500, "internal_error")
    assert b"Traceback" not in answer
    assert b"secret" not in answer
    assert "secret" not in caplog.text
    assert "app" in caplog.text


def test_an_app_that_fails_in_the_middle_of_a_stream_cuts_it_visibly(server: BackgroundServer) -> None:
    answer = exchange(server, b"GET /half HTTP/1.1\r\nhost: a\r\n\r\n")
    assert answer.endswith(b"4\r\nhalf\r\n")  # no last chunk


def test_connections_above_the_limit_are_told_so(server: BackgroundServer) -> None:
    held = [connect(server) for _ in range(LIMITS.connections)]
    try:
        extra = exchange(server, b"")
        assert parsed(extra)[0] == 503
    finally:
        for client in held:
            client.close()


def test_the_official_sdks_read_a_refusal_and_do_not_retry_it(server: BackgroundServer) -> None:
    import anthropic
    import openai

    before = server.state.refused.get("request_too_large", 0)
    text = "a" * 3_000_000
    claude = anthropic.Anthropic(api_key="test", base_url=server.url, max_retries=2)
    with pytest.raises(anthropic.APIStatusError, match="larger than the 100000 bytes") as refused:
        claude.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": text}])
    assert refused.value.status_code == 413
    gpt = openai.OpenAI(api_key="test", base_url=server.url + "/v1", max_retries=2)
    with pytest.raises(openai.APIStatusError, match="larger than the 100000 bytes") as declined:
        gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
    assert (declined.value.status_code, declined.value.code) == (413, "request_too_large")
    assert server.state.refused["request_too_large"] == before + 2
