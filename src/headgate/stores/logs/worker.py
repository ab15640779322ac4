"""The process that takes the JSON lines in, beside `headgate serve`: its event loop and its interpreter pay nothing.

Told what to do by a line of JSON on standard input; any line more is "now", and its end is the end. Says how it stands
on standard output, a line of JSON each time. Started as ``python -m headgate.stores.logs.worker``.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from headgate.core.errors import HeadgateError
from headgate.stores.logs.keeper import Kept, LogKeeper, open_keeper

NICE = 5
TICK_SECONDS = 0.5
PRUNE_SECONDS = 60.0
SAY_SECONDS = 5.0
"""It says how it stands at least so often."""
TURN_SECONDS = 2.0
_LONGEST_PAUSE = 10.0


class Standing(msgspec.Struct):
    """How the worker stands.

    Attributes:
        exchanges, events, bad: taken in since it began; `bad` could not be read.
        behind: bytes of JSON lines that were not taken in yet.
        lag_seconds: since when there has been something to take in; 0 = there is nothing.
        pruned: exchanges that went because of their age, or for room.
        why_bad: of the last line that could not be read, in words.
        error: why nothing can be taken in, in words; "" = it can.
        asked: how many times it was told "now", all of which were done.
    """

    exchanges: int = 0
    events: int = 0
    bad: int = 0
    behind: int = 0
    lag_seconds: float = 0.0
    pruned: int = 0
    why_bad: str = ""
    error: str = ""
    asked: int = 0


class Worker:
    """One keeper, one turn after the other.

    Args:
        say: told how it stands.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, keeper: LogKeeper, say: Callable[[Standing], None], clock: Callable[[], float]) -> None:
        self._keeper = keeper
        self._say = say
        self._clock = clock
        self._even = clock()  # when there was nothing left to take in
        self._pruned = clock()
        self._said = clock() - SAY_SECONDS
        self._pruning = True
        self._failures = 0
        self.standing = Standing()

    def turn(self, *, asked: int = 0) -> float:
        """Take in what is there, forget what is old; seconds until the next turn."""
        before = msgspec.structs.replace(self.standing)
        pause = TICK_SECONDS
        try:
            pause = self._ingest()
            if self._pruning or self._clock() - self._pruned >= PRUNE_SECONDS:
                self._prune()
                pause = 0.0 if self._pruning else pause
            self.standing.error, self._failures = "", 0
        except HeadgateError as error:
            self.standing.error = error.message
            self._failures += 1
            pause = min(TICK_SECONDS * 2**self._failures, _LONGEST_PAUSE)
        if not self.standing.behind:
            self._even = self._clock()
        self.standing.lag_seconds = round(self._clock() - self._even, 1)
        self.standing.asked += asked
        if self.standing != before or self._clock() - self._said >= SAY_SECONDS:
            self._said = self._clock()
            self._say(self.standing)
        return pause

    def _ingest(self) -> float:
        found = self._keeper.ingest_once(TURN_SECONDS)
        standing = self.standing
        if found is None:  # another process is at it: a command that searches or erases
            standing.behind = self._keeper.behind()
            return TICK_SECONDS
        standing.exchanges += found.exchanges
        standing.events += found.events
        standing.bad += found.bad
        standing.behind = found.behind
        standing.why_bad = found.why_bad or standing.why_bad
        return 0.0 if found.behind and (found.exchanges or found.events or found.bad) else TICK_SECONDS

    def _prune(self) -> None:
        gone = self._keeper.prune(TURN_SECONDS)
        self.standing.pruned += gone.exchanges
        self._pruning = gone.more
        self._pruned = self._clock()


def run(told: bytes, stdin: int, say: Callable[[Standing], None]) -> None:
    """Work until standard input ends."""
    keeper = open_keeper(msgspec.json.decode(told, type=Kept))
    keeper.announce(os.getpid())
    worker = Worker(keeper, say, time.monotonic)
    asked = 0
    try:
        while True:
            pause = worker.turn(asked=asked)
            asked = 0
            if select.select([stdin], [], [], pause)[0]:
                more = os.read(stdin, 4096)
                if not more:
                    worker.turn()
                    return
                asked = more.count(b"\n")
    finally:
        keeper.announce(0)
        keeper.close()


def _first_line(stdin: int) -> bytes:
    """Byte by byte: what comes behind it is for `select`."""
    found = b""
    while not found.endswith(b"\n"):
        more = os.read(stdin, 1)
        if not more:
            break
        found += more
    return found


def main() -> int:
    """The process itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, meant for the gateway, which ends this
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # likewise, of whoever stops a whole group
    if hasattr(os, "nice"):
        os.nice(NICE)
    told = _first_line(sys.stdin.fileno())

    def say(standing: Standing) -> None:
        with suppress(BrokenPipeError):  # nobody listens any more: standard input has ended, too
            os.write(1, msgspec.json.encode(standing) + b"\n")

    run(told, sys.stdin.fileno(), say)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
