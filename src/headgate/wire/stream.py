"""What the meters of both dialects share: framing, handing on, and the end of a stream."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

from headgate.core.usage import Usage
from headgate.wire import sse
from headgate.wire.dialect import ProviderError

MAX_EVENT_BYTES = 8 << 20
"""The largest event a meter reads. More than the framer's default: some providers send a whole image in one event."""

THINKING, TOOLS = 1, 2
"""Bits of `Meter.kinds`."""

_NOT_ASCII = bytes(range(128, 256))
_LEAD_OF_FOUR = bytes(range(0xF0, 0xF8))

NO_PREFIX = b"\xff"
"""A prefix that no frame of UTF-8 has."""

_TO_STRING_END = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class StreamMeter(ABC):
    """A `Meter` (see `dialect.py`) less the dialect.

    Whole frames are handed on, and a partial one waits for its rest: nobody can read half a frame, and where the
    provider's connection is cut inside one, an error event sent behind the half could not be read either.

    An event that cannot be read sets `error`, with type "malformed_event" or "event_too_large"; its bytes pass.

    Attributes:
        dropped_bytes: how many bytes behind the terminal event were not handed on.
    """

    __slots__ = (
        "_blind",
        "_ending",
        "_fields",
        "_finishing",
        "_first",
        "_hidden",
        "_keep_text",
        "_lines",
        "_opening",
        "_prefix",
        "_prefix_quotes",
        "_splitter",
        "_start",
        "_suffix",
        "_suffix_quotes",
        "_text",
        "_usage",
        "beyond_bytes",
        "content_bytes",
        "dropped_bytes",
        "ended",
        "error",
        "kinds",
        "model",
        "sealed_bytes",
        "started",
        "stop_reason",
        "usage_final",
        "wide_bytes",
    )

    def __init__(self, *, keep_text: bool) -> None:
        self._usage: Usage | None = None
        self._fields: dict[str, Any] | None = None  # the provider's usage object, as far as it is known
        self.usage_final = False
        self.model = ""
        self.stop_reason = ""
        self.started = False
        self.ended = False
        self.error: ProviderError | None = None
        self.content_bytes = self.wide_bytes = self.beyond_bytes = self.sealed_bytes = 0
        self.kinds = 0
        self.dropped_bytes = 0
        self._hidden: list[tuple[int, int]] = []  # what of the block just read is not the caller's
        self._keep_text = keep_text
        self._text: list[str] = []
        self._splitter = sse.Splitter(MAX_EVENT_BYTES)
        # Streams repeat themselves: what is around the text in one delta is around it in the next. Frames with that
        # very prefix and suffix (blank line not included) need not be decoded.
        self._prefix = NO_PREFIX
        self._ending = self._suffix = self._opening = b""
        self._start = self._lines = self._prefix_quotes = self._suffix_quotes = 0
        self._first = True
        self._finishing = False
        self._blind = False  # an event was too large: hand on without reading

    @property
    def usage(self) -> Usage | None:
        """Counts so far, worked out when asked for."""
        if self._usage is None and self._fields is not None:
            self._usage = self._usage_of(self._fields)
        return self._usage

    @usage.setter
    def usage(self, usage: Usage | None) -> None:  # `Meter` has it as an attribute
        self._usage = usage

    @property
    def over(self) -> bool:
        """See `Meter`."""
        return self.ended

    def _report(self, fields: dict[str, Any]) -> None:
        self._fields = fields
        self._usage = None

    @abstractmethod
    def _usage_of(self, fields: dict[str, Any]) -> Usage | None:
        """The provider's usage object as ours; None where it has no counts."""

    @abstractmethod
    def _read(self, frame: bytes) -> bool:
        """Read one frame and perhaps learn from it; return whether it must be hidden."""

    def _close(self) -> None:  # noqa: B027 (nothing to do in most dialects)
        """The stream is over: draw the conclusions."""

    def feed(self, piece: bytes) -> bytes:
        """See `Meter.feed`. Never raises."""
        if not piece.isascii():
            self._count_wide(piece)
        if piece.startswith(self._prefix) and not self._splitter.carried:
            size = len(piece) - len(self._ending)
            if piece.find(b'"', self._start) == size and piece.endswith(self._ending):
                self.content_bytes += size - self._start  # one whole frame: the text's closing quote is its first
                return piece
            if piece.find(b"\n", self._start) == len(piece) - 2 and piece[-1] == 10 and self._same(piece):
                return piece
        over = self.ended  # a local: it changes below
        if over:
            self.dropped_bytes += len(piece)
            return b""
        if self._blind:
            return piece
        splitter = self._splitter
        carried = splitter.carried
        unread = b""
        try:
            block = splitter.feed(piece)
        except sse.FrameTooLarge as large:
            block, unread = large.block, large.rest
        end = self._scan(block) if block else 0
        if unread and not self.ended:
            self._blind = True
            self._prefix = NO_PREFIX
            self._fail("event_too_large", f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        return self._release(block, end, carried + len(piece), unread)

    def _count_wide(self, piece: bytes) -> None:
        """What is around the text is ASCII, so what is not is text, or no more than that."""
        if not self.ended:
            beyond = 4 * (len(piece) - len(piece.translate(None, _LEAD_OF_FOUR)))
            self.beyond_bytes += beyond
            self.wide_bytes += len(piece) - len(piece.translate(None, _NOT_ASCII)) - beyond

    def _scan(self, block: bytes) -> int:
        """Read a block's frames; return where the terminal event ends, else the block's end."""
        size = len(block)
        general = self._splitter.returns
        runs = not general
        at = 0
        while at < size:
            known = block.startswith(self._prefix, at)
            if known and runs:
                end = self._run(block, at)
                if end:
                    at = end
                    continue
                runs = False  # other frames among them: no second look for runs in this block
            end = sse.frame_end(block, at) if general or block[at] == 10 else block.find(b"\n\n", at) + 2
            frame = block[at:end]
            if not (known and self._same(frame)) and self._read(frame):
                self._hidden.append((at, end))
            at = end
            if self.ended:
                break
        return at

    def _run(self, block: bytes, at: int) -> int:
        """Count the frames from `at` on that begin with the prefix, without decoding; return where they end.

        0: something else is among them, or they do not all look alike; nothing has been counted then.
        """
        start = at + self._start
        last = block.rfind(self._opening, start)
        end = block.find(b"\n\n", start if last < 0 else last + 2) + 2
        number = 1 if last < 0 else 1 + block.count(self._opening, start, end)
        if block.count(b"\n", start, end) != number * 2 + (number - 1) * self._lines:
            return 0
        if block.count(self._ending, start, end) == number and self._only_texts(block, start, end, number):
            self.content_bytes += end - start - (number - 1) * self._start - number * len(self._ending)
            return end
        content = self._count_tails(block[start : end - 2].split(self._opening))
        self.content_bytes += max(content, 0)
        return end if content >= 0 else 0

    def _only_texts(self, block: bytes, start: int, end: int, number: int) -> bool:
        """Whether what differs in these frames is one string each: they hold no more quotes than is known."""
        known = number * self._suffix_quotes + (number - 1) * self._prefix_quotes
        quotes = block.count(b'"', start, end)
        if quotes == known:
            return True
        # Without an escaped backslash before a quote, each backslash-quote belongs to a text.
        return block.find(b'\\\\"', start, end) < 0 and quotes - block.count(b'\\"', start, end) == known

    def _repeat(self, prefix: bytes, suffix: bytes) -> None:
        """Learn what is around the text; `suffix` begins with its closing quote and has no blank line."""
        self._prefix = prefix
        self._start = len(prefix)
        self._opening = b"\n\n" + prefix
        self._suffix = suffix
        self._ending = suffix + b"\n\n"
        self._lines = prefix.count(b"\n")
        self._prefix_quotes = prefix.count(b'"')
        self._suffix_quotes = suffix.count(b'"')

    def _same(self, frame: bytes) -> bool:
        """Count one frame that begins with the prefix, as `_run` would; False if it differs in more than its text."""
        tail = frame[self._start :].rstrip(b"\r\n")
        end = string_end(tail, 0)
        content = end if end >= 0 and tail[end:] == self._suffix else self._count_tails([tail])
        self.content_bytes += max(content, 0)
        return content >= 0

    def _count_tails(self, tails: list[bytes]) -> int:
        """Content bytes of frames less their prefix, that differ in more than their texts; -1 where one is unclear."""
        return -1

    def _release(self, block: bytes, end: int, received: int, unread: bytes) -> bytes:
        """The frames that are complete and the caller's; a partial one waits for its rest."""
        if self.ended:
            self._prefix = NO_PREFIX
            self.dropped_bytes += received - end
        if not self._hidden and not unread:
            return block if end == len(block) else block[:end]
        out: list[bytes] = []
        at = 0
        for start, stop in self._hidden:
            out.append(block[at:start])
            at = stop
        out.append(block[at:end])
        self._hidden.clear()
        if self._blind:
            out.append(unread)
        return b"".join(out)

    def finish(self) -> bytes:
        """See `Meter.finish`. A last frame without its blank line is read too, if it is whole."""
        if self._finishing:
            return b""
        self._finishing = True
        rest = b"" if self.ended or self._blind else self._splitter.rest()
        frame = rest.lstrip(b"\r\n")
        hidden = bool(frame) and self._read(frame)
        self._close()
        return rest[: len(rest) - len(frame)] if hidden else rest

    def text(self) -> str:
        """See `Meter.text`."""
        return "".join(self._text)

    def _fail(self, kind: str, message: str) -> None:
        if self.error is None:
            self.error = ProviderError(type=kind, message=message)

    def _malformed(self, event: str) -> None:
        """An event that had to be decoded could not be. What a cut has left of one is no fault of its own."""
        if not self._finishing:
            self._fail("malformed_event", f"the provider sent a malformed {event} event")


class PassingMeter:
    """The meter of a stream that we do not read: everything passes, and its end is its end."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.usage_final = False
        self.model = ""
        self.stop_reason = ""
        self.started = False
        self.ended = False
        self.error: ProviderError | None = None
        self.content_bytes = self.wide_bytes = self.beyond_bytes = self.sealed_bytes = 0
        self.kinds = 0
        self.dropped_bytes = 0

    @property
    def over(self) -> bool:
        """See `Meter`."""
        return self.ended

    def feed(self, piece: bytes) -> bytes:
        """Hand on."""
        self.started = self.started or bool(piece)
        self.content_bytes += len(piece)
        return piece

    def finish(self) -> bytes:
        """Nothing was held back."""
        self.ended = True
        return b""

    def text(self) -> str:
        """Always empty."""
        return ""


def utf8_length(text: str) -> int:
    """Bytes of `text` as UTF-8; a lone surrogate, which some providers send, counts three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def string_end(text: bytes, start: int) -> int:
    """Where the JSON string whose inside starts at `start` has its closing quote; -1 if nowhere."""
    found = _TO_STRING_END.match(text, start)
    return found.end() - 1 if found else -1
