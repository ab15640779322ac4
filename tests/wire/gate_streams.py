"""Streams of the three endpoints, an inspector that plays a part, and what the real SDKs make of the frames."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import openai

from headgate.core.exchange import Facts
from headgate.core.guards import Denied, Edit, Finding, Seen, ToolCall, Verdict
from headgate.wire import ANTHROPIC, OPENAI
from headgate.wire.dialect import Meter
from headgate.wire.gated import gated

HIT = Finding("leak", Verdict.BLOCK, ("canary",))


@dataclass
class Player:
    """Edits every `bad` to `good`, clears what cannot be the beginning of one, and stops at `stop_at`."""

    bad: str = ""
    good: str = ""
    stop_at: str = ""
    behind: int = 0
    tools: bool = False
    answer: Callable[[ToolCall], ToolCall | Denied] = lambda call: call
    stopped: Finding | None = None
    findings: list[Finding] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    calls: list[ToolCall] = field(default_factory=list)
    _told: dict[str, int] = field(default_factory=dict)

    def text(self, place: str, piece: str, *, final: bool = False) -> Seen:
        assert place not in self.done
        whole = self.texts[place] = self.texts.get(place, "") + piece
        if final:
            self.done.add(place)
        if self.stop_at and self.stop_at in whole:
            self.stopped = HIT
            return Seen(whole.index(self.stop_at))
        held = max(self.behind, len(self.bad) - 1, len(self.stop_at) - 1, 0)
        cleared = len(whole) if final else max(0, len(whole) - held)
        edits = []
        at = self._told.get(place, 0)
        while self.bad and (found := whole.find(self.bad, at)) >= 0:
            end = found + len(self.bad)
            if end > cleared and not final:
                cleared = min(cleared, found)
                break
            edits.append(Edit(found, end, self.good))
            at = self._told[place] = end
        return Seen(cleared, tuple(edits))

    def tool(self, call: ToolCall) -> ToolCall | Denied:
        self.calls.append(call)
        return self.answer(call)


def run(endpoint: str, pieces: Iterable[bytes], player: Player, *, choices: int = 1) -> tuple[Meter, bytes]:
    """The bytes that go out, to the end of the stream."""
    dialect = ANTHROPIC if endpoint == "messages" else OPENAI
    meter = dialect.meter(endpoint, Facts(stream=True, include_usage=True, choices=choices))
    gate = gated(endpoint, meter, player, keep_text=True)
    return gate, b"".join([*map(gate.feed, pieces), gate.finish()])


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """The stream in pieces."""
    ends = sorted({min(place, len(stream)) for place in places} | {0, len(stream)})
    return [stream[a:b] for a, b in itertools.pairwise(ends)]


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {_json({'type': kind, **fields})}\n\n".encode()


# Messages

M_START = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1},
    },
)


def m_text(index: int, pieces: Iterable[str]) -> bytes:
    return b"".join(
        (
            event("content_block_start", index=index, content_block={"type": "text", "text": ""}),
            *(event("content_block_delta", index=index, delta={"type": "text_delta", "text": p}) for p in pieces),
            event("content_block_stop", index=index),
        )
    )


def m_tool(index: int, name: str, pieces: Iterable[str]) -> bytes:
    block = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
    deltas = ({"type": "input_json_delta", "partial_json": p} for p in pieces)
    return b"".join(
        (
            event("content_block_start", index=index, content_block=block),
            *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
            event("content_block_stop", index=index),
        )
    )


THINKING = {"type": "thinking", "thinking": "", "signature": ""}


def m_think(index: int) -> bytes:
    return b"".join(
        (
            event(
                "content_block_start", index=index, content_block={"type": "thinking", "thinking": "", "signature": ""}
            ),
            event("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": "Hmm, SECRET."}),
            event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": "c2ln"}),
            event("content_block_stop", index=index),
        )
    )


def m_end(reason: str = "end_turn") -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return event("message_delta", delta=delta, usage={"output_tokens": 42}) + event("message_stop")


PING = event("ping")


def messages(pieces: Sequence[str]) -> bytes:
    return M_START + PING + m_think(0) + m_text(1, pieces) + PING + m_text(2, pieces) + m_end()


# Chat

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-6-luna"}
DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"


def chunk(delta: Any, finish: Any = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **more}
    return f"data: {_json({**HEAD, 'choices': [choice], 'usage': None})}\n\n".encode()


USAGE = (
    f"data: {_json({**HEAD, 'choices': [], 'usage': {'prompt_tokens': 1, 'completion_tokens': 2, 'total_tokens': 3}})}"
)
C_USAGE = USAGE.encode() + b"\n\n"
ROLE = chunk({"role": "assistant", "content": "", "refusal": None})


def chat(pieces: Sequence[str], choices: int = 1) -> bytes:
    begun = b"".join(chunk({"role": "assistant", "content": ""}, index=n) for n in range(choices))
    said = b"".join(chunk({"content": p}, index=n) for p in pieces for n in range(choices))
    ended = b"".join(chunk({}, "stop", index=n) for n in range(choices))
    return begun + COMMENT + said + ended + C_USAGE + DONE


def c_call(number: int, name: str, pieces: Sequence[str]) -> list[bytes]:
    first = {"index": number, "id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": ""}}
    return [
        chunk({"tool_calls": [first]}),
        *(chunk({"tool_calls": [{"index": number, "function": {"arguments": p}}]}) for p in pieces),
    ]


# Responses


class Numbered:
    """Events with their numbers."""

    def __init__(self) -> None:
        self.number = itertools.count()

    def __call__(self, kind: str, **fields: Any) -> bytes:
        return event(kind, sequence_number=next(self.number), **fields)


def r_response(status: str, output: Any = (), **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-6-luna",
        "output": list(output),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
        **more,
    }


def r_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def r_message(index: int, text: str) -> dict[str, Any]:
    return {
        "id": f"msg_{index}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [r_part(text)],
    }


def r_text(tell: Numbered, index: int, pieces: Sequence[str]) -> bytes:
    item = r_message(index, "".join(pieces))
    begun = {**item, "status": "in_progress", "content": []}
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    logprobs = [{"token": "SECRET", "logprob": -1.0, "top_logprobs": []}]
    return b"".join(
        (
            tell("response.output_item.added", output_index=index, item=begun),
            tell("response.content_part.added", **at, part=r_part("")),
            *(tell("response.output_text.delta", **at, delta=p, logprobs=logprobs) for p in pieces),
            tell("response.output_text.done", **at, text="".join(pieces), logprobs=logprobs),
            tell("response.content_part.done", **at, part=r_part("".join(pieces))),
            tell("response.output_item.done", output_index=index, item=item),
        )
    )


def r_call_item(index: int, arguments: str, status: str = "completed") -> dict[str, Any]:
    return {
        "id": f"fc_{index}",
        "type": "function_call",
        "status": status,
        "call_id": f"call_{index}",
        "name": "look",
        "arguments": arguments,
    }


def r_call(tell: Numbered, index: int, pieces: Sequence[str]) -> bytes:
    whole = "".join(pieces)
    at = {"item_id": f"fc_{index}", "output_index": index}
    return b"".join(
        (
            tell("response.output_item.added", output_index=index, item=r_call_item(index, "", "in_progress")),
            *(tell("response.function_call_arguments.delta", **at, delta=p) for p in pieces),
            tell("response.function_call_arguments.done", **at, name="look", arguments=whole),
            tell("response.output_item.done", output_index=index, item=r_call_item(index, whole)),
        )
    )


R_USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 14,
}


def responses(pieces: Sequence[str]) -> bytes:
    tell = Numbered()
    whole = "".join(pieces)
    begun = tell("response.created", response=r_response("in_progress"))
    said = r_text(tell, 0, pieces) + r_text(tell, 1, pieces)
    output = [r_message(0, whole), r_message(1, whole)]
    return begun + said + tell("response.completed", response=r_response("completed", output, usage=R_USAGE))


STREAMS: dict[str, Callable[[Sequence[str]], bytes]] = {"messages": messages, "chat": chat, "responses": responses}


# The real SDKs


def _answers(body: bytes) -> httpx2.Client:
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    return httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))


def sdk_message(body: bytes) -> anthropic.types.Message:
    """What the SDK's accumulator makes of a Messages stream."""
    with (
        anthropic.Anthropic(api_key="not-a-key", http_client=_answers(body), max_retries=0) as client,
        client.messages.stream(
            model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        ) as stream,
    ):
        return stream.get_final_message()


