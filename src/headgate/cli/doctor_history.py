"""Live keys in a git repository's history: `git log -p`, read as it comes, with a bound on bytes and on time."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from headgate.checklist.files import git, git_command, git_environment, looks_invented, masked
from headgate.cli.doctor_report import NOTE, OK, PROBLEM, SKIPPED, Advance, Finding
from headgate.settings.secrets import live_keys

DEFAULT_BYTES = 256 * 1024 * 1024
DEFAULT_SECONDS = 60.0
MAX_KEYS = 50
_LONGEST = 1024 * 1024  # of a line read at once; a minified file's is read in pieces
_EVERY = 200  # commits between two looks at the clock

_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
# How live keys begin (settings/secrets.py): most lines hold none of these, and are looked at no further.
_MAYBE = re.compile(rb"sk-|hg-|AKIA|ASIA|gh[pousr]_|github_pat_|AIza|gsk_|xai-|xox[abprs]-|[sr]k_live_")

_LOG = (
    "log",
    "--all",
    "-p",
    "-U0",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-renames",
    "--no-show-signature",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--format=format:%x00%H%x09%cs",
)


@dataclass(slots=True)
class Place:
    """Where a key was added."""

    commit: str
    day: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.commit[:12]} ({self.day}) {self.file}:{self.line}"


@dataclass(slots=True)
class Scan:
    """What a scan has found so far. Keys stay in memory only, to tell them apart.

    Attributes:
        keys: by the key, the places that added it, newest first.
        invented: how many placeholders were left out.
        stopped: why the scan ended early, "" if it did not.
    """

    commits: int = 0
    bytes_read: int = 0
    keys: dict[str, list[Place]] = field(default_factory=dict)
    invented: set[str] = field(default_factory=set)
    stopped: str = ""


def check_history(top: Path, *, limit: int, seconds: float, advance: Advance) -> Iterator[Finding]:
    """A finding for each live key that a commit of any branch, tag or stash added. What only a merge brought is missed.

    Args:
        limit: bytes of diffs to read, the newest commits first. 0: nothing is read.
        seconds: time for it.
    """
    if not limit:
        yield Finding("history", SKIPPED, "not read (--history 0)")
        return
    total = int(git(top, "rev-list", "--all", "--count") or 0)
    scan = scan_history(top, limit=limit, seconds=seconds, total=total, advance=advance)
    for key, places in list(scan.keys.items())[:MAX_KEYS]:
        extra = len(places) - 1
        more = f" and {extra} more place{'' if extra == 1 else 's'}" if extra else ""
        yield Finding(
            "history",
            PROBLEM,
            f"{places[-1]}{more}: {masked(key)}",
            "revoke it where it was made: whoever has a copy of the repository has it, rewritten or not",
        )
    if len(scan.keys) > MAX_KEYS:
        yield Finding("history", PROBLEM, f"and {len(scan.keys) - MAX_KEYS} more keys")
    if git(top, "rev-parse", "--is-shallow-repository") == "true":
        yield Finding("history", NOTE, "this clone is shallow: older commits were not there to read")
    if scan.stopped:
        read = f"{scan.commits:,} of {total:,} commits, the newest, were read: {scan.stopped}"
        yield Finding("history", NOTE, read, "--history SIZE and --history-time DURATION read more")
    left_out = f"; {len(scan.invented)} that look invented (test, example, ...) left out" if scan.invented else ""
    if not scan.keys:
        yield Finding("history", OK, f"no live key in {scan.commits:,} commits{left_out}")
    elif left_out:
        yield Finding("history", NOTE, left_out.removeprefix("; "))


def scan_history(top: Path, *, limit: int, seconds: float, total: int, advance: Advance) -> Scan:
    """Read `git log -p`."""
    scan = Scan()
    process = subprocess.Popen(  # noqa: S603 -- fixed arguments, no shell
        git_command(*_LOG), cwd=top, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=git_environment()
    )
    try:
        if process.stdout is not None:
            _read(process.stdout, scan, limit, time.monotonic() + seconds, total, advance)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return scan


def _read(stream: IO[bytes], scan: Scan, limit: int, deadline: float, total: int, advance: Advance) -> None:
    """The diffs, line by line. A hunk's header says how many lines are content: none of it is taken for a header."""
    place = Place("", "", "", 0)
    removed = added = 0
    whole = True  # the last piece ended its line
    sign = b""
    while line := stream.readline(_LONGEST):
        scan.bytes_read += len(line)
        begins, whole = whole, line.endswith(b"\n")
        if scan.bytes_read > limit:
            scan.stopped = f"{limit // 1024**2:,} MiB are enough for one look"
            return
        if removed or added or not begins:
            if begins:
                sign = line[:1]
                removed, added, place.line = _count(sign, removed, added, place.line)
            if sign == b"+" and _MAYBE.search(line):
                _note(scan, line[1:] if begins else line, place)
        elif line[:1] == b"\0":
            scan.commits += 1
            commit, _, day = line[1:].decode("ascii", "replace").strip().partition("\t")
            place = Place(commit, day, "", 0)
            if scan.commits % _EVERY == 1:
                advance(scan.commits, total)
                if time.monotonic() > deadline:
                    scan.stopped = "the time for it was over"
                    return
        elif line[:6] == b"+++ b/" or line[:7] == b'+++ "b/':  # quoted where a name has odd characters
            place.file = line[4:].decode("utf-8", "replace").strip().strip('"').removeprefix("b/")
        elif hunk := _HUNK.match(line):
            removed, added = int(hunk[1] or 1), int(hunk[3] or 1)
            place.line = int(hunk[2]) - 1


def _count(sign: bytes, removed: int, added: int, line: int) -> tuple[int, int, int]:
    """(lines still to come that were removed, that were added, this line's number)."""
    if sign == b"+":
        return removed, added - 1, line + 1
    if sign == b"-":
        return removed - 1, added, line
    return removed, added, line  # "\ No newline at end of file"


def _note(scan: Scan, line: bytes, place: Place) -> None:
    for _, key in live_keys(line.decode("utf-8", "replace")):
        if looks_invented(key):
            scan.invented.add(key)
        else:
            at = Place(place.commit, place.day, place.file, place.line)
            scan.keys.setdefault(key, []).append(at)
