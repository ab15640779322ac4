"""Retries, waits, deadlines, fallback, and what the caller is told when all of it fails."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest
import tenacity

from headgate.core.errors import UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamTimeout
from headgate.core.exchange import Ending, Route
from headgate.core.ports import Timeouts
from headgate.engine.answer import NO_PROVIDER
from headgate.policy.calibration import UNSEEN_LEAST
from headgate.policy.recovery import Recovery
from headgate.testing import FakeAnswer, Passed, World
from headgate.testing.canned import (
    CLAUDE,
    JSON,
    SSE,
    chunk,
    completion,
    completion_stream,
    event,
    message,
    message_stream,
    messages_request,
)
from headgate.testing.fakes import START, route
from headgate.upstream.faults import config

TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
TWO = {"fast": [route("anthropic", CLAUDE), route("acme", CLAUDE)]}
CEILING = 100_000  # pico-dollars per token, so that a made-up provider's models have a price


def failed(status: int, *headers: tuple[bytes, bytes], type_: str = "", code: str = "", text: str = "no") -> FakeAnswer:
    error: dict[str, object] = {"type": type_ or TYPES.get(status, "api_error"), "message": text}
    if code:
        error["details"] = {"error_code": code}
    body = json.dumps({"type": "error", "error": error, "request_id": "req_body"}).encode()
    return FakeAnswer(status, ((b"content-type", JSON), (b"request-id", b"req_9"), *headers), [body])


def refused_connection() -> UpstreamBroken:
    return UpstreamBroken("cannot connect", kind="connect", retryable=True, elsewhere=True)


def lost(*, billed: bool = True) -> UpstreamBroken:
    return UpstreamBroken("lost", kind="broken", retryable=True, elsewhere=True, maybe_billed=billed)


def slow() -> UpstreamTimeout:
    return UpstreamTimeout("slow", kind="timeout", retryable=True, elsewhere=True, maybe_billed=True)


def places(world: World) -> list[str]:
    return [a.route.provider for a in world.exchange.attempts]


# Waits


def test_a_busy_provider_is_asked_again_after_the_default_wait(run: Any) -> None:
    world = World(failed(429), failed(529), failed(500), message())
    played = run(world.call())
    assert played.status == 200
    assert world.clock.slept == [0.5 * 2, 0.5 * 4, 0.5 * 8]
    assert played.headers[b"x-headgate-attempts"] == b"4"
    assert played.headers[b"x-headgate-waited-ms"] == b"7000"
    assert [a.waited for a in played.exchange.attempts] == [0, 1, 2, 4]
    assert [a.status for a in played.exchange.attempts] == [429, 529, 500, 200]
    assert world.happened == ["intend", "send"] * 4 + ["settle"]


def test_an_attempt_that_is_made_again_keeps_its_error_and_not_the_frames_it_was_raised_in(run: Any) -> None:
    played = run(World(failed(529), message()).call())
    error = played.exchange.attempts[0].error
    assert isinstance(error, UpstreamBusy)
    assert error.__traceback__ is None


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ((b"retry-after-ms", b"400"), 0.4),
        ((b"retry-after", b"3"), 3.0),
        ((b"retry-after", formatdate(START + 8, usegmt=True).encode()), 8.0),
    ],
)
@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_a_wait_the_provider_told_is_kept_with_up_to_a_quarter_more(
    run: Any, header: tuple[bytes, bytes], wait: float, jitter: float
) -> None:
    world = World(failed(429, header), message(), jitter=jitter)
    run(world.call())
    assert world.clock.slept == pytest.approx([wait * (1 + jitter / 4)])
    assert world.clock.slept[0] >= wait


def test_a_users_strategy_waits_in_place_of_ours(run: Any) -> None:
    world = World(failed(500), failed(500), message(), recovery=Recovery(wait=tenacity.wait_fixed(3)))
    run(world.call())
    assert world.clock.slept == [3, 3]


def test_a_told_wait_beyond_the_deadline_is_given_up_at_once(run: Any) -> None:
    world = World(failed(429, (b"retry-after", b"121")))
    played = run(world.call())
    assert (played.status, world.clock.slept, played.exchange.ending) == (503, [], Ending.FAILED)
    assert played.headers[b"retry-after"] == b"121"


def test_a_told_wait_beyond_the_deadline_goes_to_the_next_route_at_once(run: Any) -> None:
    world = World(failed(429, (b"retry-after", b"121")), message(), models=TWO, ceiling_pico=CEILING)
    assert run(world.call(world.request(messages_request(model="fast")))).status == 200
    assert (places(world), world.clock.slept) == (["anthropic", "acme"], [])


def test_no_attempt_begins_after_the_deadline_to_the_first_content(run: Any) -> None:
    slow_no = FakeAnswer(500, ((b"content-type", JSON),), [b"{}"], after=70)
    world = World(slow_no, slow_no)
    assert run(world.call()).status == 503
    assert len(world.upstream.sent) == 2  # the second began at 71 s, a third would have at 143 s


def test_the_deadline_to_the_first_content_cuts_no_healthy_answer(run: Any) -> None:
    frames = message_stream("one", "two", "three")
    slowly = [piece for frame in frames for piece in (Passed(50), frame)]
    world = World(slowly)
    assert run(world.call(world.request(stream=True))).exchange.ending is Ending.COMPLETE
    assert world.clock.time - START > 120


def test_a_callers_own_timeout_bounds_the_whole_exchange(run: Any) -> None:
    world = World(failed(500), failed(500), failed(500), failed(500))
    run(world.call(world.request(timeout=2.5)))
    assert world.clock.slept == [1.0]  # the next would have been 2 s, past the caller's 2.5 s
    assert world.upstream.sent[0].timeouts == Timeouts(2.5, 2.5, 2.5, 2.5, 2.5, 2.5)
    assert world.upstream.sent[1].timeouts.total == pytest.approx(1.5)


def test_a_callers_timeout_cannot_lengthen_ours(run: Any) -> None:
    world = World(message())
    run(world.call(world.request(stream=True, timeout=86_400)))
    assert world.upstream.sent[0].timeouts == Timeouts()


# Timeouts


def test_a_timed_out_attempt_is_retried_once_with_twice_the_time_to_the_first_byte(run: Any) -> None:
    world = World(slow(), slow(), message())
    played = run(world.call(world.request(stream=True)))
    assert [o.timeouts.first_byte for o in world.upstream.sent] == [60, 120]
    assert (played.status, played.exchange.ending) == (504, Ending.FAILED)


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_accepts_and_stays_silent_is_left_for_the_next_route(run: Any, stream: bool) -> None:
    world = World(slow(), message_stream() if stream else message(), models=TWO, ceiling_pico=CEILING)
    played = run(world.call(world.request(messages_request(model="fast", stream=stream), stream=stream)))
    assert (played.status, places(world), world.clock.slept) == (200, ["anthropic", "acme"], [])


def test_the_two_attempts_that_may_time_out_are_at_two_routes(run: Any) -> None:
    world = World(slow(), slow(), message(), models=TWO, ceiling_pico=CEILING)
    assert run(world.call(world.request(messages_request(model="fast")))).status == 504
    assert places(world) == ["anthropic", "acme"]


def untrusted() -> UpstreamError:
    return config("the TLS certificate of acme.test was not accepted: expired")


@pytest.mark.parametrize("first", [untrusted(), failed(302), failed(501)], ids=["certificate", "302", "501"])
def test_a_route_that_is_set_up_wrong_is_left_for_the_next_one_at_once(run: Any, first: Any) -> None:
    world = World(first, message(), models=TWO, ceiling_pico=CEILING)
    played = run(world.call(world.request(messages_request(model="fast"))))
    assert (played.status, places(world), world.clock.slept) == (200, ["anthropic", "acme"], [])


def test_what_is_set_up_wrong_at_the_only_route_is_not_tried_again(run: Any) -> None:
    world = World(untrusted(), message())
    assert run(world.call()).status == 503
    assert len(world.exchange.attempts) == 1


def test_a_retry_that_answers_in_time_is_a_complete_exchange(run: Any) -> None:
    world = World(slow(), message())
    played = run(world.call())
    assert played.exchange.ending is Ending.COMPLETE
    first, second = played.exchange.attempts
    assert (first.estimated, second.estimated) == (True, False)
    assert first.cost_nano == first.bound_nano > 0  # it was sent and nothing was shown: it may have been billed
    assert second.cost_nano == 35_000
    assert played.headers[b"x-headgate-cost-usd"] != b"0.000035"


def test_a_total_deadline_ends_a_stream_that_goes_on_for_ever_with_an_error_of_ours(run: Any) -> None:
    frames = message_stream(*["x"] * 50)
    world = World([piece for frame in frames for piece in (Passed(30), frame)])
    played = run(world.call(world.request(stream=True)))
    assert played.exchange.ending is Ending.CUT
    assert played.exchange.error.code == "provider_timeout"
    assert played.pieces[-1].startswith(b"event: error\n")
    assert b"provider_timeout" in played.pieces[-1]
    assert world.clock.time - START <= 640
    assert world.upstream.answers[0].closed


@pytest.mark.parametrize("status", [200, 400])
def test_a_total_deadline_ends_a_json_answer_that_drips_for_ever(run: Any, status: int) -> None:
    dripping = FakeAnswer(status, ((b"content-type", JSON),), [Passed(50), b"{"] * 100)
    world = World(dripping)
    played = run(world.call())
    assert world.clock.time - START <= 650
    assert played.status == (504 if status == 200 else 400)
    assert (played.exchange.cost_nano > 0) is (status == 200)


# What may have been billed


@pytest.mark.parametrize("stream", [False, True])
def test_an_attempt_that_never_reached_the_provider_costs_nothing(run: Any, stream: bool) -> None:
    answer = message_stream() if stream else message()
    world = World(refused_connection(), lost(billed=False), answer)
    exchange = run(world.call(world.request(stream=stream))).exchange
    assert [a.cost_nano for a in exchange.attempts] == [0, 0, 35_000]
    assert not exchange.estimated


def test_an_error_status_costs_nothing(run: Any) -> None:
    world = World(failed(500), failed(529), failed(429), failed(503))
    exchange = run(world.call()).exchange
    assert (exchange.cost_nano, exchange.estimated) == (0, False)


def test_a_connection_lost_after_sending_is_charged_in_full_and_marked(run: Any) -> None:
    world = World(lost(), message())
    first, second = run(world.call()).exchange.attempts
    assert (first.cost_nano, first.estimated) == (first.bound_nano, True)
    assert (second.cost_nano, second.estimated) == (35_000, False)


def test_a_json_answer_that_breaks_off_is_retried_and_charged_in_full(run: Any) -> None:
    world = World([message()[0][:40], lost()], message())
    played = run(world.call())
    first, second = played.exchange.attempts
    assert (first.cost_nano, first.estimated, second.cost_nano) == (first.bound_nano, True, 35_000)
    assert played.body == message()[0]


def test_a_200_that_is_not_an_answer_is_retried_and_charged_in_full(run: Any) -> None:
    world = World([b"<html>"], message())
    first, second = run(world.call()).exchange.attempts
    assert (first.cost_nano, first.estimated, second.cost_nano) == (first.bound_nano, True, 35_000)


def test_a_stream_that_fails_before_content_is_charged_for_the_prompt_it_reported(run: Any) -> None:
    frames = message_stream(input_tokens=1000)
    world = World([frames[0], lost()], message_stream())
    played = run(world.call(world.request(stream=True)))
    first, second = played.exchange.attempts
    assert (first.cost_nano, first.estimated) == (1000 * 1000 + UNSEEN_LEAST * 5000, True)
    assert (second.cost_nano, second.estimated) == (35_000, False)
    assert played.body.count(b"message_start") == 2  # event and type, of one frame


# Streams before their first content


def stream_failures(dialect: str) -> list[list[Any]]:
    if dialect == "openai":
        frames = completion_stream()
        error = b'data: {"error":{"type":"server_error","message":"no"}}\n\n'
    else:
        frames = message_stream()
        error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    return [[error], [frames[0], error], [frames[0]], [frames[0], lost()], []]


@pytest.mark.parametrize("which", range(5))
def test_a_stream_that_fails_before_its_first_content_is_retried_unseen(run: Any, dialect: str, which: int) -> None:
    stream = completion_stream() if dialect == "openai" else message_stream()
    broken = FakeAnswer(headers=((b"content-type", SSE),), pieces=stream_failures(dialect)[which])
    world = World(broken, stream)
    expected = World(stream)
    request = world.request(dialect=dialect, stream=True)
    assert (
        run(world.call(request)).body.split(b": x-headgate")[0] == run(expected.call(request)).body.split(b": x-h")[0]
    )
    assert len(world.exchange.attempts) == 2
    assert world.exchange.attempts[0].error.retryable
    assert world.upstream.answers[0].closed


def test_an_error_event_that_is_the_callers_fault_is_not_retried(run: Any) -> None:
    error = {"type": "invalid_request_error", "message": "max_tokens: too many"}
    world = World([event("error", error=error)])
    played = run(world.call(world.request(stream=True)))
    assert (played.status, len(world.upstream.sent)) == (400, 1)
    assert played.headers[b"content-type"] == b"application/json"
    assert json.loads(played.body)["error"] == error


def test_an_error_body_under_a_200_is_retried_as_the_error_it_is(run: Any) -> None:
    body = b'{"error":{"code":502,"message":"upstream"}}'
    world = World([body], completion())
    played = run(world.call(world.request(dialect="openai")))
    assert played.status == 200
    assert played.exchange.attempts[0].cost_nano == 0


def test_an_error_in_a_choice_keeps_the_usage_it_came_with_on_the_bill(run: Any) -> None:
    choices = [{"index": 0, "message": {"role": "assistant", "content": "he"}, "error": {"code": 502, "message": "x"}}]
    world = World(completion(choices=choices), completion())
    exchange = run(world.call(world.request(dialect="openai"))).exchange
    assert exchange.attempts[0].cost_nano >= 3_500


def test_a_malformed_event_before_content_is_retried_and_charged_for_the_prompt(run: Any, dialect: str) -> None:
    bad = b"event: message_start\ndata: {nonsense\n\n" if dialect == "anthropic" else b"data: {nonsense\n\n"
    world = World([bad], completion_stream() if dialect == "openai" else message_stream())
    played = run(world.call(world.request(dialect=dialect, stream=True)))
    assert bad not in played.body
    first, second = played.exchange.attempts
    assert (first.cost_nano > 0, first.estimated, second.estimated) == (True, True, False)


def test_an_error_event_behind_a_frame_of_the_answer_may_have_been_billed(run: Any, dialect: str) -> None:
    frames = completion_stream() if dialect == "openai" else message_stream()
    error = b'event: error\ndata: {"type":"error","error":{"type":"server_error","message":"no"}}\n\n'
    for before, charged in (([], False), (frames[:1], True)):
        world = World([*before, error], frames)
        played = run(world.call(world.request(dialect=dialect, stream=True)))
        assert (played.exchange.attempts[0].cost_nano > 0) is charged


def test_a_choices_error_frame_before_content_is_retried(run: Any) -> None:
    bad = chunk([{"index": 0, "delta": {}, "error": {"code": 502, "message": "x"}}])
    world = World([bad], completion_stream())
    assert run(world.call(world.request(dialect="openai", stream=True))).exchange.ending is Ending.COMPLETE


# Fallback


def call_fast(run: Any, *script: Any, **more: Any) -> tuple[World, Any]:
    world = World(*script, models=TWO, ceiling_pico=CEILING, **more)
    return world, run(world.call(world.request(messages_request(model="fast"))))


@pytest.mark.parametrize(
    "answer",
    [
        failed(429, code="enforced_spend_limit_reached"),
        failed(402, type_="billing_error"),
        failed(400, text="You have reached your specified API usage limits. You will regain access"),
        failed(401),
        failed(403, type_="permission_error"),
        failed(404),
    ],
    ids=["spend cap", "billing", "own spend limit", "bad key", "no right", "no such model"],
)
def test_what_only_this_route_lacks_goes_to_the_next_without_a_wait(run: Any, answer: FakeAnswer) -> None:
    world, played = call_fast(run, answer, message())
    assert (played.status, places(world), world.clock.slept) == (200, ["anthropic", "acme"], [])
    assert world.upstream.sent[1].url.startswith("https://acme.test/")
    assert dict(world.upstream.sent[1].headers)[b"x-api-key"] == b"fake-acme"


def test_a_broken_route_is_tried_twice_and_then_the_next(run: Any) -> None:
    world, played = call_fast(run, failed(500), failed(500), message())
    assert (played.status, places(world)) == (200, ["anthropic", "anthropic", "acme"])


def test_the_callers_mistake_is_not_tried_elsewhere(run: Any) -> None:
    world, played = call_fast(run, failed(400))
    assert (played.status, places(world)) == (400, ["anthropic"])


def test_where_every_route_fails_the_exchange_ends_once_with_all_its_attempts(run: Any) -> None:
    world, played = call_fast(run, failed(500), failed(500), failed(500), failed(500))
    assert places(world) == ["anthropic", "anthropic", "acme", "acme"]
    assert (played.status, played.exchange.ending) == (503, Ending.FAILED)
    assert world.ledger.settled == [played.exchange]


# What the caller is told


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_callers_own_fault_is_passed_on_untouched_with_the_request_id(run: Any, status: int) -> None:
    answer = failed(status, (b"x-should-retry", b"false"), (b"retry-after", b"9"))
    world = World(answer)
    played = run(world.call())
    assert played.status == status
    assert [played.body] == list(answer.pieces)
    assert played.headers[b"request-id"] == b"req_9"
    assert played.headers[b"retry-after"] == b"9"
    assert played.headers[b"x-should-retry"] == b"false"
    assert played.headers[b"content-type"] == JSON
    assert (played.exchange.ending, played.exchange.cost_nano) == (Ending.FAILED, 0)
    assert played.exchange.status == status
    assert world.upstream.answers[0].closed


def test_a_413_that_is_no_json_is_passed_on_as_it_is(run: Any) -> None:
    page = FakeAnswer(413, ((b"content-type", b"text/html"),), [b"<html>too large</html>"])
    played = run(World(page).call())
    assert (played.status, played.body) == (413, b"<html>too large</html>")


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_the_providers_failure_is_told_in_a_sentence_of_ours_that_nobody_retries(
    run: Any, dialect: str, status: int
) -> None:
    world = World(*[failed(status, (b"x-should-retry", b"true"), (b"retry-after", b"0.4")) for _ in range(4)])
    played = run(world.call(world.request(dialect=dialect)))
    assert (played.status, played.exchange.status) == (503, 503)
    assert played.headers[b"x-should-retry"] == b"false"
    assert played.headers[b"retry-after"] == b"1"
    told = json.loads(played.body)
    assert told["error"]["message"] == NO_PROVIDER
    assert told["headgate"]["exchange"] == played.exchange.id
    assert len(world.upstream.sent) == 4
    assert "anthropic" not in played.body.decode()


def test_a_credential_of_ours_that_fails_is_not_shown_to_the_caller(run: Any) -> None:
    played = run(World(failed(401, text="key sk-ours is invalid")).call())
    assert played.status == 503
    assert b"sk-ours" not in played.body


@pytest.mark.parametrize("status", [401, 402, 403])
def test_in_process_the_callers_own_credential_and_account_are_theirs_to_read_about(run: Any, status: int) -> None:
    answer = failed(status)
    world = World(answer)
    own = Route("anthropic", "", "anthropic", "https://own.test", None)
    played = run(world.call(world.request(direct=own)))
    assert (played.status, [played.body]) == (status, list(answer.pieces))


@pytest.mark.parametrize("status", [400, 401, 402, 404, 408, 409, 429, 500, 501, 503, 529])
def test_where_the_caller_owns_the_retries_every_error_passes_untouched(run: Any, status: int) -> None:
    answer = failed(status, (b"retry-after", b"7"), (b"x-should-retry", b"true"))
    world = World(answer, recovery=Recovery(attempts=1))
    played = run(world.call())
    assert (played.status, [played.body]) == (status, list(answer.pieces))
    passed = {n: v for n, v in played.headers.items() if not n.startswith(b"x-headgate-")}
    assert passed == dict(answer.headers)
    assert len(world.upstream.sent) == 1


def test_where_the_caller_owns_the_retries_a_failed_connection_is_not_retried_either(run: Any) -> None:
    world = World(refused_connection(), recovery=Recovery(attempts=1))
    played = run(world.call())
    assert played.status == 503
    assert world.clock.slept == []


def test_where_the_caller_owns_the_retries_an_error_event_before_content_is_an_error_it_can_read(run: Any) -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    world = World([event("error", error=error)], recovery=Recovery(attempts=1))
    played = run(world.call(world.request(stream=True)))
    assert played.status == 529
    assert played.headers[b"content-type"] == b"application/json"
    assert json.loads(played.body) == {"type": "error", "error": error}


def test_an_error_of_ours_never_names_a_credential_or_a_body(run: Any) -> None:
    world = World(
        UpstreamBusy("no connection is free", kind="saturated", retryable=True), recovery=Recovery(attempts=1)
    )
    played = run(world.call(world.request(headers=((b"authorization", b"Bearer caller-secret"),))))
    text = f"{played.error!r} {played.body!r} {played.exchange.error}"
    assert "caller-secret" not in text
    assert "fake-anthropic" not in text


def test_a_fault_inside_headgate_is_recorded_and_raised(run: Any) -> None:
    class Broken:
        def check(self, *_: object) -> None: ...

        def bound(self, *_: object, **__: object) -> int:
            raise ZeroDivisionError("secret details")

    world = World(charges=Broken())  # type: ignore[arg-type]  # only what is reached
    with pytest.raises(ZeroDivisionError):
        run(world.call())
    assert world.exchange.ending is Ending.FAILED
    assert world.exchange.error.code == "internal_error"
    assert "secret details" not in str(world.exchange.error)
    assert world.ledger.settled == [world.exchange]


def test_the_last_error_is_on_the_record_with_the_providers_request_id(run: Any) -> None:
    exchange = run(World(failed(400)).call()).exchange
    assert isinstance(exchange.error, UpstreamError)
    assert exchange.error.exchange_id == exchange.id
    assert exchange.attempts[0].request_id == "req_9"


def test_a_request_id_that_is_only_in_the_body_is_found(run: Any) -> None:
    answer = FakeAnswer(400, ((b"content-type", JSON),), failed(400).pieces)
    assert run(World(answer).call()).exchange.attempts[0].request_id == "req_body"
