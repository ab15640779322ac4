"""Gates: which frames of a stream go out, and with what in them, while an `Inspector` watches the answer.

A gate stands behind a meter and gets the caller's frames, whole. Text that the inspector has cleared goes out byte for
byte; with an edit its frame gets another text, spliced, and nothing else changes. What is not cleared waits, and all
that comes behind it waits too, so that order is kept; comments and pings pass, for a connection must not seem dead.
Tool calls wait until they are complete where the inspector looks at tools. Where it stops the answer, what is cleared
goes out, and then the dialect's own ending.

Thinking is not shown to the inspector: it is signed, and a changed one would be refused when it comes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from headgate.core.guards import Edit, Finding, Inspector, Verdict
from headgate.wire import sse
from headgate.wire.jsonplace import Path, dump, put

MAX_HELD_BYTES = 16 << 20
"""The most that waits, in frames: a tool call beyond it is no tool call."""

TOO_LARGE = Finding("output", Verdict.BLOCK, ("too_large",))
UNREAD = Finding("output", Verdict.BLOCK, ("unreadable",))


class Text:
    """One visible text of an answer: how much of it was shown to the inspector, and what came of that.

    Attributes:
        seen, cleared: characters.
        final: its last piece has been shown; what is not cleared by now never goes out.
        changed: what goes out differs from what came.
    """

    __slots__ = ("_edits", "_gone", "changed", "cleared", "final", "place", "seen")

    def __init__(self, place: str) -> None:
        self.place = place
        self.seen = self.cleared = 0
        self.final = self.changed = False
        self._edits: deque[Edit] = deque()  # not made yet, or not wholly
        self._gone: list[str] = []

    def show(self, inspector: Inspector, piece: str, *, final: bool = False) -> None:
        """Show another piece, or the end."""
        if self.final or not (piece or final):
            return
        self.seen += len(piece)
        if inspector.stopped is not None:
            return  # nobody looks at it any more, so it never goes out
        self.final = final
        said = inspector.text(self.place, piece, final=final)
        self.cleared = min(max(self.cleared, said.cleared), self.seen)
        self._edits.extend(said.edits)

    def ready(self, end: int) -> bool:
        """Whether nothing before `end` waits any longer."""
        return self.final or self.cleared >= end

    def take(self, start: int, piece: str) -> str:
        """What goes out in the place of `piece`, the next part of the text: with edits made, and cut where it is not
        cleared. An edit over several pieces has its text in the first of them."""
        end = start + len(piece)
        limit = min(end, self.cleared)
        if not self._edits and limit == end:
            self._gone.append(piece)
            return piece
        parts: list[str] = []
        at, edits = start, self._edits
        while edits and (edits[0].start < end or edits[0].end == end > start):
            edit = edits.popleft()
            parts += (piece[at - start : max(edit.start, at) - start], edit.text)
            at = max(at, edit.end)
            if edit.end > end:
                edits.appendleft(Edit(end, edit.end, ""))  # the rest of what it takes away
                break
        if at < limit:
            parts.append(piece[at - start : limit - start])
        made = "".join(parts)
        self.changed = self.changed or made != piece
        self._gone.append(made)
        return made

    def gone(self) -> str:
        """All that has gone out of it."""
        if len(self._gone) > 1:
            self._gone = ["".join(self._gone)]
        return self._gone[0] if self._gone else ""


class Part:
    """A piece of a text inside a frame."""

    __slots__ = ("end", "path", "piece", "start", "text")

    def __init__(self, text: Text, piece: str, path: Path) -> None:
        """`text` has just been shown the piece."""
        self.text = text
        self.piece = piece
        self.end = text.seen
        self.start = text.seen - len(piece)
        self.path = path


class Waiting(Protocol):
    """What stands in a gate's queue for one frame.

    Attributes:
        size: bytes that it keeps.
    """

    size: int

    def ready(self) -> bool: ...

    def make(self) -> bytes: ...


class TextFrame:
    """A frame with pieces of texts.

    Args:
        blanks: what repeats the text, as token by token, with what stands there once the text is another one.
    """

    __slots__ = ("_blanks", "_data", "_frame", "parts", "size")

    def __init__(self, frame: bytes, data: bytes, parts: list[Part], blanks: dict[Path, bytes]) -> None:
        self._frame = frame
        self._data = data
        self._blanks = blanks
        self.parts = parts
        self.size = len(frame)

    def ready(self) -> bool:
        """See `Waiting`."""
        return all(part.text.ready(part.end) for part in self.parts)

    def make(self) -> bytes:
        """See `Waiting`."""
        changes: dict[Path, bytes] = {}
        for part in self.parts:
            made = part.text.take(part.start, part.piece)
            if made != part.piece:
                changes[part.path] = dump(made)
        return changed(self._frame, self._data, {**self._blanks, **changes}) if changes else self._frame


class Later:
    """A frame that is made when its turn comes, from what has gone out by then."""

    __slots__ = ("_make", "size")

    def __init__(self, make: Callable[[], bytes], size: int) -> None:
        self._make = make
        self.size = size

    def ready(self) -> bool:
        """See `Waiting`."""
        return True

    def make(self) -> bytes:
        """See `Waiting`."""
        return self._make()


class Held:
    """A frame of a tool call that is not complete yet; `release` says what goes out in its place."""

    __slots__ = ("frame", "made", "size")

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.made: bytes | None = None
        self.size = len(frame)

    def ready(self) -> bool:
        """See `Waiting`."""
        return self.made is not None

    def make(self) -> bytes:
        """See `Waiting`."""
        return self.made or b""


def changed(frame: bytes, data: bytes, changes: dict[Path, bytes]) -> bytes:
    """A frame with other values in its data."""
    made = put(data, changes)
    at = frame.find(data)
    if at >= 0:
        return frame[:at] + made + frame[at + len(data) :]
    return sse.encode(b" ".join(made.splitlines()), sse.parse(frame).event.decode("utf-8", "replace"))


def explanation(finding: Finding | None) -> str:
    """Why an answer ends here, in words for a person, and never of the answer."""
    if finding is None:
        return "A guard ended this answer."
    reasons = f": {', '.join(finding.reasons)}" if finding.reasons else ""
    return f"The {finding.guard} guard ended this answer{reasons}."


class Gate(ABC):
    """What the gates of all dialects share: the queue, and the end.

    Args:
        keep_text: collect the text that goes out, for the log.

    Attributes:
        stopped: the inspector has ended the answer, and the dialect's ending has been written.
        spoke: something generated has gone out.
    """

    def __init__(self, inspector: Inspector, *, keep_text: bool = False) -> None:
        self.inspector = inspector
        self.stopped: Finding | None = None
        self.spoke = False
        self._keep_text = keep_text
        self._texts: dict[str, Text] = {}
        self._queue: deque[tuple[Waiting | bytes, Any, bool]] = deque()
        self._size = 0
        self._out: list[bytes] = []
        self._first = True

    def feed(self, block: bytes) -> bytes:
        """Whole frames in; whole frames out."""
        at, size = 0, len(block)
        while at < size and self.stopped is None:
            end = sse.frame_end(block, at)
            self._frame(block[at:end])
            at = end
            if self._size > MAX_HELD_BYTES:
                self.inspector.stopped = self.inspector.stopped or TOO_LARGE
            if self.inspector.stopped is not None:
                self._stop(self.inspector.stopped)
        return self._taken()

    def finish(self) -> bytes:
        """The stream has ended, or has been cut: what may go goes, and the rest never does."""
        if self.stopped is None:
            self._end_texts()
            if self.inspector.stopped is not None:
                self._stop(self.inspector.stopped)
        return self._taken()

    def fail(self) -> bytes:
        """The stream cannot be read any further, so nobody can look at it either."""
        if self.stopped is None:
            self.inspector.stopped = self.inspector.stopped or UNREAD
            self._stop(self.inspector.stopped)
        return self._taken()

    def text(self) -> str:
        """The text that has gone out; "" unless it was to be kept."""
        return "".join(text.gone() for text in self._texts.values() if self._logged(text)) if self._keep_text else ""

    @abstractmethod
    def _read(self, frame: bytes, name: bytes, data: bytes) -> None:
        """One frame with data: show what is in it, and push it."""

    @abstractmethod
    def _ending(self) -> bytes:
        """The dialect's ending, from what has gone out."""

    def _went(self, mark: Any) -> None:  # noqa: B027 (nothing to note in some dialects)
        """A frame pushed with a mark has gone out."""

    def _logged(self, text: Text) -> bool:
        return True

    def _frame(self, frame: bytes) -> None:
        name, data = sse.parse(frame, first=self._first)
        if data is None:
            self._out.append(frame)  # a comment, or a blank line
            return
        self._first = False
        self._read(frame, name, data)
        self._drain()

    def _pass(self, frame: bytes) -> None:
        """Past all that waits."""
        self._out.append(frame)

    def _push(self, what: Waiting | bytes, mark: Any = None, *, quiet: bool = False) -> None:
        """Behind all that waits.

        Args:
            mark: told to `_went` when it has gone out.
            quiet: nothing generated is in it.
        """
        self._size += len(what) if isinstance(what, bytes) else what.size
        self._queue.append((what, mark, quiet))

    def _text(self, place: str, piece: str = "") -> Text:
        """The text at a place. One that goes on behind its end is another text: nothing of the first is left to see."""
        text = self._texts.get(place)
        again = 2
        while text is not None and text.final and piece:
            key = f"{place}#{again}"
            again += 1
            text = self._texts.get(key)
            if text is None:
                place = key
        if text is None:
            text = self._texts[place] = Text(place)
        return text

    def _shown(self, place: str, piece: str, path: Path, *, final: bool = False) -> Part:
        text = self._text(place, piece)
        text.show(self.inspector, piece, final=final)
        return Part(text, piece, path)

    def _drain(self) -> None:
        queue = self._queue
        while queue:
            what, mark, quiet = queue[0]
            if isinstance(what, bytes):
                self._size -= len(what)
                self._out.append(what)
            elif what.ready():
                self._size -= what.size
                self._out.append(what.make())
            else:
                return
            self.spoke = self.spoke or not quiet
            queue.popleft()
            if mark is not None:
                self._went(mark)

    def _end_texts(self) -> None:
        """Nothing more comes: tool calls that are not complete never go out."""
        for text in self._texts.values():
            if not text.final:
                text.show(self.inspector, "", final=True)
            if self.inspector.stopped is not None:
                return
        self._queue = deque(each for each in self._queue if isinstance(each[0], bytes) or each[0].ready())
        self._drain()

    def _stop(self, finding: Finding) -> None:
        self._drain()
        if self._queue:
            what, mark, _ = self._queue[0]
            if isinstance(what, TextFrame) and any(part.text.cleared > part.start for part in what.parts):
                self._out.append(what.make())
                self.spoke = True
                if mark is not None:
                    self._went(mark)
        self._queue.clear()
        self.stopped = finding
        self._out.append(self._ending())

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out
