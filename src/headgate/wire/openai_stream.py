"""The meter of an OpenAI Chat Completions stream, and of those of compatible providers (wire-formats 2.4 and 3)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headgate.wire import lenient, openai_usage
from headgate.wire.lenient import table, text
from headgate.wire.stream import NO_PREFIX, THINKING, TOOLS, StreamMeter, utf8_length

# Where a generated text that is not empty begins. In text that quotes such a key its quotes are escaped.
_VALUE = re.compile(rb'"(?:content|reasoning_content|reasoning|refusal|arguments|input)": ?"(?!")')
_VISIBLE = ("content", "refusal")
_REASONING = ("reasoning_content", "reasoning")
# A text between its quotes, the line ends of a chunk, and what is behind the suffix of one that is padded.
_TEXT = re.compile(rb'[^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*+')
_ONE_TEXT = _TEXT.fullmatch
_LINES_END = re.compile(rb"\r?\n\r?\n").fullmatch
_PADDED_CLOSE = re.compile(rb'[^"\r\n]*"\}').fullmatch
_PADDED_END = re.compile(rb'[^"\r\n]*"\}\r?\n\r?\n').fullmatch
_PADDING = b'"obfuscation":"'  # random text to hide the chunk's length, other in every chunk


class _Chunk(msgspec.Struct):
    choices: Any = None
    usage: Any = None
    error: Any = None
    model: Any = None
    service_tier: Any = None
    x_groq: Any = None


_chunk = msgspec.json.Decoder(_Chunk)
_string = msgspec.json.Decoder(str)


class ChatMeter(StreamMeter):
    """Reads chunks; counts those that repeat the last one but for its text.

    Args:
        hide_usage: the usage chunk (`choices: []`) was asked for by us, not by the caller.
        choices: how many choices the caller asked for.
        strict: without `[DONE]` the answer is over only where its usage has come; else where its choices are finished.
    """

    __slots__ = ("_bad", "_choices", "_complete", "_finished", "_hide", "_padded", "_seen", "_strict", "_tier")

    def __init__(self, *, hide_usage: bool, choices: int, keep_text: bool, strict: bool = False) -> None:
        super().__init__(keep_text=keep_text)
        self._strict = strict
        self._hide = hide_usage
        self._choices = choices
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._tier = ""
        self._bad = False  # what it reported last took back what it had reported
        self._complete = False  # the last usage has both counts
        self._padded = False  # the ending goes on to where the padding begins

    def feed(self, piece: bytes) -> bytes:
        """See `Meter.feed`. Most pieces are one chunk, like the last but for its text and its padding."""
        if piece.startswith(self._alone):
            start, ending = self._start, self._ending
            if self._padded:
                end = piece.find(ending, start)
                alike = end >= 0 and _PADDED_END(piece, end + len(ending)) is not None
            else:
                end = len(piece) - len(ending)
                alike = piece.endswith(ending)
            if alike and _ONE_TEXT(piece, start, end):
                self.content_bytes += end - start
                if not piece.isascii():
                    self._count_wide(piece)
                return piece
        return super().feed(piece)

    def _alike(self, block: bytes, start: int, end: int) -> int:
        ending = self._ending
        if self._padded:
            behind = block.find(ending, start, end)
            alike = behind >= 0 and _PADDED_END(block, behind + len(ending), end) is not None
        else:
            behind = end - len(ending)
            alike = block.startswith(ending, behind)
        return behind - start if alike and _ONE_TEXT(block, start, behind) else -1

    def _content(self, block: bytes, at: int, end: int, number: int) -> int:
        start, ending = self._start, self._ending
        size = len(ending)
        if not self._padded:
            if block.count(ending, at, end) != number:
                return -1
            # What differs is one string each where they hold no more quotes than is known.
            known = number * (block.count(b'"', at, at + start) + ending.count(b'"'))
            quotes = block.count(b'"', at, end)
            # Without an escaped backslash before a quote, each backslash-quote belongs to a text.
            if quotes != known and (
                block.find(b'\\\\"', at, end) >= 0 or quotes - block.count(b'\\"', at, end) != known
            ):
                return -1
            return end - at - number * (start + size)
        content = 0
        for frame in block[at : end - 2].split(b"\n\n"):
            behind = frame.find(ending, start)
            if behind < 0 or not _PADDED_CLOSE(frame, behind + size) or not _ONE_TEXT(frame, start, behind):
                return -1
            content += behind - start
        return content

    def _read(self, frame: bytes, name: bytes | None, data: bytes | None) -> bool:
        if not data:
            return False
        if data.startswith(b"[DONE]"):  # as the SDK tells it
            self.ended = True
            self.usage_final = self._complete
            return False
        chunk = lenient.decode(_chunk, data)
        if chunk is None:
            self._unreadable(frame)
            return False
        if chunk.error or name == b"error":
            self.error = lenient.error_body(data)
            return False
        model, tier, counts, choices = chunk.model, chunk.service_tier, chunk.usage, chunk.choices
        if model and type(model) is str:
            self.model = model
        if tier and type(tier) is str:
            self._tier = tier
            if self._usage is not None:
                self._usage.service_tier = tier
        before = self.content_bytes
        number, finished = 0, False
        for choice in choices if type(choices) is list else ():
            if type(choice) is dict:
                number += 1
                finished = self._read_choice(choice)
        if counts is not None or chunk.x_groq:
            fields = openai_usage.reported(counts, chunk.x_groq)
            if fields is not None:
                self._read_usage(fields, last=number == 0)
                return self._hide and number == 0 and fields is counts
        if self.content_bytes > before and number == 1 and not finished:
            self._learn(frame, self.content_bytes - before)
        return False

    def _unreadable(self, frame: bytes) -> None:
        value = _VALUE.search(frame)
        if self._finishing and value is not None:
            self.content_bytes += len(frame) - value.end()  # a cut went through this text
        self._malformed("chat.completion.chunk")

    def _read_choice(self, choice: dict[str, Any]) -> bool:
        """Read it, and return whether it is finished."""
        index = choice.get("index", 0)
        if not isinstance(index, int):
            index = 0
        self._seen.add(index)
        delta = choice.get("delta")
        if delta and type(delta) is dict:
            self._read_delta(delta, index)
        if choice.get("error"):  # OpenRouter
            self.error = lenient.error_value({"error": choice["error"]})
        finish = choice.get("finish_reason")
        if not finish:
            return False
        if type(finish) is str:
            self.started = True
            self._finished.add(index)
            if index == 0 or not self.stop_reason:
                self.stop_reason = finish
        return True

    def _read_delta(self, delta: dict[str, Any], index: int) -> None:
        size = reasoning = 0
        for key, value in delta.items():
            if not value or key == "role":
                continue
            if key in _VISIBLE:
                words = text(value)
                size += utf8_length(words)
                if self._keep_text and index == 0:
                    self._text.append(words)
            elif key in _REASONING:  # some providers send the same under both names
                reasoning = max(reasoning, utf8_length(text(value)))
                self.kinds |= THINKING
            elif key == "tool_calls":
                size += sum(map(_call_length, _items(value)))
                self.kinds |= TOOLS
            elif key == "function_call":
                size += _function_length(value)
                self.kinds |= TOOLS
            elif key == "audio":
                size += utf8_length(text(table(value).get("transcript"))) + len(text(table(value).get("data")))
            elif key != "reasoning_details":
                continue
            self.started = True
        self.content_bytes += size + reasoning

    def _read_usage(self, fields: dict[str, Any], *, last: bool) -> None:
        found = openai_usage.usage(fields, self._tier)
        if found is None:
            return
        known = self._usage
        if known is not None and openai_usage.falls(known, found):
            self._bad = known.bad = True
            self._complete = self.usage_final = False
            return
        if self._bad:
            found.bad = True
        self._usage = found
        self._complete = openai_usage.complete(fields)
        self.usage_final = self._complete and (self._all_finished() or (last and bool(self._finished)))

    def _all_finished(self) -> bool:
        return len(self._finished) >= max(self._choices, 1) and self._seen <= self._finished

    def _learn(self, frame: bytes, counted: int) -> None:
        """Remember what is around this chunk's text, if that is all that was `counted` in it."""
        if self._keep_text or self._finishing:
            return
        self._prefix = NO_PREFIX
        value = _VALUE.search(frame)
        if value is None or _VALUE.search(frame, value.end()) is not None:
            return
        start = value.end()
        words = _TEXT.match(frame, start)
        if words is None or not _LINES_END(frame, len(frame.rstrip(b"\r\n"))):
            return
        end = words.end()
        try:
            if utf8_length(_string.decode(frame[start - 1 : end + 1])) != counted:
                return
        except ValueError:  # a lone surrogate
            return
        padding = frame.rfind(_PADDING)
        self._padded = padding > end
        self._repeat(frame[:start], frame[end : padding + len(_PADDING)] if self._padded else frame[end:])

    def _close(self) -> None:
        # Not everyone sends [DONE].
        told = self._complete or not self._strict
        if not self.ended and self.error is None and told and self._all_finished():
            self.ended = True
            self.usage_final = self._complete


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _call_length(call: Any) -> int:
    parts = table(call)
    return _function_length(parts.get("function")) + _function_length(parts.get("custom"))


def _function_length(call: Any) -> int:
    parts = table(call)
    return sum(utf8_length(text(parts.get(key))) for key in ("name", "arguments", "input"))
