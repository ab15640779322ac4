"""Server-sent events: framing only, incremental, bytes in and raw frames out (WHATWG HTML, section 9.2).

A *frame* is everything up to and including the blank line that dispatches an event. Lines end with LF, CRLF or a lone
CR. Frames do not depend on how the bytes were cut into pieces.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_FRAME_BYTES = 1 << 20
"""The default bound on what is carried over while a frame is incomplete."""

_BOM = b"\xef\xbb\xbf"

# Atomic groups: a CRLF must never be read as two line ends by backtracking.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
# A CR at the very end of what has come is not yet a line end, because the next piece may bring its LF, and frames must
# not depend on the cut.
_SURE_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r(?!\Z))")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class FrameTooLarge(ValueError):
    """A frame is larger than the limit; the stream cannot be read any further.

    Attributes:
        block: the whole frames before it, as `Splitter.feed` would have returned them.
        rest: all bytes behind those.
    """

    def __init__(self, limit: int, block: bytes, rest: bytes) -> None:
        super().__init__(f"a server-sent event is larger than {limit} bytes")
        self.block = block
        self.rest = rest


class Frame(NamedTuple):
    """What one frame says. `data` is None where the frame has no data line (comments, keep-alives)."""

    event: bytes
    data: bytes | None


class Splitter:
    """Cuts a byte stream where frames end.

    Args:
        limit: the largest frame in bytes, its blank line not counted.

    Attributes:
        carried: bytes of the incomplete frame at the end.
        returns: a CR has been seen in the stream, so that lines may end with more than LF.
    """

    __slots__ = ("_parts", "_tail", "carried", "limit", "returns")

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self.limit = limit
        self.carried = 0
        self.returns = False
        self._parts: list[bytes] = []  # the incomplete frame, as it came
        self._tail = b""  # its last three bytes: a blank line is at most four bytes long

    def feed(self, piece: bytes) -> bytes:
        """Take the next piece; return all whole frames now complete, as one block (`piece` itself if that is it).

        Raises:
            FrameTooLarge: a frame, complete or not, is larger than `limit`. The splitter is of no use afterwards.
        """
        if self.returns or b"\r" in piece:
            return self._feed_general(piece)
        if self.carried:
            if b"\n\n" not in piece and not (piece[:1] == b"\n" and self._tail[-1:] == b"\n"):
                return self._keep(piece)
            self._parts.append(piece)
            piece = b"".join(self._parts)
        return self._cut(piece, piece.rfind(b"\n\n") + 2)

    def rest(self) -> bytes:
        """The incomplete frame at the end."""
        return b"".join(self._parts)

    def _feed_general(self, piece: bytes) -> bytes:
        self.returns = True
        if not _SURE_BLANK_LINE.search(self._tail + piece):
            return self._keep(piece)
        skip = max(self.carried - 3, 0)  # no blank line lies wholly before that
        buffer = b"".join([*self._parts, piece])
        end = 0
        for blank in _SURE_BLANK_LINE.finditer(buffer, skip):
            end = blank.end()
        return self._cut(buffer, end)

    def _keep(self, piece: bytes) -> bytes:
        self._parts.append(piece)
        self._tail = (self._tail + piece)[-3:]
        self.carried += len(piece)
        # The carry may hold a blank line before the frame and all but one byte of the one behind it: not counted.
        if self.carried > self.limit + 4:
            raise FrameTooLarge(self.limit, b"", self.rest())
        return b""

    def _cut(self, buffer: bytes, end: int) -> bytes:
        if end <= 1:  # nothing found
            self._parts.clear()
            self._tail = b""
            self.carried = 0
            return self._keep(buffer) if buffer else b""
        if len(buffer) > self.limit:
            self._check(buffer, end)
        if end == len(buffer):
            if self.carried:
                self._parts.clear()
                self.carried = 0
            return buffer
        rest = buffer[end:]
        self._parts = [rest]
        self._tail = rest[-3:]
        self.carried = len(rest)
        return buffer[:end]

    def _check(self, buffer: bytes, end: int) -> None:
        start = 0
        for frame in frames(buffer[:end]):
            if len(frame.rstrip(b"\r\n")) > self.limit:
                raise FrameTooLarge(self.limit, buffer[:start], buffer[start:])
            start += len(frame)
        if len(buffer) - end > self.limit + 4:
            raise FrameTooLarge(self.limit, buffer[:end], buffer[end:])


def frames(block: bytes) -> list[bytes]:
    """A block's raw frames, each with its blank line. A blank line with nothing before it is a frame of its own."""
    found: list[bytes] = []
    at = 0
    while at < len(block):
        end = frame_end(block, at)
        found.append(block[at:end])
        at = end
    return found


def frame_end(block: bytes, start: int) -> int:
    """Where the frame that begins at `start` ends, behind its blank line; the block's end where there is none."""
    end = _LINE_END.match(block, start) or _BLANK_LINE.search(block, start)
    return end.end() if end else len(block)


def parse(frame: bytes, *, first: bool = False) -> Frame:
    """Read one raw frame, with or without its blank line.

    Args:
        first: the frame opens the stream, where a byte order mark is skipped.
    """
    if frame.endswith(b"\n\n") and b"\r" not in frame:  # the two usual shapes
        lines = frame.split(b"\n")
        if len(lines) == 3 and lines[0].startswith(b"data: "):
            return Frame(b"", lines[0][6:])
        if len(lines) == 4 and lines[0].startswith(b"event: ") and lines[1].startswith(b"data: "):
            return Frame(lines[0][7:], lines[1][6:])
    if first and frame.startswith(_BOM):
        frame = frame[3:]
    event = b""
    data: list[bytes] = []
    for line in _LINE_END.split(frame):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value[1:] if value[:1] == b" " else value)
        elif name == b"event":
            event = value[1:] if value[:1] == b" " else value
    return Frame(event, b"\n".join(data) if data else None)


def encode(data: bytes, event: str = "") -> bytes:
    """One frame. `data` must hold no line end (JSON never needs one)."""
    return (b"event: %b\ndata: %b\n\n" % (event.encode(), data)) if event else b"data: %b\n\n" % data
