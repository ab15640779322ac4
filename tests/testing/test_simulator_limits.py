"""Rate limits: headers, refusals, and buckets that refill on an injected clock."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import anthropic
import openai
import pytest

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Limits, Scenario
from headgate.testing.simulator.limits import Bucket, go_duration

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


class Hands:
    """A clock that is moved by hand; whoever sleeps on it sleeps until cancelled."""

    def __init__(self) -> None:
        self.time = NOON
        self.asleep = threading.Event()

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await asyncio.Event().wait()


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[SimulatorServer, Hands]]:
    hands = Hands()
    with SimulatorServer(clock=hands) as server:
        yield server, hands


@pytest.fixture
def limited(shared: tuple[SimulatorServer, Hands]) -> tuple[SimulatorServer, Hands]:
    server, hands = shared
    hands.time = NOON
    limits = Limits(
        requests_per_minute=3, input_tokens_per_minute=6000, output_tokens_per_minute=1200, tokens_per_minute=6000
    )
    server.load(Scenario(limits=limits))
    return server, hands


def claude(server: SimulatorServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="fake", max_retries=0)


def gpt(server: SimulatorServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.openai_url, api_key="fake", max_retries=0)


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def test_the_request_bucket_refuses_says_how_long_and_refills(limited: tuple[SimulatorServer, Hands]) -> None:
    server, hands = limited
    client = claude(server)
    for _ in range(3):
        client.messages.create(**ask("tokens: 5"))
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(**ask("tokens: 5"))
    assert caught.value.response.headers["retry-after"] == "20"
    hands.time += 19.9
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(**ask("tokens: 5"))
    hands.time += 0.2
    assert client.messages.create(**ask("tokens: 5")).usage.output_tokens == 5
    assert [r["fault"] for r in server.requests()] == ["", "", "", "limit", "limit", ""]


def test_the_anthropic_headers_are_rounded_and_tell_when_the_bucket_is_full(
    limited: tuple[SimulatorServer, Hands],
) -> None:
    server, _ = limited
    raw = claude(server).messages.with_raw_response.create(**ask("x" * 3976, max_tokens=600))
    told = raw.headers
    assert told["anthropic-ratelimit-requests-limit"] == "3"
    assert told["anthropic-ratelimit-requests-remaining"] == "2"
    assert told["anthropic-ratelimit-requests-reset"] == "2026-11-20T12:00:20Z"
    assert told["anthropic-ratelimit-input-tokens-limit"] == "6000"
    assert told["anthropic-ratelimit-input-tokens-remaining"] == "5000"  # 5,000 after 994 + 6
    assert told["anthropic-ratelimit-input-tokens-reset"] == "2026-11-20T12:00:10Z"
    assert told["anthropic-ratelimit-output-tokens-limit"] == "1200"


def test_max_tokens_does_not_consume_the_output_limit_but_produced_tokens_do(
    limited: tuple[SimulatorServer, Hands],
) -> None:
    server, hands = limited
    client = claude(server)
    client.messages.create(**ask("tokens: 5", max_tokens=20_000))
    client.messages.create(**ask("tokens: 1300", max_tokens=2000))  # admitted: 1,195 were left
    with pytest.raises(anthropic.RateLimitError, match="output tokens"):
        client.messages.create(**ask("tokens: 5"))
    hands.time += 6  # 105 were missing, 120 have come back
    client.messages.create(**ask("tokens: 5"))


def test_cache_reads_do_not_count_against_the_input_limit(limited: tuple[SimulatorServer, Hands]) -> None:
    server, _ = limited
    system = [{"type": "text", "text": "rule" * 4500, "cache_control": {"type": "ephemeral"}}]
    client = claude(server)
    client.messages.create(**ask("hi", system=system))
    usage = client.messages.create(**ask("hi", system=system)).usage
    assert usage.cache_read_input_tokens == 4500
    with pytest.raises(anthropic.RateLimitError, match="input tokens"):
        client.messages.create(**ask("hi", system="other" * 4500))


def test_models_of_another_family_and_other_credentials_have_their_own_buckets(
    limited: tuple[SimulatorServer, Hands],
) -> None:
    server, _ = limited
    client = claude(server)
    for _ in range(3):
        client.messages.create(**ask("tokens: 5"))
    client.messages.create(**ask("tokens: 5", model="claude-sonnet-5-5"))
    client.with_options(api_key="fake-2").messages.create(**ask("tokens: 5"))
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(**ask("tokens: 5"))


def test_openai_charges_the_requested_maximum_up_front_and_tells_go_durations(
    limited: tuple[SimulatorServer, Hands],
) -> None:
    server, _ = limited
    messages: Any = [{"role": "user", "content": "tokens: 5"}]  # 9 tokens
    client = gpt(server)
    told = client.chat.completions.with_raw_response.create(
        model="gpt-6-luna", messages=messages, max_completion_tokens=2991
    ).headers
    assert (told["x-ratelimit-limit-tokens"], told["x-ratelimit-remaining-tokens"]) == ("6000", "3000")
    assert (told["x-ratelimit-reset-tokens"], told["x-ratelimit-reset-requests"]) == ("30s", "20s")
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="gpt-6-luna", messages=messages, max_completion_tokens=3051)
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "1"
    assert caught.value.response.headers["retry-after-ms"] == "600"


def test_no_limits_still_show_headers(limited: tuple[SimulatorServer, Hands]) -> None:
    server, _ = limited
    server.load(None)
    raw = claude(server).messages.with_raw_response.create(**ask("hi"))
    assert int(raw.headers["anthropic-ratelimit-requests-limit"]) > 1_000_000


def test_a_client_that_leaves_a_paced_json_answer_pays_for_what_was_generated(
    limited: tuple[SimulatorServer, Hands],
) -> None:
    server, hands = limited
    server.load({"pace": {"seconds_per_event": 1, "tokens_per_event": 4}})
    body = json.dumps(ask("tokens: 80")).encode()
    head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: fake\r\nanthropic-version: 2026-10-21\r\n"
    hands.asleep.clear()
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        assert hands.asleep.wait(10)
        hands.time += 7.5
    (line,) = server.invoice()["lines"]
    assert (line["ending"], line["usage"]["output_tokens"], line["reported"]) == ("abandoned", 28, False)


def test_a_bucket_asked_for_more_than_it_holds_waits_to_be_full() -> None:
    bucket = Bucket(60, 0.0)
    assert bucket.wait(1000, 0.0) == 0
    bucket.take(1000, 0.0)
    assert bucket.remaining(0.0) == 0
    assert bucket.wait(1, 0.0) == 941
    assert bucket.full_in(500.0) == 500


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, b"0ms"),
        (0.12, b"120ms"),
        (1, b"1s"),
        (1.5, b"1.5s"),
        (360, b"6m0s"),
        (90, b"1m30s"),
        (3661.25, b"1h1m1.25s"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: bytes) -> None:
    assert go_duration(seconds) == text
