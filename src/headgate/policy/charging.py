"""Money for one attempt: the price book, the bound and the estimates behind the engine's `Charges`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from headgate.core.errors import UnknownPrice
from headgate.core.exchange import Attempt, Facts, Request, Route
from headgate.core.usage import Usage
from headgate.policy.calibration import Calibration, Shown, anybody, group_of
from headgate.policy.estimate import (
    PLAIN_BITS,
    TENTHS_PER_NANO,
    Bound,
    believable,
    bound,
    credible,
    cut_estimate,
    likely_tokens,
    most_tokens,
    plain_bound,
)
from headgate.policy.pricebook import LONGEST_NAME, PriceBook
from headgate.policy.pricing import MOST_NANO, MOST_TOKENS, SANE_BITS, ModelPrice, cost_nano, doubts
from headgate.policy.rates import STANDARD_SPEEDS, STANDARD_TIERS
from headgate.policy.rules import input_tokens
from headgate.policy.told_doubts import ToldDoubts

USUAL_OUTPUT = 1_024
"""Tokens that an answer is taken to have where nothing was learned of it, and its cap is not lower."""

_MOST_KEPT = 2_048  # ordinary prices: by names that come from callers and from providers

_Ordinary = tuple[float, float, int, int, int, int, int, tuple[int, int, int], str, Iterator[bool]]
"""What ordinary answers of a model cost: from when and until when (`_NEVER`: none is ordinary); how many bits a count
may have, and all together not be too many; the most tokens; the rates of input, output and the request, and those of
what the provider's cache gives and takes, in pico-dollars; the price's version; and see `Calibration.turns`."""

_NEVER = (float("inf"), float("-inf"))
_made = tuple.__new__


class Charging:
    """`engine.plan.Charges` over a price book, which is loaded on first use."""

    def __init__(self, book: PriceBook, calibration: Calibration | None = None) -> None:
        self.book = book
        self._prices = book.prices
        self.calibration = Calibration() if calibration is None else calibration
        self._told = ToldDoubts()
        self._ordinary: dict[tuple[str, str, str], _Ordinary] = {}  # by provider, model asked and model that served

    def check(self, route: Route, now: float) -> None:
        """Raises `UnknownPrice` where the route's model has no price and policy is to refuse."""
        self.book.price_for(route.provider, route.model, now)

    def bound(
        self,
        route: Route,
        facts: Facts,
        body_bytes: int,
        now: float,
        *,
        prompt_tokens: int | None = None,
        ceiling: bool = False,
    ) -> Bound | None:
        """The most the attempt can cost, or None; see `estimate.bound`, which says the same of plain calls."""
        price = self._prices.get((route.provider, route.model))
        if price is None or not price.since <= now < price.until:  # asked for the first time, or its time is over
            price = self.book.price_for(route.provider, route.model, now)
        reach, hidden, input_rate, output_rate, request = price.plain_bound or plain_bound(price)
        cap = facts.max_output_tokens
        if cap is None:
            cap = price.max_output_tokens
        if (
            cap is None
            or prompt_tokens is not None
            or facts.has_media
            or facts.server_side
            or facts.images
            or facts.choices > 1
            or (body_bytes | cap) >> PLAIN_BITS
            or body_bytes > reach
        ):
            return bound(price, body_bytes, facts, prompt_tokens, ceiling)
        prompt = body_bytes + hidden
        nano = -(-(prompt * input_rate + cap * output_rate + request) // TENTHS_PER_NANO)
        # Made as `Bound(…)` does, which is a function in Python of its own.
        return _made(Bound, (nano if nano < MOST_NANO else MOST_NANO, prompt + cap, cap))

    def most_output(self, route: Route, now: float) -> int | None:
        """The most tokens that the route's model answers with, where it is known."""
        return self.book.price_for(route.provider, route.model, now).max_output_tokens

    def ordinary(self, attempt: Attempt, request: Request, shown: Shown | None) -> tuple[int, str] | None:
        """What an attempt's final usage costs, as (nano-dollars, price version), and it is learned from.

        None, and nothing is done, where anything is out of the ordinary: an estimate, a usage that may not be
        believable, a price that is guessed or has its own rules for such a usage, more than the bound. Then
        `believable`, `learn`, `charge` and `doubts` say what is to be done; of all else they would say the same.
        """
        usage = attempt.usage
        if usage is None or attempt.estimated:
            return None
        route = attempt.route
        price = self._ordinary.get((route.provider, route.model, attempt.model_served))
        if price is None:
            price = self._ordinary_price(route, attempt.model_served, attempt.started)
        since, until, bits, most, input_rate, output_rate, piece, cached, version, turns = price
        if not since <= attempt.started < until:
            if since < until:  # that time is over; else its answers never are ordinary
                self._ordinary_price(route, attempt.model_served, attempt.started)
            return None
        plain = usage.input_tokens
        output = usage.output_tokens
        read = usage.cache_read_tokens
        write = usage.cache_write_tokens
        long = usage.cache_write_long_tokens
        all_bits = plain | output | read | write | long | usage.reasoning_tokens
        if (
            # Of small numbers all is known by their bits: none is below zero, and together they are not too many.
            (all_bits >> bits and (all_bits < 0 or plain + output + read + write + long > most or all_bits > most))
            or usage.iterations
            or usage.bad
            or usage.web_searches
            or usage.input_audio_tokens
            or usage.cache_read_audio_tokens
            or usage.output_audio_tokens
            or usage.service_tier not in STANDARD_TIERS
            or usage.speed not in STANDARD_SPEEDS
            or usage.inference_geo == "us"
        ):
            return None
        pico = plain * input_rate + output * output_rate + piece
        if read or write or long:
            read_rate, write_rate, long_rate = cached
            pico += read * read_rate + write * write_rate + long * long_rate
        nano = (pico + 500) // 1_000  # rounded half-up, as `cost_nano` does
        limit = attempt.bound_nano
        if limit is None or nano > limit or nano >= MOST_NANO:
            return None
        due = next(turns) or (shown is not None and self.calibration.kind_due(route.provider, route.model, shown))
        if due or route.dialect == "openai":
            self._learn(due, route, usage, shown, request.facts, request.body)
        return nano, version

    def _ordinary_price(self, route: Route, served: str, now: float) -> _Ordinary:
        provider, model = route.provider, route.model
        asked = self.book.price_for(provider, model, now)
        price = self.book.price_served(provider, model, served, now)
        rows = price.schedule.standard
        rates = rows[0][1]
        most = min(most_tokens(asked), (1 << SANE_BITS) - 1)
        if len(rows) > 1:  # a longer prompt pays more
            most = min(most, rows[1][0])
        since, until = max(asked.since, price.since), min(asked.until, price.until)
        if price.source == "ceiling" or rates.reasoning != rates.output:
            since, until = _NEVER
        found = (
            since,
            until,
            (most // 5 + 1).bit_length() - 1,
            most,
            rates.input,
            rates.output,
            rates.request,
            (rates.cache_read, rates.cache_write, rates.cache_write_long),
            price.version,
            self.calibration.turns(provider, model),
        )
        if max(len(provider), len(model), len(served)) <= LONGEST_NAME:
            if len(self._ordinary) >= _MOST_KEPT:
                self._ordinary.clear()
            self._ordinary[provider, model, served] = found
        return found

    def charge(self, route: Route, served: str, usage: Usage, now: float) -> tuple[int, str]:
        """(nano-dollars, price version), under the model that served; see `PriceBook.price_served`."""
        price = self.book.price_served(route.provider, route.model, served, now)
        return cost_nano(price, usage, at=now), price.version

    def doubts(self, route: Route, served: str, usage: Usage, now: float) -> tuple[str, ...]:
        """What of that charge had to be guessed, see `pricing.doubts`; () where that was told in the last hour."""
        price = self.book.price_served(route.provider, route.model, served, now)
        found = doubts(price, usage, at=now)
        if found and self._told.news((route.provider, price.model, price.version, found), now):
            return found
        return ()

    def believable(self, route: Route, usage: Usage, now: float) -> bool:
        """See `estimate.believable`."""
        return believable(self.book.price_for(route.provider, route.model, now), usage)

    def cut(
        self,
        route: Route,
        usage: Usage | None,
        shown: Shown,
        facts: Facts,
        body: bytes,
        now: float,
        *,
        to_end: bool = False,
    ) -> Usage:
        """The usage to charge where no final one was reported, or none that can be believed."""
        price = self.book.price_for(route.provider, route.model, now)
        if usage is not None:
            usage = credible(price, usage)
        prompt = None
        if usage is None or usage.bad or not usage.prompt_tokens:
            field = price.schedule.prompt_field
            prompt = self.calibration.prompt(route.provider, route.model, facts.system, body, field)
        return cut_estimate(
            price,
            usage=usage,
            shown=self.calibration.output(route.provider, route.model, shown),
            facts=facts,
            body_bytes=len(body),
            prompt=prompt,
            to_end=to_end,
        )

    def learn(self, route: Route, usage: Usage, shown: Shown | None, facts: Facts, body: bytes) -> None:
        """A final usage that can be believed; `shown` of a stream."""
        due = self.calibration.due(route.provider, route.model, shown)
        self._learn(due, route, usage, shown, facts, body)

    def _learn(self, due: bool, route: Route, usage: Usage, shown: Shown | None, facts: Facts, body: bytes) -> None:
        """`due`: see `Calibration.due`."""
        calibration, provider, model = self.calibration, route.provider, route.model
        if due:
            calibration.learn(provider, model, usage, shown)
        if facts.has_media or facts.server_side:
            return
        # Anthropic tells the prompt's size when its streams begin, so there is little to learn of prompts.
        if due or (route.dialect == "openai" and calibration.prompt_due(provider, model, facts.system, body)):
            calibration.learn_prompt(provider, model, usage, facts.system, body)

    def likely(self, route: Route, facts: Facts, body: bytes) -> int:
        """See `estimate.likely_tokens`, with what was learned of such calls."""
        calibration, provider, model = self.calibration, route.provider, route.model or facts.model
        size = len(body)
        group = group_of(provider, model, facts.system, size)  # as in `Calibration.expect`, without its lock
        prompts = calibration.prompts.get(group) or calibration.prompts.get(anybody(group))
        known = calibration.models.get((provider, model))
        output = None if known is None else known.usual
        if prompts is None or facts.has_media:
            return likely_tokens(facts, size, None, output)
        ratio = prompts.ascii
        if ratio and not body.isascii():
            ratio = prompts.beyond_ascii(body)
        if not ratio or output is None or facts.choices > 1:
            prompt, usual = calibration.expect(provider, model, facts.system, body)
            return likely_tokens(facts, size, prompt, usual)
        cap = facts.max_output_tokens
        if cap is not None and cap < output:
            output = max(0, cap)
        tokens = ceil(ratio * size) + output
        return tokens if tokens < MOST_TOKENS else MOST_TOKENS

    def output_nano(self, route: Route, shown: Shown, now: float) -> int:
        """What this much of an answer is expected to cost, in nano-dollars."""
        price = self.book.price_for(route.provider, route.model, now)
        tokens = self.calibration.visible(route.provider, route.model, shown)
        return cost_nano(price, Usage(output_tokens=ceil(tokens)), at=now)

    def expected(self, routes: Sequence[Route], request: Request, now: float) -> list[int | None]:
        """What a call is likely to cost at each route, in nano-dollars; None where the model has no price of its own.

        Where answers of all these models have been counted, each is taken to be as long as its own usually are; else
        all alike, and only their prices differ: what was learned of one says nothing of another.
        """
        facts, prices = request.facts, [self._known_price(route, now) for route in routes]
        cap = facts.max_output_tokens
        most = float("inf") if cap is None else float(cap)
        learned = [self.calibration.expect(r.provider, r.model, facts.system, request.body) for r in routes]
        prompts = [prompt for prompt, _ in learned if prompt is not None]
        outputs = [output for _, output in learned if output is not None]
        all_known = len(outputs) == len(routes)
        found: list[int | None] = []
        for place, price in enumerate(prices):
            prompt = prompts[place] if len(prompts) == len(routes) else input_tokens(request)
            output = outputs[place] if all_known else USUAL_OUTPUT
            usage = Usage(input_tokens=ceil(prompt), output_tokens=ceil(min(output, most)) * max(1, facts.choices))
            found.append(None if price is None else cost_nano(price, usage, at=now))
        return found

    def _known_price(self, route: Route, now: float) -> ModelPrice | None:
        try:
            price = self.book.price_for(route.provider, route.model, now)
        except UnknownPrice:
            return None
        return None if price.source == "ceiling" else price
