"""One answer's stream in the caller's dialect, incrementally."""

from __future__ import annotations

from headgate.wire import sse
from headgate.wire.dialect import ProviderError
from headgate.wire.stream import MAX_EVENT_BYTES
from headgate.wire.translate.errors import error_frame
from headgate.wire.translate.report import Report
from headgate.wire.translate.stream_to_anthropic import ToAnthropic
from headgate.wire.translate.stream_to_openai import ToOpenAI


class AnswerStream:
    """Takes the provider's bytes as they come and gives the caller's frames. Any cut of the bytes gives the same.

    Content is passed on at once, tool calls too; only what arrives between the pieces of an unfinished tool call waits
    for its end, because Messages has one block open at a time.

    Args:
        source: the caller's dialect.
        target: the provider's, which has to be the other one.
        include_usage: the caller of Chat Completions asked for the usage chunk.
        created: seconds since the epoch, for `created` of Chat Completions.

    Attributes:
        ended: the terminal event, or an error, has been handed on; what follows is dropped.
        error: an error inside the stream, or a fault found here (type "malformed_event", "event_too_large",
            "not_translatable"). Its frame, in the caller's dialect, has been handed on.
    """

    __slots__ = ("_first", "_report", "_source", "_splitter", "_to", "ended", "error")

    def __init__(self, source: str, target: str, *, include_usage: bool = False, created: int = 0) -> None:
        self._report = Report()
        self._to: ToOpenAI | ToAnthropic
        if (source, target) == ("openai", "anthropic"):
            self._to = ToOpenAI(self._report, include_usage=include_usage, created=created)
        elif (source, target) == ("anthropic", "openai"):
            self._to = ToAnthropic(self._report)
        else:
            raise ValueError(f"no translation of streams from {target} to {source}")
        self._source = source
        self._splitter = sse.Splitter(MAX_EVENT_BYTES)
        self._first = True
        self.ended = False
        self.error: ProviderError | None = None

    @property
    def report(self) -> tuple[str, ...]:
        """What was lost so far, as `Translated.report`."""
        return self._report.words

    def feed(self, piece: bytes) -> bytes:
        """Take the next piece as it came; return what to hand on, whole frames."""
        if self.ended:
            return b""
        try:
            block, large = self._splitter.feed(piece), False
        except sse.FrameTooLarge as error:
            block, large = error.block, True
        out = self._frames(block)
        if large and not self.ended:
            out += self._fail("event_too_large", f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        return out

    def finish(self) -> bytes:
        """The provider's stream ended: return what was still held back.

        A stream that was cut gets no ending of ours: `ended` stays False, and the caller has to be told otherwise.
        """
        if self.ended:
            return b""
        rest = self._splitter.rest()
        out = self._frames(rest, cut=True) if rest.strip() else b""
        if not self.ended:
            out += self._to.close()
            self.ended = self._to.ended
        return out

    def _frames(self, block: bytes, *, cut: bool = False) -> bytes:
        out: list[bytes] = []
        for frame in _split(block):
            name, data = sse.parse(frame, first=self._first)
            self._first = False
            if not data:
                if not cut and frame.lstrip(b"\r\n")[:1] == b":":
                    out.append(frame)  # a comment keeps the connection alive in either dialect
                continue
            out.append(self._to.read(name, data))
            if self._to.ended:
                self.ended = True
            elif self._to.error is not None:
                if cut and self._to.error.type == "malformed_event":
                    self._to.error = None  # what a cut has left of an event is no fault of its own
                    continue
                out.append(self._fail_with(self._to.error))
            if self.ended:
                break
        return b"".join(out)

    def _fail(self, kind: str, message: str) -> bytes:
        return self._fail_with(ProviderError(type=kind, message=message))

    def _fail_with(self, error: ProviderError) -> bytes:
        self.ended = True
        self.error = error
        return error_frame(self._source, error)


def _split(block: bytes) -> list[bytes]:
    """As `sse.frames`, quicker where lines end with LF alone; blank lines between frames are left out."""
    if b"\r" in block:
        return sse.frames(block)
    return [frame.lstrip(b"\n") + b"\n\n" for frame in block.split(b"\n\n") if frame]
