"""OpenAI's Responses API: the real SDK against the simulator."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Limits, Rule, Scenario

LUNA = "gpt-6-luna"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(headgate_simulator: SimulatorServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=headgate_simulator.openai_url, api_key="fake", max_retries=0)


def faulty(server: SimulatorServer, kind: str, **told: Any) -> None:
    server.load(Scenario(rules=(Rule(Fault(kind, **told)),)))


def streamed(client: openai.OpenAI, text: Any, **more: Any) -> list[Any]:
    return list(client.responses.create(model=LUNA, input=text, stream=True, **more))


def line(server: SimulatorServer) -> dict[str, Any]:
    (only,) = server.invoice()["lines"]
    return only  # type: ignore[no-any-return]


def test_a_response_has_text_and_the_usage_that_is_billed(
    client: openai.OpenAI, headgate_simulator: SimulatorServer
) -> None:
    whole = client.responses.create(model=LUNA, input="tokens: 20", instructions="Be brief.")
    assert whole.status == "completed"
    assert whole.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens, whole.usage.total_tokens) == (12, 20, 32)
    billed = line(headgate_simulator)
    assert (billed["usage"]["input_tokens"], billed["usage"]["output_tokens"]) == (12, 20)
    assert (billed["cost_nano"], billed["reported"]) == (12 * 100 + 20 * 500, True)


def test_events_come_in_order_numbered_without_gaps_and_build_the_final_response(client: openai.OpenAI) -> None:
    events = streamed(client, "say: one two three", reasoning={"effort": "low", "summary": "auto"})
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    shown = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    assert shown == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    final = events[-1].response
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == final.output_text
    assert final.output_text == "one two three"
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.usage.output_tokens_details.reasoning_tokens == 32
    assert [e.item for e in events if e.type == "response.output_item.done"] == final.output


def test_the_sdks_own_accumulator_takes_the_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(model=LUNA, input="use get_weather", tools=[WEATHER]) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert {"response.function_call_arguments.delta", "response.function_call_arguments.done"} <= kinds
    (call,) = final.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "sample"}


def test_the_same_request_streamed_and_whole_has_the_same_text_and_usage(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=LUNA, input="say: the same", reasoning={"effort": "medium"})
    final = streamed(client, "say: the same", reasoning={"effort": "medium"})[-1].response
    assert (final.output_text, final.usage) == (whole.output_text, whole.usage)


def test_parse_reads_a_structured_answer(client: openai.OpenAI) -> None:
    class Place(BaseModel):
        city: str
        floors: int

    parsed = client.responses.parse(model=LUNA, input="where?", text_format=Place)
    assert parsed.output_parsed == Place(city="sample", floors=1)


def test_a_conversation_continues_by_id_and_its_earlier_turns_are_billed_again(client: openai.OpenAI) -> None:
    first = client.responses.create(model=LUNA, input="say: " + "word" * 40)
    second = client.responses.create(model=LUNA, input="say: ok", previous_response_id=first.id)
    alone = client.responses.create(model=LUNA, input="say: ok")
    assert first.usage is not None
    assert second.usage is not None
    assert alone.usage is not None
    assert second.previous_response_id == first.id
    earlier = first.usage.input_tokens + first.usage.output_tokens
    assert second.usage.input_tokens == alone.usage.input_tokens + earlier  # the frame of the prompt, of the answer


def test_a_tool_turn_goes_round_and_an_unanswered_call_is_refused(client: openai.OpenAI) -> None:
    called = client.responses.create(model=LUNA, input="use get_weather", tools=[WEATHER])
    (call,) = called.output
    assert call.type == "function_call"
    answered: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    done = client.responses.create(model=LUNA, input=answered, previous_response_id=called.id, tools=[WEATHER])
    assert done.output[0].type == "message"
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        client.responses.create(model=LUNA, input="and now?", previous_response_id=called.id)
    with pytest.raises(openai.BadRequestError, match="No tool call found"):
        client.responses.create(model=LUNA, input=answered)


def test_a_client_that_keeps_its_own_state_sends_the_output_back_with_encrypted_reasoning(
    client: openai.OpenAI,
) -> None:
    told: Any = {
        "model": LUNA,
        "store": False,
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
    }
    first = client.responses.create(input="say: hello", **told)
    turn: Any = [{"role": "user", "content": "say: hello"}, *[item.to_dict() for item in first.output]]
    again = client.responses.create(input=[*turn, {"role": "user", "content": "say: bye"}], **told)
    assert again.output_text == "bye"
    turn[1]["encrypted_content"] = "forged"
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(input=[*turn, {"role": "user", "content": "say: bye"}], **told)
    assert caught.value.code == "invalid_encrypted_content"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_stored_responses_are_retrieved_listed_by_input_and_deleted(client: openai.OpenAI) -> None:
    made = client.responses.create(model=LUNA, input=[{"role": "user", "content": f"say: {n}"} for n in range(5)])
    assert client.responses.retrieve(made.id).output_text == made.output_text
    items = list(client.responses.input_items.list(made.id, limit=2, order="asc"))
    assert [item.content[0].text for item in items] == [f"say: {n}" for n in range(5)]  # type: ignore[union-attr]
    client.responses.delete(made.id)
    for gone in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=LUNA, input="say: ok", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"


def test_another_credential_does_not_see_a_response(client: openai.OpenAI) -> None:
    made = client.responses.create(model=LUNA, input="say: mine")
    other = client.with_options(api_key="other-fake")
    with pytest.raises(openai.NotFoundError):
        other.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError):
        other.responses.create(model=LUNA, input="say: ok", previous_response_id=made.id)


def test_input_tokens_are_counted_as_they_are_billed(client: openai.OpenAI) -> None:
    asked: Any = {"model": LUNA, "input": "use a tool, or do not", "tools": [WEATHER], "instructions": "Think."}
    counted = client.responses.input_tokens.count(**asked)
    usage = client.responses.create(**asked).usage
    assert usage is not None
    assert counted.input_tokens == usage.input_tokens


def test_images_and_files_are_counted_at_a_flat_rate(client: openai.OpenAI) -> None:
    def tokens(*parts: Any) -> int:
        content = [{"type": "input_text", "text": "say: seen"}, *parts]
        usage = client.responses.create(model=LUNA, input=[{"role": "user", "content": content}]).usage  # type: ignore[misc,list-item]
        assert usage is not None
        return usage.input_tokens

    bare = tokens()
    assert tokens({"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}) == bare + 765
    pdf = {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}
    assert tokens(pdf) == bare + 765


def test_a_long_prompt_is_read_from_the_cache_the_second_time(client: openai.OpenAI) -> None:
    asked: Any = {"model": LUNA, "instructions": "word " * 1200, "input": "say: ok"}
    first, second = (client.responses.create(**asked).usage for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.input_tokens_details.cache_write_tokens > 1024
    assert second.input_tokens_details.cached_tokens == first.input_tokens_details.cache_write_tokens


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("completed", "completed", None),
        ("max_output_tokens", "incomplete", "max_output_tokens"),
        ("max_messages", "incomplete", "max_messages"),
        ("content_filter", "incomplete", "content_filter"),
        ("steered", "incomplete", "steered"),
        ("failed", "failed", None),
    ],
)
@pytest.mark.parametrize("by", ["turn", "scenario"])
def test_every_ending_is_reached_by_a_turn_and_by_a_scenario_streamed_and_not(
    client: openai.OpenAI, headgate_simulator: SimulatorServer, by: str, name: str, status: str, reason: str | None
) -> None:
    text = f"stop: {name}"
    if by == "scenario":
        faulty(headgate_simulator, "stop_reason", reason=name)
        text = "anything"
    whole = client.responses.create(model=LUNA, input=text)
    last = streamed(client, text)[-1]
    assert last.type == f"response.{status}"
    for response in (whole, last.response):
        assert response.status == status
        assert (response.incomplete_details and response.incomplete_details.reason) == reason
        assert (response.error is not None) == (status == "failed")


def test_the_cap_makes_a_response_incomplete(client: openai.OpenAI) -> None:
    cut = client.responses.create(model=LUNA, input="tokens: 100", max_output_tokens=16)
    assert cut.status == "incomplete"
    assert cut.usage is not None
    assert cut.usage.output_tokens == 16


def test_a_refusal_is_a_part_of_the_message(client: openai.OpenAI, headgate_simulator: SimulatorServer) -> None:
    faulty(headgate_simulator, "refusal", style="message")
    (message,) = client.responses.create(model=LUNA, input="hello").output
    assert message.type == "message"
    assert message.content[0].type == "refusal"
    kinds = [event.type for event in streamed(client, "hello")]
    assert {"response.refusal.delta", "response.refusal.done"} <= set(kinds)
    assert kinds[-1] == "response.completed"


def test_a_failure_after_some_tokens_tells_its_code_and_bills_what_was_shown(
    client: openai.OpenAI, headgate_simulator: SimulatorServer
) -> None:
    faulty(headgate_simulator, "failed", after_tokens=8, code="rate_limit_exceeded", message="Too fast.")
    last = streamed(client, "tokens: 60")[-1]
    assert last.type == "response.failed"
    assert (last.response.error.code, last.response.error.message) == ("rate_limit_exceeded", "Too fast.")
    assert last.response.usage.output_tokens == 8
    assert line(headgate_simulator)["usage"]["output_tokens"] == 8


def test_a_failure_elsewhere_is_an_error(client: openai.OpenAI, headgate_simulator: SimulatorServer) -> None:
    faulty(headgate_simulator, "failed")
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=LUNA, messages=[{"role": "user", "content": "hello"}])


def test_stream_faults_strike_here_too(client: openai.OpenAI, headgate_simulator: SimulatorServer) -> None:
    faulty(headgate_simulator, "error_event", after_events=6, type="server_error")
    last = streamed(client, "tokens: 60")[-1]
    assert (last.type, last.code, last.sequence_number) == ("error", "server_error", 6)
    faulty(headgate_simulator, "no_terminal")
    assert streamed(client, "tokens: 60")[-1].type == "response.output_item.done"
    assert (line(headgate_simulator)["ending"], line(headgate_simulator)["reported"]) == ("cut", False)
    faulty(headgate_simulator, "cut", after_events=7)
    with pytest.raises((openai.APIConnectionError, httpx2.HTTPError)):
        streamed(client, "tokens: 60")
    assert line(headgate_simulator)["usage"]["output_tokens"] == 4 * 3  # of 7 events, 4 come before the first delta
    faulty(headgate_simulator, "rate_limit", retry_after=2)
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model=LUNA, input="hello")


def test_limits_count_responses_and_chat_together(client: openai.OpenAI, headgate_simulator: SimulatorServer) -> None:
    headgate_simulator.load(Scenario(limits=Limits(requests_per_minute=2)))
    client.responses.create(model=LUNA, input="say: a")
    client.chat.completions.create(model=LUNA, messages=[{"role": "user", "content": "say: b"}])
    with pytest.raises(openai.RateLimitError) as caught:
        client.responses.create(model=LUNA, input="say: c")
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"


class Hands:
    """A clock that is moved by hand, and on which nobody has to wait."""

    def __init__(self) -> None:
        self.time = 1_795_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


SLOW: Any = {"pace": {"first_token_seconds": 2, "seconds_per_event": 1, "tokens_per_event": 4}}


def test_work_in_the_background_is_queued_then_done_and_billed_once() -> None:
    hands = Hands()
    with SimulatorServer(SLOW, clock=hands) as server:
        client = openai.OpenAI(base_url=server.openai_url, api_key="fake", max_retries=0)
        made = client.responses.create(model=LUNA, input="tokens: 40", background=True)
        assert (made.status, made.output) == ("queued", [])
        assert server.invoice()["lines"] == []
        hands.time += 3
        assert client.responses.retrieve(made.id).status == "in_progress"
        hands.time += 9
        done = client.responses.retrieve(made.id)
        assert done.status == "completed"
        assert done.usage is not None
        billed = line(server)
        assert (billed["usage"]["output_tokens"], billed["reported"]) == (40, True)
        assert billed["request_id"] == server.requests()[0]["request_id"]
        assert client.responses.cancel(made.id).status == "completed"
        assert len(server.invoice()["lines"]) == 1


def test_cancelled_work_bills_what_was_generated_by_then() -> None:
    hands = Hands()
    with SimulatorServer(SLOW, clock=hands) as server:
        client = openai.OpenAI(base_url=server.openai_url, api_key="fake", max_retries=0)
        made = client.responses.create(model=LUNA, input="tokens: 40", background=True)
        hands.time += 2 + 5
        assert client.responses.cancel(made.id).status == "cancelled"
        hands.time += 100
        assert client.responses.retrieve(made.id).status == "cancelled"
        assert line(server)["usage"]["output_tokens"] == 20


def test_only_background_work_can_be_cancelled(client: openai.OpenAI) -> None:
    made = client.responses.create(model=LUNA, input="say: ok")
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(made.id)


def test_a_background_stream_is_taken_up_again_after_the_last_event_seen(client: openai.OpenAI) -> None:
    events = streamed(client, "say: again and again", background=True)
    assert [event.type for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    rest = list(client.responses.retrieve(events[0].response.id, stream=True, starting_after=4))
    assert [event.sequence_number for event in rest] == list(range(5, len(events)))
    assert rest == events[5:]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": "x", "max_output_tokens": 5}, "max_output_tokens"),
        ({"input": [{"role": "judge", "content": "x"}]}, "input[0].role"),
        ({"input": "x", "background": True, "store": False}, "background"),
        ({"input": 5}, "input"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(client: openai.OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/responses", body={"model": LUNA, **body}, cast_to=object)
    assert caught.value.param == param
