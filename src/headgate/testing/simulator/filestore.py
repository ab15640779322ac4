"""Uploaded files: their facts in memory, their bytes on disk beyond a megabyte."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.testing.simulator.asked import Json

_IN_MEMORY = 1024 * 1024
_CHUNK = 64 * 1024


class Spool:
    """Bytes, written once and then read from any place. They are gone with the object."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - it lives as long as we do
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self.size += len(data)

    def chunks(self) -> Iterator[bytes]:
        """All of it, 64 KiB at a time. Two readers do not disturb each other."""
        at = 0
        while at < self.size:
            self._file.seek(at)
            data = self._file.read(_CHUNK)
            at += len(data)
            yield data

    def lines(self) -> Iterator[bytes]:
        """Its lines, without their ends and without the empty ones."""
        rest = b""
        for data in self.chunks():
            *whole, rest = (rest + data).split(b"\n")
            yield from (line for line in whole if line.strip())
        if rest.strip():
            yield rest

    def __del__(self) -> None:
        self._file.close()


@dataclass(slots=True)
class Kept:
    """One file. Times are seconds since the epoch; `expires` None means never."""

    id: str
    scope: str
    dialect: str
    filename: str
    mime_type: str
    purpose: str
    created: float
    expires: float | None
    content: Spool

    def as_anthropic(self) -> Json:
        """Its metadata as Anthropic tells it."""
        return {
            "id": self.id,
            "type": "file",
            "filename": self.filename,
            "mime_type": self.mime_type,
            "size_bytes": self.content.size,
            "created_at": rfc3339(self.created),
            "expires_at": None if self.expires is None else rfc3339(self.expires),
            "downloadable": self.downloadable,
        }

    def as_openai(self) -> Json:
        """Its metadata as OpenAI tells it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.content.size,
            "created_at": int(self.created),
            "expires_at": None if self.expires is None else int(self.expires),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }

    @property
    def downloadable(self) -> bool:
        """At Anthropic only what a tool made: here, what is named so."""
        return self.dialect == "openai" or self.filename.startswith("download")


class FileStore:
    """All files of one scenario, by id."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def keep(self, file: Kept) -> None:
        """Remember a file."""
        self._kept[file.id] = file

    def get(self, dialect: str, scope: str, file_id: str, now: float) -> Kept | None:
        """A file of this credential's that has not expired."""
        found = self._kept.get(file_id)
        if found is None or (found.scope, found.dialect) != (scope, dialect):
            return None
        return None if found.expires is not None and found.expires <= now else found

    def listed(self, dialect: str, scope: str, now: float) -> list[Kept]:
        """The files of one credential, newest first."""
        kept = [f for f in self._kept.values() if self.get(dialect, scope, f.id, now) is not None]
        return kept[::-1]

    def delete(self, file: Kept) -> None:
        """Forget a file. Whoever reads it reads it to its end."""
        del self._kept[file.id]


def rfc3339(when: float) -> str:
    """Seconds since the epoch as RFC 3339, in microseconds, UTC."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
