"""Where a proxy stands between: which way is taken, and that it looks the same from outside."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import UpstreamBroken, UpstreamBusy, UpstreamRejected, UpstreamTimeout
from headgate.core.ports import Timeouts
from headgate.upstream.choose import AsyncUpstream, BlockingUpstream, async_upstream, blocking_upstream
from headgate.upstream.environment import proxy_for
from headgate.upstream.http1 import parse_url

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def upstream(colour: Any) -> Callable[..., Any]:
    made: Callable[..., Any] = blocking_upstream if colour.name == "blocking" else async_upstream
    return made


def always_ok(line: Any) -> None:
    while line.request()[0]:
        line.send(OK)


def tunnel(seen: list[bytes]) -> Callable[[Any], None]:
    """A proxy: CONNECT, and requests in absolute form."""

    def play(line: Any) -> None:
        head, body = line.request()
        seen.append(head)
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        host, _, port = (target if method == b"CONNECT" else target.split(b"/")[2]).rpartition(b":")
        with socket.create_connection((host, int(port))) as onward:
            if method == b"CONNECT":
                line.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                onward.sendall(head + b"\r\n\r\n" + body)
            back = threading.Thread(target=pump, args=(onward, line.sock))
            back.start()
            pump(line.sock, onward)
            back.join(60)

    return play


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_a_proxy_from_the_environment_is_used_and_sees_only_what_it_must(
    colour: Any, upstream: Any, provide: Any, outgoing: Any, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    heads: list[bytes] = []

    def play(line: Any) -> None:
        while head := line.request()[0]:
            heads.append(head)
            line.send(OK)

    provider = provide(play)
    proxy = provide(tunnel(seen))
    monkeypatch.setenv("http_proxy", f"http://user:pw@127.0.0.1:{proxy.port}")

    async def scenario() -> None:
        sender = upstream()
        for _ in range(2):
            headers = [(b"x-api-key", b"k"), (b"te", b"trailers"), (b"user-agent", b"mine")]
            answer = await sender.send(outgoing(provider.url + "/v1/x?y", b"body", headers=headers))
            assert (answer.status, list(answer.headers)) == (200, [(b"content-length", b"2")])
            assert await whole(answer) == b"ok"
            answer.close()

    colour.run(scenario())
    assert seen
    fields = dict(line.lower().split(b": ") for line in heads[0].split(b"\r\n")[1:])
    fields.pop(b"proxy-authorization", None)  # for a plain http target the proxy of this test forwards all
    assert fields == {
        b"host": provider.url[7:].encode(),
        b"x-api-key": b"k",
        b"user-agent": b"mine",
        b"accept-encoding": b"identity",
        b"content-length": b"4",
    }


def test_an_exempt_origin_goes_direct(
    colour: Any, upstream: Any, provide: Any, outgoing: Any, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = provide(always_ok)
    proxy = provide(tunnel([]))
    monkeypatch.setenv("all_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    async def scenario() -> None:
        assert await whole(await upstream().send(outgoing(provider.url))) == b"ok"

    colour.run(scenario())
    assert proxy.lines == []
    assert len(provider.lines) == 1


def test_an_explicit_proxy_wins_and_the_environment_can_be_ignored(
    colour: Any, upstream: Any, provide: Any, outgoing: Any, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = provide(always_ok)
    proxy = provide(tunnel([]))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async def scenario() -> None:
        assert await whole(await upstream(proxy=proxy.url).send(outgoing(provider.url))) == b"ok"
        assert await whole(await upstream(trust_env=False).send(outgoing(provider.url))) == b"ok"

    colour.run(scenario())
    assert len(proxy.lines) == 1


@pytest.mark.parametrize(
    ("play", "kind", "error", "billed"),
    [
        (lambda line: (line.request(), line.gone()), "timeout", UpstreamTimeout, True),
        (lambda line: line.request(), "broken", UpstreamBroken, True),
        (lambda line: (line.request(), line.send(b"garbage\r\n\r\n")), "broken", UpstreamBroken, True),
        (lambda line: (line.request(), line.send(OK[:-1])), "truncated", UpstreamBroken, True),
        (lambda line: (line.request(), line.send(STREAM + b"2\r\nok\r\n")), "truncated", UpstreamBroken, True),
        (lambda line: (line.request(), line.send(STREAM), line.gone()), "timeout", UpstreamTimeout, True),
    ],
    ids=["silent", "closed", "garbage", "cut length", "cut chunks", "stalled"],
)
def test_faults_through_a_proxy_are_told_in_the_same_terms(
    colour: Any, upstream: Any, provide: Any, outgoing: Any, whole: Any, play: Any, kind: str, error: Any, billed: bool
) -> None:
    proxy = provide(play)  # it answers for the provider

    async def call(sender: Any, out: Any) -> bytes:
        body: bytes = await whole(await sender.send(out))
        return body

    async def scenario() -> None:
        timers = Timeouts(first_byte=0.15, idle=0.1) if kind == "timeout" else Timeouts(first_byte=60, idle=60)
        out = outgoing("http://provider.example/", b"x", timeouts=timers)
        with pytest.raises(error) as caught:
            await call(upstream(proxy=f"http://user:canary@127.0.0.1:{proxy.port}"), out)
        assert (caught.value.kind, caught.value.maybe_billed, caught.value.retryable) == (kind, billed, True)
        assert f"provider.example:80 (through the proxy 127.0.0.1:{proxy.port})" in str(caught.value)
        assert "canary" not in str(caught.value)

    colour.run(scenario())


def test_a_proxy_that_is_down_or_refuses_is_a_failure_to_connect(
    colour: Any, upstream: Any, provide: Any, outgoing: Any
) -> None:
    refusing = provide(
        lambda line: (line.request(), line.send(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n"))
    )
    down = provide(always_ok)
    down.close()

    async def scenario() -> None:
        for proxy in (refusing.url, down.url):
            with pytest.raises(UpstreamBroken, match="cannot connect") as caught:
                await upstream(proxy=proxy).send(outgoing("https://provider.example/"))
            assert (caught.value.kind, caught.value.maybe_billed, caught.value.retryable) == ("connect", False, True)

    colour.run(scenario())


def test_an_unusable_proxy_and_a_planted_header_are_config_faults(colour: Any, upstream: Any, outgoing: Any) -> None:
    async def scenario() -> None:
        for proxy, headers in (("gopher://h:1", []), ("http://127.0.0.1:1", [(b"a", b"b\r\nc: d")])):
            with pytest.raises(UpstreamRejected) as caught:
                await upstream(proxy=proxy).send(outgoing("http://provider.example/", headers=headers))
            assert caught.value.kind == "config"

    colour.run(scenario())


def test_a_full_pool_behind_a_proxy_is_our_saturation(colour: Any, provide: Any, outgoing: Any) -> None:
    from headgate.upstream.httpx2_fallback import Httpx2BlockingUpstream, Httpx2Upstream

    provider = provide(lambda line: (line.request(), line.send(STREAM), line.gone()))
    kind: Any = Httpx2BlockingUpstream if colour.name == "blocking" else Httpx2Upstream

    async def scenario() -> None:
        sender = kind(max_connections=1)
        answer = await sender.send(outgoing(provider.url))
        with pytest.raises(UpstreamBusy) as caught:
            await sender.send(outgoing(provider.url, timeouts=Timeouts(pool=0.05)))
        assert (caught.value.kind, caught.value.maybe_billed) == ("saturated", False)
        answer.close()
        (await sender.send(outgoing(provider.url))).close()

    colour.run(scenario())


def test_closing_an_unfinished_answer_behind_a_proxy_is_seen_at_once(
    colour: Any, upstream: Any, provide: Any, outgoing: Any
) -> None:
    gone: list[bool] = []
    proxy = provide(lambda line: (line.request(), line.send(STREAM + b"2\r\nok\r\n"), gone.append(line.gone())))

    async def scenario() -> None:
        answer = await upstream(proxy=proxy.url).send(outgoing("http://provider.example/"))
        assert await answer.read() == b"ok"
        answer.close()
        answer.close()
        for _ in range(3000):
            if gone:
                break
            await asyncio.sleep(0.01) if colour.name != "blocking" else time.sleep(0.01)
        assert gone == [True]
        with pytest.raises(UpstreamBroken):
            await answer.read()

    colour.run(scenario())


def test_one_upstream_behind_a_proxy_serves_one_loop_after_another(
    colour: Any, upstream: Any, provide: Any, outgoing: Any, whole: Any
) -> None:
    proxy = provide(always_ok)
    sender = upstream(proxy=proxy.url)

    async def scenario() -> None:
        for _ in range(2):
            assert await whole(await sender.send(outgoing("http://provider.example/"))) == b"ok"

    for _ in range(2):
        colour.run(scenario())
    assert len(proxy.lines) == (1 if colour.name == "blocking" else 2)


def test_the_environment_is_asked_once_per_origin(provide: Any, outgoing: Any) -> None:
    provider = provide(always_ok)
    asked: list[str] = []

    def rule(origin: Any) -> None:
        asked.append(str(origin))

    async def scenario() -> None:
        pool = async_upstream().pool
        sender = AsyncUpstream(pool, rule, None)
        for _ in range(3):
            (await sender.send(outgoing(provider.url))).close()

    asyncio.run(scenario())
    assert asked == [f"127.0.0.1:{provider.port}"]
    assert isinstance(blocking_upstream(), BlockingUpstream)


HOSTS = st.sampled_from(["api.example.com", "example.com", "wexample.com", "localhost", "127.0.0.1", "10.1.2.3", "::1"])
DOMAINS = ["example.com", ".example.com", "*.example.com", "API.example.com", "localhost", "example.com:8080"]
ADDRESSES = ["127.0.0.1", "10.0.0.0/8", "10.1.2.3", "::1", "::/64"]
ODD = ["", "*", "https://example.com", "http://api.example.com", "all://127.0.0.1", "other.org", " example.com "]
ENTRIES = st.sampled_from(DOMAINS + ADDRESSES + ODD)
PROXIES = st.sampled_from(["", "http://p:1", "p:2", "socks5://p:3"])


@given(
    HOSTS,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["", ":8080"]),
    st.tuples(PROXIES, PROXIES, PROXIES),
    st.lists(ENTRIES, max_size=3),
)
def test_the_environment_is_read_as_httpx2_reads_it(
    host: str, scheme: str, port: str, proxies: tuple[str, str, str], exempt: list[str]
) -> None:
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}{port}/"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(PROXY_VARIABLES, (*proxies, ",".join(exempt)), strict=True):
            patch.delenv(name.upper(), raising=False)
            patch.setenv(name, value)
        assert proxy_for(parse_url(url).origin) == as_httpx2_reads_it(url)


def as_httpx2_reads_it(url: str) -> str | None:
    from httpx2._utils import URLPattern, get_environment_proxies

    patterns = sorted((URLPattern(key), proxy) for key, proxy in get_environment_proxies().items())
    for pattern, proxy in patterns:
        if pattern.matches(httpx2.URL(url)):
            return proxy
    return None


def test_without_a_proxy_httpx2_is_not_imported() -> None:
    import subprocess

    code = (
        "import sys, asyncio; from headgate.upstream.choose import async_upstream; from headgate.core.ports import *\n"
        "async def main():\n"
        "    try: await async_upstream().send(Outgoing('GET', 'http://127.0.0.1:1/', (), b'', Timeouts()))\n"
        "    except Exception as e: print(e.kind, 'httpx2' in sys.modules)\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["connect", "False"]
