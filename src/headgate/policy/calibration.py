"""What a token weighs, learned from answers that were counted, for charging those that were not (promise 3).

A stream that was cut or left has no count. Its bytes bound its tokens (a token stands for at least one byte), but at
about four times the truth. So from every counted answer it is learned, per provider and model: tokens per byte of
content; tokens that were billed and never shown (hidden reasoning); how fast tokens come; and, for answers that end
before anybody has told the prompt's size, tokens per byte of body and how much of the prompt came out of the
provider's cache.

What is charged from that is never the mean. It is the mean, plus `UNSURE` standard deviations of the mean itself, plus
`EACH` of a single answer, plus what keeps the *sum* of a model's estimates above the truth: `SURE` standard deviations
of that sum, of which each further estimate adds less, since the errors of many answers even out. Where little is known,
or content of a kind that was not seen before, the bytes bound it as before.

Everything starts unknown in each process and is learned again; memory is bounded; the same answers in the same order
give the same estimates.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, cycle, repeat
from math import ceil, sqrt

from headgate.core.usage import Usage

SURE = 3.0
"""Standard deviations by which the sum of a model's estimates stays above what is expected."""

UNSURE = 2.0
"""Standard deviations of what was learned itself, from few answers or of other content."""

EACH = 1.25
"""Standard deviations by which a single estimate does, however many there are."""

ENOUGH = 6
"""Answers of a kind after which what was learned of it is used."""

LATENCY_SECONDS = 0.1
"""What a provider writes, and bills, in so many seconds is on its way when we leave: a round trip, and its noticing."""

UNSEEN_MOST = 256
"""Tokens that are charged at most for `LATENCY_SECONDS`; and so many where no rate is known."""

UNSEEN_LEAST = 8
"""Tokens that are charged at the least for them, and where a connection broke: an event or two were on their way."""

SILENT_RATE = 300.0
"""Tokens per second of silence that a model may have reasoned, where nothing was learned of it yet: above what the
fastest of today's large models write."""

UNCACHED = 1_024
"""OpenAI caches no prompt with fewer tokens (wire-formats 2.5)."""

THINKING = 1  # as `wire.stream` has it: the thinking was shown

MODELS, GROUPS = 512, 4_096  # kept at most; the one used longest ago goes first
_STEADY = 0.5  # seconds after which a stream's own rate is better known than its model's
_FORGET = 2_048  # answers after which those before count half
_HEAVY = 1_000.0  # bytes; a longer answer weighs no more
_PRIOR = 0.002  # answers' weight with which it is believed, to begin with, that each byte is a token
_OFTEN = 256  # answers of a model after which only one in sixteen is looked at
_KNOWN = 64  # prompts, or answers, of a kind after which they are looked at no more often than that
_LARGE_BODY = 256 * 1024  # bytes; larger ones are not learned from
_ANYBODY = -1  # in place of a system prompt's hash, which is never this
_NOT_ASCII = bytes(range(128, 256))
_LEAD_OF_FOUR = bytes(range(0xF0, 0xF8))


@dataclass(slots=True)
class Shown:
    """What a stream has shown. Bytes are of UTF-8 or of JSON escapes. Immutable by convention.

    Attributes:
        content: bytes of generated content; of which `wide` in characters of two or three bytes, `beyond` in characters
            of four, and `sealed` stand for thinking that was not shown.
        kinds: bits of `wire.stream`: content of these kinds has a density of its own.
        silent: seconds from sending to the first content, or as long as it was waited for.
        seconds: from the first content to the last.
        left: it was still being written when we left it.
        lost: its connection broke, and what was on its way with it.
        hides: its dialect may bill reasoning that it does not show.
    """

    content: int = 0
    wide: int = 0
    beyond: int = 0
    sealed: int = 0
    kinds: int = 0
    silent: float = 0.0
    seconds: float = 0.0
    left: bool = False
    lost: bool = False
    hides: bool = False


