"""The meter of an OpenAI Responses stream (wire-formats 2.4): named events, numbered, one terminal event."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from headgate.core.usage import Usage
from headgate.wire import lenient, openai_usage, responses, sse
from headgate.wire.dialect import ProviderError
from headgate.wire.errors import our_error
from headgate.wire.lenient import table, text
from headgate.wire.stream import THINKING, TOOLS, StreamMeter, utf8_length

# Up to where the generated text begins. The order of the members differs between providers; none of these has escapes.
_DELTA = re.compile(
    rb"event: ?response\.[a-z0-9_.]+\.delta(?:\r\n|\n|\r)data: ?\{ ?"
    rb'(?:"(?:type|item_id)": ?"[^"\\]*", ?|"[a-z]+_(?:index|number)": ?\d+, ?)*+"delta": ?"'
)
_VALUE = re.compile(rb'"delta": ?"')
_DIGITS = re.compile(rb"\d+").match
# Behind a delta's prefix: the text, and whatever there is behind it.
_REST = re.compile(rb'([^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*+)"[^\r\n]*\}\n\n').fullmatch
_TEXT = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL).match
_NUMBERED = b'"sequence_number"'
_SEQUENCE = re.compile(rb'"sequence_number": ?(\d{1,18})\D')  # not half a number

_LIFE_CYCLE = frozenset({"response.created", "response.in_progress", "response.queued"})
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_QUIET = frozenset({"keepalive", "ping"})
_PARTS = frozenset({"response.content_part.added", "response.reasoning_summary_part.added"})
_THOUGHTS = frozenset({"summary_text", "reasoning_text"})
_VISIBLE = frozenset({"response.output_text.delta", "response.refusal.delta"})
_QUIET_ITEMS = frozenset({"message", "reasoning"})  # begin empty: then nothing has been generated yet
_GENERATED = ("name", "arguments", "input", "code", "action", "operation", "queries", "commands")


class _Event(msgspec.Struct):
    type: Any = None
    response: Raw = Raw()
    item: Any = None
    part: Any = None
    delta: Any = None
    error: Any = None
    code: Any = None
    message: Any = None


class _Begun(msgspec.Struct):
    model: Any = None
    usage: Any = None


_event = msgspec.json.Decoder(_Event)
_begun = msgspec.json.Decoder(_Begun)


class ResponsesMeter(StreamMeter):
    """Counts deltas; reads life-cycle events, items, the terminal event and errors. Unknown events are content.

    Usage comes with the terminal event only. `content_bytes` counts every text delta (text, refusals, summaries,
    arguments, code), and what a finished item shows beyond its deltas: encrypted reasoning stands for the reasoning
    that is billed and not shown. Reasoning that is neither shown nor sent along leaves nothing to count.
    """

    __slots__ = ("_before_item", "_last", "_middle", "_searches", "_tier")

    def __init__(self, *, keep_text: bool) -> None:
        super().__init__(keep_text=keep_text)
        self._before_item = 0  # content_bytes when the last item was finished
        self._last = b""  # the last frames with a number
        self._tier = ""
        self._searches = 0
        self._middle = b""  # what is between the number and the text; nothing where no number is before the text

    def feed(self, piece: bytes) -> bytes:
        """See `Meter.feed`. Most pieces are one delta, like the last but for its number and its text."""
        if piece.startswith(self._alone):
            start, middle = self._start, self._middle
            if middle:  # as `_alike`, without a call per event
                number = _DIGITS(piece, start)
                start = 0 if number is None else number.end()
                start = start + len(middle) if piece.startswith(middle, start) else 0
            found = _REST(piece, start) if start else None
            if found is not None:
                self.content_bytes += found.end(1) - start
                self._last = piece
                if not piece.isascii():
                    self._count_wide(piece)
                return piece
        out = super().feed(piece)
        if _NUMBERED in out and _SEQUENCE.search(out):
            self._last = out
        return out

    def finish(self) -> bytes:
        """See `Meter.finish`."""
        out = super().finish()
        self._last += out  # what there is of an event that was cut off
        return out

    def _alike(self, block: bytes, start: int, end: int) -> int:
        middle = self._middle
        if middle:
            number = _DIGITS(block, start, end)
            if number is None or not block.startswith(middle, number.end()):
                return -1
            start = number.end() + len(middle)
        found = _REST(block, start, end)
        return -1 if found is None else found.end(1) - start

    def _run(self, block: bytes, at: int) -> int:
        """See `StreamMeter._run`: one by one, because each has another number."""
        prefix, start, begun = self._prefix, self._start, at
        while block.startswith(prefix, at):
            end = block.find(b"\n\n", at) + 2
            content = self._alike(block, at + start, end)
            if content < 0:
                break
            self.content_bytes += content
            at = end
        return at if at > begun else 0

    def error_event(self, error: dict[str, Any], code: str, exchange_id: str) -> bytes:
        """Our own error as the next event of this stream.

        It has the shape of Responses' `error` event, which the SDKs would only hand on, and `error` inside it, which
        makes them raise `APIError`.
        """
        found = _SEQUENCE.findall(self._last)
        event = {
            "type": "error",
            "sequence_number": int(found[-1]) + 1 if found else 0,
            "code": code,
            "message": error["message"],
            "param": None,
            "error": error,
        }
        return sse.encode(our_error(event, code, exchange_id), "error")

    def _read(self, frame: bytes, name: bytes | None, data: bytes | None) -> bool:
        if not data or (not self._keep_text and name and name.endswith(b".delta") and self._read_delta(frame)):
            return False
        if data.startswith(b"[DONE]"):  # not of this API, but the SDK stops there
            self.ended = True
            return False
        event = lenient.decode(_event, data)
        kind = (name or b"").decode("utf-8", "replace")
        if event is None:
            self._unreadable(kind, data)
        else:
            self._read_event(text(event.type) or kind, event)
        return False

    def _read_delta(self, frame: bytes) -> bool:
        """Count a delta in the usual shape; False if the frame is none."""
        found = _DELTA.match(frame)
        if found is None:
            return False
        start = found.end()
        text_ = _TEXT(frame, start)
        if text_ is not None:
            end = text_.end() - 1
        elif self._finishing:
            end = len(frame.rstrip(b"\r\n"))  # a cut went through this text
        else:
            return False
        self.started = True
        self.content_bytes += end - start
        if not self._finishing:
            number = _SEQUENCE.search(frame, 0, start)
            if number is None:
                self._start, self._middle = start, b""
            else:
                self._start, self._middle = number.start(1), frame[number.end(1) : start]
            self._prefix = frame[: self._start]
        return True

    def _unreadable(self, kind: str, data: bytes) -> None:
        if self._finishing:
            value = _VALUE.search(data)
            if value is not None:
                self.content_bytes += len(data) - value.end()
        elif kind == "error":
            self.error = lenient.error_body(data)
        else:
            self._malformed(kind or "response")

    def _read_event(self, kind: str, event: _Event) -> None:
        if kind == "error" or (event.error and not kind):
            self.error = _error_of(event)
        elif kind in _TERMINAL:
            self._end(kind, event.response)
        elif kind in _LIFE_CYCLE:
            begun = lenient.decode(_begun, memoryview(event.response))
            if begun is not None:
                self.model = text(begun.model) or self.model
                if begun.usage:  # OpenAI sends null here
                    self._report(openai_usage.of_responses(table(begun.usage)))
        elif kind in _PARTS:
            part = table(event.part)
            self._count(text(part.get("text")))
            if text(part.get("type")) in _THOUGHTS:
                self.kinds |= THINKING
        elif kind == "response.output_item.added":
            item = table(event.item)
            self._add(_item_bytes(item))
            if text(item.get("type")) not in _QUIET_ITEMS:
                self.started = True
                self.kinds |= TOOLS
        elif kind == "response.output_item.done":
            self.started = True
            item = table(event.item)
            unseen = max(_item_bytes(item) - (self.content_bytes - self._before_item), 0)
            self._add(unseen)
            if item.get("encrypted_content"):
                self.sealed_bytes += unseen
            self._before_item = self.content_bytes
        elif kind not in _QUIET:
            self.started = True
            if kind.endswith(".delta"):
                self._count(text(event.delta), keep=kind in _VISIBLE)

    def _count(self, words: str, *, keep: bool = False) -> None:
        self._add(utf8_length(words))
        if keep and self._keep_text:
            self._text.append(words)

    def _add(self, size: int) -> None:
        if size:
            self.started = True
            self.content_bytes += size

    def _end(self, kind: str, raw: Raw) -> None:
        answer = responses.decode(raw)
        if answer is None:
            self._malformed(kind)
            return
        self.ended = True
        self.model = text(answer.model) or self.model
        self.stop_reason = responses.stop_reason(answer) or kind.removeprefix("response.")
        self._tier = text(answer.service_tier)
        self._searches = responses.searches(answer)
        fields = openai_usage.of_responses(table(answer.usage))
        found = openai_usage.usage(fields, self._tier, self._searches)
        self._usage = None
        known = self.usage
        if known is not None and openai_usage.falls(known, found):
            known.bad = True
        elif found is not None:
            self._fields, self._usage = fields, found
            self.usage_final = openai_usage.complete(fields)
        failed = responses.failure(answer)
        if failed is None and kind == "response.failed":
            failed = ProviderError(type="server_error", message="the response failed, and does not say why")
        if failed is not None:
            self.error = self.error or failed
            return
        self.started = True
        if self._keep_text and not self._text:
            self._text.append(responses.output_text(answer.output))

    def _work_out(self) -> Usage | None:
        return None if self._fields is None else responses.counted(self._fields, self._tier, self._searches)


def _error_of(event: _Event) -> ProviderError:
    """An error event: with its code and message at the top, or inside `error`."""
    if event.error:
        return lenient.error_value({"error": event.error})
    return lenient.error_value({"error": {"code": event.code, "message": event.message}})


def _item_bytes(item: dict[str, Any]) -> int:
    """What the model has generated of an output item, in bytes."""
    size = sum(_length(item.get(key)) for key in _GENERATED)
    shown = _texts(item.get("content")) + _texts(item.get("summary"))
    return size + max(shown, utf8_length(text(item.get("encrypted_content"))))


def _length(value: Any) -> int:
    if not value:
        return 0
    return utf8_length(value) if isinstance(value, str) else len(msgspec.json.encode(value))


def _texts(parts: Any) -> int:
    listed = parts if isinstance(parts, list) else []
    return sum(utf8_length(text(table(p).get("text"))) + utf8_length(text(table(p).get("refusal"))) for p in listed)
