"""Where a provider's prompt cache pays: which prefixes of a request are marked for it, and for how long.

Prices (wire-formats 1.8): a write costs 1.25 times the input rate for 5 minutes and 2 times for an hour; a read a
tenth. So a mark is a wager that the prefix comes again in time. It is made only where the prefix *has* come again
before, as often as it pays at the gaps it was seen with; and what all such wagers of a tenant on a model have cost, net
of what they have saved, never exceeds the largest of `SHARE` of that traffic's input, `STAKE` tokens' worth, and one
write. Where nothing comes again nothing is marked, and nothing is lost.

Nothing here awaits or reads a clock: times are seconds since the epoch, from the caller.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import count
from math import copysign
from typing import NamedTuple

from headgate.core.usage import Usage
from headgate.policy.recent import Recent

SHORT, LONG = 300.0, 3600.0
"""How long an entry lives, in seconds, since it was last read or written."""
SHORT_PREMIUM, LONG_PREMIUM, READ_SAVES = 0.25, 1.0, 0.9
"""Of the input rate: what a write costs on top, and what a read saves."""
MARGIN_SECONDS = 10.0
"""An entry is taken to be gone so much earlier: the provider's clock began before ours."""

SHARE = 0.02
"""Of the input of a tenant's calls of a model: the most that wagers may lose. Tokens are estimates, so that it is less
than the 3% that are promised."""
STAKE = 10_000.0
"""Tokens' worth that wagers may lose before there is any such input: a few cents."""
BANKED = 50_000.0
"""Tokens' worth of savings that later losses may use up, at most."""

MOST_PREFIXES = 6_000
"""Prefixes remembered: some 1 MB. At least the half of them that came last are."""
MOST_PLACES = 2_000
MOST_MARKS = 3
"""Of the 4 that a request may carry: shared beginning, what was written before, end."""
WRITING_SECONDS = 60.0
"""A write that has not begun to answer by then is not waited for."""
PRIOR = 0.4
"""Of one gap: how many come in time before any is known. One that did not is enough to mark nothing."""
_GAPS = 16  # then they are halved, so that what has changed shows
_NO_GAPS = (0.0, 0.0, 0.0)

_CLAUDE = re.compile(r"claude-(?:(?P<old>[0-9])|(?P<name>[a-z]+)-(?P<version>[0-9]{1,2}(?:[-.][0-9]{1,2}(?![0-9]))?))")
_SMALLEST = {
    **dict.fromkeys(("opus-5-5", "sonnet-5-5", "opus-5", "fable-5", "mythos-5", "fable-5-1", "mythos-5-1"), 512),
    **dict.fromkeys(("opus-4-8", "sonnet-5", "sonnet-4-6", "sonnet-4-5"), 1024),
    "opus-4-7": 2048,
    **dict.fromkeys(("opus-4-6", "opus-4-5", "haiku-4-5"), 4096),
}
_LARGEST_SMALLEST = 4096  # what is taken for a model that no table names
OPENAI_SMALLEST = 1024


def smallest_prefix(model: str) -> int | None:
    """Tokens that a prefix needs for the model to keep it; None = not one that takes marks (wire-formats 1.8)."""
    found = _CLAUDE.search(model)
    if found is None:
        return None
    name, version = found["name"], found["version"]
    return _SMALLEST.get(f"{name}-{version.replace('.', '-')}", _LARGEST_SMALLEST) if name else _LARGEST_SMALLEST


class Prefix(NamedTuple):
    """A beginning of a prompt that could be marked.

    Attributes:
        digest: of all that it consists of.
        tokens: an estimate, >= 0.
        leading: it is of tools and system prompt only.
        last: it is the whole prompt.
        markable: a mark may stand at its end.
    """

    digest: bytes
    tokens: int
    leading: bool
    last: bool
    markable: bool = True


