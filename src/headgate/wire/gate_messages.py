"""The gate of a Messages stream."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.guards import Denied, Inspector, ToolCall
from headgate.wire import lenient, sse
from headgate.wire.gates import Gate, Held, TextFrame, changed, explanation
from headgate.wire.jsonplace import dump
from headgate.wire.lenient import table, text

_TEXT = ("delta", "text")
_BEGUN = ("content_block", "text")


class _Event(msgspec.Struct):
    type: Any = None
    index: Any = None
    message: Any = None
    content_block: Any = None
    delta: Any = None
    usage: Any = None


class _Call:
    """A tool block that is held."""

    __slots__ = ("arguments", "first", "frames", "given", "id", "name")

    def __init__(self, block: dict[str, Any], first: bytes) -> None:
        self.id = text(block.get("id"))
        self.name = text(block.get("name"))
        self.given = block.get("input")
        self.first = first  # the data of the frame that begins it
        self.arguments: list[str] = []
        self.frames: list[Held] = []

    def whole(self, place: str) -> ToolCall:
        """The call. A tool without parameters may get no delta at all."""
        arguments = "".join(self.arguments)
        if not arguments:
            arguments = msgspec.json.encode(self.given if isinstance(self.given, dict) else {}).decode()
        return ToolCall(self.id, self.name, arguments, place)


_event = msgspec.json.Decoder(_Event)


class MessagesGate(Gate):
    """Blocks come one after another, each with an index: texts are shown, tool blocks held, the rest passes.

    What a server tool was asked is not held: by the time it is told, it has run. Citations are the provider's, of what
    it was given; they keep their place among the text.
    """

    def __init__(self, inspector: Inspector, *, keep_text: bool = False) -> None:
        super().__init__(inspector, keep_text=keep_text)
        self._calls: dict[int, _Call] = {}
        self._let_through = self._denied = 0
        self._open: int | None = None  # the block that is open for the caller
        self._usage: dict[str, Any] = {}

    def _read(self, frame: bytes, name: bytes, data: bytes) -> None:
        if name == b"ping":
            self._pass(frame)
            return
        event = lenient.decode(_event, data)
        kind = name.decode("utf-8", "replace") or (text(event.type) if event is not None else "")
        reader = _READERS.get(kind)
        if event is None or reader is None:
            self._push(frame, quiet=kind == "error")
        else:
            reader(self, frame, data, event)

    def _message_start(self, frame: bytes, data: bytes, event: _Event) -> None:
        self._usage = table(table(event.message).get("usage"))
        self._push(frame, quiet=True)

    def _block_start(self, frame: bytes, data: bytes, event: _Event) -> None:
        block, index = table(event.content_block), _number(event.index)
        kind = text(block.get("type"))
        if kind == "tool_use":
            if self.inspector.tools:
                call = self._calls[index] = _Call(block, data)
                self._hold(call, frame, ("open", index))
                return
            self._let_through += 1
        begun = text(block.get("text")) if kind == "text" else ""
        if begun:
            part = self._shown(_place(index), begun, _BEGUN)
            self._push(TextFrame(frame, data, [part], {}), ("open", index))
            return
        if kind == "text":
            self._text(_place(index))
        self._push(frame, ("open", index), quiet=kind in ("text", "thinking"))

    def _delta(self, frame: bytes, data: bytes, event: _Event) -> None:
        delta, index = table(event.delta), _number(event.index)
        kind = text(delta.get("type"))
        if kind == "text_delta":
            piece = text(delta.get("text"))
            part = self._shown(_place(index), piece, _TEXT)
            self._push(TextFrame(frame, data, [part], {}), quiet=not piece)
            return
        call = self._calls.get(index)
        if call is None:
            self._push(frame)
            return
        if kind == "input_json_delta":
            call.arguments.append(text(delta.get("partial_json")))
        self._hold(call, frame)

    def _block_stop(self, frame: bytes, data: bytes, event: _Event) -> None:
        index = _number(event.index)
        call = self._calls.pop(index, None)
        if call is not None:
            self._hold(call, frame, ("close", index))
            self._decide(call, index)
            return
        known = self._texts.get(_place(index))
        if known is not None:
            known.show(self.inspector, "", final=True)
        self._push(frame, ("close", index))

    def _hold(self, call: _Call, frame: bytes, mark: Any = None) -> None:
        held = Held(frame)
        call.frames.append(held)
        self._push(held, mark)

    def _decide(self, call: _Call, index: int) -> None:
        asked = call.whole(_place(index))
        said = self.inspector.tool(asked)
        if self.inspector.stopped is not None:
            return
        first, *middle, last = call.frames
        last.made = last.frame
        if isinstance(said, Denied):
            self._denied += 1
            block = {"type": "text", "text": ""}
            first.made = _frame("content_block_start", index=index, content_block=block)
            first.made += _frame("content_block_delta", index=index, delta={"type": "text_delta", "text": said.text})
            between = b""
        else:
            self._let_through += 1
            edited = said.arguments != asked.arguments
            first.made = _renamed(call, said) if (said.id, said.name) != (call.id, call.name) else first.frame
            delta = {"type": "input_json_delta", "partial_json": said.arguments}
            between = _frame("content_block_delta", index=index, delta=delta) if edited else b""
            if not edited:
                for held in middle:
                    held.made = held.frame
                return
        for held in middle:
            held.made = b""
        first.made += between

    def _message_delta(self, frame: bytes, data: bytes, event: _Event) -> None:
        self._usage = {**self._usage, **table(event.usage)}
        if self._denied and not self._let_through and table(event.delta).get("stop_reason") == "tool_use":
            frame = changed(frame, data, {("delta", "stop_reason"): b'"end_turn"'})
        self._push(frame)

    def _went(self, mark: Any) -> None:
        what, index = mark
        self._open = index if what == "open" else None

    def _ending(self) -> bytes:
        closing = b"" if self._open is None else _frame("content_block_stop", index=self._open)
        count = lenient.count(self._usage.get("output_tokens"))
        delta = {
            "stop_reason": "refusal",
            "stop_sequence": None,
            "stop_details": {"type": "refusal", "category": None, "explanation": explanation(self.stopped)},
        }
        return closing + b"".join(
            (
                _frame("message_delta", delta=delta, usage={"output_tokens": count or 0}),
                _frame("message_stop"),
            )
        )


_READERS = {
    "message_start": MessagesGate._message_start,
    "content_block_start": MessagesGate._block_start,
    "content_block_delta": MessagesGate._delta,
    "content_block_stop": MessagesGate._block_stop,
    "message_delta": MessagesGate._message_delta,
}


def _frame(kind: str, **fields: Any) -> bytes:
    return sse.encode(dump({"type": kind, **fields}), kind)


def _renamed(call: _Call, said: ToolCall) -> bytes:
    changes: dict[tuple[str | int, ...], bytes] = {
        ("content_block", "id"): dump(said.id),
        ("content_block", "name"): dump(said.name),
    }
    return changed(call.frames[0].frame, call.first, changes)


def _place(index: int) -> str:
    return f"content[{index}]"


def _number(index: Any) -> int:
    return index if type(index) is int else -1
