"""Agents that run away: the same call over and over, two calls in turn, too many calls in a while.

Seen in two places: in the conversation that a request brings along, before money is spent on it; and over the answers
of a session, for agents that do not show their history.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headgate.core.guards import Finding, ToolCall, Verdict

FLAG_AT = 3
"""Times in a row that the same call is made from which on the log says so."""
MAX_SESSIONS = 10_000
"""Sessions that are remembered; the one that was quiet for the longest makes room."""
_MAX_CANONICAL = 64 * 1024  # characters of arguments; longer ones are compared as they are written

SAME, PING_PONG, MANY = "same_call", "ping_pong", "many_calls"


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """From when on it is a loop.

    Attributes:
        same: times in a row that the same call (name and arguments) is made, from 2; two calls in turn count by pairs.
        calls: calls of one session within `per`, from 1.
        per: seconds, > 0.
    """

    same: int = 5
    calls: int = 100
    per: float = 600.0


DEFAULT_LIMITS = LoopLimits()


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop, or what may become one.

    Attributes:
        reason: "same_call", "ping_pong" or "many_calls".
        count: times in a row, or calls within the window.
        over: it is at the limit; else only worth a line in the log.
    """

    reason: str
    count: int
    over: bool

    @property
    def words(self) -> str:
        """For the model and for people."""
        if self.reason == SAME:
            return f"the same call with the same arguments was made {self.count} times in a row"
        if self.reason == PING_PONG:
            return f"the same two calls were made in turn {self.count} times"
        return f"{self.count} calls were made in a short time"

    def finding(self, mode: str, place: str = "") -> Finding:
        """For the log. `mode`: the guard's, "flag" or "block"."""
        verdict = Verdict.BLOCK if self.over and mode == "block" else Verdict.FLAG
        return Finding("loops", verdict, (self.reason,), channel="tool_call", place=place)


def call_digest(call: ToolCall) -> bytes:
    """The same for calls of one tool with equal arguments, however they are written. 16 bytes."""
    text = call.arguments
    if len(text) <= _MAX_CANONICAL:
        try:
            text = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
        except (ValueError, RecursionError):
            text = text.strip()
    whole = f"{call.name}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=16).digest()


def in_row(digests: Sequence[bytes]) -> tuple[int, int]:
    """At the end of a row of calls: (times in a row that the last one was made, times that its last two took turns)."""
    if not digests:
        return 0, 0
    last = digests[-1]
    same = next((n for n, each in enumerate(reversed(digests)) if each != last), len(digests))
    if same > 1 or len(digests) < 4:
        return same, 0
    turns = next(
        (n for n, each in enumerate(reversed(digests)) if each != digests[-1 - n % 2]), len(digests)
    )  # the whole tail in which every second one is the same
    return same, turns // 2


def judge(digests: Sequence[bytes], limits: LoopLimits) -> Loop | None:
    """What the end of a row of calls says."""
    same, turns = in_row(digests)
    if same >= min(FLAG_AT, limits.same):
        return Loop(SAME, same, same >= limits.same)
    if turns >= min(FLAG_AT, limits.same):
        return Loop(PING_PONG, turns, turns >= limits.same)
    return None


def judge_history(calls: Sequence[ToolCall], limits: LoopLimits) -> Loop | None:
    """What a conversation shows: its calls since somebody last said something, in order (`wire.call_history`)."""
    tail = calls[-(2 * limits.same + 2) :]
    return judge([call_digest(call) for call in tail], limits) if len(tail) >= min(FLAG_AT, limits.same) else None


@dataclass(slots=True)
class _Session:
    last: deque[bytes]
    times: deque[float] = field(default_factory=deque)


class LoopWatch:
    """What sessions have called. Bounded: 10,000 sessions, and of each as many calls as its limits can count.

    Safe to share between threads.
    """

    __slots__ = ("_lock", "_most", "_now", "_sessions")

    def __init__(self, now: Callable[[], float], *, sessions: int = MAX_SESSIONS) -> None:
        """
        Args:
            now: seconds since the epoch.
            sessions: the most that are remembered.
        """
        self._now = now
        self._most = sessions
        self._sessions: OrderedDict[tuple[str, ...], _Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def note(
        self, session: tuple[str, ...], call: ToolCall, limits: LoopLimits, *, in_a_row: bool = True
    ) -> Loop | None:
        """A model wants to call a tool.

        Args:
            session: whose.
            in_a_row: all calls of `session` are of one agent, so that their order says something.
        """
        digest, now = call_digest(call), self._now()
        with self._lock:
            seen = self._session(session, limits)
            times = seen.times
            while times and times[0] <= now - limits.per:
                times.popleft()
            times.append(now)
            if len(times) > limits.calls + 1:
                times.popleft()  # it is over the limit with the others, too
            seen.last.append(digest)
            found = judge(seen.last, limits) if in_a_row else None
            many = len(times)
        if many > limits.calls and (found is None or not found.over):
            return Loop(MANY, many, over=True)
        return found

    def _session(self, session: tuple[str, ...], limits: LoopLimits) -> _Session:
        found, length = self._sessions.get(session), 2 * limits.same + 2
        if found is None:
            found = self._sessions[session] = _Session(deque(maxlen=length))
            if len(self._sessions) > self._most:
                self._sessions.popitem(last=False)
        elif found.last.maxlen != length:
            found.last = deque(found.last, maxlen=length)
        self._sessions.move_to_end(session)
        return found