@dataclass(slots=True)
class _Seen:
    """One prefix as it has come so far. Gaps are counted between two sights: within 5 minutes, an hour, or longer."""

    last: float
    ended: bool = False  # a whole prompt ended with it: what comes behind it is a conversation that goes on
    gaps: Sequence[float] = _NO_GAPS  # most prefixes come once: those share it
    until: float = 0.0  # the provider has it until then
    ttl: float = 0.0  # and for how long it was written
    writing: float = 0.0  # somebody is writing it; given up at this time

    def saw(self, now: float) -> None:
        gap = now - self.last
        gaps = list(self.gaps)
        gaps[0 if gap <= SHORT - MARGIN_SECONDS else 1 if gap <= LONG - MARGIN_SECONDS else 2] += 1
        self.gaps = [each / 2 for each in gaps] if sum(gaps) > _GAPS else gaps
        self.last = max(self.last, now)

    def lifetime(self) -> float:
        """The lifetime that is cheapest at such gaps, 0 = no mark."""
        short, hour, longer = self.gaps
        count = short + hour + longer
        if not count:
            return 0.0
        soon, later = (short + PRIOR) / (count + 1), (short + hour + PRIOR) / (count + 1)
        # What each call costs in the long run, of the input rate: a read where it comes in time, else a write.
        costs = {
            0.0: 1.0,
            SHORT: soon * (1 - READ_SAVES) + (1 - soon) * (1 + SHORT_PREMIUM),
            LONG: later * (1 - READ_SAVES) + (1 - later) * (1 + LONG_PREMIUM),
        }
        if not hour or count < 2:
            del costs[LONG]  # twice the input rate is not risked on one sight
        return min(costs, key=costs.__getitem__)


@dataclass(slots=True)
class _Account:
    """What wagers have cost so far, net, in tokens' worth of input; and the input of all calls.

    `number` stands for its place before the digests of that place's prefixes: shorter than a pair.
    """

    number: bytes
    lost: float = 0.0
    input: float = 0.0


@dataclass(slots=True)
class Marks:
    """What was decided about one attempt.

    Attributes:
        at: (index of the prefix, lifetime in seconds), ascending; at most `MOST_MARKS`.
        name: of the shared beginning, or else of the longest prefix that has come before, for people; "" = none has.
        writes: one of them is not in the provider's cache as far as we know.
        repeats: some prefix has come before.
        over: `PromptCaching.ended` was told.
    """

    at: tuple[tuple[int, float], ...] = ()
    name: str = ""
    writes: bool = False
    repeats: bool = False
    over: bool = False
    _place: Hashable = None
    _keys: tuple[bytes, ...] = ()
    _writing: tuple[bytes, ...] = ()
    _risked: float = 0.0


@dataclass(slots=True)
class PrefixStats:
    """What prompt caching did for one prefix. `saved_nano`: nano-dollars, negative = lost, by the price book."""

    name: str
    tenant: str
    model: str
    calls: int = 0  # that had it
    hits: int = 0  # of which the provider read some of it from its cache
    read_tokens: int = 0
    written_tokens: int = 0
    saved_nano: int = 0

    @property
    def hit_rate(self) -> float:
        """Of its calls, 0 to 1."""
        return self.hits / self.calls if self.calls else 0.0


