"""Gates: tool calls are held until they are complete, and pass as they came, edited, or as a denial."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from gate_streams import (
    DONE,
    HIT,
    M_START,
    PING,
    R_USAGE,
    ROLE,
    Numbered,
    Player,
    c_call,
    chunk,
    m_end,
    m_text,
    m_tool,
    r_call,
    r_call_item,
    r_message,
    r_response,
    r_text,
    run,
    sdk_completion,
    sdk_message,
    sdk_response,
)

from headgate.core.guards import Denied, ToolCall
from headgate.wire.gated import blocked

ARGS = ['{"q": ', '"x"', "}"]
WHOLE = "".join(ARGS)
NO = "The tool was not allowed."


def m_stream() -> bytes:
    return M_START + m_text(0, ["Look. "]) + m_tool(1, "look", ARGS) + m_tool(2, "send", ARGS) + m_end("tool_use")


def c_stream(*, interleaved: bool = False) -> bytes:
    first, second = c_call(0, "look", ARGS), c_call(1, "send", ARGS)
    calls = [each for pair in zip(first, second, strict=True) for each in pair] if interleaved else first + second
    return b"".join([ROLE, chunk({"content": "Look. "}), *calls, chunk({}, "tool_calls"), DONE])


def r_stream() -> bytes:
    tell = Numbered()
    begun = tell("response.created", response=r_response("in_progress"))
    said = r_text(tell, 0, ["Look. "]) + r_call(tell, 1, ARGS) + r_call(tell, 2, ARGS) + r_text(tell, 3, ["After."])
    output = [r_message(0, "Look. "), r_call_item(1, WHOLE), r_call_item(2, WHOLE), r_message(3, "After.")]
    return begun + said + tell("response.completed", response=r_response("completed", output, usage=R_USAGE))


STREAMS: dict[str, bytes] = {"messages": m_stream(), "chat": c_stream(), "responses": r_stream()}
ENDPOINTS = pytest.mark.parametrize("endpoint", list(STREAMS))


def calls_of(endpoint: str, out: bytes) -> list[tuple[str, str, Any]]:
    """(id, name, arguments) of the calls that the SDK has."""
    if endpoint == "messages":
        return [(b.id, b.name, b.input) for b in sdk_message(out).content if b.type == "tool_use"]
    if endpoint == "chat":
        calls = sdk_completion(out).choices[0].message.tool_calls or []
        return [(c.id, c.function.name, json.loads(c.function.arguments)) for c in calls]
    return [(i.call_id, i.name, json.loads(i.arguments)) for i in sdk_response(out).output if i.type == "function_call"]


def only(number: int, answer: Callable[[ToolCall], ToolCall | Denied]) -> Player:
    """Answers one of the calls, and lets the others through."""
    player = Player(tools=True)
    player.answer = lambda call: answer(call) if len(player.calls) - 1 == number else call
    return player


@ENDPOINTS
def test_calls_that_are_let_through_pass_byte_for_byte_and_are_shown_whole_and_in_order(endpoint: str) -> None:
    player = Player(tools=True)
    stream = STREAMS[endpoint]
    for at in range(0, len(stream), 97):
        fresh = Player(tools=True)
        assert run(endpoint, [stream[:at], stream[at:]], fresh)[1] == stream
    assert run(endpoint, [stream], player)[1] == stream
    assert [call.arguments for call in player.calls] == [WHOLE, WHOLE]
    assert len({call.place for call in player.calls}) == 2


@ENDPOINTS
def test_without_a_tool_guard_calls_flow_as_they_come(endpoint: str) -> None:
    stream = STREAMS[endpoint]
    at = stream.index(b"\n\n", stream.index(b'{\\"q\\": ')) + 2
    player = Player()
    assert run(endpoint, [stream[:at]], player)[1] == stream[:at]
    assert player.calls == []
    held = run(endpoint, [stream[:at]], Player(tools=True))[1]
    assert held != stream[:at]
    assert b"look" not in held


@ENDPOINTS
@pytest.mark.parametrize("number", [0, 1])
def test_a_denied_call_is_a_text_in_its_place_and_the_other_one_stays(endpoint: str, number: int) -> None:
    stream = STREAMS[endpoint]
    out = run(endpoint, [stream], only(number, lambda call: Denied(NO)))[1]
    left = calls_of(endpoint, out)
    assert left == [calls_of(endpoint, stream)[1 - number]]
    if endpoint == "messages":
        message = sdk_message(out)
        assert message.stop_reason == "tool_use"
        assert [b.type for b in message.content][1 + number] == "text"
        assert message.content[1 + number].text == NO  # type: ignore[union-attr]  # told by the line above
    elif endpoint == "chat":
        choice = sdk_completion(out).choices[0]
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", f"Look. \n\n{NO}")
    else:
        response = sdk_response(out)
        assert response.output[1 + number].content[0].text == NO
        assert response.output[3].content[0].text == "After."


@ENDPOINTS
def test_where_no_call_is_left_the_answer_ends_as_an_answer_ends(endpoint: str) -> None:
    out = run(endpoint, [STREAMS[endpoint]], Player(tools=True, answer=lambda call: Denied(NO)))[1]
    assert calls_of(endpoint, out) == []
    assert b"look" not in out
    assert WHOLE.encode() not in out
    if endpoint == "messages":
        assert sdk_message(out).stop_reason == "end_turn"
    elif endpoint == "chat":
        assert sdk_completion(out).choices[0].finish_reason == "stop"
    else:
        assert [item.type for item in sdk_response(out).output] == ["message"] * 4


@ENDPOINTS
def test_an_edited_call_has_its_new_arguments_everywhere(endpoint: str) -> None:
    def edit(call: ToolCall) -> ToolCall:
        return replace(call, arguments='{"q":"better"}')

    out = run(endpoint, [STREAMS[endpoint]], only(0, edit))[1]
    before = calls_of(endpoint, STREAMS[endpoint])
    assert calls_of(endpoint, out) == [(*before[0][:2], {"q": "better"}), before[1]]
    assert out.count(b'{\\"q\\": ') == STREAMS[endpoint].count(b'{\\"q\\": ') // 2


@ENDPOINTS
def test_a_call_that_stops_the_answer_is_not_in_it(endpoint: str) -> None:
    def stop(call: ToolCall) -> ToolCall:
        player.stopped = HIT
        return call

    player = Player(tools=True, answer=stop)
    meter, out = run(endpoint, [STREAMS[endpoint]], player)
    assert blocked(meter) == HIT
    assert calls_of(endpoint, out) == []
    assert meter.text() == "Look. "


@ENDPOINTS
def test_a_call_that_a_cut_leaves_incomplete_never_goes_out(endpoint: str) -> None:
    stream = STREAMS[endpoint]
    at = stream.index(b"\n\n", stream.index(b'{\\"q\\": ')) + 2
    player = Player(tools=True)
    out = run(endpoint, [stream[:at]], player)[1]
    assert player.calls == []
    assert b'\\"q\\"' not in out
    assert b"Look. " in out


def test_the_numbers_of_events_behind_a_denial_go_on_from_it() -> None:
    out = run("responses", [r_stream()], Player(tools=True, answer=lambda call: Denied(NO)))[1]
    numbers = [json.loads(line[6:])["sequence_number"] for line in out.splitlines() if line.startswith(b"data: ")]
    assert numbers == list(range(len(numbers)))


def test_interleaved_calls_are_put_together() -> None:
    player = only(0, lambda call: Denied(NO))
    out = run("chat", [c_stream(interleaved=True)], player)[1]
    assert [(call.name, call.arguments) for call in player.calls] == [("look", WHOLE), ("send", WHOLE)]
    assert calls_of("chat", out) == [("call_1", "send", {"q": "x"})]


def test_a_call_and_its_finish_reason_may_come_in_one_chunk() -> None:
    call = {"index": 0, "id": "call_0", "type": "function", "function": {"name": "look", "arguments": WHOLE}}
    stream = ROLE + chunk({"content": "Hm.", "tool_calls": [call]}, "tool_calls") + DONE
    assert run("chat", [stream], Player(tools=True))[1] == stream
    out = run("chat", [stream], Player(tools=True, answer=lambda call: Denied(NO)))[1]
    choice = sdk_completion(out).choices[0]
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert NO in choice.message.content


def test_the_legacy_form_of_a_call_is_held_too() -> None:
    stream = b"".join(
        [
            chunk({"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": ""}}),
            chunk({"function_call": {"arguments": WHOLE}}),
            chunk({}, "function_call"),
            DONE,
        ]
    )
    player = Player(tools=True)
    assert run("chat", [stream], player)[1] == stream
    assert [(call.name, call.arguments) for call in player.calls] == [("look", WHOLE)]
    out = run("chat", [stream], Player(tools=True, answer=lambda call: Denied(NO)))[1]
    choice = sdk_completion(out).choices[0]
    assert (choice.finish_reason, choice.message.content, choice.message.function_call) == ("stop", NO, None)


def test_a_call_without_parameters_is_shown_with_none() -> None:
    player = Player(tools=True)
    stream = M_START + m_tool(0, "look", []) + m_end("tool_use")
    assert run("messages", [stream], player)[1] == stream
    assert player.calls[0].arguments == "{}"


def test_a_ping_passes_a_held_call() -> None:
    call = m_tool(0, "look", ARGS)
    at = call.index(b"event: content_block_stop")
    out = run("messages", [M_START, call[:at], PING, call[at:]], Player(tools=True))[1]
    assert out == M_START + PING + call


@pytest.mark.parametrize(
    ("item", "name", "arguments"),
    [
        ({"type": "custom_tool_call", "name": "run", "input": "ls", "call_id": "c"}, "run", "ls"),
        ({"type": "mcp_call", "name": "find", "arguments": WHOLE, "output": "x"}, "find", WHOLE),
        ({"type": "local_shell_call", "action": {"command": ["ls"]}}, "local_shell", '{"command":["ls"]}'),
    ],
)
def test_every_kind_of_call_that_the_caller_would_run_is_shown(item: Any, name: str, arguments: str) -> None:
    tell = Numbered()
    item = {"id": "it_1", "status": "completed", **item}
    stream = b"".join(
        (
            tell("response.created", response=r_response("in_progress")),
            tell("response.output_item.added", output_index=0, item=item),
            tell("response.output_item.done", output_index=0, item=item),
            tell("response.completed", response=r_response("completed", [item], usage=R_USAGE)),
        )
    )
    player = Player(tools=True)
    assert run("responses", [stream], player)[1] == stream
    assert [(call.name, call.arguments) for call in player.calls] == [(name, arguments)]
    out = run("responses", [stream], Player(tools=True, answer=lambda call: Denied(NO)))[1]
    assert sdk_response(out).output_text == NO
