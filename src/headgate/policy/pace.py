"""When the next attempt may go, so that the provider need not say no. Pure: no clock, no lock; the owner has both.

One `Pace` per provider account and model family (`families.family`). What it knows, best first: the limits that
headers tell, the ceilings of the configuration, refusals with and without `retry-after`, and, where only remainders are
told, the rule of thumb of 50 requests and 5,000 tokens. See docs/pacing.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.core.usage import Usage
from headgate.policy.failures import MONEY_CODES
from headgate.policy.pace_bucket import MINUTE, Bucket, Remainder, ceiling
from headgate.policy.pace_need import NO_CEILINGS, Ceilings, Level, Look, Need, Scale
from headgate.policy.pace_ramp import Ramp
from headgate.policy.rate_facts import NO_FACTS, LimitFacts, RateFacts

REQUESTS, INPUT, OUTPUT, TOKENS = range(4)
KINDS = ("requests", "input_tokens", "output_tokens", "tokens")
CEILINGS = ("requests_ceiling", "tokens_ceiling")

FEW_REQUESTS, FEW_TOKENS = 50, 5_000
"""Of what is left, where no limit is told: below it, slow down (the seeds' rule of thumb)."""

STALE = 900.0
"""Seconds of answers that no longer tell a limit, after which it is forgotten."""

FORGOTTEN = 3600.0
"""Seconds after which an attempt that nobody has ended no longer counts as in flight."""

MOST_BLOCKED = 3600.0
"""Seconds; a provider that tells a later `retry-after` is asked again by then."""

_NO_LIMITS: tuple[Bucket | None, Bucket | None] = (None, None)
_NOTHING = (0.0, 0.0, 0.0, 0.0)
_ENDLESS = float("inf")
_LENT_SECONDS = 0.02
"""How long buckets are left alone while calls come faster than that: as long as their answers' headers are, and that
long is our account of them off at most by what comes back meanwhile."""
_FIRST_LESSONS = 100
_LESSON_EVERY = 0.02  # seconds
"""How many answers teach what estimates are worth, and how often after them: a mean over the last fifty or so is the
same whether it has seen all of a busy second's or some."""
_LEAST_SHARE = 0.1
_SHARE_CUT = 0.8  # of our share, by a refusal that others' use explains
_SHARE_STEP = 0.002  # of the rate, back per answer
_SHARE_PER_SECOND = 0.001  # and by time
_MOST_BACKOFF = 60.0  # seconds
_ANY_ORDER = 0.05  # seconds; what is let go within them may come to the provider in another order
_SPREAD = 8.0  # a refusal that no limit explains leaves this part of the burst
_SPREAD_BACK = 300.0  # seconds without such a refusal until the burst may be twice as large again
_HALF_A_THOUSAND = 500.0  # Anthropic's remainders of tokens are rounded to the nearest thousand
_NOMINAL_REQUESTS, _NOMINAL_TOKENS = 50 / MINUTE, 30_000 / MINUTE  # per second; an account's lowest tier


class Pace:
    """The model of one account's limits for one family of models.

    All times are seconds of one clock, whichever; `facts` tell theirs relative to now.

    Args:
        dialect: "anthropic" or "openai": what counts, and when (wire-formats 1.2, 2.3).
        ceilings: of the configuration.
        reads_count: tokens read from the prompt cache count against the input limit (`families.cache_reads_count`).
    """

    __slots__ = (
        "_anthropic",
        "_at",
        "_blocked",
        "_buckets",
        "_ceilings",
        "_easy",
        "_few",
        "_input_scale",
        "_known",
        "_left",
        "_lent",
        "_lent_until",
        "_lesson_at",
        "_limited",
        "_looked_at",
        "_output_scale",
        "_ramp",
        "_reads_count",
        "_refusals",
        "_refused_at",
        "_share",
        "_spread_at",
        "_stale_at",
        "calm",
        "flying",
        "free",
        "last",
        "newest",
    )

    def __init__(
        self, dialect: str, now: float, *, ceilings: Ceilings = NO_CEILINGS, reads_count: bool | None = None
    ) -> None:
        self._anthropic = dialect == "anthropic"
        self._reads_count = not self._anthropic if reads_count is None else reads_count
        self._at = self.last = now  # when the buckets were filled up to; when anything was asked or answered
        self._buckets: list[Bucket | None] = [None, None, None, None]
        self._known: tuple[tuple[int, Bucket], ...] = ()  # of them those that are there
        self._few: dict[int, Remainder] = {}
        requests, tokens = ceilings.requests_per_minute, ceilings.tokens_per_minute
        self._ceilings = _NO_LIMITS
        if requests is not None or tokens is not None:
            self._ceilings = (
                ceiling(requests, now) if requests is not None else None,
                ceiling(tokens, now) if tokens is not None else None,
            )
        self._limited = self._ceilings is not _NO_LIMITS  # something is counted down
        self._stale_at = float("inf")  # no limit is stale before
        self.flying: dict[Need, None] = {}  # in flight, oldest first
        self._ramp = Ramp(now)
        self._input_scale = Scale()
        self._output_scale = Scale()
        self._share = 1.0
        self._blocked = self._refused_at = self._spread_at = float("-inf")
        self._refusals = 0  # in a row
        self._lesson_at = 0.0
        # What the next call meets as long as nothing special happens, see `_settle`: while fewer are in flight than
        # `free`, it goes and nothing is counted down; than `_easy`, it goes where every limit has room.
        self.free = self._easy = 0
        self.calm = False
        # What may go without a look at any bucket: see `_fits`.
        self._lent = self._left = _NOTHING
        self._lent_until = 0.0  # 0.0 = nothing is lent
        self._looked_at = 0.0
        self.newest = float("-inf")  # when the newest of those that have been answered was let go

    @property
    def known(self) -> bool:
        """A limit is known, told or configured."""
        return bool(self._known) or any(self._ceilings)

    @property
    def in_flight(self) -> int:
        """Attempts that were let go and have not been ended."""
        return len(self.flying)

    def ask(self, estimate: Need, now: float) -> float:
        """Seconds to wait, 0.0 = go: then what `estimate` needs is taken, until `correct` or `give_back` ends it.

        A wait is a guess where it hangs on answers that have not come: ask again after it, and whenever `observe`,
        `correct` or `give_back` has been called.

        Raises:
            ValueError: `estimate` is in flight already.
        """
        flying = self.flying
        if estimate in flying:
            raise ValueError("this attempt has been let go already")
        in_flight = len(flying)
        taken = None
        if in_flight < self._easy and (in_flight or now - self.last <= MINUTE):
            if in_flight >= self.free:
                _, told, output, tokens = taken = self._taken(estimate)
                calls, here, there, both = self._left
                if now < self._lent_until and calls >= 1.0 and told <= here and output <= there and tokens <= both:
                    self._left = calls - 1.0, here - told, there - output, both - tokens
                elif not self._fits(taken, now):
                    return self._ask(estimate, now)
            self.last = now
            estimate.taken = taken
            estimate.asked_at = now
            estimate.counted = False
            flying[estimate] = None
            return 0.0
        return self._ask(estimate, now)

    def _ask(self, estimate: Need, now: float) -> float:
        """As `ask`, where it may have to wait."""
        self._refill(now)
        wait = self._blocked - now
        flying = self.flying
        if self._ramp.full(len(flying)):
            self._forget(now)
            wait = max(wait, self._ramp.wait(len(flying), now, known=bool(self._known)))
        taken = None
        if self._limited:
            taken = self._taken(estimate)
            wait = max(wait, self._bucket_wait(taken, now))
        if wait > 0:
            self.free = self._easy = 0
            self.calm = False
            return wait
        if taken is not None:
            self._take(taken, now)
        estimate.taken = taken
        estimate.asked_at = now
        estimate.counted = False
        flying[estimate] = None
        self._settle(now)
        return 0.0

    def _fits(self, taken: tuple[float, float, float, float], now: float) -> bool:
        """Take it where every limit has room for it; else nothing. All of the rate is ours, and nothing but what was
        told limits it.

        Where calls come fast, half of what is in each bucket is lent to those of the next moment, which then look at
        `_left` alone; `_pay` takes what they have used before anybody else looks at the buckets.
        """
        self._pay(now)
        known = self._known
        for kind, bucket in known:
            if not bucket.try_take(taken[kind], now):
                for its, full in known:
                    if full is bucket:
                        return False
                    full.take(-taken[its])
        if now - self._looked_at < _LENT_SECONDS:
            levels = [_ENDLESS] * len(KINDS)
            for kind, bucket in known:
                levels[kind] = bucket.level / 2
            requests, told, output, tokens = levels
            self._left = self._lent = requests, told, output, tokens
            self._lent_until = now + _LENT_SECONDS
        self._looked_at = now
        return True

    def _pay(self, now: float) -> None:
        """The buckets are looked at, or changed: what was lent is taken as far as it was used."""
        until = self._lent_until
        if not until:
            return
        self._lent_until = 0.0
        for kind, bucket in self._known:
            used = self._lent[kind] - self._left[kind]
            if used:
                bucket.refill(min(now, until), 1.0)
                bucket.take(used)

    def _settle(self, now: float) -> None:
        """Something has changed: what does the next call meet? Nearly all of them meet the same as the one before."""
        ramp = self._ramp
        self.free = self._easy = 0
        self.calm = False
        if self._share < 1.0 or self._blocked > now or self._few or self._ceilings is not _NO_LIMITS:
            return
        requests = self._buckets[REQUESTS]
        if requests is not None and requests.burst < MINUTE:
            return
        self._easy = ramp.easy
        if not self._known:
            self.free = self._easy
        self.calm = not self._refusals and ramp.steady

    def observe(self, facts: RateFacts, status: int, now: float, *, need: Need | None = None, code: str = "") -> None:
        """An answer's head has come, of whatever status.

        A 429 ends `need`: it was not let in, so it has taken nothing. Everything else is ended by `correct`.

        Args:
            need: the attempt that was answered, as it was asked with; None for one that was not paced.
            code: the error's code, where there is one: a 429 about money says nothing about pace.
        """
        self._refill(now)
        overtaken = False
        if need is not None and need in self.flying:
            asked_at = need.asked_at
            overtaken = asked_at < self.newest + _ANY_ORDER
            if asked_at > self.newest:
                self.newest = asked_at
            need.counted = True
            self._ramp.answered(now - asked_at)
        refused = status == 429
        if refused and need is not None:
            self.give_back(need, now)
        if facts is not NO_FACTS or now > self._stale_at:
            self._learn(facts, now, refused=refused, overtaken=overtaken)
        if refused and code not in MONEY_CODES:
            self._refuse(facts, now, need, code)
        elif 200 <= status < 400:
            self._refusals = 0
            if self._share < 1.0:
                self._share = min(1.0, self._share + _SHARE_STEP)
            self._ramp.grow(now)
        self._settle(now)

    def correct(self, reserved: Need, actual: Usage | None, now: float) -> None:
        """An attempt has ended, and this is what was counted; None = unknown, and the estimate stands.

        Tokens read from a cache are left out where the provider does not count them. Nothing happens where the attempt
        has been ended already.
        """
        if self.flying.pop(reserved, reserved) is reserved:  # a value is None where it was in
            return
        if actual is None:
            return
        scale = self._input_scale
        if now >= self._lesson_at or scale.seen < _FIRST_LESSONS:
            self._lesson_at = now + _LESSON_EVERY
            reserved.estimate()
            scale.learn(reserved.input_tokens, self._counted(actual))
            self._output_scale.learn(reserved.output_tokens, actual.output_tokens)
        if not self._limited:
            return
        more = self.corrections(reserved, actual)
        asked_at, lent = reserved.asked_at, self._lent
        for kind, bucket in self._known:
            amount = more[kind]  # of requests none
            if amount:
                # What has been told since knew of it.
                left = bucket.correct(amount) if asked_at < bucket.told_at else bucket.charge(amount)
                if left < lent[kind]:
                    self._pay(now)  # nothing of it is lent any more
        ceiling_tokens = self._ceilings[1]
        if ceiling_tokens is not None:
            ceiling_tokens.charge(more[INPUT] + more[OUTPUT])

    def give_back(self, reserved: Need, now: float) -> None:
        """An attempt that was let go was never sent, or not let in: everything it has taken is there again."""
        if not self.holds(reserved):
            return
        self._pay(now)
        del self.flying[reserved]
        taken = self.taken(reserved)
        for kind, bucket in self._known:
            bucket.take(-taken[kind])
        requests, tokens = self._ceilings
        if requests is not None:
            requests.take(-1.0)
        if tokens is not None:
            tokens.take(-(taken[INPUT] + taken[OUTPUT]))

    def holds(self, need: Need) -> bool:
        """It was let go and has not been ended."""
        return need in self.flying

    def taken(self, need: Need) -> tuple[float, float, float, float]:
        """What an attempt that was let go has taken of each of `KINDS`."""
        if need.taken is None:  # it was let go while no limit was known
            need.taken = self._taken(need)
        return need.taken

    def cost(self, estimate: Need) -> float:
        """Seconds of the tightest limit that an attempt takes, > 0: what fairness is counted in (`FairQueue`).

        More than a full bucket goes when the bucket is full, so it takes a full one. Where no limit is known, of an
        account's lowest tier: 50 requests and 30,000 tokens per minute.
        """
        taken = self._taken(estimate)
        if not self.known:
            return max(1 / _NOMINAL_REQUESTS, (taken[INPUT] + taken[OUTPUT]) / _NOMINAL_TOKENS)
        most = 1e-6
        for kind, known in self._known:
            most = max(most, min(taken[kind], known.capacity) / known.rate)
        for bucket, need in zip(self._ceilings, (1.0, taken[INPUT] + taken[OUTPUT]), strict=True):
            if bucket is not None:
                most = max(most, min(need, bucket.capacity) / bucket.rate)
        return most

    def limits(self) -> Iterator[tuple[str, Bucket]]:
        """The limits that are known, by name: those told, in the order of `KINDS`, then the ceilings."""
        for kind, bucket in self._known:
            yield KINDS[kind], bucket
        for name, limit in zip(CEILINGS, self._ceilings, strict=True):
            if limit is not None:
                yield name, limit

    def corrections(self, reserved: Need, actual: Usage) -> tuple[float, float, float, float]:
        """How much more than it had taken an attempt has used of each of `KINDS`; negative = less."""
        counted, output = self._counted(actual), actual.output_tokens
        _, taken_input, taken_output, taken_tokens = reserved.taken or self.taken(reserved)
        more = counted + output - taken_tokens
        # OpenAI charges up front and gives nothing back, as far as is known (wire-formats 2.3); headers tell otherwise.
        return 0.0, counted - taken_input, output - taken_output, more if self._anthropic else max(0.0, more)

    def _counted(self, actual: Usage) -> int:
        """The tokens of a prompt that the provider counts."""
        counted = actual.input_tokens + actual.cache_write_tokens + actual.cache_write_long_tokens
        return counted + actual.cache_read_tokens if self._reads_count else counted

    def flow(self, now: float) -> tuple[float, float, float]:
        """What the wait of a queue hangs on (`FairQueue.push`).

        Returns:
            Cost per second that goes, as `cost` counts it, 0.0 = unknown; cost that can go at once; seconds in which
            nobody goes.
        """
        self._refill(now)
        blocked = max(0.0, self._blocked - now)
        limits = [bucket for _, bucket in self._known] + [limit for limit in self._ceilings if limit is not None]
        if not limits:
            return 0.0, 0.0, blocked
        ahead = min(bucket.level / bucket.rate for bucket in limits)
        return self._share, ahead - blocked * self._share, blocked

    def look(self, now: float) -> Look:
        """What is believed at `now`."""
        self._refill(now)
        levels = tuple(Level(name, b.limit, b.level, b.rate) for name, b in self.limits())
        return Look(levels, len(self.flying), self._ramp.window, max(0.0, self._blocked - now), self._share)

    def _taken(self, estimate: Need) -> tuple[float, float, float, float]:
        estimate.estimate()
        told = estimate.input_tokens * self._input_scale.factor
        output = estimate.output_tokens * self._output_scale.factor
        return 1.0, told, output, told + output if self._anthropic else float(estimate.tokens)

    def _bucket_wait(self, taken: tuple[float, float, float, float], now: float) -> float:
        wait = 0.0
        share = self._share
        for kind, bucket in self._known:
            needed = bucket.wait(taken[kind], share)
            if needed > wait:
                wait = needed
        for remainder in self._few.values():
            wait = max(wait, remainder.wait(now))
        requests, tokens = self._ceilings
        if requests is not None:
            wait = max(wait, requests.wait(1.0, 1.0))
        if tokens is not None:
            wait = max(wait, tokens.wait(taken[INPUT] + taken[OUTPUT], 1.0))
        return wait

    def _take(self, taken: tuple[float, float, float, float], now: float) -> None:
        for kind, bucket in self._known:
            bucket.take(taken[kind])
        for kind, remainder in self._few.items():
            remainder.take(taken[kind], now)
        requests, tokens = self._ceilings
        if requests is not None:
            requests.take(1.0)
        if tokens is not None:
            tokens.take(taken[INPUT] + taken[OUTPUT])

    def _pending(self) -> tuple[float, float, float, float]:
        """Taken by those in flight, and perhaps not in what was last told: the provider had taken in whoever was
        answered by then, but for what is still to be produced. Asked a few times a second: nobody keeps the sums."""
        requests = told = output = tokens = 0.0
        for need in self.flying:
            _, its_input, its_output, its_tokens = need.taken or self.taken(need)
            output += its_output
            if not need.counted:
                requests += 1.0
                told += its_input
                tokens += its_tokens
        return requests, told, output, tokens

    def _forget(self, now: float) -> None:
        while self.flying:
            oldest = next(iter(self.flying))
            if now - oldest.asked_at < FORGOTTEN:
                return
            del self.flying[oldest]

    def _refill(self, now: float) -> None:
        self._pay(now)
        idle = now - self.last
        if idle > 0:
            self.last = now
            if idle > MINUTE and not self.flying:
                self._ramp.rest(idle, now)
                self._settle(now)
        passed = now - self._at
        if passed <= 0:
            return
        self._at = now
        share = self._share
        if not self._limited and share == 1.0:
            return
        for _, bucket in self._known:
            bucket.refill(now, share)
        if self._ceilings is not _NO_LIMITS:
            for limit in self._ceilings:
                if limit is not None:
                    limit.refill(now, 1.0)
        if share < 1.0:
            self._share = min(1.0, share + passed * _SHARE_PER_SECOND)
        requests = self._buckets[REQUESTS]
        if requests is not None and requests.burst < MINUTE and now - self._spread_at >= _SPREAD_BACK:
            requests.spread(min(MINUTE, requests.burst * 2))
            self._spread_at = now

    def _learn(self, facts: RateFacts, now: float, *, refused: bool, overtaken: bool) -> None:
        told = (facts.requests, facts.input_tokens, facts.output_tokens, self._total(facts))
        pending = self._pending() if facts is not NO_FACTS else _NOTHING
        for kind, fact in enumerate(told):
            if fact is not None:
                self._learn_one(kind, fact, now, pending[kind], refused=refused, overtaken=overtaken)
                continue
            bucket = self._buckets[kind]
            if bucket is not None and now - bucket.told_at > STALE:
                self._set(kind, None)
        if now > self._stale_at:
            self._set(REQUESTS, self._buckets[REQUESTS])

    def _set(self, kind: int, bucket: Bucket | None) -> None:
        self._buckets[kind] = bucket
        self._known = tuple((kind, bucket) for kind, bucket in enumerate(self._buckets) if bucket is not None)
        self._limited = bool(self._known or self._few) or self._ceilings is not _NO_LIMITS
        # The oldest is told again with nearly every answer: when this comes, it is looked up anew.
        self._stale_at = min((bucket.told_at + STALE for _, bucket in self._known), default=float("inf"))

    def _total(self, facts: RateFacts) -> LimitFacts | None:
        """Anthropic's `tokens` repeats the tightest of the others, unless it is one of its own (a workspace's)."""
        total = facts.tokens
        if total is None or not self._anthropic:
            return total
        for other in (facts.input_tokens, facts.output_tokens):
            if other is not None and (total.limit is None or other.limit is None or other.limit == total.limit):
                return None
        return total

    def _learn_one(
        self, kind: int, fact: LimitFacts, now: float, flying: float, *, refused: bool, overtaken: bool
    ) -> None:
        bucket = self._buckets[kind]
        # What was let go later and has been answered already may not be in what an overtaken answer tells is left: then
        # any part of it may be gone, and our own account is not raised to it.
        pending = float("inf") if overtaken and bucket is not None else flying
        limit, remaining, reset = fact
        if limit is None:
            if bucket is None and remaining is not None:
                few = self._few.get(kind)
                if few is None:
                    few = self._few[kind] = Remainder(FEW_REQUESTS if kind == REQUESTS else FEW_TOKENS)
                    self._limited = True
                few.learn(remaining, reset, now)
            elif bucket is not None and remaining is not None:
                bucket.learn(remaining, pending, *self._grain(kind, remaining, refused))
            return
        new = bucket is None
        if bucket is None:
            bucket = Bucket(limit, now)
            self._few.pop(kind, None)
            self._set(kind, bucket)
        elif bucket.limit != limit:
            bucket.set_limit(limit)
        bucket.told_at = now
        if remaining is not None and remaining < limit and reset and not self._anthropic:
            bucket.learn_window(limit - remaining, reset)
        above, below = self._grain(kind, remaining, refused)
        left: float | None = remaining
        if left is None and reset is not None:
            left = max(0.0, limit - reset * bucket.rate)
            above = below = 2 * bucket.rate  # a reset may be told in whole seconds
        if left is not None:
            (bucket.begin if new else bucket.learn)(left, pending, above, below)
        elif new:
            bucket.take(flying)

    def _grain(self, kind: int, remaining: int | None, refused: bool) -> tuple[float, float]:
        """How far the truth may be above, and below, a remainder: they are rounded down, some to the nearest thousand.

        The room above is believed only while we are alone, when our own account is exact: else it would be sent into
        at every answer that tells there is nothing left.
        """
        rounded = self._anthropic and kind != REQUESTS and remaining is not None and remaining % 1000 == 0
        below = _HALF_A_THOUSAND if rounded else 0.0
        if refused:
            return -below, below
        if self._share < 1.0:
            return 0.0, below
        return below or 1.0, below

    def _refuse(self, facts: RateFacts, now: float, need: Need | None, code: str) -> None:
        """A 429. Those that were on their way when the last one came are the same refusal."""
        again = need is not None and need.asked_at <= self._refused_at
        told = facts.retry_after
        if told:
            self._blocked = max(self._blocked, now + min(told, MOST_BLOCKED))
        if again:
            return
        self._refused_at = now
        self._refusals += 1
        requests = self._buckets[REQUESTS]
        if code == "ramp_limit_exceeded" or not self._known:
            self._ramp.halve(len(self.flying) + 1, now)
        elif self._bucket_wait(self.taken(need) if need is not None else (1.0, 1.0, 1.0, 1.0), now) > 0:
            self._share = max(_LEAST_SHARE, self._share * _SHARE_CUT)
        elif requests is not None:
            # There is room in every limit that we know of: one is enforced over less than its minute.
            requests.spread(max(1.0, requests.burst / _SPREAD))
            self._spread_at = now
        if not told:
            self._blocked = max(self._blocked, now + min(_MOST_BACKOFF, 2.0 ** (min(self._refusals, 10) - 1)))


class Paces:
    """The paces of all accounts and families, made when first asked for; the oldest idle ones make room.

    Args:
        most: how many are kept, >= 1. Those with attempts in flight are kept beyond it.
    """

    __slots__ = ("_kept", "_most")

    def __init__(self, most: int = 1000) -> None:
        self._kept: dict[tuple[str, str], Pace] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._kept)

    def of(
        self,
        account: str,
        family: str,
        dialect: str,
        now: float,
        *,
        ceilings: Ceilings = NO_CEILINGS,
        reads_count: bool | None = None,
    ) -> Pace:
        """The pace of one provider account (provider and a digest of its credential) and family."""
        key = (account, family)
        found = self._kept.pop(key, None)
        if found is None:
            found = Pace(dialect, now, ceilings=ceilings, reads_count=reads_count)
            if len(self._kept) >= self._most:
                self._make_room()
        self._kept[key] = found
        return found

    def all(self) -> list[tuple[tuple[str, str], Pace]]:
        """Every ((account, family), pace), the one used last at the end."""
        return list(self._kept.items())

    def _make_room(self) -> None:
        for key, pace in self._kept.items():
            if not pace.in_flight:
                del self._kept[key]
                return
