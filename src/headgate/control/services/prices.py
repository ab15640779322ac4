"""What models cost: the price file in use, with the configuration's prices and discounts."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from headgate.control.people import Principal, Right
from headgate.core.errors import BadRequest
from headgate.policy.pricebook import LONGEST_NAME, PriceBook
from headgate.policy.pricing import ModelPrice
from headgate.settings.price_book import price_book

if TYPE_CHECKING:
    from headgate.control.context import Control

MOST = 500
"""Models of one answer."""

_PER_TOKEN = (
    *("input", "output", "cache_read", "cache_write", "cache_write_long"),
    *("input_audio", "cache_read_audio", "output_audio", "reasoning"),
)
_PER_PIECE = ("web_search", "request")


class Prices:
    """Everybody who may read sees them: they are list prices, and the configuration's own."""

    def __init__(self, control: Control) -> None:
        self._settings = control.built.settings
        self._now = control.now
        self._known: PriceBook | None = None
        self._lock = threading.Lock()

    def list(self, who: Principal, *, provider: str = "", model: str = "") -> dict[str, Any]:
        """``{"version", "at", "models": [...], "more"}``, by provider and model.

        Args:
            provider: only this one's; "" = all of the configuration's.
            model: a name or a pattern like ``claude-*``; "" = all.

        Raises:
            BadRequest: there is no such provider here, or the name is too long.
        """
        who.need(Right.READ)
        if provider and provider not in self._settings.providers:
            raise BadRequest(f"There is no such provider; there are {', '.join(sorted(self._settings.providers))}.")
        if len(model) > LONGEST_NAME:
            raise BadRequest(f"A model's name has at most {LONGEST_NAME} characters.")
        book, at = self._book(), self._now()
        names = [provider] if provider else sorted(self._settings.providers)
        found: list[dict[str, Any]] = []
        more = False
        for owner, name in (each for one in names for each in _everything(book, one)):
            if model and not fnmatchcase(name, model.lower()):
                continue
            price = book.find(owner, name, at)
            if price is None:
                continue
            more = len(found) == MOST
            if more:
                break
            found.append(_shown(price))
        return {"version": book.version, "at": at, "models": found, "more": more}

    def _book(self) -> PriceBook:
        with self._lock:
            if self._known is None:
                self._known = price_book(self._settings, os.environ)
            return self._known


def _everything(book: PriceBook, provider: str) -> Iterator[tuple[str, str]]:
    part = book.listed(provider)
    ids = [entry.id for entry in part.entries] if part else []
    known = {name.lower() for name in ids}
    yield from ((provider, name) for name in ids)
    for owner, model in book.overrides:
        if owner == provider and model not in known:
            yield provider, model or "*"


def _shown(price: ModelPrice) -> dict[str, Any]:
    rates = [
        {
            "service": service,
            "above_prompt_tokens": above,
            "usd_per_mtok": {name: _usd(getattr(row, name), 6) for name in _PER_TOKEN},
            "usd_per_thousand": {name: _usd(getattr(row, name), 9) for name in _PER_PIECE},
        }
        for service, bands in price.schedule.contexts()
        for above, row in bands
    ]
    return {
        "provider": price.provider,
        "model": price.model,
        "source": price.source,
        "price_version": price.version,
        "context_window": price.context_window,
        "max_output_tokens": price.max_output_tokens,
        "rates": rates,
    }


def _usd(pico: int, places: int) -> str:
    usd = Decimal(pico).scaleb(-places)
    return f"{usd.normalize():f}" if usd else "0"