def sdk_completion(body: bytes) -> Any:
    """What the SDK's accumulator makes of a Chat stream. For a filtered answer it has an error of its own."""
    with (
        openai.OpenAI(api_key="not-a-key", http_client=_answers(body), max_retries=0) as client,
        client.chat.completions.stream(model="gpt-6-luna", messages=[{"role": "user", "content": "hi"}]) as stream,
    ):
        try:
            return stream.get_final_completion()
        except openai.ContentFilterFinishReasonError:
            return stream.current_completion_snapshot


def sdk_response(body: bytes) -> Any:
    """The last event's response, as the SDK's accumulator has it."""
    with (
        openai.OpenAI(api_key="not-a-key", http_client=_answers(body), max_retries=0) as client,
        client.responses.stream(model="gpt-6-luna", input="hi") as stream,
    ):
        return list[Any](stream)[-1].response


def sdk_texts(endpoint: str, body: bytes) -> list[str]:
    """The texts of an answer, as the SDK has them at the end."""
    if endpoint == "messages":
        return [block.text for block in sdk_message(body).content if block.type == "text"]
    if endpoint == "chat":
        return [choice.message.content or "" for choice in sdk_completion(body).choices]
    output = sdk_response(body).output
    return ["".join(part.text for part in item.content) for item in output if item.type == "message"]