class PromptCaching:
    """Remembers prefixes. One for all exchanges of a gate, of both colours; safe to share between threads."""

    def __init__(self, *, share: float = SHARE, stake: float = STAKE) -> None:
        self._share, self._stake = share, stake
        self._lock = threading.Lock()
        # By the place's number and the digest. Most come once: of those there is only when, negative where a whole
        # prompt ended with it.
        self._seen: Recent[bytes, _Seen | float] = Recent(MOST_PREFIXES)
        self._places = count(1)
        self._accounts: OrderedDict[Hashable, _Account] = OrderedDict()
        self._stats: OrderedDict[tuple[str, str, str], PrefixStats] = OrderedDict()

    def look(
        self, place: Hashable, found: Sequence[Prefix], smallest: int, now: float, *, again: bool = False
    ) -> Marks:
        """Decide about an attempt, and remember its prefixes. Follow with `ended`, once, whatever becomes of it.

        Args:
            place: whose cache it is: tenant, provider, credential, model.
            found: ascending, each a beginning of the next.
            smallest: see `smallest_prefix`.
            again: an earlier attempt of the same exchange was looked at: that is no other sight of it.
        """
        with self._lock:
            account = self._accounts.get(place)
            if account is None:
                account = self._accounts[place] = _Account(next(self._places).to_bytes(8, "big"))
                if len(self._accounts) > MOST_PLACES:
                    self._accounts.popitem(last=False)
            seen = self._sight(account, found, now, again=again)
            best = self._best(found, seen, smallest, now)
            name = _name(found, seen)
            if not best:
                return Marks(name=name, repeats=any(seen), _place=place)
            return self._wager(place, account, found, seen, best, name, now)

    def awaited(self, place: Hashable, found: Sequence[Prefix], now: float) -> bool:
        """Whether somebody is writing a prefix of these just now: a read of it is had by waiting."""
        with self._lock:
            account = self._accounts.get(place)
            if account is None:
                return False
            for each in reversed(found):
                seen = self._seen.get(account.number + each.digest)
                if isinstance(seen, _Seen):
                    if seen.until > now:
                        return False
                    if seen.writing > now:
                        return True
        return False

    def begun(self, marks: Marks, now: float) -> None:
        """The provider has begun to answer: what the attempt marks can be read by others from now on."""
        if not marks.at:
            return
        with self._lock:
            for key, (_, ttl) in zip(marks._keys, marks.at, strict=True):
                seen = self._known(key)
                if seen is not None:
                    seen.ttl = ttl
                    seen.until = max(seen.until, now + ttl - MARGIN_SECONDS)
            self._written(marks)

    def ended(self, marks: Marks, usage: Usage | None) -> None:
        """The attempt is over. Idempotent.

        Args:
            usage: as the provider has counted it; None where it has not.
        """
        if marks.over:
            return
        marks.over = True
        with self._lock:
            self._written(marks)
            account = self._accounts.get(marks._place)
            if account is None:
                return
            account.lost -= marks._risked
            if usage is None:
                return
            account.input += usage.prompt_tokens
            if marks.at:
                account.lost += SHORT_PREMIUM * usage.cache_write_tokens + LONG_PREMIUM * usage.cache_write_long_tokens
                account.lost = max(-BANKED, account.lost - READ_SAVES * usage.cache_read_tokens)
                if not usage.cache_read_tokens and not marks.writes:
                    self._gone(marks)  # what we took to be there was not

    def count(self, tenant: str, model: str, marks: Marks, usage: Usage, saved_nano: int) -> None:
        """Add an attempt to its prefix's statistics."""
        if not marks.name:
            return
        key = (tenant, model, marks.name)
        with self._lock:
            stats = self._stats.get(key)
            if stats is None:
                stats = self._stats[key] = PrefixStats(marks.name, tenant, model)
                if len(self._stats) > MOST_PLACES:
                    self._stats.popitem(last=False)
            stats.calls += 1
            stats.hits += usage.cache_read_tokens > 0
            stats.read_tokens += usage.cache_read_tokens
            stats.written_tokens += usage.cache_write_tokens + usage.cache_write_long_tokens
            stats.saved_nano += saved_nano

    def stats(self) -> list[PrefixStats]:
        """A copy, those that have saved or lost most first."""
        with self._lock:
            found = [
                PrefixStats(s.name, s.tenant, s.model, s.calls, s.hits, s.read_tokens, s.written_tokens, s.saved_nano)
                for s in self._stats.values()
            ]
        return sorted(found, key=lambda each: -abs(each.saved_nano))

    def _known(self, key: bytes) -> _Seen | None:
        """What is known of a prefix, to be changed."""
        found = self._seen.get(key)
        if found is not None and not isinstance(found, _Seen):
            found = self._seen.new[key] = _Seen(abs(found), copysign(1.0, found) < 0)
        return found

    def _sight(self, account: _Account, found: Sequence[Prefix], now: float, *, again: bool) -> list[_Seen | None]:
        """What is known of each of the prefixes, from before this sight of it; None = it is new."""
        known: list[_Seen | None] = []
        key = b""
        for each in found:
            key = account.number + each.digest
            seen = self._known(key)
            if seen is None:
                self._seen.put(key, -now if each.last else now)
            elif not again:
                seen.saw(now)
            known.append(seen)
        if known and known[-1] is None:
            longest = next((seen for seen in reversed(known) if seen is not None), None)
            fresh = self._known(key) if longest is not None and longest.ended else None
            if fresh is not None and longest is not None:
                fresh.gaps = longest.gaps  # a conversation goes on as fast as it has gone so far
        for each, seen in zip(found, known, strict=True):
            if seen is not None and each.last:
                seen.ended = True
        return known

    def _best(
        self, found: Sequence[Prefix], seen: Sequence[_Seen | None], smallest: int, now: float
    ) -> dict[int, float]:
        """Where marks would pay, and for how long each. Nothing where somebody else is just writing the same."""
        best: dict[int, float] = {}
        for leading in (False, True):  # the longest of all, and the longest that other conversations share
            for n in range(len(found) - 1, -1, -1):
                each, known = found[n], seen[n]
                if known is None or not each.markable or each.tokens < smallest or (leading and not each.leading):
                    continue
                ttl = known.ttl if known.until > now else known.lifetime()
                if not ttl:
                    continue
                if known.until <= now and known.writing > now:
                    return {}  # parallel cold requests would all pay for the same write
                best[n] = ttl
                break
        if not best:
            return best
        longest, end = max(best), len(found) - 1
        known = seen[longest]
        if longest < end and known is not None and known.ended and found[end].markable:
            best[end] = best[longest]  # the conversation goes on: its next turn will read all of this one
        ttl = 0.0
        for n in sorted(best, reverse=True):  # entries of an hour have to stand before those of 5 minutes
            ttl = best[n] = max(best[n], ttl)
        return best

    def _wager(
        self,
        place: Hashable,
        account: _Account,
        found: Sequence[Prefix],
        seen: Sequence[_Seen | None],
        best: dict[int, float],
        name: str,
        now: float,
    ) -> Marks:
        alive = max((n for n, known in enumerate(seen) if known is not None and known.until > now), default=-1)
        at = sorted(best.items())
        while at:
            reached, risked = (found[alive].tokens if alive >= 0 else 0), 0.0
            for n, ttl in at:
                if n > alive:
                    risked += (found[n].tokens - reached) * (LONG_PREMIUM if ttl == LONG else SHORT_PREMIUM)
                    reached = found[n].tokens
            room = max(self._stake, self._share * account.input)
            if risked == 0.0 or account.lost <= 0 or account.lost + risked <= room:
                break  # nothing is lost yet: one write is risked, however long
            at.pop()  # the longest risks most
        keys = tuple(account.number + found[n].digest for n, _ in at)
        writing = tuple(key for key, (n, _) in zip(keys, at, strict=True) if n > alive)
        for key in writing:
            written = self._known(key)
            if written is not None:
                written.writing = now + WRITING_SECONDS
        risked = risked if at else 0.0
        account.lost += risked
        return Marks(tuple(at), name, bool(writing), True, False, place, keys, writing, risked)

    def _written(self, marks: Marks) -> None:
        for key in marks._writing:
            seen = self._known(key)
            if seen is not None:
                seen.writing = 0.0
        marks._writing = ()

    def _gone(self, marks: Marks) -> None:
        for key in marks._keys:
            seen = self._known(key)
            if seen is not None:
                seen.until = 0.0


def _name(found: Sequence[Prefix], seen: Sequence[_Seen | None]) -> str:
    """By the shared beginning, so that the turns of one conversation are one row, and all conversations with the same
    system prompt, too."""
    named = b""
    for each, known in zip(found, seen, strict=True):
        if each.leading or (not named and known is not None):
            named = each.digest
    return named.hex()[:12]
