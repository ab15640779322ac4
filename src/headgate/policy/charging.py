"""Money for one attempt: the price book, the bound and the estimates behind the engine's `Charges`."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from headgate.core.errors import UnknownPrice
from headgate.core.exchange import Facts, Request, Route
from headgate.core.usage import Usage
from headgate.policy.calibration import Calibration, Shown
from headgate.policy.estimate import Bound, believable, bound, credible, cut_estimate, likely_tokens
from headgate.policy.pricebook import PriceBook
from headgate.policy.pricing import ModelPrice, cost_nano, doubts
from headgate.policy.rules import input_tokens
from headgate.policy.told_doubts import ToldDoubts

USUAL_OUTPUT = 1_024
"""Tokens that an answer is taken to have where nothing was learned of it, and its cap is not lower."""


class Charging:
    """`engine.plan.Charges` over a price book, which is loaded on first use."""

    def __init__(self, book: PriceBook, calibration: Calibration | None = None) -> None:
        self.book = book
        self.calibration = Calibration() if calibration is None else calibration
        self._told = ToldDoubts()

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
        """The most the attempt can cost, or None; see `estimate.bound`."""
        price = self.book.price_for(route.provider, route.model, now)
        return bound(price, body_bytes, facts, prompt_tokens=prompt_tokens, ceiling=ceiling)

    def most_output(self, route: Route, now: float) -> int | None:
        """The most tokens that the route's model answers with, where it is known."""
        return self.book.price_for(route.provider, route.model, now).max_output_tokens

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
        calibration, provider, model = self.calibration, route.provider, route.model
        due = calibration.due(provider, model, shown)
        if due:
            calibration.learn(provider, model, usage, shown)
        if facts.has_media or facts.server_side:
            return
        # Anthropic tells the prompt's size when its streams begin, so there is little to learn of prompts.
        if due or (route.dialect == "openai" and calibration.prompt_due(provider, model, facts.system, body)):
            calibration.learn_prompt(provider, model, usage, facts.system, body)

    def likely(self, route: Route, facts: Facts, body: bytes) -> int:
        """See `estimate.likely_tokens`, with what was learned of such calls."""
        prompt, output = self.calibration.expect(route.provider, route.model or facts.model, facts.system, body)
        return likely_tokens(facts, len(body), prompt=prompt, output=output)

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