class Pool:
    """How far the sum of estimates may be off by now: its variance, and what each further one adds to the margin."""

    __slots__ = ("_variance",)

    def __init__(self) -> None:
        self._variance = 0.0

    def margin(self, deviation: float) -> float:
        """What the next estimate, with this standard deviation, needs on top so that the sum stays above the truth."""
        before = self._variance
        self._variance = after = before + deviation * deviation
        return SURE * (sqrt(after) - sqrt(before))


class Mean:
    """Mean and spread of a number that is not negative."""

    __slots__ = ("_squares", "count", "mean")

    def __init__(self) -> None:
        self.count = 0.0
        self.mean = 0.0
        self._squares = 0.0

    def learn(self, value: float) -> None:
        """One more."""
        count = self.count
        if count >= _FORGET:
            count *= 0.5
            self._squares *= 0.5
        self.count = count = count + 1
        off = value - self.mean
        if off:  # shares of a prompt mostly are all or nothing, time after time
            self.mean = mean = self.mean + off / count
            self._squares += off * (value - mean)

    def above(self, pool: Pool) -> float:
        """The mean, and as much on top as keeps the sum of all such estimates above the truth."""
        deviation = self._deviation()
        return self.mean + UNSURE * deviation / sqrt(self.count) + pool.margin(deviation)

    def below(self, pool: Pool, weight: float) -> float:
        """As `above`, underneath, where it is a share of `weight` > 0. Never negative."""
        deviation = self._deviation()
        return max(0.0, self.mean - UNSURE * deviation / sqrt(self.count) - pool.margin(deviation * weight) / weight)

    def _deviation(self) -> float:
        return sqrt(self._squares / max(self.count - 1, 1))


_Line = tuple[float, float, float, float, float]
"""Mean ratio, slope, mean share, variance of the share, standard deviation from the line."""


class Density:
    """Tokens per byte as a straight line over the share of bytes that are not ASCII.

    A weighted regression: with every answer it is surer of itself where it has been, and as unsure as ever where not.
    """

    __slots__ = ("_p", "_pp", "_pr", "_r", "_rr", "_w", "_ww", "count", "drawn")

    def __init__(self) -> None:
        self.count = 0.0
        self._w = self._ww = 0.0
        self._p = self._pp = self._r = self._pr = self._rr = 0.0
        self.drawn: _Line | None = None  # until more is learned

    def learn(self, share: float, size: float, tokens: float) -> None:
        """One more: `tokens` in `size` bytes, > 0, of which `share` were not ASCII."""
        ratio = tokens / size if tokens < size else 1.0
        weight = size / _HEAVY if size < _HEAVY else 1.0
        self.drawn = None
        if self.count >= _FORGET:
            self.count *= 0.5
            for name in ("_w", "_ww", "_p", "_pp", "_r", "_pr", "_rr"):
                setattr(self, name, getattr(self, name) * 0.5)
        self.count += 1
        weighed = weight * ratio
        self._w += weight
        self._ww += weight * weight
        self._r += weighed
        self._rr += weighed * ratio
        if share:
            self._p += weight * share
            self._pp += weight * share * share
            self._pr += weight * share * ratio

    def expected(self, share: float) -> float:
        """Tokens per byte, without any margin."""
        return _on(self._line(), share)

    def tokens(self, share: float, size: float, pool: Pool, *, each: float = EACH) -> float:
        """Tokens in `size` bytes, with all margins; never more than bytes."""
        if size <= 0:
            return 0.0
        mean, slope, middle, across, deviation = self._line()
        answers = self._w * self._w / self._ww if self._ww else 1.0
        off = share - middle
        unsure = deviation * sqrt((1.0 + off * off / across) / answers)
        typical = _HEAVY * self._w / max(self.count, 1.0)
        single = deviation * sqrt(max(1.0, typical / size)) * size  # a short answer scatters more
        likely = max(0.0, mean + slope * off) * size
        return min(size, likely + UNSURE * unsure * size + each * single + pool.margin(single))

    def _line(self) -> _Line:
        if self.drawn is None:
            self.drawn = self._draw()
        return self.drawn

    def _draw(self) -> _Line:
        # Believed to begin with, a little: one byte, one token, at a share of 0 and at a share of 1.
        weight = self._w + 2 * _PRIOR
        mean, middle = (self._r + 2 * _PRIOR) / weight, (self._p + _PRIOR) / weight
        across = (self._pp + _PRIOR) / weight - middle * middle
        slope = ((self._pr + _PRIOR) / weight - middle * mean) / across
        start = mean - slope * middle
        off = (
            self._rr
            - 2 * (start * self._r + slope * self._pr)
            + start * start * self._w
            + 2 * start * slope * self._p
            + slope * slope * self._pp
        )
        spread = sqrt(max(0.0, off) / self._w) if self._w else 1.0
        return mean, slope, middle, across, max(spread, 0.005 * mean)


