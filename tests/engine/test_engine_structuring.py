"""Answers that have to be of some kind: gone on with, repaired, refused, flagged; and what all of it costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from headgate.core.budget import Budget
from headgate.core.errors import AnswerInvalid, UpstreamBusy
from headgate.core.exchange import Ending
from headgate.core.guards import Verdict
from headgate.policy.guards.answers import AnswerRules
from headgate.testing import Played, World
from headgate.testing.canned import (
    CLAUDE,
    GPT,
    chat_request,
    completion,
    completion_stream,
    message,
    message_stream,
    messages_request,
)
from headgate.testing.fakes import route
from headgate.wire.following import GO_ON

Play = Callable[..., Played]
SCHEMA = '{"type":"object","properties":{"price":{"type":"integer"}},"required":["price"]}'
RULES = AnswerRules(schema=SCHEMA, repair=True, continues=2)
GOOD, BAD = '{"price": 7}', '{"price": "seven"}'


def world(*script: Any, rules: AnswerRules = RULES, **more: Any) -> World:
    return World(*script, task={"answer": rules}, **more)


def cut(text: str) -> list[bytes]:
    return message(text, stop_reason="max_tokens")


def text_of(played: Played) -> str:
    answer = json.loads(played.body)
    if "choices" in answer:
        return str(answer["choices"][0]["message"]["content"])
    return "".join(block["text"] for block in answer["content"])


def sent(there: World, number: int) -> Any:
    return json.loads(there.upstream.sent[number].body)


def test_a_valid_answer_passes_byte_for_byte_and_without_a_word_about_it(play: Play) -> None:
    there = world(message(GOOD))
    played = play(there)
    assert played.body == message(GOOD)[0]
    assert b"x-headgate-answer" not in played.headers
    assert (played.exchange.ending, played.exchange.findings) == (Ending.COMPLETE, ())


def test_a_truncated_answer_is_gone_on_with_and_comes_as_one(play: Play) -> None:
    there = world(cut('{"pri'), cut('ce": '), message("7}"))
    played = play(there)
    assert text_of(played) == '{"price": 7}'
    assert played.headers[b"x-headgate-answer"] == b"continued 2"
    assert json.loads(played.body)["stop_reason"] == "end_turn"
    assert sent(there, 2)["messages"][-2:] == [
        {"role": "assistant", "content": '{"price": '},
        {"role": "user", "content": GO_ON},
    ]
    assert [f.reasons for f in played.exchange.findings] == [("continued 2",)]


def test_an_answer_that_stays_truncated_is_refused_however_valid_it_looks(play: Play) -> None:
    there = world(cut(GOOD), cut(" "), cut(" "))
    played = play(there)
    assert isinstance(played.error, AnswerInvalid)
    assert played.error.reasons == ("truncated",)
    assert len(there.upstream.sent) == 3  # and no repair: it would be cut again


def test_an_invalid_answer_is_repaired_once_with_what_is_wrong_and_the_money_is_the_sum(play: Play) -> None:
    there = world(message(BAD, output_tokens=50), message(GOOD))
    played = play(there)
    assert played.body == message(GOOD)[0]
    assert played.headers[b"x-headgate-answer"] == b"repaired"
    asked, was, note = sent(there, 1)["messages"]
    assert (asked["content"], was) == ("hello", {"role": "assistant", "content": BAD})
    assert "/properties/price/type" in note["content"]
    first, second = played.exchange.attempts
    assert played.exchange.cost_nano == first.cost_nano + second.cost_nano
    assert first.cost_nano > second.cost_nano > 0
    assert (second.bound_nano or 0) > (first.bound_nano or 0)  # it sends more, and more is held
    assert there.happened == ["intend", "send", "intend", "send", "settle"]


def test_an_answer_that_stays_invalid_is_a_422_that_names_the_place_and_never_the_words(play: Play) -> None:
    there = world(message(BAD), message('{"price": "eight secrets"}'))
    played = play(there)
    assert isinstance(played.error, AnswerInvalid)
    assert played.status == 422
    assert played.headers[b"x-should-retry"] == b"false"
    assert b"schema /properties/price/type" in played.body
    assert b"seven" not in played.body
    assert b"secrets" not in played.body
    assert (played.exchange.ending, len(there.ledger.settled)) == (Ending.REFUSED, 1)
    assert [(f.guard, f.verdict) for f in played.exchange.findings] == [("answer", Verdict.BLOCK)]
    assert "seven" not in str(played.exchange.findings)


def test_it_goes_to_the_caller_all_the_same_where_the_task_only_flags(play: Play) -> None:
    played = play(world(message(BAD), rules=AnswerRules(schema=SCHEMA, flags=True)))
    assert (played.status, text_of(played)) == (200, BAD)
    assert played.headers[b"x-headgate-answer"] == b"invalid: schema /properties/price/type"
    assert [f.verdict for f in played.exchange.findings] == [Verdict.FLAG]


@pytest.mark.parametrize("stop", ["refusal", "max_tokens"])
def test_a_refused_or_truncated_answer_is_never_valid_nor_repaired(play: Play, stop: str) -> None:
    there = world(message(GOOD, stop_reason=stop), rules=AnswerRules(schema=SCHEMA, repair=True))
    played = play(there)
    assert isinstance(played.error, AnswerInvalid)
    assert len(there.upstream.sent) == 1


def test_a_refusal_in_words_is_never_valid_in_the_other_dialect_either(play: Play) -> None:
    refused = {"role": "assistant", "content": None, "refusal": "I can't."}
    answer = completion(choices=[{"index": 0, "message": refused, "finish_reason": "stop"}])
    played = play(world(answer, rules=AnswerRules(repair=True)), chat_request(), dialect="openai")
    assert isinstance(played.error, AnswerInvalid)
    assert played.error.reasons == ("refused",)


def test_an_empty_answer_is_asked_for_again_or_refused_as_the_task_says(play: Play) -> None:
    there = world(message(""), message(GOOD))
    assert text_of(play(there)) == GOOD
    assert [turn["role"] for turn in sent(there, 1)["messages"]] == ["user", "user"]  # an empty turn would be a 400
    played = play(world(message(" "), rules=AnswerRules(repair=True, empty="refuse")))
    assert isinstance(played.error, AnswerInvalid)


def test_an_answer_that_calls_tools_is_on_its_way_and_passes(play: Play) -> None:
    call = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
    played = play(world(message(content=[call], stop_reason="tool_use")))
    assert (played.status, played.exchange.findings) == (200, ())


def test_a_follow_up_goes_to_the_route_that_answered_and_fails_over_from_there(play: Play) -> None:
    models = {CLAUDE: [route("acme", CLAUDE), route("anthropic", CLAUDE)]}
    busy = UpstreamBusy("busy", kind="busy", retryable=False, elsewhere=True)
    there = world(busy, message(BAD), busy, message(GOOD), models=models, ceiling_pico=100_000)
    played = play(there)
    assert text_of(played) == GOOD
    assert [a.route.provider for a in played.exchange.attempts] == ["acme", "anthropic", "anthropic", "acme"]
    assert sent(there, 2) == sent(there, 3)


def test_a_follow_up_that_cannot_be_had_leaves_the_answer_as_it_is(play: Play) -> None:
    busy = UpstreamBusy("busy", kind="busy")
    played = play(world(message(BAD), busy))
    assert isinstance(played.error, AnswerInvalid)
    assert b"repair failed: provider_busy" in played.body
    there = world(message(BAD), busy, rules=AnswerRules(schema=SCHEMA, repair=True, flags=True))
    played = play(there)
    assert (played.status, text_of(played)) == (200, BAD)
    assert played.exchange.last is not None
    assert played.exchange.last.status == 200  # the attempt that answered is the last
    assert len(played.exchange.attempts) == 2


def test_a_follow_up_that_does_not_fit_the_budget_is_not_sent(play: Play) -> None:
    probe = play(World(message()))
    bound = probe.exchange.attempts[0].bound_nano or 0
    budget = Budget("all", cap_nano=bound)
    there = world(message(BAD), message(GOOD), budgets=[budget])
    played = play(there)
    assert isinstance(played.error, AnswerInvalid)
    assert b"repair failed: budget_exceeded" in played.body
    assert len(played.exchange.attempts) == len(there.ledger.intents) == 1


def test_no_follow_up_begins_behind_the_deadline(play: Play) -> None:
    there = world(message(BAD), retry_deadline=0.0)
    assert isinstance(play(there).error, AnswerInvalid)
    assert len(there.upstream.sent) == 1


def test_choices_are_all_looked_at_and_none_is_repaired(play: Play) -> None:
    choices = [
        {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for n, text in enumerate((GOOD, BAD))
    ]
    there = world(completion(choices=choices))
    played = play(there, chat_request(n=2), dialect="openai")
    assert isinstance(played.error, AnswerInvalid)
    assert len(there.upstream.sent) == 1


def test_a_translated_answer_is_repaired_through_the_translation(play: Play) -> None:
    there = world(completion(BAD), completion(GOOD), models={CLAUDE: [route("openai", GPT)]})
    played = play(there)
    assert json.loads(played.body)["content"][0]["text"] == GOOD
    turns = sent(there, 1)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert sent(there, 1)["model"] == GPT


def test_the_request_s_own_schema_can_be_the_rule(play: Play) -> None:
    told = {"type": "json_schema", "json_schema": {"name": "x", "schema": json.loads(SCHEMA)}}
    rules = AnswerRules(schema="request")
    body = chat_request(response_format=told)
    assert play(world(completion(GOOD), rules=rules), body, dialect="openai").status == 200
    assert play(world(completion(BAD), rules=rules), body, dialect="openai").status == 422
    fenced = f"```json\n{GOOD}\n```"  # the SDK parses it as it is
    assert play(world(completion(fenced), rules=rules), body, dialect="openai").status == 422
    assert play(world(completion("anything"), rules=rules), chat_request(), dialect="openai").status == 200


def test_a_quotation_has_to_stand_in_what_the_request_gives(play: Play) -> None:
    rules = AnswerRules(quotes=5)
    turns = [{"role": "user", "content": [{"type": "document", "source": {
        "type": "text", "media_type": "text/plain", "data": "The gate is closed from Monday on, says the keeper."}},
        {"type": "text", "text": "When is it closed?"}]}]  # fmt: skip
    body = messages_request(messages=turns)
    good, bad = "It says: “the gate is closed\nfrom monday on”.", 'It says: "the gate is closed until the spring".'
    assert play(world(message(good), rules=rules), body).status == 200
    assert play(world(message(bad), rules=rules), body).status == 422


@pytest.mark.parametrize(
    ("turn", "status"),
    [
        ({"role": "user", "content": "Somebody said the gate is closed until the spring."}, 200),
        ({"role": "assistant", "content": "The gate is closed until the spring."}, 422),
        ({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "text", "text": "the gate is closed until the spring"}]}]}, 200),
    ],
)  # fmt: skip
def test_what_the_model_itself_has_said_is_no_source(play: Play, turn: dict[str, Any], status: int) -> None:
    there = world(message('It says "the gate is closed until the spring".'), rules=AnswerRules(quotes=5))
    body = messages_request(messages=[{"role": "user", "content": "hello"}, turn, {"role": "user", "content": "So?"}])
    assert play(there, body).status == status


def test_the_instructions_are_no_source(play: Play) -> None:
    there = world(message('It says "the gate is closed until the spring".'), rules=AnswerRules(quotes=5))
    assert play(there, messages_request(system="The gate is closed until the spring.")).status == 422


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_a_stream_is_flagged_at_its_end_and_no_byte_of_it_changes(play: Play, dialect: str) -> None:
    body, stream = (
        (messages_request(stream=True), message_stream(BAD))
        if dialect == "anthropic"
        else (chat_request(stream=True), completion_stream(BAD))
    )
    played = play(world(stream), body, dialect=dialect, stream=True)
    plain = play(World(stream), body, dialect=dialect, stream=True)
    *frames, comment, _ = played.body.split(b"\n\n")
    assert frames == plain.body.split(b"\n\n")[:-2]
    assert b" x-headgate-guard=flag:answer:schema_/properties/price/type " in comment + b" "
    assert [(f.verdict, f.reasons) for f in played.exchange.findings] == [
        (Verdict.FLAG, ("schema /properties/price/type",))
    ]
    assert play(world(message_stream(GOOD)), messages_request(stream=True), stream=True).exchange.findings == ()


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_a_stream_that_is_held_back_goes_out_when_it_is_valid_and_else_an_error_stands_in_its_place(
    play: Play, dialect: str
) -> None:
    body, stream = (
        (messages_request(stream=True), message_stream)
        if dialect == "anthropic"
        else (chat_request(stream=True), completion_stream)
    )
    good = play(world(stream(GOOD), on_cut="buffer"), body, dialect=dialect, stream=True)
    plain = play(World(stream(GOOD)), body, dialect=dialect, stream=True)
    assert good.body == plain.body
    bad = play(world(stream(BAD), on_cut="buffer"), body, dialect=dialect, stream=True)
    assert b"answer_invalid" in bad.body
    assert b"/properties/price/type" in bad.body
    assert b"seven" not in bad.body
    assert bad.exchange.cost_nano > 0
    assert [f.verdict for f in bad.exchange.findings] == [Verdict.BLOCK]
    rules = AnswerRules(schema=SCHEMA, flags=True)
    flagged = play(world(stream(BAD), on_cut="buffer", rules=rules), body, dialect=dialect, stream=True)
    assert b"seven" in flagged.body


def test_a_stream_of_several_choices_is_never_taken_for_checked(play: Play) -> None:
    played = play(world(completion_stream(GOOD)), chat_request(stream=True, n=2), dialect="openai", stream=True)
    assert [f.reasons for f in played.exchange.findings] == [("unchecked",)]
