"""What an attempt of the ledger would have cost under another price version, where its row can tell.

A row holds the counts of every common token class, and the service tier, the speed and the geography as reported, but
not all that decided about its price: batches, nested usage and audio are not in it. So the row is first computed under
its *own* price version. Only where that gives what was charged is the same computation under the other version taken
for true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headgate.core.errors import UnknownPrice
from headgate.core.usage import Usage
from headgate.policy.pricebook import CEILING, DISCOUNT, PriceBook
from headgate.policy.pricediff import PLAIN
from headgate.policy.pricefile import PriceFile
from headgate.policy.pricing import ModelPrice, cost_nano

EXACT = "exact"
ASSUMED = "assumed"
BOUND = "bound"
CONTEXT = "context"
NO_PRICE = "no_price"
UNPRICED = "unpriced"

REASONS = {
    ASSUMED: "repriced as standard service; their own price version is not at hand, or could not tell it from another",
    BOUND: "charged at their bound, because no usage was reported",
    CONTEXT: "charged for what their rows do not hold: a batch, nested usage or audio",
    NO_PRICE: "their models have no price under this version",
    UNPRICED: "Headgate does not price such calls",
}
"""Why an attempt is not exact. But for `ASSUMED` it keeps what it was charged."""

_HIDDEN_CLASSES = ("input_audio", "cache_read_audio", "output_audio")


@dataclass(frozen=True, slots=True)
class Charged:
    """An attempt as the ledger has it. Money is nano-dollars, `at` seconds since the epoch."""

    provider: str
    model: str
    served: str
    at: float
    usage: Usage
    cost_nano: int
    version: str
    estimated: bool = False
    bound_nano: int | None = None


class Repricer:
    """Computes attempts again.

    Args:
        target: the prices to compute them under.
        files: a price file by its version; None where it is not at hand.
    """

    def __init__(self, target: PriceBook, files: Callable[[str], PriceFile | None]) -> None:
        self.target = target
        self._files = files
        self._books: dict[tuple[str, str], PriceBook | None] = {}

    def reprice(self, charged: Charged) -> tuple[int, str]:
        """(nano-dollars, `EXACT` or one of `REASONS`). What cannot be computed again keeps what was charged."""
        if charged.version in ("", "free", UNPRICED):
            kept = UNPRICED if charged.version == UNPRICED else EXACT
            return charged.cost_nano, BOUND if charged.cost_nano else kept
        own = self._own(charged)
        same = own is not None and cost_nano(own, charged.usage, at=charged.at) == charged.cost_nano
        if not same and charged.estimated and charged.cost_nano == charged.bound_nano:
            return charged.cost_nano, BOUND
        # A ceiling is of the configuration: another one today does not mean that anything was hidden.
        if own is not None and not same and own.source != "ceiling":
            return charged.cost_nano, CONTEXT
        try:
            price = self.target.price_served(charged.provider, charged.model, charged.served, charged.at)
        except UnknownPrice:
            return charged.cost_nano, NO_PRICE
        found = cost_nano(price, charged.usage, at=charged.at)
        sure = same and own is not None and not _ambiguous(own, price, charged, found)
        return found, EXACT if sure else ASSUMED

    def _own(self, charged: Charged) -> ModelPrice | None:
        """The price that the row was charged from, if it can still be had."""
        key = (charged.version, charged.provider)
        if key not in self._books:
            self._books[key] = self._book(*key)
        book = self._books[key]
        if book is None:
            return None
        try:
            price = book.price_served(charged.provider, charged.model, charged.served, charged.at)
        except UnknownPrice:
            return None
        return price if price.version == charged.version else None

    def _book(self, version: str, provider: str) -> PriceBook | None:
        """The book of a row's version: its file, its overrides if they are still the configuration's, its discount."""
        version, _, discount = version.removesuffix(CEILING).partition(DISCOUNT)
        snapshot, _, mark = version.partition("+")
        file = self._files(snapshot)
        if file is None:
            return None
        overrides = self.target.overrides if mark else {}
        discounts = {provider: _basis_points(discount)} if discount else {}
        book = PriceBook(file, overrides, self.target.unknown, snapshot=snapshot, discounts=discounts)
        return book if book.version == version else None


def _basis_points(text: str) -> int:
    """ "12.5%" as 1250; 0 for what is no discount of ours, which then gives another version."""
    whole, _, rest = text.removesuffix("%").partition(".")
    digits = whole + rest.ljust(2, "0")
    return int(digits) if digits.isdecimal() and len(digits) <= 4 and len(rest) <= 2 else 0


def _ambiguous(own: ModelPrice, new: ModelPrice, charged: Charged, found: int) -> bool:
    """Whether a call of another service would have cost the same then, and would cost something else now."""
    if not charged.cost_nano and found:
        return True  # where everything is free, nothing shows
    if _audio_differs(own, new):
        return True
    if own.schedule.simple and new.schedule.simple:
        return False
    usage, at = charged.usage, charged.at
    for tier, speed, batch in _services(own, new, usage):
        told = _in(usage, tier, speed)
        same_then = cost_nano(own, told, at=at, batch=batch) == charged.cost_nano
        if same_then and cost_nano(new, told, at=at, batch=batch) != found:
            return True
    return False


def _services(own: ModelPrice, new: ModelPrice, usage: Usage) -> Iterator[tuple[str, str, bool]]:
    yield usage.service_tier, usage.speed, True
    if usage.service_tier or usage.speed:
        return  # the provider has said what it was
    for tier in own.schedule.tiers | new.schedule.tiers:
        yield tier, "", False
    for speed in own.schedule.speeds | new.schedule.speeds:
        yield "", speed, False


def _in(usage: Usage, tier: str, speed: str) -> Usage:
    return Usage(
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_long_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        web_searches=usage.web_searches,
        service_tier=tier,
        speed=speed,
        inference_geo=usage.inference_geo,
    )


def _audio_differs(own: ModelPrice, new: ModelPrice) -> bool:
    """Audio cost what text did then, and does not now."""

    def apart(price: ModelPrice) -> set[str]:
        rows = price.schedule.standard
        return {
            kind
            for kind in _HIDDEN_CLASSES
            if any(getattr(rates, kind) != getattr(rates, PLAIN[kind]) for _, rates in rows)
        }

    return bool(apart(new) - apart(own))
