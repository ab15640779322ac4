"""Uploads through both ways in: every byte arrives, none is held, and what cannot be sent again is not retried."""

from __future__ import annotations

import asyncio
import io
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from e2e_gateway import GatewayProcess
from e2e_upstream import RawUpstream, Received, whole
from e2e_world import PROVIDER_KEYS, Gateway, only

import headgate
from headgate.gateway.limits import Limits
from headgate.testing.server import SimulatorServer

MEGABYTE = 1024 * 1024
DATA = b"".join(bytes((number % 251,)) * 997 for number in range(2000))  # about 2 MB


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


def _post(url: str, path: str, body: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    host, _, port = url.removeprefix("http://").partition(":")
    with closing(HTTPConnection(host, int(port), timeout=30)) as connection:
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()


def test_a_file_uploaded_through_the_gateway_comes_back_the_same(sim: SimulatorServer, tmp_path: Path) -> None:
    with Gateway(tmp_path, sim.url, sim.openai_url) as gateway:
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused")
        made = client.files.create(file=("d.jsonl", io.BytesIO(DATA)), purpose="batch")
        assert client.files.content(made.id).read() == DATA
        claude = anthropic.Anthropic(base_url=gateway.url, api_key="unused")
        kept = claude.beta.files.upload(file=("d.bin", io.BytesIO(DATA), "application/octet-stream"))
        assert kept.size_bytes == len(DATA)
        rows = gateway.rows("exchanges")
    assert {row["endpoint"]: row["price_version"] for row in rows} == {"stored": "free", "other": "unpriced"}
    assert {row["ending"] for row in rows} == {"complete"}


@pytest.mark.parametrize("colour", ["blocking", "async"])
def test_a_file_uploaded_in_process_comes_back_the_same(
    colour: str, sim: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"OPENAI_BASE_URL": sim.openai_url, **PROVIDER_KEYS, "HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'x.db'}"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with headgate.Gate.load() as gate:
        if colour == "blocking":
            client = openai.OpenAI(http_client=gate.client())
            made = client.files.create(file=("d.jsonl", io.BytesIO(DATA)), purpose="batch")
            got = client.files.content(made.id).read()
        else:
            got = asyncio.run(_there_and_back(openai.AsyncOpenAI(http_client=gate.async_client())))
    assert got == DATA


async def _there_and_back(client: openai.AsyncOpenAI) -> bytes:
    made = await client.files.create(file=("d.jsonl", io.BytesIO(DATA)), purpose="batch")
    return (await client.files.content(made.id)).content


def test_a_chunked_upload_goes_on_chunked_and_whole(tmp_path: Path) -> None:
    seen: list[bytes] = []
    with _chunked_provider(seen) as url, Gateway(tmp_path, url, url) as gateway:
        pieces = [DATA[start : start + 50_001] for start in range(0, len(DATA), 50_001)]
        status, _, _ = _post(gateway.url, "/v1/files", iter(pieces), content_type="application/octet-stream")
    assert status == 200
    assert sha256(only(seen)).digest() == sha256(DATA).digest()


def test_an_upload_above_its_limit_is_a_413_and_nothing_is_sent(tmp_path: Path) -> None:
    with (
        RawUpstream(lambda request: whole("200 OK", b"{}")) as upstream,
        Gateway(tmp_path, upstream.url, upstream.url, limits=Limits(upload_bytes=MEGABYTE)) as gateway,
    ):
        status, _, body = _post(gateway.url, "/v1/files", DATA)
        assert (status, b"1048576" in body, upstream.received) == (413, True, [])


def test_a_provider_that_fails_during_an_upload_is_not_asked_again(tmp_path: Path) -> None:
    def refuse(request: Received) -> bytes:
        return whole("503 Service Unavailable", b'{"error":{"message":"busy"}}', "retry-after: 7")

    with RawUpstream(refuse) as upstream, Gateway(tmp_path, upstream.url, upstream.url) as gateway:
        status, headers, body = _post(gateway.url, "/v1/files", DATA)
        assert len(upstream.received) == 1
        row = gateway.exchange(headers["x-headgate-exchange"])
    # The caller alone can send it again, so the provider's own answer goes to it untouched.
    assert (status, headers["retry-after"], b"busy" in body) == (503, "7", True)
    assert row["attempts"] == 1


def test_a_caller_that_leaves_during_an_upload_closes_the_providers_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Gateway(tmp_path, url, url) as gateway:
            host, _, port = gateway.url.removeprefix("http://").partition(":")
            caller = socket.create_connection((host, int(port)))
            head = b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000000\r\n\r\n"
            caller.sendall(head + DATA[:100_000])
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                assert connection.recv(65536)
                caller.close()
                while connection.recv(65536):
                    pass  # until the end that the caller's leaving makes
            row = only(gateway.rows("exchanges"))
    assert row["ending"] == "cancelled"


def test_100_megabytes_through_the_gateway_are_never_held(sim: SimulatorServer, tmp_path: Path) -> None:
    env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url, **PROVIDER_KEYS}
    gateway = GatewayProcess({**env, "HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'g.db'}"}, tmp_path)
    try:
        _upload(gateway.url, MEGABYTE)  # what a first call loads is not growth
        before = _peak(gateway.pid)
        size = _upload(gateway.url, 100 * MEGABYTE)
        grown = _peak(gateway.pid) - before
    finally:
        gateway.stop()
    assert size == 100 * MEGABYTE
    assert grown < 20 * MEGABYTE


def _upload(url: str, size: int) -> int:
    mark = b"--mark"
    head = mark + b'\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    head += mark + b'\r\ncontent-disposition: form-data; name="file"; filename="big.jsonl"\r\n\r\n'
    tail = b"\r\n" + mark + b"--\r\n"
    piece = b"x" * 65536

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(size // len(piece)):
            yield piece
        yield tail

    length = str(len(head) + size + len(tail))
    status, _, answer = _post(
        url, "/v1/files", body(), content_type="multipart/form-data; boundary=mark", content_length=length
    )
    assert status == 200, answer
    found = re.search(rb'"bytes":\s*(\d+)', answer)
    assert found is not None
    return int(found[1])


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


IN_PROCESS = """
import re, sys, openai, headgate
class Big:
    def __init__(self, size): self.size = self.left = size
    def read(self, n=-1):
        n = self.left if n < 0 else min(n, self.left)
        self.left -= n
        return b"x" * n
    def seek(self, to, whence=0):
        self.left = self.size - to if whence == 0 else 0
        return self.size - self.left
    def tell(self): return self.size - self.left
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
with headgate.Gate.load() as gate:
    client = openai.OpenAI(http_client=gate.client())
    send = lambda size: client.files.create(file=("big.jsonl", Big(size)), purpose="batch").bytes
    send(1 << 20)
    before = peak()
    print(send(100 << 20), peak() - before)
"""


def test_100_megabytes_in_process_are_never_held(sim: SimulatorServer, tmp_path: Path) -> None:
    env = {"OPENAI_BASE_URL": sim.openai_url, **PROVIDER_KEYS, "HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'p.db'}"}
    done = subprocess.run(
        [sys.executable, "-c", IN_PROCESS], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    size, grown = map(int, done.stdout.split())
    assert size == 100 * MEGABYTE
    assert grown < 20 * MEGABYTE


class _chunked_provider:  # noqa: N801 -- read as a context, like `closing`
    """Takes one chunked request, keeps its decoded body, answers 200."""

    def __init__(self, seen: list[bytes]) -> None:
        self._seen = seen

    def __enter__(self) -> str:
        import threading

        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as stream:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += stream.readline()
            assert b"transfer-encoding: chunked" in head.lower()
            body = b""
            while size := int(stream.readline(), 16):
                body += stream.read(size)
                stream.readline()
            self._seen.append(body)
            connection.sendall(whole("200 OK", b"{}"))
