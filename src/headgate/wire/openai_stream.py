"""The meter of an OpenAI Chat Completions stream, and of those of compatible providers (wire-formats 2.4 and 3)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headgate.core.usage import Usage
from headgate.wire import lenient, openai_usage, sse
from headgate.wire.lenient import table, text
from headgate.wire.stream import NO_PREFIX, THINKING, TOOLS, StreamMeter, string_end, utf8_length

# Where a generated text that is not empty begins. In text that quotes such a key its quotes are escaped.
_VALUE = re.compile(rb'"(?:content|reasoning_content|reasoning|refusal|arguments|input)": ?"(?!")')
_VISIBLE = ("content", "refusal")
_REASONING = ("reasoning_content", "reasoning")
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
        self._padded = False  # the suffix ends where the padding begins

    def _count_tails(self, tails: list[bytes]) -> int:
        if not self._padded:
            return -1
        content = 0
        for tail in tails:
            words, _, padding = tail.partition(self._suffix)
            if padding.find(b'"') != len(padding) - 2 or padding[-1:] != b"}":
                return -1
            if b'"' in words and string_end(tail, 0) != len(words):
                return -1
            content += len(words)
        return content

    def _read(self, frame: bytes) -> bool:
        name, data = sse.parse(frame, first=self._first)
        self._first = False
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
        choices = [choice for choice in _items(chunk.choices) if isinstance(choice, dict)]
        self.model = text(chunk.model) or self.model
        self._tier = text(chunk.service_tier) or self._tier
        before = self.content_bytes
        for choice in choices:
            self._read_choice(choice)
        fields = openai_usage.reported(chunk.usage, chunk.x_groq)
        if fields is not None:
            self._read_usage(fields, last=not choices)
            return self._hide and not choices and isinstance(chunk.usage, dict)
        if self.content_bytes > before and len(choices) == 1 and not choices[0].get("finish_reason"):
            self._learn(frame, self.content_bytes - before)
        return False

    def _unreadable(self, frame: bytes) -> None:
        value = _VALUE.search(frame)
        if self._finishing and value is not None:
            self.content_bytes += len(frame) - value.end()  # a cut went through this text
        self._malformed("chat.completion.chunk")

    def _read_choice(self, choice: dict[str, Any]) -> None:
        given = choice.get("index")
        index = given if isinstance(given, int) else 0
        self._seen.add(index)
        self._read_delta(table(choice.get("delta")), index)
        if choice.get("error"):  # OpenRouter
            self.error = lenient.error_value({"error": choice["error"]})
        finish = text(choice.get("finish_reason"))
        if finish:
            self.started = True
            self._finished.add(index)
            if index == 0 or not self.stop_reason:
                self.stop_reason = finish

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
        complete = openai_usage.complete(fields)
        if not complete and openai_usage.usage(fields) is None:
            return
        if openai_usage.falls(self._fields, fields):
            self._bad = True
            self._complete = self.usage_final = False
            return
        self._report(fields)
        self._complete = complete
        self.usage_final = self._complete and (self._all_finished() or (last and bool(self._finished)))

    def _usage_of(self, fields: dict[str, Any]) -> Usage | None:
        found = openai_usage.usage(fields, self._tier)
        if found is not None and self._bad:
            found.bad = True
        return found

    def _all_finished(self) -> bool:
        return len(self._finished) >= max(self._choices, 1) and self._seen <= self._finished

    def _learn(self, frame: bytes, counted: int) -> None:
        """Remember what is around this chunk's text, if that is all that was `counted` in it."""
        if self._keep_text or self._finishing:
            return
        frame = frame.rstrip(b"\r\n")
        values = [found.end() for found in _VALUE.finditer(frame)]
        self._prefix = NO_PREFIX
        if len(values) != 1:
            return
        start = values[0]
        end = string_end(frame, start)
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