class _Model:
    """What was learned of one model's answers.

    Attributes:
        usual: whole tokens of an answer, rounded up; None = too little is known.
    """

    __slots__ = ("densities", "hidden", "output", "pool", "prompts", "rate", "usual")

    def __init__(self) -> None:
        self.usual: int | None = None
        self.pool = Pool()  # of answers
        self.prompts = Pool()
        self.densities: dict[int, Density] = {}
        self.hidden = Mean()
        self.output = Mean()
        self.rate = Mean()


class _Prompts:
    """What was learned of one kind of prompt: same model, same system prompt, about as long.

    Attributes:
        ascii: tokens expected per byte of a body that is ASCII; 0.0 = not worked out, or too little is known.
    """

    __slots__ = ("ascii", "cached", "density", "plain")

    def __init__(self) -> None:
        self.ascii = 0.0
        self.density = Density()
        self.cached = Mean()
        self.plain = Mean()

    def beyond_ascii(self, body: bytes) -> float:
        """As `ascii`, of a body that is not; takes no lock."""
        line = self.density.drawn
        return 0.0 if line is None else _on(line, _share(body))


_Group = tuple[str, str, int, int]


class Calibration:
    """Learns from counted answers and estimates uncounted ones. Thread-safe.

    Attributes:
        models, prompts: what is known, to be read without the lock, one number at a time, by what asks for every call.
    """

    def __init__(self) -> None:
        # Reentrant: the collector may settle a stream that nobody read while this thread is inside.
        self._lock = threading.RLock()
        self.models: OrderedDict[tuple[str, str], _Model] = OrderedDict()
        self.prompts: OrderedDict[_Group, _Prompts] = OrderedDict()
        self._turns: dict[tuple[str, str], Iterator[bool]] = {}

    def due(self, provider: str, model: str, shown: Shown | None = None) -> bool:
        """Whether this answer of the model is to be learned from: looking at all of them would cost more than it gives.
        Of a kind of content that is not well known yet, every one is.
        """
        return next(self.turns(provider, model)) or self.kind_due(provider, model, shown)

    def turns(self, provider: str, model: str) -> Iterator[bool]:
        """For one answer of a model after the other: whether it is to be learned from whatever its content is.

        To be kept by what sees all of the answers. `next` of it takes no lock.
        """
        found = self._turns.get((provider, model))
        if found is None:
            with self._lock:
                if len(self._turns) >= MODELS:
                    self._turns.clear()
                later = cycle([False] * 15 + [True])
                found = self._turns.setdefault((provider, model), chain(repeat(True, _OFTEN), later))
        return found

    def kind_due(self, provider: str, model: str, shown: Shown | None) -> bool:
        """Whether a stream has shown a kind of content that is not well known yet. Takes no lock."""
        if shown is None or not shown.kinds:
            return False
        known = self.models.get((provider, model))
        density = known.densities.get(shown.kinds) if known is not None else None
        return density is None or density.count < _KNOWN

    def prompt_due(self, provider: str, model: str, system: bytes, body: bytes) -> bool:
        """Whether little is known of this kind of prompt. Takes no lock either."""
        known = self.prompts.get(group_of(provider, model, system, len(body)))
        return known is None or known.density.count < _KNOWN

    def learn(self, provider: str, model: str, usage: Usage, shown: Shown | None) -> None:
        """An answer's final counts, and what its stream has shown; None for an answer in one piece."""
        with self._lock:
            known = self._model(provider, model)
            known.output.learn(usage.output_tokens)
            if known.output.count >= ENOUGH:
                known.usual = ceil(known.output.mean)
            if shown is not None and not usage.iterations:
                _learn_stream(known, usage, shown)

    def _model(self, provider: str, model: str) -> _Model:
        known = self.models.get((provider, model))
        if known is None:
            known = self.models[provider, model] = _Model()
            if len(self.models) > MODELS:
                self.models.popitem(last=False)
        else:
            self.models.move_to_end((provider, model))
        return known

    def learn_prompt(self, provider: str, model: str, usage: Usage, system: bytes, body: bytes) -> None:
        """How a request's bytes were counted, and what of them the provider had in its cache."""
        size, prompt = len(body), usage.prompt_tokens
        if not 0 < size <= _LARGE_BODY or prompt <= 0 or usage.iterations:
            return
        group = group_of(provider, model, system, size)
        share = _share(body)
        with self._lock:
            for key in (group, anybody(group)):
                found = self.prompts.get(key)
                if found is None:
                    found = self.prompts[key] = _Prompts()
                    if len(self.prompts) > GROUPS:
                        self.prompts.popitem(last=False)
                self.prompts.move_to_end(key)
                found.ascii = 0.0
                found.density.learn(share, size, prompt)
                found.cached.learn(usage.cache_read_tokens / prompt)
                found.plain.learn(usage.input_tokens / prompt)

    def output(self, provider: str, model: str, shown: Shown) -> int:
        """Tokens to charge for what a stream has shown, what it has hidden, and what was on its way."""
        with self._lock:
            known = self.models.get((provider, model))
            visible = _visible(known, shown)
            found = visible + _hidden(known, shown)
            if shown.left:
                found += _unseen(known, visible, shown)
            elif shown.lost:
                found += UNSEEN_LEAST
        return ceil(found)

    def visible(self, provider: str, model: str, shown: Shown) -> float:
        """Tokens that the content is expected to have, without any margin: for display, and for caps on the way."""
        with self._lock:
            known = self.models.get((provider, model))
            density = known.densities.get(shown.kinds) if known is not None else None
            if density is None or density.count < ENOUGH:
                return float(shown.content)
            plain, share = _plain(shown)
            return density.expected(share) * plain + shown.beyond + shown.sealed

    def prompt(self, provider: str, model: str, system: bytes, body: bytes, dearest: str) -> Usage | None:
        """The prompt of a request that nobody counted; None where too little is known of its kind.

        Args:
            dearest: the field of `Usage` whose tokens cost most: what is not known to be cheaper is put there.
        """
        if not body:
            return None
        group = group_of(provider, model, system, len(body))
        share = _share(body)
        with self._lock:
            own = self.prompts.get(group)
            pool = self._model(provider, model).prompts
            if own is not None and own.density.count >= ENOUGH:
                tokens = ceil(own.density.tokens(share, len(body), pool))
                cached, plain = own.cached.below(pool, tokens), own.plain.below(pool, tokens)
            else:
                others = self.prompts.get(anybody(group))
                if others is None or others.density.count < 2 * ENOUGH:
                    return None
                tokens = ceil(others.density.tokens(share, len(body), pool, each=SURE))
                cached = plain = 0.0
        if provider == "openai" and tokens < UNCACHED:
            return Usage(input_tokens=tokens)
        read, fresh = int(tokens * cached), int(tokens * plain)
        found = Usage(input_tokens=fresh, cache_read_tokens=read)
        setattr(found, dearest, getattr(found, dearest) + tokens - read - fresh)
        return found

    def expect(self, provider: str, model: str, system: bytes, body: bytes) -> tuple[float | None, float | None]:
        """(prompt tokens, output tokens) that such a request is likely to have; None where too little is known."""
        group = group_of(provider, model, system, len(body))
        share = _share(body)
        with self._lock:
            found = self.prompts.get(group)
            if found is None or found.density.count < ENOUGH:
                found = self.prompts.get(anybody(group))
            prompt = None
            if found is not None and found.density.count >= ENOUGH:
                ratio = found.density.expected(share)
                prompt = ratio * len(body)
                found.ascii = found.density.expected(0.0)
            known = self.models.get((provider, model))
            output = known.output.mean if known is not None and known.output.count >= ENOUGH else None
        return prompt, output


