"""Hostile HTTP beside ordinary calls: refused and counted, and nothing else is disturbed."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anthropic
import pytest
from e2e_world import Gateway

from headgate.gateway.limits import Limits
from headgate.testing.server import SimulatorServer

HEAD = b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\n"
ATTACKS = {
    "smuggling, length and chunks": HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET",
    "smuggling, two lengths": HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "smuggling, a coding nobody knows": HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a flood of headers": HEAD + b"".join(b"x-%d: y\r\n" % number for number in range(500)) + b"\r\n",
    "one huge header": HEAD + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
    "bad chunks": HEAD + b"transfer-encoding: chunked\r\n\r\nnothex\r\n",
    "an oversized body": HEAD + b"content-length: 99999999999\r\n\r\n",
    "no host": b"POST /v1/messages HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
    "a method that does not exist": b"FROB /v1/messages HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "a version nobody serves": b"POST /v1/messages HTTP/3.7\r\nhost: localhost\r\n\r\n",
    "too many pipelined": (HEAD + b"content-length: 0\r\n\r\n") * 200,
}


def _attack(url: str, data: bytes) -> bytes:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.settimeout(10)
        answer = b""
        try:
            connection.sendall(data)
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass  # closed before all of it was sent
        return answer


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "too many pipelined"])
def test_each_is_answered_with_one_clear_error_in_json(name: str, tmp_path: Path) -> None:
    with SimulatorServer() as sim, Gateway(tmp_path, sim.url, sim.openai_url) as gateway:
        answer = _attack(gateway.url, ATTACKS[name])
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
        assert answer.count(b"\r\n\r\n") == 1  # one head, and so one answer
        assert b'"type": "error"' in answer
        assert sim.requests() == []


def test_a_storm_of_all_of_them_disturbs_no_call_and_is_counted(tmp_path: Path) -> None:
    rounds, calls = 5, 40
    with SimulatorServer() as sim:
        with Gateway(tmp_path, sim.url, sim.openai_url, limits=Limits(connections=500)) as gateway:
            client = anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0)

            def call(number: int) -> str:
                message = client.messages.create(
                    model="claude-haiku-4-5", max_tokens=30, messages=[{"role": "user", "content": f"number {number}"}]
                )
                return message.stop_reason or ""

            with ThreadPoolExecutor(16) as pool:
                storm = [pool.submit(_attack, gateway.url, data) for data in ATTACKS.values() for _ in range(rounds)]
                good = [pool.submit(call, number) for number in range(calls)]
                reasons = [each.result() for each in good]
                for each in storm:
                    each.result()
            rows = [row for row in gateway.rows("exchanges") if row["ending"] == "complete"]
        assert len(reasons) == len(rows) == calls
        assert sum(row["cost_nano"] for row in rows) == sum(line["cost_nano"] for line in sim.invoice()["lines"])
    assert sum(gateway.refused.values()) >= rounds * (len(ATTACKS) - 1)
