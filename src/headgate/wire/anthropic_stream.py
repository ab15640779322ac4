"""The meter of an Anthropic Messages stream (wire-formats 1.5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import repeat
from typing import Any

import msgspec

from headgate.core.usage import Usage
from headgate.wire import anthropic_usage, lenient
from headgate.wire.lenient import table, text
from headgate.wire.stream import THINKING, TOOLS, StreamMeter, utf8_length

# Up to where the generated text begins, as Anthropic and everyone who imitates it writes a delta.
_DELTA = re.compile(
    rb"event: ?content_block_delta(?:\r\n|\n|\r)"
    rb'data: ?\{ ?"type": ?"content_block_delta", ?"index": ?\d+, ?"delta": ?\{ ?"type": ?'
    rb'(?:"text_delta", ?"text"|"input_json_delta", ?"partial_json"|"thinking_delta", ?"thinking"'
    rb'|"compaction_delta", ?"content"): ?"'
)
# Behind a delta's prefix. Anthropic pads its end with a varying number of spaces. The prefix says what the frame is;
# the text's closing quote is the last one in the usual shape, and above the text in any other.
_REST = re.compile(rb'([^\r\n]*)"[^"\r\n]*\}\n\n').fullmatch
_EMPTY = re.compile(
    rb'\{"type": ?"content_block_start", ?"index": ?\d+, ?"content_block": ?\{"type": ?"text", ?"text": ?""\} *\} *'
).fullmatch
_VALUE = re.compile(rb'"(?:text|partial_json|thinking|content)": ?"')
# The key that holds the generated text, by the delta's or the block's type.
_TEXT_KEY = {
    "text_delta": "text",
    "input_json_delta": "partial_json",
    "thinking_delta": "thinking",
    "compaction_delta": "content",
    "text": "text",
    "thinking": "thinking",
    "redacted_thinking": "data",
    "compaction": "content",
}
_QUIET = frozenset({"text", "thinking"})  # blocks that may start empty: then nothing has been generated yet
_TOOLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})


class _Event(msgspec.Struct):
    type: Any = None
    message: Any = None
    content_block: Any = None
    delta: Any = None
    usage: Any = None
    error: Any = None


class _PlainMessage(msgspec.Struct):
    model: str
    usage: anthropic_usage.Plain


class _PlainStart(msgspec.Struct):
    message: _PlainMessage


class _PlainReason(msgspec.Struct):
    stop_reason: str | None = None


class _PlainDelta(msgspec.Struct):
    delta: _PlainReason
    usage: anthropic_usage.PlainLater


_event = msgspec.json.Decoder(_Event)
_plain_start = msgspec.json.Decoder(_PlainStart)
_plain_delta = msgspec.json.Decoder(_PlainDelta)
_NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # read again, with care


class MessagesMeter(StreamMeter):
    """Reads `message_start`, block starts, `message_delta`, `message_stop` and `error`; counts deltas.

    `content_bytes` counts text, thinking and tool input. A signature counts only in a thinking block that showed no
    thinking (`display: omitted`), where it stands for what was generated; citations are not billed as output.
    """

    __slots__ = ("_bad", "_before_block", "_counted", "_plain")

    def __init__(self, *, keep_text: bool) -> None:
        super().__init__(keep_text=keep_text)
        self._bad = False  # what it reported was no count, or took back what it had reported
        self._counted = False  # behind the start, whose count of the output is a placeholder
        self._before_block = 0  # content_bytes when the current block began
        self._plain: anthropic_usage.Plain | None = None  # in place of `_fields`, while all of it is ordinary

    def feed(self, piece: bytes) -> bytes:
        """See `Meter.feed`. Most pieces are one delta, like the last but for its text."""
        if piece.startswith(self._alone):
            start = self._start
            found = _REST(piece, start)
            if found is not None:
                self.content_bytes += found.end(1) - start
                if not piece.isascii():
                    self._count_wide(piece)
                return piece
        return super().feed(piece)

    def _alike(self, block: bytes, start: int, end: int) -> int:
        found = _REST(block, start, end)
        return -1 if found is None else found.end(1) - start

    def _content(self, block: bytes, at: int, end: int, number: int) -> int:
        start, ending = self._start, self._ending
        if block.count(ending, at, end) == number:
            return end - at - number * (start + len(ending))
        if block.count(b"}\n\n", at, end) != number:
            return -1
        ends = list(map(bytes.rfind, block[at : end - 2].split(b"\n\n"), repeat(b'"')))
        return sum(ends) - number * start if min(ends) >= start else -1

    def _read(self, frame: bytes, name: bytes | None, data: bytes | None) -> bool:
        if data is not None:
            quick = _QUICK.get(name)
            if quick is None or not quick(self, frame, data):
                self._read_event((name or b"").decode("utf-8", "replace"), data)
        return False

    # What is read without `_event`; False where it has to be.

    def _plain_text(self, frame: bytes, _: bytes) -> bool:
        """Count a delta in the usual shape and learn that shape."""
        if self._keep_text:
            return False
        delta = _DELTA.match(frame)
        if delta is None:
            return False
        start = delta.end()
        whole = frame.rstrip(b"\r\n")
        end = whole.rfind(b'"')
        if self._finishing:  # a cut may have gone through the text
            end = len(whole)
        elif end < start or not whole.endswith(b"}"):
            return False
        self.started = True
        self.content_bytes += end - start
        if not self._finishing:
            self._repeat(frame[:start], frame[end:])
        return True

    def _ping(self, _frame: bytes, _: bytes) -> bool:
        return True

    def _block_stop(self, _frame: bytes, _: bytes) -> bool:
        self.started = True
        return True

    def _message_stop(self, _frame: bytes, _: bytes) -> bool:
        if self._finishing:
            return False  # a cut may have gone through it
        self._stop()
        return True

    def _empty_block(self, _frame: bytes, data: bytes) -> bool:
        if _EMPTY(data) is None:
            return False
        self._before_block = self.content_bytes
        return True

    def _plain_message(self, _frame: bytes, data: bytes) -> bool:
        if self._bad:
            return False
        try:
            message = _plain_start.decode(data).message
        except _NOT_PLAIN:
            return False
        self.model = message.model
        self._plain = message.usage
        self._usage = self._fields = None
        return True

    def _plain_end(self, _frame: bytes, data: bytes) -> bool:
        counted = self._plain
        if counted is None:
            return False
        try:
            event = _plain_delta.decode(data)
        except _NOT_PLAIN:
            return False
        if not anthropic_usage.grow(counted, event.usage):
            return False
        self._usage = None
        self.started = self._counted = True
        self.stop_reason = event.delta.stop_reason or self.stop_reason
        self.usage_final = self.stop_reason != ""
        return True

    def _read_event(self, name: str, data: bytes) -> None:
        event = lenient.decode(_event, data)
        if event is None:
            if self._finishing:
                self._count_cut(name, data)
            elif name == "error":
                self.error = lenient.error_body(data)
            elif name in _DECODED:
                self._malformed(name)
            elif name:
                self.started = True  # a type newer than this code
            return
        kind = name or text(event.type)
        if kind == "error" or (event.error and not name):
            self.error = lenient.error_body(data)
            return
        read = _DECODED.get(kind)
        if read is not None:
            read(self, event)
        elif kind == "message_stop":
            self._stop()
        elif kind != "ping":
            self.started = True

    def _count_cut(self, name: str, data: bytes) -> None:
        """A delta that a cut went through: all behind the opening quote was generated text."""
        value = _VALUE.search(data)
        if name == "content_block_delta" and value is not None:
            self.content_bytes += len(data) - value.end()

    def _stop(self) -> None:
        self.started = True
        self.ended = True
        if self._counted and not self._bad and (self._plain or anthropic_usage.complete(self._fields or {})):
            self.usage_final = True  # counts are cumulative: the last one stands, whatever it came together with

    def _message_start(self, event: _Event) -> None:
        message = table(event.message)
        self.model = text(message.get("model"))
        self._plain = None
        self._report(table(message.get("usage")))

    def _block_start(self, event: _Event) -> None:
        block = table(event.content_block)
        kind = text(block.get("type"))
        self._before_block = self.content_bytes
        generated = text(block.get(_TEXT_KEY.get(kind, "")))
        self.content_bytes += utf8_length(generated)
        if kind in _TOOLS:
            self.kinds |= TOOLS
            self.content_bytes += utf8_length(text(block.get("name")))
            if block.get("input"):
                self.content_bytes += len(msgspec.json.encode(block["input"]))
        if kind == "redacted_thinking":
            self.sealed_bytes += utf8_length(generated)
        elif kind == "thinking":
            self.kinds |= THINKING
        if kind not in _QUIET or generated:
            self.started = True
        if kind == "text":
            self._keep(generated)

    def _delta(self, event: _Event) -> None:
        self.started = True
        delta = table(event.delta)
        kind = text(delta.get("type"))
        generated = text(delta.get(_TEXT_KEY.get(kind, "")))
        self.content_bytes += utf8_length(generated)
        if kind == "signature_delta" and self.content_bytes == self._before_block:
            sealed = utf8_length(text(delta.get("signature")))
            self.content_bytes += sealed
            self.sealed_bytes += sealed
            self.kinds &= ~THINKING  # none was shown
        if kind == "text_delta":
            self._keep(generated)

    def _message_delta(self, event: _Event) -> None:
        self.started = True
        stop_reason = text(table(event.delta).get("stop_reason"))
        if stop_reason:
            self.stop_reason = stop_reason
        fields = table(event.usage)
        if fields:
            if self._plain is not None:
                self._fields, self._plain = msgspec.to_builtins(self._plain), None
            known = self._fields or {}
            if anthropic_usage.malformed(fields):
                self._bad = True
            elif anthropic_usage.falls(known, fields):
                self._bad = True
                self._usage = None  # whoever has looked at it before did not see that
                return
            merged = anthropic_usage.merge(known, fields)
            self._report(merged)
            counted = lenient.count(fields.get("output_tokens")) is not None
            self._counted = self._counted or counted
            # Another count may follow, but where the stream breaks off here this one is all that the answer has had.
            self.usage_final = bool(self.stop_reason) and counted and anthropic_usage.complete(merged)

    def _work_out(self) -> Usage | None:
        if self._plain is not None:
            return anthropic_usage.plain(self._plain)
        found = None if self._fields is None else anthropic_usage.usage(self._fields)
        if found is not None and self._bad:
            found.bad = True
        return found

    def _keep(self, generated: str) -> None:
        if self._keep_text and generated:
            self._text.append(generated)


_QUICK: dict[bytes | None, Callable[[MessagesMeter, bytes, bytes], bool]] = {
    b"content_block_delta": MessagesMeter._plain_text,
    b"ping": MessagesMeter._ping,
    b"content_block_stop": MessagesMeter._block_stop,
    b"content_block_start": MessagesMeter._empty_block,
    b"message_start": MessagesMeter._plain_message,
    b"message_delta": MessagesMeter._plain_end,
    b"message_stop": MessagesMeter._message_stop,
}
_DECODED = {
    "message_start": MessagesMeter._message_start,
    "content_block_start": MessagesMeter._block_start,
    "content_block_delta": MessagesMeter._delta,
    "message_delta": MessagesMeter._message_delta,
}
