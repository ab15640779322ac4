"""Reading a multipart/form-data body piece by piece (RFC 7578, RFC 2046 section 5.1.1), without ever holding it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message

_MAX_HEAD = 16 * 1024
_MAX_FIELD = 64 * 1024
Write = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one part. `filename` is None for a field."""

    name: str
    filename: str | None
    mime_type: str


class Multipart:
    """A body being read. Fields are kept in `fields`; a file goes to what `open_file` returns, as it comes.

    Raises:
        ValueError: (from any method) the body is not what its content type says.
    """

    def __init__(self, content_type: str, open_file: Callable[[Part], Write]) -> None:
        told = Message()
        told["content-type"] = content_type
        boundary = told.get_param("boundary")
        if told.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
            raise ValueError("the content type is not multipart/form-data with a boundary")
        self._delimiter = b"\r\n--" + boundary.encode("latin-1")
        self._buffer = bytearray(b"\r\n")  # so that the first boundary has its line break too
        self._open_file = open_file
        self._step: Callable[[], bool] = self._body
        self._write: Write = _nowhere
        self.fields: dict[str, str] = {}
        self._field: tuple[str, bytearray] | None = None
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Take in the next piece."""
        self._buffer += data
        while self._step():
            pass

    def close(self) -> None:
        """The body is over."""
        if not self.ended:
            raise ValueError("the multipart body ends before its closing boundary")

    def _body(self) -> bool:
        """Pass on what cannot belong to the delimiter; True once the delimiter has been found."""
        buffer = self._buffer
        at = buffer.find(self._delimiter)
        if at < 0:
            safe = len(buffer) - len(self._delimiter) + 1
            if safe > 0:
                self._write(bytes(buffer[:safe]))
                del buffer[:safe]
            return False
        self._write(bytes(buffer[:at]))
        del buffer[: at + len(self._delimiter)]
        self._end_part()
        self._step = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        buffer = self._buffer
        if buffer[:2] == b"--":
            self.ended = True
            self._write = _nowhere
            self._step = self._epilogue
            return True
        end = buffer.find(b"\r\n")
        if end < 0:
            if len(buffer) > _MAX_HEAD:
                raise ValueError("a boundary line is too long")
            return False
        if buffer[:end].strip(b" \t"):
            raise ValueError("a boundary is followed by something else")
        # The line break stays: a part without headers then begins with an empty line like any other.
        del buffer[:end]
        self._step = self._head
        return True

    def _head(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or end > _MAX_HEAD:
            if len(buffer) > _MAX_HEAD:
                raise ValueError("the head of a part is too long")
            return False
        part = _part(bytes(buffer[2:end]))
        del buffer[: end + 4]
        if part.filename is None:
            self._field = (part.name, bytearray())
            self._write = self._keep
        else:
            self._write = self._open_file(part)
        self._step = self._body
        return True

    def _epilogue(self) -> bool:
        self._buffer.clear()
        return False

    def _keep(self, data: bytes) -> None:
        assert self._field is not None  # set with this sink
        kept = self._field[1]
        kept += data
        if len(kept) > _MAX_FIELD:
            raise ValueError(f"the field {self._field[0]!r} is longer than {_MAX_FIELD} bytes")

    def _end_part(self) -> None:
        if self._field is not None:
            name, kept = self._field
            self.fields[name] = kept.decode("utf-8", "replace")
        self._field = None
        self._write = _nowhere


def _part(head: bytes) -> Part:
    told = Message()
    for line in head.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        told[header.strip()] = value.strip()
    name = told.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise ValueError("a part has no name")
    filename: object = told.get_param("filename", header="content-disposition")
    if isinstance(filename, tuple):  # filename*=utf-8''...
        filename = str(filename[2])
    named = filename if isinstance(filename, str) else None
    return Part(name, named, told.get_content_type() if "content-type" in told else "application/octet-stream")


def _nowhere(_data: bytes) -> None:
    return None
