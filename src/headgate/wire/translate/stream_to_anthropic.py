"""A stream of Chat Completions as events of Messages (wire-formats 4, "Streaming", O to A)."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.usage import Usage
from headgate.wire import lenient, openai_usage, sse
from headgate.wire.dialect import ProviderError
from headgate.wire.lenient import table, text
from headgate.wire.stream import MAX_EVENT_BYTES
from headgate.wire.translate import reading, stops, usage
from headgate.wire.translate.answer_to_anthropic import REASONING, call_id, message_id, stop_details
from headgate.wire.translate.reading import Json
from headgate.wire.translate.report import Report
from headgate.wire.translate.stream_calls import Call, Fragments

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
"""What stands for a chunk that the caller is not shown: its connection would seem dead while a model thinks."""

_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_MAX_CALLS = 4096
_EACH = 64  # characters that each part in the queue counts for, beside its own
_TEXT = "text"  # what is open, or waits: a text, or a call


class _Chunk(msgspec.Struct):
    id: Any = None
    model: Any = None
    choices: Any = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None


_chunk = msgspec.json.Decoder(_Chunk)


class ToAnthropic:
    """Reads chunks one by one; one block is open at a time.

    What comes while a tool call is open and unfinished waits for the call's end; everything else goes on at once.

    Attributes:
        ended: `message_stop` has been written.
        error: an error chunk, or a fault; nothing is read after it.
    """

    __slots__ = (
        "_called",
        "_finish",
        "_fragments",
        "_held",
        "_id",
        "_index",
        "_open",
        "_out",
        "_queue",
        "_refused",
        "_report",
        "_started",
        "_usage",
        "ended",
        "error",
    )

    def __init__(self, report: Report) -> None:
        self._report = report
        self._fragments = Fragments()
        self._out: list[bytes] = []
        self._open: Call | str | None = None
        self._queue: list[Call | str] = []  # calls, and texts as they came
        self._held = 0  # characters in the queue
        self._index = -1  # of the last block opened
        self._id = ""
        self._started = False
        self._called = self._refused = False
        self._finish = ""
        self._usage: Usage | None = None
        self.ended = False
        self.error: ProviderError | None = None

    def read(self, name: bytes, data: bytes) -> bytes:
        """One chunk's events."""
        if data.startswith(b"[DONE]"):
            self._end()
            return self._taken()
        chunk = lenient.decode(_chunk, data) if data else _Chunk()
        if chunk is None:
            self.error = ProviderError(type="malformed_event", message="the provider sent a chunk that is no JSON")
            return b""
        if chunk.error or name == b"error":
            self.error = lenient.error_body(data)
            return b""
        fields = openai_usage.reported(chunk.usage, chunk.x_groq)
        if fields is not None:
            self._usage = openai_usage.usage(fields) or self._usage
        for choice in chunk.choices if isinstance(chunk.choices, list) else ():
            if isinstance(choice, dict):
                self._choice(choice, chunk)
        return self._taken()

    def close(self) -> bytes:
        """The stream ended. Not everyone sends `[DONE]`: a finish reason is an ending too."""
        if self._finish:
            self._end()
        return self._taken()

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _choice(self, choice: Json, chunk: _Chunk) -> None:
        if choice.get("index") not in (0, None):
            self._report.note("n")
            return
        if choice.get("error"):  # OpenRouter
            self.error = lenient.error_value({"error": choice["error"]})
            return
        if not self._started:
            self._start(chunk)
        before = len(self._out)
        delta = table(choice.get("delta"))
        self._delta(delta)
        if len(self._out) == before and any(delta.get(name) for name in REASONING):
            self._report.note("thinking")
            self._out.append(PING)
        if choice.get("finish_reason") and not self._finish:
            self._finish = text(choice["finish_reason"])
            self._close_all()

    def _start(self, chunk: _Chunk) -> None:
        self._started = True
        self._id = text(chunk.id)
        message: Json = {
            "id": message_id(self._id),
            "type": "message",
            "role": "assistant",
            "model": text(chunk.model),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage.to_anthropic(self._usage), "output_tokens": 0},
        }
        self._emit("message_start", {"type": "message_start", "message": message})

    def _delta(self, delta: Json) -> None:
        if self._finish:
            return  # an answer that has ended does not go on
        refusal = text(delta.get("refusal"))
        if refusal:
            self._refused = True
        for words in (text(delta.get("content")), refusal):
            if words:
                self._text(words)
        calls = delta.get("tool_calls")
        for each in calls if isinstance(calls, list) else ():
            self._fragment(*self._fragments.read(each))
        if isinstance(delta.get("function_call"), dict):
            self._fragment(*self._fragments.old(delta["function_call"]))
        if delta.get("audio"):
            self._report.note("audio")

    def _text(self, words: str) -> None:
        self._make_way()
        if isinstance(self._open, Call) or self._queue:
            self._wait(words, len(words))
            return
        if self._open is None:
            self._open_text()
        self._tell_text(words)

    def _fragment(self, call: Call, new: bool, piece: str) -> None:
        self._called = True
        if call.number >= _MAX_CALLS:
            self._overflow(f"more than {_MAX_CALLS} tool calls in one answer")
            return
        if piece:
            call.add(piece)
        if new:
            self._make_way()
            self._wait(call, len(piece))
        if call is self._open:
            self._tell_call(call)
        elif call in self._queue:
            self._held += 0 if new else len(piece)
            self._check_held()
        elif piece.strip():
            self._report.note("tool_arguments")  # its block has been closed
        self._drain()

    def _make_way(self) -> None:
        """Close what is open, if it is whole: another block wants to be open."""
        if isinstance(self._open, Call) and self._open.whole:
            self._close()
            self._drain()

    def _wait(self, what: Call | str, size: int) -> None:
        self._queue.append(what)
        self._held += size + _EACH
        self._check_held()

    def _check_held(self) -> None:
        if self._held > MAX_EVENT_BYTES:
            self._overflow(f"more than {MAX_EVENT_BYTES} characters wait for the end of a tool call")

    def _overflow(self, message: str) -> None:
        if self.error is None:
            self.error = ProviderError(type="event_too_large", message=message)

    def _drain(self, *, all_of_it: bool = False) -> None:
        """Open what waits, in order, as far as one block at a time allows."""
        while self._queue:
            first = self._queue[0]
            if isinstance(self._open, Call) and not (all_of_it or self._open.whole):
                return
            if isinstance(first, Call) and not first.name and not all_of_it:
                return  # a block cannot begin without the tool's name
            self._queue.pop(0)
            self._held -= _EACH + len(first if isinstance(first, str) else "".join(first.held))
            if isinstance(first, Call):
                self._close()
                self._open_call(first)
                self._tell_call(first)
            else:
                if self._open != _TEXT:
                    self._close()
                    self._open_text()
                self._tell_text(first)

    def _open_text(self) -> None:
        self._begin(_TEXT, {"type": "text", "text": ""})

    def _open_call(self, call: Call) -> None:
        told = call.id or call_id(self._id, call.number)
        self._begin(call, {"type": "tool_use", "id": told, "name": call.name, "input": {}})

    def _begin(self, what: Call | str, block: Json) -> None:
        self._open = what
        self._index += 1
        self._emit("content_block_start", {"type": "content_block_start", "index": self._index, "content_block": block})

    def _tell_text(self, words: str) -> None:
        self._tell(b'"text_delta","text"', words)

    def _tell_call(self, call: Call) -> None:
        if call.held:
            self._tell(b'"input_json_delta","partial_json"', "".join(call.held))
            call.held.clear()

    def _tell(self, kind: bytes, words: str) -> None:
        self._out.append(
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b:%b}}\n\n'
            % (self._index, kind, reading.string(words))
        )

    def _close(self) -> None:
        if self._open is not None:
            self._open = None
            self._emit("content_block_stop", {"type": "content_block_stop", "index": self._index})

    def _close_all(self) -> None:
        self._drain(all_of_it=True)
        self._close()

    def _end(self) -> None:
        if not self._started:
            self._start(_Chunk())
        self._close_all()
        reason = stops.to_anthropic(self._finish, called=self._called, refused=self._refused, report=self._report)
        if self._usage is None:
            self._report.note("usage")
        delta: Json = {"stop_reason": reason, "stop_sequence": None}
        if reason == "refusal":
            delta["stop_details"] = stop_details()
        event = {"type": "message_delta", "delta": delta, "usage": usage.to_anthropic(self._usage)}
        self._emit("message_delta", event)
        self._out.append(_STOP)
        self.ended = True

    def _emit(self, name: str, event: Json) -> None:
        self._out.append(sse.encode(reading.dump(event), name))
