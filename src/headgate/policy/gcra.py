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

from headgate.core.caller import Caller
from headgate.core.limits import Exceeded, Figure, Limit, Taken
from headgate.policy.limit_rules import BURST_SECONDS, DEBT_SECONDS, SLACK, Rule, rules_of

MOST_SCOPES = 100_000
"""Scopes kept per limit and generation, there are two: some 20 MB. They come from callers."""

_FULL = BURST_SECONDS + SLACK
_NOTHING = 1e-9  # seconds: a bucket that lacks less is full
_UP = (
    1.0 - 1e-6
)  # milliseconds: cutting what is longer by that rounds up, but for what is only the fractions' inexactness
_JUMP = 1.0  # seconds that a clock goes back before it counts as set back; less is threads that overtook each other

Header = tuple[bytes, bytes]


class _Bucket:
    """One scope's. Times are seconds since the limits' own beginning: near zero floating point is finer."""

    __slots__ = ("given", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = 0.0  # theoretical arrival time: the bucket is full from then on
        self.tokens = 0.0  # the same of the limit in tokens
        self.given = 0.0  # seconds' worth of tokens given back so far


_HEADERS = {
    unit.decode(): (b"x-ratelimit-limit-" + unit, b"x-ratelimit-remaining-" + unit, b"x-ratelimit-reset-" + unit)
    for unit in (b"requests", b"tokens")
}


class _Rule(Rule):
    """One limit in one unit, and its headers."""

    __slots__ = ("_left", "_lines", "_reset", "_told", "_untouched")

    def __init__(self, limit: Limit, unit: str, per_minute: int, nth: int) -> None:
        super().__init__(limit, unit, per_minute, nth)
        name, self._left, self._reset = _HEADERS[unit]
        self._told = name, b"%d" % per_minute
        self._untouched = self._told, (self._left, b"%d" % per_minute), (self._reset, b"0s")  # of a full bucket
        self._lines = b"%b: %d\r\n%b: %%b\r\n%b: %%b\r\n" % (name, per_minute, self._left, self._reset)

    # As `figure` and `ratelimit_headers`, in one go: every answer has them. "%d" cuts what remains to whole units.

    def headers(self, filling: float) -> tuple[Header, Header, Header]:
        """Of a scope whose bucket is full after `filling` seconds."""
        if filling <= _NOTHING:
            return self._untouched
        milliseconds = filling * 1000.0 + _UP
        if milliseconds < 1000.0:
            reset = b"%dms" % milliseconds
        else:
            reset = _duration(milliseconds)
            if filling > self.room:
                filling = self.room
        return self._told, (self._left, b"%d" % ((self.room - filling) / self.seconds_each)), (self._reset, reset)

    def lines(self, filling: float) -> bytes:
        """`headers` as they are written."""
        _, (_, remaining), (_, reset) = self.headers(filling)
        return self._lines % (remaining, reset)


class _Pool:
    """One limit, in requests, in tokens or in both, and its buckets in two generations: what has not been asked for
    throughout one of them is full, and forgotten without being looked at.

    Attributes:
        key: whose calls alone it is for; None = it is not a key's own.
        request_seconds, token_seconds: what one takes of a bucket; 0.0 without a limit in that unit.
        turned, until: when this generation has begun, and ends. At the end every bucket that nobody has asked for since
            is full.
    """

    __slots__ = (
        "_idle",
        "_old",
        "key",
        "new",
        "of_caller",
        "of_requests",
        "of_tokens",
        "request_seconds",
        "rules",
        "token_seconds",
        "turned",
        "until",
    )

    def __init__(self, rules: Sequence[_Rule], idle: float) -> None:
        self.rules = rules
        self.of_requests = next((rule for rule in rules if rule.unit == "requests"), None)
        self.of_tokens = next((rule for rule in rules if rule.unit == "tokens"), None)
        self.request_seconds = 0.0 if self.of_requests is None else self.of_requests.seconds_each
        self.token_seconds = 0.0 if self.of_tokens is None else self.of_tokens.seconds_each
        self.of_caller = rules[0].of_caller
        self.key = dict(rules[0].limit.only).get("key")
        self._idle = self.until = idle
        self.turned = 0.0
        self.new: dict[Hashable, _Bucket] = {}
        self._old: dict[Hashable, _Bucket] = {}

    def scope(self, caller: Caller, model: str, provider: str, address: str) -> Hashable | None:
        """Whose bucket it is; None where the limit does not apply."""
        return self.rules[0].scope(caller, model, provider, address)

    def find(self, scope: Hashable, at: float, *, keep: float = 0.0) -> _Bucket:
        """Its bucket, in this generation. Where there is none it is a full one, in nobody's memory unless `keep`."""
        if at > self.until or len(self.new) >= MOST_SCOPES:
            idle = at > self.until + self._idle
            self._old, self.new, self.turned, self.until = ({} if idle else self.new), {}, at, at + self._idle
        found = self.new.get(scope)
        if found is None:
            known = self._old.pop(scope, None)
            found = known or _Bucket()
            if known is not None or keep:
                self.new[scope] = found
        return found

    def standing(self, requests: float, tokens: float, at: float) -> Sequence[tuple[_Rule, float]]:
        """Each rule, and in how many seconds its bucket is full that has these theoretical arrival times."""
        return [(rule, (requests if rule is self.of_requests else tokens) - at) for rule in self.rules]

    def __len__(self) -> int:
        return len(self.new) + len(self._old)


_Found = tuple[_Pool, Hashable, _Bucket, float, float, float, float, float]
"""A limit that a call has taken from: its scope and bucket, the bucket's theoretical arrival times (requests, tokens)
with the call in it, what had been given back of it by then, and the two times before."""


class _TakenHere(Taken):
    __slots__ = ("done", "found", "when")

    def __init__(self, tokens: int, found: Sequence[_Found], at: float):
        self.tokens = tokens
        self.done = False  # it has been corrected
        self.found = found
        self.when = at

    def _standing(self) -> Sequence[tuple[_Rule, float]]:
        """For each unit the limit with the least remaining, and in how many seconds its bucket is full."""
        at = self.when
        return _tightest([each for part in self.found for each in part[0].standing(part[3], part[4], at)])

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple([rule.figure(filling) for rule, filling in self._standing()])

    def headers(self) -> list[Header]:
        made: list[Header] = []
        found, at = self.found, self.when
        if len(found) > 1:
            for rule, filling in self._standing():
                made += rule.headers(filling)
            return made
        for pool, _, _, requests, tokens, _, _, _ in found:  # one at most: nothing to compare
            of_requests, of_tokens = pool.of_requests, pool.of_tokens
            if of_requests is not None:
                made += of_requests.headers(requests - at)
            if of_tokens is not None:
                made += of_tokens.headers(tokens - at)
        return made

    def lines(self) -> bytes:
        found, at = self.found, self.when
        if len(found) > 1:
            return b"".join([rule.lines(filling) for rule, filling in self._standing()])
        made = b""
        for pool, _, _, requests, tokens, _, _, _ in found:
            of_requests, of_tokens = pool.of_requests, pool.of_tokens
            if of_requests is not None:
                made = of_requests.lines(requests - at)
            if of_tokens is not None:
                made += of_tokens.lines(tokens - at)
        return made


class _ExceededHere(Exceeded):
    __slots__ = ("_standing",)

    def __init__(self, rule: _Rule, scope: Hashable, wait: float | None, standing: Sequence[tuple[_Rule, float]]):
        self.limit = rule.limit
        self.unit = rule.unit
        self.scope = scope
        self.retry_after = wait
        self._standing = standing

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple([rule.figure(filling) for rule, filling in _tightest(self._standing)])


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
        self._pools = [_Pool(rules, self._most) for limit in self.all if (rules := rules_of([limit], _Rule))]
        # Keys may have limits of their own, and there may be thousands: nobody looks through those of others.
        self._of_key: dict[str, list[_Pool]] = {}
        self._of_others: list[_Pool] = []
        for pool in self._pools:
            if pool.key is None:
                for each in (self._of_others, *self._of_key.values()):
                    each.append(pool)
            else:
                self._of_key.setdefault(pool.key, [*self._of_others]).append(pool)
        self._lock = threading.RLock()  # the collector may settle an unread stream inside it
        self._zero = math.inf  # the clock's reading at the limits' own time 0; infinite before the first
        self._latest = 0.0

    def __bool__(self) -> bool:
        return bool(self._pools)

    @property
    def counts_tokens(self) -> bool:
        """Whether one of them is in tokens: else there is nothing to correct."""
        return any(pool.of_tokens is not None for pool in self._pools)

    def __len__(self) -> int:
        """Buckets in memory."""
        return sum(len(pool) for pool in self._pools)

    def ask(
        self,
        caller: Caller,
        now: float,
        tokens: int = 0,
        model: str = "",
        provider: str = "",
        address: str = "",
        *,
        requests: int = 1,
    ) -> Taken | Exceeded:
        """Let a call in by all limits that apply to it, or take nothing.

        Args:
            caller: who asks.
            now: seconds; where it goes back, time stands still.
            tokens, requests: what the call takes, >= 0; the tokens are an estimate. 0 is always let in, and only looks.
            model, provider, address: for limits per one of them; "" = not known, and those do not apply.
        """
        with self._lock:
            at = now - self._zero
            if at >= self._latest:
                self._latest = at
            else:
                at = self._time(now)
            most = at + _FULL
            found: list[_Found] = []
            pools = self._of_others
            if self._of_key:
                pools = self._of_key.get(caller.key, pools)
            for pool in pools:
                of_caller = pool.of_caller
                scope = of_caller(caller) or None if of_caller else pool.scope(caller, model, provider, address)
                if scope is None:
                    continue
                bucket = pool.new.get(scope)
                if bucket is None or at > pool.until:
                    cost = requests * pool.request_seconds + tokens * pool.token_seconds
                    bucket = pool.find(scope, at, keep=cost)
                before, tokens_before = bucket.requests, bucket.tokens
                # Where there is no limit in a unit, one of it takes 0.0 seconds, and its time is never beyond `at`.
                tat = (before if before > at else at) + requests * pool.request_seconds
                tokens_tat = (tokens_before if tokens_before > at else at) + tokens * pool.token_seconds
                if (tat > most and requests) or (tokens_tat > most and tokens):
                    if not (before or tokens_before):
                        pool.new.pop(scope, None)  # it was made for this call
                    _undo(found)
                    return self._exceeded(at, caller, requests, tokens, model, provider, address)
                # Before anything is made that the collector may run for: it may settle a stream, and correct this.
                bucket.requests = tat
                bucket.tokens = tokens_tat
                found.append((pool, scope, bucket, tat, tokens_tat, bucket.given, before, tokens_before))
            return _TakenHere(tokens, found, at)

    def _exceeded(
        self, at: float, caller: Caller, requests: int, tokens: int, model: str, provider: str, address: str
    ) -> Exceeded:
        """What says no: of several limits the one that takes longest."""
        worst: tuple[float, _Rule, Hashable] | None = None
        standing: list[tuple[_Rule, float]] = []
        for pool in self._of_key.get(caller.key, self._of_others):
            scope = pool.scope(caller, model, provider, address)
            if scope is None:
                continue
            bucket = pool.find(scope, at)
            standing += pool.standing(bucket.requests, bucket.tokens, at)
            for rule, units, before in (
                (pool.of_requests, requests, bucket.requests),
                (pool.of_tokens, tokens, bucket.tokens),
            ):
                if rule is None or not units:
                    continue
                cost = units * rule.seconds_each
                tat = max(before, at) + cost
                if tat > at + _FULL:  # to the last bit as `ask` counts
                    wait = math.inf if cost > _FULL else tat - at - BURST_SECONDS
                    if worst is None or wait > worst[0]:
                        worst = wait, rule, scope
        assert worst is not None  # it is asked where one of them has said no
        wait, rule, scope = worst
        return _ExceededHere(rule, scope, None if wait == math.inf else wait, standing)

    def correct(self, taken: Taken, tokens: int, now: float) -> None:
        """What a call has really used: charge the rest, or give back what it left. Only the first time counts.

        Args:
            tokens: >= 0; 0 where it never reached a provider.
            now: seconds, as for `ask`.
        """
        if not isinstance(taken, _TakenHere):
            return  # another's: these limits have let nothing in for it
        with self._lock:
            over = tokens - taken.tokens
            if taken.done or not over:
                taken.done = True
                return
            taken.done = True
            at = now - self._zero
            if at >= self._latest:
                self._latest = at
            else:
                at = self._time(now)
            for part in taken.found:
                if over < 0 and part[4] <= at:
                    continue  # as nearly always: the bucket would be full with it as well
                pool, scope, then, _, tat, given, _, _ = part
                seconds = over * pool.token_seconds
                if not seconds:
                    continue
                bucket = pool.new.get(scope)
                if bucket is None or at > pool.until:
                    bucket = pool.find(scope, at, keep=seconds > 0.0)
                known = bucket.tokens
                if seconds > 0.0:
                    after = (known if known > at else at) + seconds
                    most = at + self._most
                    if after > most:
                        after = most
                    if after > known:
                        bucket.tokens = after
                elif bucket is then:
                    # At no call since was the bucket's backlog below this: without us it would not have overflowed.
                    back = tat - (bucket.given - given) - at
                    if back > -seconds:
                        back = -seconds
                    if back > 0.0:
                        bucket.tokens = known - back
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
    for pool, scope, bucket, _, _, _, before, tokens_before in found:
        bucket.requests = before
        bucket.tokens = tokens_before
        if not (before or tokens_before):  # nothing else was ever taken of it
            pool.new.pop(scope, None)


def _tightest(standing: Sequence[tuple[_Rule, float]]) -> Sequence[tuple[_Rule, float]]:
    """For each unit the rule with the least remaining; of equals the first."""
    found: dict[str, tuple[_Rule, float]] = {}
    least: dict[str, int] = {}
    for each in standing:
        rule, filling = each
        remaining = rule.remaining(filling)
        if rule.unit not in found or remaining < least[rule.unit]:
            found[rule.unit], least[rule.unit] = each, remaining
    return tuple(found.values())


def ratelimit_headers(figures: Iterable[Figure]) -> list[Header]:
    """The `x-ratelimit-limit-requests`, `-remaining-` and `-reset-` fields and those of tokens, in OpenAI's names and
    durations (wire-formats 2.3): what both vendors' clients and common rate limiters read."""
    made: list[Header] = []
    for unit, limit, remaining, reset in figures:
        limits, left, full = _HEADERS[unit]
        made += ((limits, b"%d" % limit), (left, b"%d" % remaining), (full, duration(reset)))
    return made


def duration(seconds: float) -> bytes:
    """Seconds as Go prints a duration, rounded up to milliseconds: "120ms", "1s", "1m30.5s", "6m0s"."""
    return b"0s" if seconds <= _NOTHING else _duration(seconds * 1000.0 + _UP)


def _duration(milliseconds: float) -> bytes:
    """So many whole ones, >= 1."""
    if milliseconds < 1000.0:
        return b"%dms" % milliseconds
    if milliseconds < 60_000.0:
        return b"%gs" % (int(milliseconds) / 1000)
    minutes, rest = divmod(int(milliseconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return (b"%dh%dm%gs" % (hours, minutes, rest / 1000)) if hours else b"%dm%gs" % (minutes, rest / 1000)
