"""Callers' limits: requests and tokens per minute, by GCRA. Pure: no I/O, and time is an argument.

The Generic Cell Rate Algorithm (ITU-T I.371, annex A; as in redis-cell) keeps one moment per scope, the theoretical
arrival time: when its bucket will be full again. A bucket holds one minute's worth and fills continuously, so within
any t seconds at most `burst + rate * t` goes through, and nobody's count drops to zero on the stroke of a minute. A
call is let in by all limits that apply to it, or takes nothing from any of them.

Tokens are taken by estimate and corrected afterwards. What a call leaves unused is given back only as far as the bucket
would really be fuller without it: one that has filled up meanwhile has lost nothing, and paying it out all the same
would let more through than the limit.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable, Iterable, Sequence
from math import ceil

from headgate.core.caller import Caller
from headgate.core.limits import Exceeded, Figure, Limit, Taken
from headgate.policy.limit_rules import BURST_SECONDS, DEBT_SECONDS, SLACK, Rule, rules_of, tightest

MOST_SCOPES = 100_000
"""Scopes kept per limit and generation, there are two: some 20 MB. They come from callers."""

_FULL = BURST_SECONDS + SLACK
_JUMP = 1.0  # seconds that a clock goes back before it counts as set back; less is threads that overtook each other

Header = tuple[bytes, bytes]


class _Bucket:
    """One scope's. Times are seconds since the limits' own beginning: near zero floating point is finer."""

    __slots__ = ("given", "tat")

    def __init__(self) -> None:
        self.tat = 0.0  # theoretical arrival time: the bucket is full from then on
        self.given = 0.0  # seconds' worth given back so far


_HEADERS = {
    unit.decode(): (b"x-ratelimit-limit-" + unit, b"x-ratelimit-remaining-" + unit, b"x-ratelimit-reset-" + unit)
    for unit in (b"requests", b"tokens")
}


class _Rule(Rule):
    """One limit in one unit, and its buckets in two generations: what has not been asked for throughout one of them is
    full, and forgotten without being looked at."""

    __slots__ = ("_old", "full", "idle", "left", "line", "new", "of_tokens", "told", "turned", "untouched", "whole")

    def __init__(self, limit: Limit, unit: str, per_minute: int, nth: int) -> None:
        super().__init__(limit, unit, per_minute, nth)
        name, self.left, self.full = _HEADERS[unit]
        self.told = name, b"%d" % per_minute
        self.untouched = self.told, (self.left, b"%d" % per_minute), (self.full, b"0s")  # of a bucket that is full
        self.whole = b"".join([b"%b: %b\r\n" % field for field in self.untouched])
        self.line = b"%b: %b\r\n%b: %%d\r\n%b: %%b\r\n" % (*self.told, self.left, self.full)
        self.idle = 0.0  # after as many seconds without a call every bucket is full
        self.of_tokens = unit == "tokens"
        self.new: dict[Hashable, _Bucket] = {}
        self._old: dict[Hashable, _Bucket] = {}
        self.turned = 0.0

    def find(self, scope: Hashable, at: float) -> _Bucket | None:
        if at - self.turned > self.idle or len(self.new) >= MOST_SCOPES:
            idle = at - self.turned > 2 * self.idle
            self._old, self.new, self.turned = ({} if idle else self.new), {}, at
        found = self.new.get(scope)
        if found is None and self._old:
            found = self._old.pop(scope, None)
            if found is not None:
                self.new[scope] = found
        return found

    def standing(self, filling: float) -> tuple[int, bytes]:
        """(What remains, the duration of `filling`), of a bucket that is full in so many seconds, > 0."""
        remaining = int((BURST_SECONDS - filling + SLACK) / self.seconds_each)
        if remaining > self.per_minute:
            remaining = self.per_minute
        elif remaining < 0:
            remaining = 0
        milliseconds = ceil(filling * 1000 - 1e-6)
        return remaining, b"%dms" % milliseconds if 0 < milliseconds < 1000 else duration(filling).encode()

    def make(self, scope: Hashable) -> _Bucket:
        bucket = self.new[scope] = _Bucket()
        return bucket

    def __len__(self) -> int:
        return len(self.new) + len(self._old)


_Found = tuple[_Rule, Hashable, _Bucket, float, float, float | None]
"""A rule that a call has taken from: its scope and bucket, the bucket's theoretical arrival time with the call in it,
what had been given back of it by then, and the time before (None: it was made for this call)."""


class _TakenHere(Taken):
    __slots__ = ("done", "found", "when")

    def __init__(self, tokens: int, found: Sequence[_Found], at: float):
        self.tokens = tokens
        self.done = False  # it has been corrected
        self.found = found
        self.when = at

    @property
    def figures(self) -> tuple[Figure, ...]:
        at = self.when
        return tightest([found[0].figure(found[3] - at) for found in self.found])

    def headers(self) -> list[Header]:
        found, at = self.found, self.when
        if len(found) > 2 or (len(found) == 2 and found[0][0].unit == found[1][0].unit):
            return ratelimit_headers(self.figures)
        made: list[Header] = []
        # As `Rule.figure` and `ratelimit_headers`, in one go: every answer has them.
        for rule, _, _, tat, _, _ in found:
            filling = tat - at
            if filling <= 0.0:
                made += rule.untouched
                continue
            remaining, told = rule.standing(filling)
            made += rule.told, (rule.left, b"%d" % remaining), (rule.full, told)
        return made

    def lines(self) -> bytes:
        found, at = self.found, self.when
        if len(found) > 2 or (len(found) == 2 and found[0][0].unit == found[1][0].unit):
            return super().lines()
        made = b""
        for rule, _, _, tat, _, _ in found:
            filling = tat - at
            made += rule.whole if filling <= 0.0 else rule.line % rule.standing(filling)
        return made


class _ExceededHere(Exceeded):
    __slots__ = ("_standing", "_when")

    def __init__(
        self, rule: _Rule, scope: Hashable, wait: float | None, standing: Sequence[tuple[_Rule, float]], at: float
    ):
        self.limit = rule.limit
        self.unit = rule.unit
        self.scope = scope
        self.retry_after = wait
        self._standing = standing
        self._when = at

    @property
    def figures(self) -> tuple[Figure, ...]:
        return _tightest(self._standing, self._when)


class Limits:
    """All callers' limits of a configuration, and where every scope stands. Falsy without limits. Thread-safe.

    Memory is bounded: a full bucket is forgotten, and of more than `MOST_SCOPES` scopes within two minutes those that
    were asked for the longest ago. Their next call finds a full bucket, as a new name would.

    Args:
        debt_seconds: what calls may use beyond their estimates, in seconds' worth.
    """

    def __init__(self, limits: Iterable[Limit] = (), *, debt_seconds: float = DEBT_SECONDS) -> None:
        self.all = tuple(limits)
        self._most = BURST_SECONDS + debt_seconds
        self._rules = rules_of(self.all, _Rule)
        for rule in self._rules:
            rule.idle = self._most
        self._lock = threading.RLock()  # the collector may settle an unread stream inside it
        self._zero = math.inf  # the clock's reading at the limits' own time 0; infinite before the first
        self._latest = 0.0

    def __bool__(self) -> bool:
        return bool(self._rules)

    def __len__(self) -> int:
        """Buckets in memory."""
        return sum(len(rule) for rule in self._rules)

    def ask(
        self,
        caller: Caller,
        now: float,
        *,
        requests: int = 1,
        tokens: int = 0,
        model: str = "",
        provider: str = "",
        address: str = "",
    ) -> Taken | Exceeded:
        """Let a call in by all limits that apply to it, or take nothing.

        Args:
            caller: who asks.
            now: seconds; where it goes back, time stands still.
            requests, tokens: what the call takes, >= 0; the tokens are an estimate. 0 is always let in, and only looks.
            model, provider, address: for limits per one of them; "" = not known, and those do not apply.
        """
        with self._lock:
            at = now - self._zero
            if at >= self._latest:
                self._latest = at
            else:
                at = self._time(now)
            found: list[_Found] = []
            for rule in self._rules:
                of_caller = rule.of_caller
                scope = of_caller(caller) or None if of_caller else rule.scope(caller, model, provider, address)
                if scope is None:
                    continue
                bucket = rule.new.get(scope)
                if bucket is None or at - rule.turned > rule.idle:
                    bucket = rule.find(scope, at)
                units = tokens if rule.of_tokens else requests
                if not units:
                    if bucket is None:
                        bucket = _Bucket()  # in nobody's memory: what `correct` charges makes the real one
                    tat = bucket.tat
                    found.append((rule, scope, bucket, tat if tat > at else at, bucket.given, tat))
                    continue
                before = None if bucket is None else bucket.tat
                tat = (before if before is not None and before > at else at) + units * rule.seconds_each
                if tat - at > _FULL:
                    _undo(found)
                    return self._exceeded(at, caller, requests, tokens, model, provider, address)
                if bucket is None:
                    bucket = rule.make(scope)
                bucket.tat = tat
                found.append((rule, scope, bucket, tat, bucket.given, before))
            return _TakenHere(tokens, found, at)

    def _exceeded(
        self, at: float, caller: Caller, requests: int, tokens: int, model: str, provider: str, address: str
    ) -> Exceeded:
        """What says no: of several limits the one that takes longest."""
        worst: tuple[float, _Rule, Hashable] | None = None
        standing: list[tuple[_Rule, float]] = []
        for rule in self._rules:
            scope = rule.scope(caller, model, provider, address)
            if scope is None:
                continue
            bucket = rule.find(scope, at)
            before = at if bucket is None else bucket.tat
            standing.append((rule, before))
            cost = (tokens if rule.of_tokens else requests) * rule.seconds_each
            tat = max(at, before) + cost
            if tat - at > _FULL and cost:
                wait = math.inf if cost > _FULL else tat - at - BURST_SECONDS
                if worst is None or wait > worst[0]:
                    worst = wait, rule, scope
        assert worst is not None  # it is asked where one of them has said no
        wait, rule, scope = worst
        return _ExceededHere(rule, scope, None if wait == math.inf else wait, standing, at)

    def correct(self, taken: Taken, tokens: int, now: float) -> None:
        """What a call has really used: charge the rest, or give back what it left. Only the first time counts.

        Args:
            tokens: >= 0; 0 where it never reached a provider.
            now: seconds, as for `ask`.
        """
        if not isinstance(taken, _TakenHere):
            return  # another's: these limits have let nothing in for it
        with self._lock:
            done, taken.done = taken.done, True
            over = tokens - taken.tokens
            if done or not over:
                return
            at = now - self._zero
            if at >= self._latest:
                self._latest = at
            else:
                at = self._time(now)
            for rule, scope, then, tat, given, _ in taken.found:
                if not rule.of_tokens:
                    continue
                bucket = rule.new.get(scope)
                if bucket is None or at - rule.turned > rule.idle:
                    bucket = rule.find(scope, at)
                if over > 0:
                    if bucket is None:
                        bucket = rule.make(scope)
                    after = max(bucket.tat, at) + over * rule.seconds_each
                    bucket.tat = max(bucket.tat, min(after, at + self._most))
                elif bucket is then:
                    # At no call since was the bucket's backlog below this: without us it would not have overflowed.
                    sure = tat - (bucket.given - given) - at
                    back = -over * rule.seconds_each
                    if back > sure:
                        back = sure
                    if back > 0:
                        bucket.tat -= back
                        bucket.given += back

    def _time(self, now: float) -> float:
        """Seconds since the beginning, where it has not just gone on from the last time."""
        if self._zero == math.inf:
            self._zero = now
        at = now - self._zero
        if at >= self._latest:
            self._latest = at
        elif self._latest - at > _JUMP:
            self._zero = now - self._latest  # the clock was set back: go on from here, and not once it has caught up
        return self._latest


def _undo(found: Sequence[_Found]) -> None:
    """All limits or none: what was taken from these is there again."""
    for rule, scope, bucket, _, _, before in found:
        if before is None:
            rule.new.pop(scope, None)
        else:
            bucket.tat = before


def _tightest(standing: Sequence[tuple[_Rule, float]], at: float) -> tuple[Figure, ...]:
    return tightest(rule.figure(tat - at) for rule, tat in standing)


def ratelimit_headers(figures: Iterable[Figure]) -> list[Header]:
    """The `x-ratelimit-limit-requests`, `-remaining-` and `-reset-` fields and those of tokens, in OpenAI's names and
    durations (wire-formats 2.3): what both vendors' clients and common rate limiters read."""
    made: list[Header] = []
    for unit, limit, remaining, reset in figures:
        limits, left, full = _HEADERS[unit]
        milliseconds = math.ceil(reset * 1000 - 1e-6)
        told = b"%dms" % milliseconds if 0 < milliseconds < 1000 else duration(reset).encode()
        made += ((limits, b"%d" % limit), (left, b"%d" % remaining), (full, told))
    return made


def duration(seconds: float) -> str:
    """Seconds as Go prints a duration, rounded up to milliseconds: "120ms", "1s", "1m30.5s", "6m0s"."""
    milliseconds = math.ceil(seconds * 1000 - 1e-6)
    if milliseconds <= 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, fraction = divmod(rest, 1000)
    tail = f"{whole}.{fraction:03d}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail
