"""Responses, Embeddings and Moderations through the engine: what is charged, what is retried, what the caller reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.core.errors import UpstreamBroken
from headgate.core.exchange import Ending, Request
from headgate.testing import FakeAnswer, World
from headgate.testing.canned import JSON, SSE
from headgate.testing.fakes import Played

MODEL = "gpt-6-luna"
# Rates in nano-dollars per token: 100 in, 500 out.
USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
COST = 10 * 100 + 5 * 500
DELTA_AT = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def asked(**more: object) -> bytes:
    return json.dumps({"model": MODEL, "input": "hello", "max_output_tokens": 100, **more}).encode()


def response(**more: object) -> dict[str, object]:
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": MODEL,
        "output": [],
        "usage": USAGE,
        "error": None,
        "incomplete_details": None,
        **more,
    }


def whole(**more: object) -> FakeAnswer:
    return FakeAnswer(headers=((b"content-type", JSON),), pieces=[json.dumps(response(**more)).encode()])


def event(kind: str, number: int, **fields: object) -> bytes:
    told = json.dumps({"type": kind, "sequence_number": number, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {told}\n\n".encode()


BEGUN = event("response.created", 0, response=response(status="in_progress", usage=None))
DELTA = event("response.output_text.delta", 1, **DELTA_AT, delta="hello", logprobs=[])
DONE = event("response.completed", 2, response=response())


def stream(*pieces: Any) -> FakeAnswer:
    return FakeAnswer(headers=((b"content-type", SSE),), pieces=list(pieces))


def request(world: World, path: str = "/responses", body: bytes | None = None, method: str = "POST") -> Request:
    return world.request(asked() if body is None else body, dialect="openai", path=path, method=method)


def play(run: Any, *answers: Any, **more: object) -> tuple[World, Played]:
    world = World(*answers)
    return world, run(world.call(request(world, body=asked(**more))))


def test_a_response_is_charged_exactly_and_within_its_bound(run: Any) -> None:
    _, played = play(run, whole())
    attempt = played.exchange.attempts[0]
    assert (played.status, played.exchange.cost_nano, played.exchange.estimated) == (200, COST, False)
    assert attempt.bound_nano >= COST
    assert attempt.stop_reason == "completed"


def test_a_streamed_response_passes_byte_for_byte_and_is_charged_exactly(run: Any) -> None:
    _, played = play(run, stream(BEGUN, DELTA + DONE), stream=True)
    assert played.body.startswith(BEGUN + DELTA + DONE + b": x-headgate-exchange=")
    assert (played.exchange.ending, played.exchange.cost_nano) == (Ending.COMPLETE, COST)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_failed_before_any_content_is_tried_again(run: Any, streamed: bool) -> None:
    failed = response(status="failed", usage=None, error={"code": "server_error", "message": "m"})
    first = stream(BEGUN, event("response.failed", 1, response=failed)) if streamed else whole(**failed)
    _, played = play(run, first, stream(BEGUN, DELTA, DONE) if streamed else whole(), stream=streamed)
    assert [a.error.kind if a.error else "" for a in played.exchange.attempts] == ["server", ""]
    assert (played.status, played.exchange.ending) == (200, Ending.COMPLETE)


@pytest.mark.parametrize("code", ["invalid_prompt", "invalid_image_url", "image_too_large", "bio_policy"])
def test_a_response_that_failed_by_the_callers_fault_is_not_tried_again(run: Any, code: str) -> None:
    failed = response(status="failed", usage=None, error={"code": code, "message": "m"})
    _, played = play(run, stream(BEGUN, event("response.failed", 1, response=failed)), stream=True)
    assert (played.status, len(played.exchange.attempts), played.exchange.attempts[0].error.kind) == (400, 1, "caller")


def test_a_response_that_failed_behind_content_is_cut_and_pays_what_it_reports(run: Any) -> None:
    failed = response(status="failed", error={"code": "server_error", "message": "m"})
    last = event("response.failed", 2, response=failed)
    _, played = play(run, stream(BEGUN, DELTA, last), stream=True)
    assert played.body == BEGUN + DELTA + last
    assert (played.exchange.ending, played.exchange.cost_nano, played.exchange.estimated) == (Ending.CUT, COST, False)


def test_a_cut_stream_ends_in_an_error_event_of_responses_with_the_next_number(run: Any) -> None:
    lost = UpstreamBroken("reset", kind="broken", maybe_billed=True)
    _, played = play(run, stream(BEGUN, DELTA, lost), stream=True)
    assert played.body.startswith(BEGUN + DELTA + b"event: error\ndata: ")
    told = json.loads(played.body.rpartition(b"data: ")[2])
    assert (told["type"], told["sequence_number"], told["code"]) == ("error", 2, "provider_broken")
    assert told["error"]["code"] == "provider_broken"  # what makes the SDKs raise
    assert played.exchange.ending is Ending.CUT
    assert played.exchange.estimated


# In the background


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_an_answer_that_goes_on_in_the_background_is_charged_its_bound_and_marked(run: Any, status: str) -> None:
    _, played = play(run, whole(status=status, usage=None), background=True)
    attempt = played.exchange.attempts[0]
    assert (attempt.cost_nano, attempt.estimated, attempt.stop_reason) == (attempt.bound_nano, True, status)
    assert played.exchange.ending is Ending.COMPLETE


def test_an_answer_in_the_background_that_reports_its_usage_is_charged_exactly(run: Any) -> None:
    for answer, streamed in ((whole(), False), (stream(BEGUN, DELTA, DONE), True)):
        _, played = play(run, answer, background=True, stream=streamed)
        assert (played.exchange.cost_nano, played.exchange.estimated) == (COST, False)


def test_a_stream_from_the_background_that_the_caller_leaves_is_charged_its_bound(run: Any) -> None:
    world = World(stream(BEGUN, DELTA, DONE))

    async def leave() -> None:
        reply = await world.open(request(world, body=asked(background=True, stream=True)))
        await reply.read()
        reply.close()

    run(leave())
    attempt = world.exchange.attempts[0]
    assert (world.exchange.ending, attempt.cost_nano) == (Ending.ABANDONED, attempt.bound_nano)
    assert attempt.estimated


# What is not a conversation


@pytest.mark.parametrize("vector", ["AACAPwAAAEA=", [1.0, 2.50, 1e-30]], ids=["base64", "float"])
def test_embeddings_pass_byte_for_byte_and_only_their_input_is_charged(run: Any, vector: object) -> None:
    told = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 1000, "total_tokens": 1000},
    }
    body = json.dumps(told, indent=1).encode()
    world = World(FakeAnswer(headers=((b"content-type", JSON),), pieces=[body[:20], body[20:]]))
    wanted = json.dumps({"model": "text-embedding-3-small", "input": ["x" * 4000]}).encode()
    played = run(world.call(request(world, "/embeddings", wanted)))
    attempt = played.exchange.attempts[0]
    assert (played.body, attempt.cost_nano, attempt.estimated) == (body, 1000 * 20, False)
    assert attempt.bound_nano >= attempt.cost_nano


def test_an_embedding_of_a_model_under_a_ceiling_is_bounded_by_its_input(run: Any) -> None:
    told = {"object": "list", "data": [], "model": "own", "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    world = World(FakeAnswer(pieces=[json.dumps(told).encode()]), ceiling_pico=100_000)
    played = run(world.call(request(world, "/embeddings", b'{"model":"own","input":[[1,2]]}')))
    assert played.exchange.attempts[0].bound_nano is not None
    assert played.exchange.cost_nano == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/moderations", b'{"input":"x"}'),
        ("POST", "/moderations", b'{"model":"omni-moderation-latest","input":[{"type":"text","text":"x"}]}'),
        ("POST", "/responses/input_tokens", b'{"model":"gpt-6-luna","input":"x"}'),
        ("GET", "/responses/resp_1", b""),
        ("DELETE", "/responses/resp_1", b""),
        ("POST", "/responses/resp_1/cancel", b""),
        ("GET", "/responses/resp_1/input_items?limit=2", b""),
    ],
)
def test_what_costs_nothing_passes_both_ways_and_is_free(run: Any, method: str, path: str, body: bytes) -> None:
    answer = b'{"id": "resp_1",  "usage": {"input_tokens": 10, "output_tokens": 5}}'
    world = World(FakeAnswer(headers=((b"content-type", JSON),), pieces=[answer]))
    played = run(world.call(request(world, path, body, method)))
    assert (played.body, played.exchange.cost_nano) == (answer, 0)
    assert (world.upstream.sent[0].body, world.upstream.sent[0].method) == (body, method)
    assert world.upstream.sent[0].url.endswith(path)
    assert played.exchange.attempts[0].price_version == "free"
