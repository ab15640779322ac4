"""Starts the process that takes the JSON lines in, starts it again where it dies, and knows how it stands."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from headgate.stores.logs.keeper import Kept
from headgate.stores.logs.worker import Standing

FIRST_SECONDS = 2.0
"""After a start, before the process is: a gateway that is stopped again at once needs none."""
LONGEST_PAUSE = 60.0
CLOSE_SECONDS = 10.0
SILENT_SECONDS = 30.0
"""It speaks every 5 s (`worker.SAY_SECONDS`); one that has said nothing for so long hangs, or was stopped."""
TELL_SECONDS = 3600.0
"""Lines that cannot be read are told once in so long."""

_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "262144"}
"""Of glibc, in bytes. It takes lines in by the megabyte now and then: what that took goes back to the system. (glibc
would raise the threshold by itself, and keep it: mallopt(3).)"""

_COMMAND = (sys.executable, "-P", "-m", "headgate.stores.logs.worker")


class Follower:
    """One child process, watched by a thread.

    Args:
        kept: what it is to do.
        tell: writes an event, as `LineLog.event`.
        first: seconds before the process is started.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        kept: Kept,
        tell: Callable[..., None],
        *,
        first: float = FIRST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept = kept
        self._tell = tell
        self._first = first
        self._clock = clock
        self._spoke: float | None = None  # when the process was started, or has last said how it stands
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._standing: Standing | None = None
        self._asked = 0
        self._restarts = 0
        self._error = ""
        self._told_bad = 0
        self._told_at = -TELL_SECONDS
        self._thread = threading.Thread(target=self._run, name="headgate-log-store", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """The process is there and has said so."""
        return self._standing is not None

    def health(self) -> dict[str, Any]:
        """How it stands: `ok`, `lag_seconds` behind the log, `behind_bytes`, `bad_lines`, `restarts`, `last_error`."""
        standing = self._standing or Standing()
        error = standing.error or self._error
        spoke = self._spoke
        silent = 0.0 if spoke is None else self._clock() - spoke
        if silent < SILENT_SECONDS:
            silent = 0.0
        elif not error:
            error = f"the process that keeps the log store has said nothing for {silent:.0f} s"
        return {
            "ok": not error,
            "lag_seconds": standing.lag_seconds + round(silent, 1),
            "behind_bytes": standing.behind,
            "stored": standing.exchanges,
            "bad_lines": standing.bad,
            "restarts": self._restarts,
            "last_error": error,
        }

    def catch_up(self, seconds: float) -> bool:
        """Have it take in what is in the file now; whether it said in time that it did."""
        end = time.monotonic() + seconds
        with self._changed:
            child = self._child
            if child is None or child.stdin is None or self._standing is None:
                return False
            self._asked += 1
            wanted = self._asked
            try:
                child.stdin.write(b"\n")
                child.stdin.flush()
            except (OSError, ValueError):
                return False
            while self._child is child:
                standing = self._standing
                if standing is not None and standing.asked >= wanted and not standing.behind:
                    return True
                left = end - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return False
        return False

    def close(self) -> None:
        """Let it take in the rest, and end it. Idempotent."""
        self._closing.set()
        self._let_go()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_SECONDS)
        child = self._child
        if child is not None and child.poll() is None:
            child.kill()

    def _let_go(self) -> None:
        with self._changed:
            child = self._child
            if child is not None and child.stdin is not None:
                with suppress(OSError):
                    child.stdin.close()

    def _run(self) -> None:
        pause = 1.0
        self._closing.wait(self._first)
        while not self._closing.is_set():
            began = time.monotonic()
            code = self._live()
            if self._closing.is_set():
                return
            self._restarts += 1
            pause = 1.0 if time.monotonic() - began > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            self._tell("log_store_stopped", exit_code=code, again_in_seconds=pause)
            self._closing.wait(pause)

    def _live(self) -> int:
        """One life of the process; its exit code."""
        try:
            child = subprocess.Popen(  # noqa: S603 -- ours
                _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**_MEMORY, **os.environ}
            )
        except OSError as error:
            self._error = f"the process that keeps the log store cannot be started: {error.strerror}"
            return -1
        assert child.stdin is not None
        assert child.stdout is not None
        with suppress(OSError):
            child.stdin.write(msgspec.json.encode(self._kept) + b"\n")
            child.stdin.flush()
        with self._changed:
            self._child, self._asked, self._spoke = child, 0, self._clock()
        if self._closing.is_set():
            self._let_go()
        for line in child.stdout:
            with suppress(msgspec.MsgspecError):
                self._heard(msgspec.json.decode(line, type=Standing))
        code = child.wait()
        child.stdout.close()
        self._let_go()
        with self._changed:
            self._child = self._standing = self._spoke = None
            if code:
                self._error = f"the process that keeps the log store has ended with {code}"
            self._changed.notify_all()
        return code

    def _heard(self, standing: Standing) -> None:
        with self._changed:
            self._standing, self._spoke = standing, self._clock()
            self._error = ""
            self._changed.notify_all()
        now = time.monotonic()
        if standing.bad < self._told_bad:  # it was started anew
            self._told_bad = 0
        if standing.bad > self._told_bad and now - self._told_at >= TELL_SECONDS:
            self._tell("log_lines_unreadable", lines=standing.bad - self._told_bad, why=standing.why_bad)
            self._told_bad, self._told_at = standing.bad, now
