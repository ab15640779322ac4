"""What the meters of both dialects share: framing, handing on, and the end of a stream."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from headgate.core.usage import Usage
from headgate.wire import sse
from headgate.wire.dialect import ProviderError

MAX_EVENT_BYTES = 8 << 20
"""The largest event a meter reads. More than the framer's default: some providers send a whole image in one event."""

THINKING, TOOLS = 1, 2
"""Bits of `Meter.kinds`."""

_ASCII = bytes(range(128))
_LEAD_OF_FOUR = bytes(range(0xF0, 0xF8))

NO_PREFIX: tuple[bytes, ...] = ()
"""What nothing starts with."""

# A frame in the usual shape: its event's name, if it has one, and one line of data. Only where no CR is about.
_USUAL = re.compile(rb"(?:event: ([^\n]*)\n)?data: ([^\n]*)\n\n").match
_NEVER = re.compile(rb"(?!)").match


class StreamMeter(ABC):
    """A `Meter` (see `dialect.py`) less the dialect.

    Whole frames are handed on, and a partial one waits for its rest: nobody can read half a frame, and where the
    provider's connection is cut inside one, an error event sent behind the half could not be read either.

    An event that cannot be read sets `error`, with type "malformed_event" or "event_too_large"; its bytes pass.

    Attributes:
        dropped_bytes: how many bytes behind the terminal event were not handed on.
    """

    __slots__ = (
        "_alone",
        "_blind",
        "_ending",
        "_fields",
        "_finishing",
        "_first",
        "_keep_text",
        "_prefix",
        "_splitter",
        "_start",
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

    _ending: bytes  # this and what `_repeat` sets beside it: only where there is a prefix
    _start: int

    def __init__(self, *, keep_text: bool) -> None:
        self._usage: Usage | None = None
        self._fields: dict[str, Any] | None = None  # the provider's usage object, as far as it is known
        self.model = self.stop_reason = ""
        self.usage_final = self.started = self.ended = False
        self.error: ProviderError | None = None
        self.content_bytes = self.wide_bytes = self.beyond_bytes = self.sealed_bytes = 0
        self.kinds = self.dropped_bytes = 0
        self._keep_text = keep_text
        self._text: list[str] = []
        self._splitter: sse.Splitter | None = None  # once a piece was not whole frames, or had a CR
        # Streams repeat themselves: what is around the text in one delta is around it in the next. Frames with that
        # very prefix and ending need not be decoded.
        self._prefix: bytes | tuple[bytes, ...] = NO_PREFIX
        # The prefix where the next piece begins a frame: it may be one delta and no more.
        self._alone: bytes | tuple[bytes, ...] = NO_PREFIX
        self._first = True
        self._finishing = False
        self._blind = False  # an event was too large: hand on without reading

    @property
    def usage(self) -> Usage | None:
        """Counts so far, worked out when asked for."""
        if self._usage is None:
            self._usage = self._work_out()
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

    def _work_out(self) -> Usage | None:
        """What the provider has reported, where it is worked out only when asked for; None where it has no counts."""
        return None

    @abstractmethod
    def _read(self, frame: bytes, name: bytes | None, data: bytes | None) -> bool:
        """Read one frame, of which `name` and `data` are the event and its data, and perhaps learn from it; return
        whether it must be hidden."""

    @abstractmethod
    def _alike(self, block: bytes, start: int, end: int) -> int:
        """Content bytes of a frame that begins with the prefix, from behind that to its end; -1 where it differs in
        more than its text, or is no whole frame."""

    def _close(self) -> None:  # noqa: B027 (nothing to do in most dialects)
        """The stream is over: draw the conclusions."""

    def feed(self, piece: bytes) -> bytes:
        """See `Meter.feed`. Never raises. The dialects' own look first whether it is one delta and no more."""
        over = self.ended  # a local: it changes below
        if over:
            self.dropped_bytes += len(piece)
            return b""
        if not piece.isascii():
            self._count_wide(piece)
        if self._blind:
            return piece
        block, received, unread, general = piece, len(piece), b"", False
        if (
            self._splitter is not None
            or not piece.endswith(b"\n\n")
            or b"\r" in piece
            or received > MAX_EVENT_BYTES  # else whole frames: nothing to cut
        ):
            block, received, unread, general = self._cut(piece)
        size = len(block)
        at = 0
        look, runs = (_NEVER, False) if general else (_USUAL, True)
        hidden: list[tuple[int, int]] | None = None  # what of the block is not the caller's
        while at < size:
            if block.startswith(self._prefix, at):
                end = sse.frame_end(block, at) if general else block.find(b"\n\n", at) + 2
                if runs and block.startswith(self._prefix, end):
                    behind = self._run(block, at)
                    if behind:
                        at = behind
                        continue
                    runs = False  # other frames among them: no second look for runs in this block
                content = self._alike(block, at + self._start, end)
                if content >= 0:
                    self.content_bytes += content
                    at = end
                    continue
            usual = look(block, at)
            if usual is not None:
                frame, name, data = usual.group(0, 1, 2)
                end = usual.end()
            else:
                end = sse.frame_end(block, at)
                frame = block[at:end]
                name, data = sse.parse(frame, first=self._first and not at)
            if self._read(frame, name, data):
                hidden = hidden or []
                hidden.append((at, end))
            at = end
            if self.ended:
                self._prefix = NO_PREFIX
                self.dropped_bytes += received - at
                unread = b""
                break
        if unread:
            self._blind = True
            self._prefix = NO_PREFIX
            self._fail("event_too_large", f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        if size:
            self._first = False
        splitter = self._splitter
        self._alone = self._prefix if splitter is None or not splitter.carried else NO_PREFIX
        if hidden is None and not unread:
            return block if at == size else block[:at]
        return _without(block, hidden or (), at) + unread

    def _cut(self, piece: bytes) -> tuple[bytes, int, bytes, bool]:
        """Whole frames; how many bytes waited for them and have come; what is behind a frame that is too large; and
        whether a CR is about."""
        splitter = self._splitter
        if splitter is None:
            splitter = self._splitter = sse.Splitter(MAX_EVENT_BYTES)
        received = splitter.carried + len(piece)
        try:
            return splitter.feed(piece), received, b"", splitter.returns
        except sse.FrameTooLarge as large:
            return large.block, received, large.rest, splitter.returns

    def _count_wide(self, piece: bytes) -> None:
        """What is around the text is ASCII, so what is not is text, or no more than that."""
        high = piece.translate(None, _ASCII)
        beyond = 0
        if max(high) >= _LEAD_OF_FOUR[0]:
            beyond = 4 * (len(high) - len(high.translate(None, _LEAD_OF_FOUR)))
            self.beyond_bytes += beyond
        self.wide_bytes += len(high) - beyond

    def _run(self, block: bytes, at: int) -> int:
        """Count the frames from `at` on that begin with the prefix, two or more, without decoding; return where they
        end.

        0: something else is among them, or they do not all look alike; nothing has been counted then.
        """
        start = at + self._start
        opening = b"\n\n" + block[at:start]
        end = block.find(b"\n\n", block.rfind(opening, start) + 2) + 2
        more = block.count(opening, start, end)  # than the first
        if block.count(b"\n", start, end) != more * opening.count(b"\n") + 2:
            return 0
        content = self._content(block, at, end, more + 1)
        if content < 0:
            return 0
        self.content_bytes += content
        return end

    def _content(self, block: bytes, at: int, end: int, number: int) -> int:
        """Content bytes of so many frames, all with the prefix; -1 where one of them is not `_alike`."""
        return -1

    def _repeat(self, prefix: bytes, ending: bytes) -> None:
        """Learn what is around the text; `ending` begins with its closing quote."""
        self._prefix = prefix
        self._start = len(prefix)
        self._ending = ending

    def finish(self) -> bytes:
        """See `Meter.finish`. A last frame without its blank line is read too, if it is whole."""
        if self._finishing:
            return b""
        self._finishing = True
        splitter = self._splitter
        rest = b"" if splitter is None or self.ended or self._blind else splitter.rest()
        frame = rest.lstrip(b"\r\n")
        hidden = bool(frame) and self._read(frame, *sse.parse(frame, first=self._first))
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


def _without(block: bytes, hidden: Iterable[tuple[int, int]], end: int) -> bytes:
    """A block up to `end`, less what is hidden of it."""
    out: list[bytes] = []
    at = 0
    for start, stop in hidden:
        out.append(block[at:start])
        at = stop
    out.append(block[at:end])
    return b"".join(out)
