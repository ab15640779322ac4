"""The price book: what a model of a provider costs now, from the dated file and the configuration's overrides."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from headgate.core.errors import ConfigError, UnknownPrice
from headgate.core.text import printable
from headgate.policy.discounts import FULL, discount_text
from headgate.policy.model_names import same_model
from headgate.policy.overrides import Override, fingerprint, parse, pico
from headgate.policy.pricefile import PriceFile, ProviderPrices, schedule, valid
from headgate.policy.pricepins import PRICES_FILE, PRICES_SHA256, file_version, packaged, verify
from headgate.policy.pricing import ModelPrice
from headgate.policy.rates import Bands, Schedule, dearest

DISCOUNT = "+discount-"
CEILING = "+ceiling"
"""What a row's price version says behind the book's: the contract's discount, or that the ceiling was charged."""

LONGEST_NAME = 256
"""A model name with more characters has no price: real ones are far shorter, and names come from callers."""

_MOST_CACHED = 2048  # entries; beyond it the oldest leaves, so that made-up names cannot fill the memory

# Other names by which people call a provider of the file. Never a different provider.
_ALSO_CALLED = {
    "bedrock": "aws",
    "gemini": "google",
    "moonshot": "moonshotai",
    "together-ai": "together",
    "together_ai": "together",
    "vertex": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
}


Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Unknown:
    """What to do with a model without a price: `Unknown()` refuses, `Unknown(ceiling_pico=…)` charges the ceiling.

    Attributes:
        policy: "refuse" or "ceiling".
        ceiling_pico: pico-dollars per token, for every token class.
    """

    policy: str = "refuse"
    ceiling_pico: int | None = None

    def __post_init__(self) -> None:
        if self.ceiling_pico is not None:
            object.__setattr__(self, "policy", "ceiling")
        if self.policy not in ("refuse", "ceiling") or (self.policy == "ceiling") != (self.ceiling_pico is not None):
            raise ConfigError("unknown_price: write `refuse`, or {ceiling_usd_per_mtok: 100}")
        if self.ceiling_pico is not None and self.ceiling_pico <= 0:
            raise ConfigError("unknown_price: the ceiling must be above 0")

    @classmethod
    def ceiling(cls, usd_per_mtok: object) -> Unknown:
        """From USD per million tokens, exactly as written.

        Raises:
            ConfigError: not a positive number.
        """
        try:
            return cls(ceiling_pico=pico(usd_per_mtok))
        except ValueError as error:
            raise ConfigError(f"unknown_price: `ceiling_usd_per_mtok` {error}") from None


