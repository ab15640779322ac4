"""Money for one attempt: the price book, the bound and the estimates behind the engine's `Charges`."""

from __future__ import annotations

from headgate.core.exchange import Facts, Route
from headgate.core.usage import Usage
from headgate.policy.estimate import Bound, bound, cut_estimate
from headgate.policy.pricebook import PriceBook
from headgate.policy.pricing import ModelPrice, cost_nano


class Charging:
    """`engine.plan.Charges` over a price book, which is loaded on first use."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book

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

    def charge(self, route: Route, served: str, usage: Usage, now: float) -> tuple[int, str]:
        """(nano-dollars, price version), under the model that served where it has a price, else the one asked for."""
        price = self._price(route, served, now)
        return cost_nano(price, usage, at=now), price.version

    def cut(self, route: Route, usage: Usage | None, content_bytes: int, facts: Facts, body_bytes: int) -> Usage:
        """The usage to charge where no final one was reported; never below what the provider showed."""
        price = self.book.price_for(route.provider, route.model, 0.0)
        return cut_estimate(price, usage=usage, content_bytes=content_bytes, facts=facts, body_bytes=body_bytes)

    def _price(self, route: Route, served: str, now: float) -> ModelPrice:
        if served and served != route.model:
            found = self.book.find(route.provider, served, now)
            if found is not None:
                return found
        return self.book.price_for(route.provider, route.model, now)
