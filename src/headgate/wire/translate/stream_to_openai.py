"""A stream of Messages as chunks of Chat Completions (wire-formats 4, "Streaming", A to O)."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.wire import anthropic_usage, lenient
from headgate.wire.dialect import ProviderError
from headgate.wire.lenient import table, text
from headgate.wire.translate import reading, stops, usage
from headgate.wire.translate.answer_to_openai import chat_id, lost_block, unfinished
from headgate.wire.translate.reading import Json
from headgate.wire.translate.report import NOT_TRANSLATABLE, Report

KEEP_ALIVE = b": keep-alive\n\n"
"""What stands for an event that the caller is not shown: its connection would seem dead while a model thinks."""

_DONE = b"data: [DONE]\n\n"
_SILENT = ("thinking_delta", "signature_delta")


class _Event(msgspec.Struct):
    type: Any = None
    index: Any = None
    message: Any = None
    content_block: Any = None
    delta: Any = None
    usage: Any = None
    error: Any = None


class _Call:
    """An open tool block: its number among the calls, and the input it began with until a delta brings one."""

    __slots__ = ("input", "number", "told")

    def __init__(self, number: int, given: Any) -> None:
        self.number = number
        self.input = given
        self.told = False


_event = msgspec.json.Decoder(_Event)


class ToOpenAI:
    """Reads events one by one.

    Attributes:
        ended: the last chunk and `[DONE]` have been written.
        error: an error event, or a fault; nothing is read after it.
    """

    __slots__ = (
        "_calls",
        "_created",
        "_fields",
        "_head",
        "_include_usage",
        "_model",
        "_number",
        "_report",
        "_stop",
        "_tail",
        "ended",
        "error",
    )

    def __init__(self, report: Report, *, include_usage: bool, created: int) -> None:
        self._report = report
        self._include_usage = include_usage
        self._created = created
        self._head = b""  # of a chunk, up to its choices
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._model = ""
        self._calls: dict[Any, _Call] = {}
        self._number = 0
        self._stop: Json = {}
        self._fields: dict[str, Any] = {}
        self.ended = False
        self.error: ProviderError | None = None

    def read(self, name: bytes, data: bytes) -> bytes:
        """One event's chunks."""
        event = lenient.decode(_event, data)
        kind = name.decode("utf-8", "replace") or (text(event.type) if event is not None else "")
        if kind == "error":
            self.error = lenient.error_body(data)
            return b""
        reader = _READERS.get(kind)
        if event is None:
            if reader is not None:
                self.error = ProviderError(
                    type="malformed_event", message=f"the provider sent a malformed {kind} event"
                )
            return KEEP_ALIVE if reader is None else b""
        return reader(self, event) if reader is not None else KEEP_ALIVE

    def close(self) -> bytes:
        """The stream ended. Messages has a terminal event, so without it nothing is made up."""
        return b""

    def _message_start(self, event: _Event) -> bytes:
        message = table(event.message)
        self._fields = table(message.get("usage"))
        self._begin(text(message.get("id")), text(message.get("model")))
        return self._chunk(b'{"role":"assistant","content":"","refusal":null}')

    def _begin(self, answer_id: str, model: str) -> None:
        head = {
            "id": chat_id(answer_id),
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": model,
        }
        self._head = b"data: " + reading.dump(head)[:-1] + b',"choices":['

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        if not self._head:
            self._begin("", "")
        return b'%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b' % (
            self._head,
            delta,
            finish,
            self._tail,
        )

    def _block_start(self, event: _Event) -> bytes:
        block = table(event.content_block)
        kind = text(block.get("type"))
        if kind == "text":
            given = text(block.get("text"))
            return self._chunk(b'{"content":%b}' % reading.string(given)) if given else b""
        if kind != "tool_use":
            self._report.note(lost_block(kind))
            return KEEP_ALIVE
        call = _Call(self._number, block.get("input"))
        self._number += 1
        self._calls[_key(event.index)] = call
        opened = {
            "index": call.number,
            "id": text(block.get("id")),
            "type": "function",
            "function": {"name": text(block.get("name")), "arguments": ""},
        }
        return self._chunk(reading.dump({"tool_calls": [opened]}))

    def _delta(self, event: _Event) -> bytes:
        delta = table(event.delta)
        kind = text(delta.get("type"))
        if kind == "text_delta":
            words = text(delta.get("text"))
            return self._chunk(b'{"content":%b}' % reading.string(words)) if words else b""
        if kind == "input_json_delta":
            call = self._calls.get(_key(event.index))
            return self._arguments(call, text(delta.get("partial_json"))) if call is not None else KEEP_ALIVE
        if kind == "citations_delta":
            self._report.note("citations")
        elif kind not in _SILENT:
            self._report.note("unknown_blocks")
        return KEEP_ALIVE

    def _arguments(self, call: _Call, piece: str) -> bytes:
        if not piece:
            return b""
        call.told = True
        told = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (call.number, reading.string(piece))
        return self._chunk(told)

    def _block_stop(self, event: _Event) -> bytes:
        call = self._calls.pop(_key(event.index), None)
        if call is None or call.told:
            return b""
        # A tool without parameters may get no delta at all; the caller parses the arguments all the same.
        return self._arguments(call, reading.dump(call.input or {}).decode())

    def _message_delta(self, event: _Event) -> bytes:
        delta = table(event.delta)
        if delta.get("stop_reason"):
            self._stop = delta
        self._fields = anthropic_usage.merge(self._fields, table(event.usage))
        return b""

    def _message_stop(self, event: _Event) -> bytes:
        reason = text(self._stop.get("stop_reason"))
        if reason in stops.UNFINISHED:
            self.error = ProviderError(type=NOT_TRANSLATABLE, message=unfinished(reason))
            return b""
        out: list[bytes] = []
        why = text(table(self._stop.get("stop_details")).get("explanation"))
        if reason == "refusal" and why:
            out.append(self._chunk(b'{"refusal":%b}' % reading.string(why)))
        out.append(self._chunk(b"{}", b'"%b"' % stops.to_openai(reason, self._report).encode()))
        if self._include_usage:
            out.append(self._usage())
        out.append(_DONE)
        self.ended = True
        return b"".join(out)

    def _usage(self) -> bytes:
        counted = anthropic_usage.usage(self._fields)
        if counted is None:
            self._report.note("usage")
            return b""
        return b'%b],"usage":%b}\n\n' % (self._head, reading.dump(usage.to_openai(counted)))


def _key(index: Any) -> int:
    return index if type(index) is int else -1


_READERS = {
    "message_start": ToOpenAI._message_start,
    "content_block_start": ToOpenAI._block_start,
    "content_block_delta": ToOpenAI._delta,
    "content_block_stop": ToOpenAI._block_stop,
    "message_delta": ToOpenAI._message_delta,
    "message_stop": ToOpenAI._message_stop,
}