class PriceBook:
    """Finds prices. Safe to share between threads.

    Attributes:
        file: the price file.
        snapshot: its name in ledger rows, see `file_version`.
        version: the same, and "+" and 8 hex digits of the overrides where there are any. A row's version goes on with
            the provider's discount, as in "+discount-12.5%", where its price came from the file.
        unknown: the policy for models without a price.
        overrides: by (provider, lower-case model or "").
        discounts: basis points off the file's rates, by our provider's name.
        prices: what was found lately, by provider and model. To be read by whoever asks for every call, and then by
            when it holds; else `find` does so.
    """

    def __init__(
        self,
        file: PriceFile,
        overrides: Mapping[tuple[str, str], Override],
        unknown: Unknown,
        *,
        snapshot: str = "",
        discounts: Mapping[str, int] | None = None,
    ) -> None:
        self.file = file
        self.overrides = dict(overrides)
        self.unknown = unknown
        self.snapshot = snapshot or file.date
        self.version = f"{self.snapshot}+{fingerprint(overrides)}" if overrides else self.snapshot
        self.discounts = {name: points for name, points in (discounts or {}).items() if points}
        for name, points in self.discounts.items():
            if not 0 < points < FULL:
                raise ConfigError(f"discount of {name}: above 0 and below 100%, not {discount_text(points)}")
        self.prices: dict[tuple[str, str], ModelPrice] = {}
        self._absent: dict[tuple[str, str], tuple[float, float]] = {}  # from when to when a name had none
        self._dearest: dict[str, Schedule] = {}
        self._lock = threading.RLock()  # the collector may settle an unread stream inside it

    @classmethod
    def load(
        cls,
        overrides: Mapping[str, object] | None = None,
        unknown: Unknown | None = None,
        *,
        content: bytes | None = None,
        sha256: str = PRICES_SHA256,
        discounts: Mapping[str, int] | None = None,
    ) -> PriceBook:
        """Read a price file: the one that came with this version, unless told otherwise. Takes a few milliseconds.

        Args:
            overrides: plain data, see `policy/overrides.py`.
            unknown: the policy for models without a price; refuse if None.
            content: another file's bytes instead, as `headgate prices update` installed it.
            sha256: the hash that was pinned when that file was installed.
            discounts: basis points off the file's rates (1 to 9,999), by our provider's name.

        Raises:
            ConfigError: the file is not the one that was pinned, or an override or a discount is wrong.
        """
        content = packaged(PRICES_FILE) if content is None else content
        verify(content, sha256)
        file = PriceFile(content)
        name = file_version(file.date, sha256)
        return cls(file, parse(overrides or {}), unknown or Unknown(), snapshot=name, discounts=discounts)

    def find(self, provider: str, model: str, at: float) -> ModelPrice | None:
        """The price of a provider's model at a time (seconds since the epoch), or None if it is unknown.

        An override for the model comes first, then one for the provider, then the file. A provider that the file does
        not name has no prices but its overrides: never another provider's, never a default model's.
        """
        price = self.prices.get((provider, model))
        if price is not None and price.since <= at < price.until:
            return price
        absent = self._absent.get((provider, model))
        if absent is not None and absent[0] <= at < absent[1]:
            return None
        return self._look_up(provider, model, at)

    def price_for(self, provider: str, model: str, at: float) -> ModelPrice:
        """Like `find`, with the policy for unknown prices applied.

        Raises:
            UnknownPrice: there is no price, and the policy is to refuse. The message says what to configure.
        """
        price = self.find(provider, model, at)
        if price is not None:
            return price
        if self.unknown.ceiling_pico is not None:
            return self._ceiling(provider, model, self._flat(self.unknown.ceiling_pico))
        raise UnknownPrice(self._advice(provider, model))

    def price_served(self, provider: str, model: str, served: str, at: float) -> ModelPrice:
        """The price of the model that served, and what to charge where it has none.

        A dated snapshot or a revision of the model asked for is that model. A price of one's own for the model asked
        for is what asking for it costs, whatever name the answer bears. Any other model has been used and is not known,
        as in `_sibling`: never another model's price.

        Raises:
            UnknownPrice: as `price_for`, where neither has a price.
        """
        if not served or served == model:
            return self.price_for(provider, model, at)
        found = self.find(provider, served, at)
        if found is not None:
            return found
        asked = self.find(provider, model, at)
        if asked is None:
            return self.price_for(provider, model, at)
        if asked.source == "override" or same_model(model, served) or same_model(asked.entry, served):
            return asked
        return self._sibling(provider, served, at)

    def _look_up(self, provider: str, model: str, at: float) -> ModelPrice | None:
        if len(model) > LONGEST_NAME or len(provider) > LONGEST_NAME:
            return None
        price, span = self._make(provider, model, at)
        with self._lock:
            if price is None:
                _keep(self._absent, (provider, model), span)
            else:
                _keep(self.prices, (provider, model), price)
        return price

    def _make(self, provider: str, model: str, at: float) -> tuple[ModelPrice | None, tuple[float, float]]:
        home = _ALSO_CALLED.get(provider, provider)
        hit = self.file.match(home, model)
        entry, foreign = hit if hit else (None, False)
        window = entry.context_window if entry else None
        most = entry.max_output_tokens if entry else None
        own = self._override(provider, home, model.lower(), entry.id if entry else None)
        if own is not None:
            override = self.overrides[own]
            name = entry.id if entry else model
            return self._price(provider, model, name, "override", override.schedule, window, most), _ALWAYS
        if entry is None:
            return None, _ALWAYS
        span = valid(entry, at)
        rates = schedule(entry, at, foreign=foreign, discount=self.discounts.get(provider, 0))
        if rates is None:
            return None, span
        return self._price(provider, model, entry.id, "data", rates, window, most, span), span

    def overridden_by(self, provider: str, model: str) -> tuple[str, str] | None:
        """Which override a model's price is: a key of `overrides`. None where its price is not an override."""
        home = _ALSO_CALLED.get(provider, provider)
        hit = self.file.match(home, model)
        return self._override(provider, home, model.lower(), hit[0].id if hit else None)

    def _override(self, provider: str, home: str, model: str, entry: str | None) -> tuple[str, str] | None:
        """The override for a model: by its name, by another name of the same entry (a dated id), for the provider."""
        if (provider, model) in self.overrides:
            return provider, model
        if entry is not None:
            for owner, name in self.overrides:
                if owner == provider and name:
                    hit = self.file.match(home, name)
                    if hit and hit[0].id == entry:
                        return owner, name
        return (provider, "") if (provider, "") in self.overrides else None

    def listed(self, provider: str) -> ProviderPrices | None:
        """What the price file has for a provider of ours, under whatever name it stands there."""
        return self.file.provider(_ALSO_CALLED.get(provider, provider))

    def _price(
        self,
        provider: str,
        model: str,
        entry: str,
        source: str,
        rates: Schedule,
        window: int | None = None,
        most: int | None = None,
        span: tuple[float, float] = (float("-inf"), float("inf")),
    ) -> ModelPrice:
        return ModelPrice(
            provider=provider,
            model=model,
            entry=entry,
            version=self._row_version(provider, source),
            source=source,
            schedule=rates,
            find=lambda other, at: self._sibling(provider, other, at),
            context_window=window,
            max_output_tokens=most,
            span=span,
        )

    def _row_version(self, provider: str, source: str) -> str:
        if source == "ceiling":
            return self.version + CEILING
        points = self.discounts.get(provider) if source == "data" else None
        return f"{self.version}{DISCOUNT}{discount_text(points)}" if points else self.version

    def _ceiling(self, provider: str, model: str, rates: Schedule) -> ModelPrice:
        return self._price(provider, model, "", "ceiling", rates)

    def _sibling(self, provider: str, model: str, at: float) -> ModelPrice:
        """The price of a model that a response named: it has been used, so it is never refused and never free."""
        price = self.find(provider, model, at)
        if price is not None:
            return price
        if self.unknown.ceiling_pico is not None:
            return self._ceiling(provider, model, self._flat(self.unknown.ceiling_pico))
        return self._ceiling(provider, model, self._dearest_of(provider, at))

    def _dearest_of(self, provider: str, at: float) -> Schedule:
        """The dearest list rate of each class among all models of a provider. Slow, rare, kept."""
        known = self._dearest.get(provider)
        if known is None:
            rows: list[Bands] = [o.schedule.standard for (owner, _), o in self.overrides.items() if owner == provider]
            part = self.listed(provider)
            for entry in part.entries if part else ():
                rates = schedule(entry, at)
                if rates is not None:
                    rows.append(rates.dearest)
            known = Schedule.fixed(dearest(rows)) if rows else Schedule({})
            self._dearest[provider] = known
        return known

    @staticmethod
    def _flat(ceiling: int) -> Schedule:
        """A ceiling is for every class, so that no rule for absent classes goes above it."""
        return Schedule({"i": ceiling, "o": ceiling, "w": ceiling, "l": ceiling})

    def _advice(self, provider: str, model: str) -> str:
        name = printable(f"{provider}/{model}"[:120])
        return (
            f"No price is known for {name} (prices of {self.file.date}), and unknown_price is `refuse`. "
            "Put its price in headgate.yaml, in USD per million tokens: "
            f'prices: {{"{name}": {{input: 3, output: 15}}}} (or `free`), or '
            "set a ceiling for all unknown models: unknown_price: {ceiling_usd_per_mtok: 100}."
        )


def _keep(known: dict[tuple[str, str], Kept], name: tuple[str, str], found: Kept) -> None:
    while len(known) >= _MOST_CACHED:
        del known[next(iter(known))]
    known[name] = found


_ALWAYS = (float("-inf"), float("inf"))