def _on(line: _Line, share: float) -> float:
    """Tokens per byte on a line."""
    mean, slope, middle, _, _ = line
    return min(1.0, max(0.0, mean + slope * (share - middle)))


def _learn_stream(known: _Model, usage: Usage, shown: Shown) -> None:
    """With the lock held."""
    thought = 0 if shown.kinds & THINKING else usage.reasoning_tokens  # else it is among the bytes
    if not shown.sealed:
        known.hidden.learn(thought)
    plain, share = _plain(shown)
    tokens = usage.output_tokens - thought - shown.beyond / 2
    if plain > 0 and tokens > 0:
        density = known.densities.get(shown.kinds)
        if density is None:
            density = known.densities[shown.kinds] = Density()
        density.learn(share, plain, tokens)
    if shown.seconds >= LATENCY_SECONDS / 2:
        known.rate.learn(usage.output_tokens / shown.seconds)


def _plain(shown: Shown) -> tuple[int, float]:
    """(bytes of content in characters of up to three, the share of them that is not ASCII)."""
    beyond, wide = max(0, shown.beyond), max(0, shown.wide)
    plain = max(0, shown.content - shown.sealed - beyond)
    return plain, min(1.0, wide / plain) if plain else 0.0


def _visible(known: _Model | None, shown: Shown) -> float:
    """Of characters of four bytes (emoji) each byte may be a token, and so it is counted."""
    density = known.densities.get(shown.kinds) if known is not None else None
    if known is None or density is None or density.count < ENOUGH:
        return float(shown.content)
    plain, share = _plain(shown)
    return density.tokens(share, plain, known.pool) + min(shown.content, max(0, shown.beyond) + shown.sealed)


