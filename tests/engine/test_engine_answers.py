"""What a caller gets of a healthy answer, and what is written of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import Unavailable, UpstreamBusy
from headgate.core.exchange import Ending, Route
from headgate.engine.answer import ACCOUNTS_LIMITS, SIMULATED, _Models, _Passes
from headgate.engine.engine import HOLD_BACK_SECONDS
from headgate.testing import FakeAnswer, Passed, World
from headgate.testing.canned import (
    CLAUDE,
    DONE,
    JSON,
    SSE,
    chat_request,
    completion,
    completion_stream,
    delta,
    event,
    message,
    message_stream,
    messages_request,
)
from headgate.testing.fakes import route

WHOLE = {"anthropic": message, "openai": completion}
STREAM = {"anthropic": message_stream, "openai": completion_stream}
# Rates in nano-dollars per token: claude-haiku-4-5 1000 in, 5000 out; gpt-6-luna 100 in, 500 out.
COST = {"anthropic": 10 * 1000 + 5 * 5000, "openai": 10 * 100 + 5 * 500}


def comment(body: bytes) -> bytes:
    """The last SSE comment."""
    return body[body.rindex(b"\n: ") + 1 :]


# JSON


def test_a_json_answer_passes_byte_for_byte_and_is_charged_exactly(run: Any, dialect: str) -> None:
    world = World(WHOLE[dialect]())
    played = run(world.call(world.request(dialect=dialect)))
    assert played.status == 200
    assert played.body == WHOLE[dialect]()[0]
    exchange = played.exchange
    assert (exchange.ending, exchange.cost_nano, exchange.estimated) == (Ending.COMPLETE, COST[dialect], False)
    assert exchange.attempts[0].price_version
    assert exchange.attempts[0].bound_nano >= exchange.cost_nano
    assert world.happened == ["intend", "send", "settle"]
    assert world.ledger.settled == world.log.written == [exchange]


def test_a_json_answer_in_many_pieces_is_the_same_answer(run: Any, dialect: str) -> None:
    whole = WHOLE[dialect]()[0]
    world = World([bytes([b]) for b in whole])
    played = run(world.call(world.request(dialect=dialect)))
    assert played.body == whole
    assert played.exchange.cost_nano == COST[dialect]


def test_a_json_answers_headers_say_what_it_cost_and_who_served(run: Any) -> None:
    world = World(FakeAnswer(pieces=message(), after=0.25))
    headers = run(world.call()).headers
    assert headers[b"x-headgate-cost-usd"] == b"0.000035"
    assert headers[b"x-headgate-model"] == b"claude-haiku-4-5-20251001"
    assert headers[b"x-headgate-attempts"] == b"1"
    assert headers[b"x-headgate-waited-ms"] == b"0"
    assert headers[b"x-headgate-overhead-ms"] == b"0.000"
    assert headers[b"x-headgate-exchange"].startswith(b"ex_")


def test_hop_by_hop_headers_and_a_length_are_not_passed_on_and_the_rest_is(run: Any) -> None:
    sent = (
        (b"content-type", JSON),
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"9"),
        (b"alt-svc", b"h3"),
        (b"request-id", b"req_1"),
        (b"anthropic-ratelimit-requests-remaining", b"7"),
        (b"set-cookie", b"a=1"),
    )
    world = World(FakeAnswer(headers=sent, pieces=message()))
    played = run(world.call())
    passed = {n: v for n, v in played.headers.items() if not n.startswith(b"x-headgate-")}
    assert set(passed) == {b"content-type", b"request-id", b"anthropic-ratelimit-requests-remaining", b"set-cookie"}
    assert played.exchange.attempts[0].request_id == "req_1"


def test_names_and_models_of_any_number_and_length_are_told_right_and_kept_within_bounds() -> None:
    everybody, limited, models = _Passes(), _Passes(ACCOUNTS_LIMITS), _Models()
    names = [b"x-%d" % number for number in range(1_500)] + [b"x" * 10_000, b"x-headgate-cost-usd", b"date"]
    names += [SIMULATED, b"x-ratelimit-reset", b"anthropic-ratelimit-x"]
    stays = {b"x-headgate-cost-usd", b"date"}
    for _ in range(2):
        assert {name for name in names if not everybody[name]} == stays
        assert {name for name in names if not limited[name]} == stays | set(names[-2:])
        for model in (*(f"model-{number}" for number in range(1_500)), "m" * 10_000, "\x00"):
            assert models[model] == (b"x-headgate-model", model[:256].replace("\x00", "?").encode())
    assert max(len(everybody), len(limited), len(models)) == 1_024
    assert max(map(len, (*everybody, *limited, *models))) <= 64


def test_a_refusal_of_the_model_is_a_complete_answer(run: Any) -> None:
    world = World(message("", content=[], stop_reason="refusal"))
    exchange = run(world.call()).exchange
    assert (exchange.ending, exchange.attempts[0].stop_reason, len(exchange.attempts)) == (
        Ending.COMPLETE,
        "refusal",
        1,
    )


def test_the_text_of_an_answer_is_kept_only_where_the_log_wants_it(run: Any, dialect: str) -> None:
    for make, stream in ((WHOLE, False), (STREAM, True)):
        for keep in (False, True):
            world = World(make[dialect]("hi there"), keep_text=keep)
            exchange = run(world.call(world.request(dialect=dialect, stream=stream))).exchange
            assert exchange.response_text == ("hi there" if keep else "")


def test_a_json_answer_to_a_stream_request_is_passed_on_as_json(run: Any, dialect: str) -> None:
    world = World(WHOLE[dialect]())
    played = run(world.call(world.request(dialect=dialect, stream=True)))
    assert played.body == WHOLE[dialect]()[0]
    assert played.exchange.cost_nano == COST[dialect]


# Streams


def test_a_stream_passes_byte_for_byte_with_one_comment_behind_it(run: Any) -> None:
    frames = message_stream("one", "two")
    world = World(frames)
    played = run(world.call(world.request(stream=True)))
    said = comment(played.body)
    assert played.body == b"".join(frames) + said
    assert b"x-headgate-cost-usd=0.000035" in said
    assert b"x-headgate-stop-reason=end_turn" in said
    assert played.exchange.id.encode() in said
    assert said.endswith(b"\n\n")
    assert b"x-headgate-cost-usd" not in played.headers
    assert (played.exchange.ending, played.exchange.cost_nano) == (Ending.COMPLETE, 35_000)


def test_the_usage_chunk_that_only_we_asked_for_is_hidden_and_charged(run: Any) -> None:
    frames = completion_stream("one", "two")
    world = World(frames)
    played = run(world.call(world.request(dialect="openai", stream=True)))
    assert played.body == b"".join(f for f in frames if b'"choices":[]' not in f) + comment(played.body)
    assert played.exchange.cost_nano == COST["openai"]
    assert json.loads(world.upstream.sent[0].body)["stream_options"] == {"include_usage": True}


def test_the_usage_chunk_that_the_caller_asked_for_is_the_callers(run: Any) -> None:
    frames = completion_stream("one", "two")
    world = World(frames)
    body = chat_request(stream=True, stream_options={"include_usage": True})
    played = run(world.call(world.request(body, dialect="openai")))
    assert played.body == b"".join(frames) + comment(played.body)
    assert world.upstream.sent[0].body == body


def test_any_cut_of_a_stream_gives_the_same_bytes_and_the_same_bill(run: Any, dialect: str) -> None:
    frames = STREAM[dialect]("one", "two", "three")
    whole = b"".join(frames)
    expected = run(World(frames).call(World().request(dialect=dialect, stream=True))).body
    for size in (1, 2, 7, 64, len(whole)):
        world = World([whole[i : i + size] for i in range(0, len(whole), size)])
        played = run(world.call(world.request(dialect=dialect, stream=True)))
        assert played.body == expected
        assert played.exchange.cost_nano == COST[dialect]


def test_each_piece_goes_out_as_it_comes(run: Any) -> None:
    frames = message_stream("one", "two", "three")
    world = World(frames)
    played = run(world.call(world.request(stream=True)))
    assert played.pieces[0] == b"".join(frames[:3])  # held back to the first content
    assert played.pieces[1:4] == frames[3:6]


def test_nothing_of_a_stream_is_handed_on_before_its_first_content(run: Any) -> None:
    world = World(message_stream())

    async def opened() -> float | None:
        await world.open(world.request(stream=True))
        return world.upstream.answers[0].read_to_end

    assert run(opened()) is False
    assert world.exchange.ending is None
    assert world.exchange.attempts[0].first_content is not None


def test_life_cycle_frames_go_out_after_fifteen_seconds_without_content(run: Any) -> None:
    ping = event("ping")
    frames = message_stream()
    world = World([frames[0], Passed(10), ping, Passed(6), ping, Passed(30), *frames[1:]])
    played = run(world.call(world.request(stream=True)))
    assert played.pieces[:2] == [frames[0] + ping, ping]
    assert played.exchange.ending is Ending.COMPLETE


def test_frames_go_out_in_time_when_the_provider_is_silent_behind_them(run: Any) -> None:
    frames = message_stream()
    world = World([frames[0], Passed(40), *frames[1:]])

    async def opened() -> float:
        reply = await world.open(world.request(stream=True))
        waited = world.clock.time - world.exchange.started
        assert await reply.read() == frames[0]
        reply.close()
        return waited

    assert run(opened()) == HOLD_BACK_SECONDS


@pytest.mark.parametrize(("patience", "seconds"), [(4.0, 2.0), (29.0, 14.5), (600.0, HOLD_BACK_SECONDS)])
def test_frames_go_out_before_the_caller_would_leave(run: Any, patience: float, seconds: float) -> None:
    frames = message_stream()
    world = World([frames[0], Passed(1), event("ping"), Passed(40), *frames[1:]])
    request = world.request(stream=True)
    request.patience = patience

    async def opened() -> float:
        reply = await world.open(request)
        waited = world.clock.time - world.exchange.started
        assert await reply.read() == frames[0] + event("ping")
        reply.close()
        return waited

    assert run(opened()) == seconds


def test_what_failed_attempts_took_is_not_held_back_for_once_more(run: Any) -> None:
    frames = message_stream()
    late = FakeAnswer(headers=((b"content-type", SSE),), pieces=[frames[0], Passed(9), *frames[1:]], after=6.0)
    world = World(UpstreamBusy("busy", kind="busy", retryable=True, elsewhere=True, retry_after=1), late, jitter=0.0)
    request = world.request(stream=True)
    request.patience = 10.0
    assert run(world.call(request)).pieces[0] == frames[0]


def test_the_time_to_the_first_content_is_that_of_content_and_not_of_frames_let_go_before_it(run: Any) -> None:
    frames = message_stream()
    world = World([frames[0], Passed(16), event("ping"), Passed(14), *frames[1:]])
    exchange = run(world.call(world.request(stream=True))).exchange
    assert exchange.ttft == 30


def test_pings_and_comments_alone_are_no_content(run: Any) -> None:
    frames = message_stream()
    world = World([b": hello\n\n", event("ping"), Passed(5), *frames])
    exchange = run(world.call(world.request(stream=True))).exchange
    assert exchange.ttft == 5


def test_an_empty_answer_is_complete_too(run: Any) -> None:
    frames = message_stream()
    world = World([frames[0], frames[-2], frames[-1]])
    played = run(world.call(world.request(stream=True)))
    assert (played.exchange.ending, played.exchange.cost_nano) == (Ending.COMPLETE, 35_000)
    assert comment(played.body)


def test_a_stream_without_done_is_complete_where_every_choice_has_finished(run: Any) -> None:
    world = World(completion_stream()[:-1])
    played = run(world.call(world.request(dialect="openai", stream=True)))
    assert (played.exchange.ending, played.exchange.cost_nano) == (Ending.COMPLETE, COST["openai"])


def test_what_follows_the_terminal_event_is_not_the_answers(run: Any) -> None:
    world = World([*completion_stream(), delta(content="ghost")])
    played = run(world.call(world.request(dialect="openai", stream=True)))
    assert b"ghost" not in played.body
    assert world.upstream.answers[0].read_to_end  # so that the connection can be used again


def test_the_comment_follows_the_terminal_event_where_both_come_in_the_first_piece(run: Any, dialect: str) -> None:
    world = World([b"".join(STREAM[dialect]())])
    played = run(world.call(world.request(dialect=dialect, stream=True)))
    assert played.pieces[0].endswith(comment(played.body))
    assert played.exchange.ending is Ending.COMPLETE


def test_a_stream_without_any_usage_is_estimated_and_says_so(run: Any) -> None:
    world = World([delta(content="twelve bytes"), delta("stop"), DONE])
    played = run(world.call(world.request(dialect="openai", stream=True)))
    exchange = played.exchange
    assert (exchange.ending, exchange.estimated) == (Ending.COMPLETE, True)
    assert exchange.cost_nano >= 12 * 500
    assert b"x-headgate-cost-estimated=true" in comment(played.body)


# What is sent


def test_the_intent_is_written_before_anything_is_sent(run: Any) -> None:
    world = World(message())
    run(world.call())
    assert world.happened[:2] == ["intend", "send"]
    assert world.ledger.intents[0][2] == world.exchange.attempts[0].bound_nano > 0


def test_a_ledger_that_cannot_write_stops_the_request(run: Any) -> None:
    world = World(message())
    world.ledger.refuses = Unavailable("the disk is full")
    played = run(world.call())
    assert world.upstream.sent == []
    assert (played.status, played.exchange.ending, played.exchange.cost_nano) == (503, Ending.REFUSED, 0)
    assert played.headers[b"x-should-retry"] == b"false"
    assert world.ledger.settled == [played.exchange]


def test_a_body_that_needs_no_change_is_sent_as_the_same_object(run: Any, dialect: str) -> None:
    world = World(WHOLE[dialect]())
    request = world.request(dialect=dialect, headers=((b"x-custom", b"1"), (b"anthropic-beta", b"new-thing")))
    run(world.call(request))
    sent = world.upstream.sent[0]
    assert sent.body is request.body
    assert sent.headers[:2] == list(request.headers)
    assert sent.url.endswith(request.path)


def test_the_query_and_the_path_go_on_unchanged(run: Any) -> None:
    world = World(message())
    run(world.call(world.request(path="/v1/messages?beta=true")))
    assert world.upstream.sent[0].url == "https://anthropic.test/v1/messages?beta=true"


@pytest.mark.parametrize("name", ["fast", "anthropic/claude-haiku-4-5", "anthropic:claude-haiku-4-5"])
def test_only_the_models_name_is_changed_in_the_body(run: Any, name: str) -> None:
    models = {"fast": [route("anthropic", CLAUDE)]}
    world = World(message(), models=models)
    body = messages_request(model=name, metadata={"user_id": "ada"}, unknown_field=[1.50, "\N{WATER WAVE}"])
    played = run(world.call(world.request(body)))
    assert world.upstream.sent[0].body == body.replace(name.encode(), CLAUDE.encode())
    assert played.exchange.request.facts.model == name


def test_the_routes_credential_replaces_every_credential_of_the_callers(run: Any, dialect: str) -> None:
    world = World(WHOLE[dialect]())
    theirs = tuple((n, b"hg-caller") for n in (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"))
    run(world.call(world.request(dialect=dialect, headers=theirs)))
    sent = dict(world.upstream.sent[0].headers)
    assert b"hg-caller" not in b"".join(sent.values())
    if dialect == "anthropic":
        assert sent == {b"x-api-key": b"fake-anthropic"}
    else:
        assert sent == {b"authorization": b"Bearer fake-openai"}


def test_in_process_the_sdks_own_credential_and_address_are_used_as_they_are(run: Any) -> None:
    world = World(message())
    own = Route("anthropic", "", "anthropic", "https://own.test", None)
    run(world.call(world.request(direct=own, headers=((b"authorization", b"Bearer own"),))))
    sent = world.upstream.sent[0]
    assert (sent.url, sent.headers) == ("https://own.test/v1/messages", ((b"authorization", b"Bearer own"),))


def test_in_process_the_sdks_credential_never_reaches_another_provider(run: Any) -> None:
    own = Route("anthropic", "", "anthropic", "https://own.test", None)
    acme = Route("acme", CLAUDE, "anthropic", "https://acme.test", None)
    world = World(message(), models={"fast": [acme]}, ceiling_pico=100_000)
    body = messages_request(model="fast")
    run(
        world.call(world.request(body, direct=own, headers=((b"authorization", b"Bearer own"), (b"x-api-key", b"own"))))
    )
    assert world.upstream.sent[0].headers == []


# Free and unpriced endpoints


def test_counting_tokens_and_listing_models_are_free(run: Any) -> None:
    for method, path, body in (
        ("POST", "/v1/messages/count_tokens", messages_request()),
        ("GET", "/v1/models?limit=5", b""),
        ("GET", "/v1/models/claude-haiku-4-5", b""),
    ):
        world = World([b'{"input_tokens": 9}'])
        played = run(world.call(world.request(body, method=method, path=path)))
        exchange = played.exchange
        assert (played.body, exchange.ending, exchange.cost_nano) == (b'{"input_tokens": 9}', Ending.COMPLETE, 0)
        assert (exchange.attempts[0].price_version, exchange.attempts[0].bound_nano) == ("free", 0)


def test_an_endpoint_we_do_not_know_passes_unread_and_unpriced(run: Any) -> None:
    world = World([b"\x00\xff", b"more"])
    played = run(world.call(world.request(b"anything", method="PUT", path="/v1/things/t_1")))
    assert played.pieces == [b"\x00\xff", b"more"]
    assert (played.exchange.ending, played.exchange.cost_nano) == (Ending.COMPLETE, 0)
    assert played.exchange.attempts[0].price_version == "unpriced"
    assert world.upstream.sent[0].body == b"anything"


def test_an_answer_without_a_body_is_an_answer(run: Any) -> None:
    world = World(FakeAnswer(status=204, headers=()))
    played = run(world.call(world.request(b"", method="DELETE", path="/v1/files/f_1")))
    assert (played.status, played.body, played.exchange.ending) == (204, b"", Ending.COMPLETE)


# Decision 20


def upstream_gateway(pieces: list[bytes], kind: bytes = JSON) -> FakeAnswer:
    return FakeAnswer(
        headers=((b"content-type", kind), (b"x-headgate-exchange", b"ex_theirs"), (b"x-headgate-cost-usd", b"9")),
        pieces=pieces,
    )


def test_what_a_headgate_upstream_has_charged_is_not_charged_again(run: Any, dialect: str) -> None:
    for answer, stream in (
        (upstream_gateway(WHOLE[dialect]()), False),
        (upstream_gateway(STREAM[dialect](), SSE), True),
        (upstream_gateway(STREAM[dialect]()[:4], SSE), True),
    ):
        world = World(answer)
        played = run(world.call(world.request(dialect=dialect, stream=stream)))
        assert played.exchange.cost_nano == 0
        assert not played.exchange.estimated
        assert played.exchange.upstream_gateway == "ex_theirs"
        assert played.headers[b"x-headgate-exchange"] == played.exchange.id.encode()
        if not stream:
            assert played.headers[b"x-headgate-cost-usd"] == b"0"


def test_an_attempt_past_the_gateway_that_failed_is_charged_as_usual(run: Any) -> None:
    busy = FakeAnswer(status=529, headers=((b"x-headgate-exchange", b"ex_theirs"),))
    models = {"fast": [route("anthropic", CLAUDE), route("anthropic", CLAUDE)]}
    world = World(busy, busy, message(), models=models)
    exchange = run(world.call(world.request(messages_request(model="fast")))).exchange
    assert exchange.cost_nano == 35_000


def test_a_simulated_answer_says_so(run: Any) -> None:
    world = World(FakeAnswer(headers=((b"x-headgate-simulated", b"true"),), pieces=message()))
    played = run(world.call())
    assert played.headers[b"x-headgate-simulated"] == b"true"
    assert played.exchange.attempts[0].simulated


# Prices


def test_a_model_without_a_price_is_refused_before_anything_is_written_or_sent(run: Any) -> None:
    world = World()
    played = run(world.call(world.request(messages_request(model="claude-made-up"))))
    assert (played.status, played.exchange.ending) == (400, Ending.REFUSED)
    assert json.loads(played.body)["error"]["details"]["error_code"] == "unknown_price"
    assert world.happened == ["settle"]
    assert world.ledger.flushes == 1  # nothing else stands for it


def test_a_model_without_a_price_is_charged_the_ceiling_where_there_is_one(run: Any) -> None:
    world = World(message(model="claude-made-up"), ceiling_pico=100_000_000)  # 100 USD per million
    exchange = run(world.call(world.request(messages_request(model="claude-made-up")))).exchange
    assert exchange.cost_nano == 15 * 100_000


def test_a_route_without_a_price_is_passed_over_where_another_has_one(run: Any) -> None:
    models = {"fast": [route("anthropic", "claude-made-up"), route("anthropic", CLAUDE)]}
    world = World(message(), models=models)
    assert run(world.call(world.request(messages_request(model="fast")))).status == 200


def test_the_caller_is_on_the_record(run: Any) -> None:
    world = World(message())
    caller = Caller(user="ada", tags={"a": "1"})
    assert run(world.call(world.request(caller=caller))).exchange.request.caller is caller


def test_a_correlation_id_comes_back_without_what_would_break_a_header(run: Any) -> None:
    world = World(message())
    request = world.request()
    request.correlation_id = "a\r\nb\N{WATER WAVE}"
    assert run(world.call(request)).headers[b"x-headgate-correlation-id"] == b"a??b?"