def _hidden(known: _Model | None, shown: Shown) -> float:
    if shown.kinds & THINKING:
        # It may have begun, and not shown anything yet: then its signature will say that it was sealed.
        return 0.0 if shown.content else SILENT_RATE * shown.seconds
    if shown.sealed or not shown.hides:
        return 0.0
    if known is None or known.hidden.count < ENOUGH:
        return SILENT_RATE * shown.silent
    return known.hidden.above(known.pool)


def _unseen(known: _Model | None, visible: float, shown: Shown) -> float:
    usual = known.rate.mean if known is not None and known.rate.count >= ENOUGH else 0.0
    if visible > 0 and (shown.seconds >= _STEADY or (shown.seconds >= LATENCY_SECONDS / 2 and not usual)):
        rate = visible / shown.seconds  # its first event counts as well, so that a short one seems faster than it is
    elif usual:
        rate = usual
    else:
        return UNSEEN_MOST
    return min(UNSEEN_MOST, max(UNSEEN_LEAST, rate * LATENCY_SECONDS))


def group_of(provider: str, model: str, system: bytes, size: int) -> _Group:
    """Prompts of the same kind: bodies whose lengths differ by less than a third, behind the same system prompt."""
    bits = size.bit_length()
    return provider, model, hash(system), bits * 4 + (size << 2 >> bits)


def anybody(group: _Group) -> _Group:
    """Prompts of that length, whatever stands before them."""
    return group[0], group[1], _ANYBODY, group[3]


def widths(text: bytes) -> tuple[int, int]:
    """How many bytes of UTF-8 are in characters of two or three bytes, and of four."""
    if text.isascii():
        return 0, 0
    beyond = 4 * (len(text) - len(text.translate(None, _LEAD_OF_FOUR)))
    return len(text) - len(text.translate(None, _NOT_ASCII)) - beyond, beyond


def _share(body: bytes) -> float:
    return 0.0 if body.isascii() else 1.0 - len(body.translate(None, _NOT_ASCII)) / len(body)
