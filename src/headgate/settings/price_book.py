"""The price book of a configuration: the price file in use, with the configuration's own prices and discounts."""

from __future__ import annotations

from collections.abc import Mapping

from headgate.policy.pricebook import PriceBook, Unknown
from headgate.settings.model import Settings
from headgate.stores.price_files import Installed, PriceFiles, prices_folder


def price_book(settings: Settings, env: Mapping[str, str]) -> PriceBook:
    """What every call is charged by.

    Args:
        env: says where price files are installed (`stores.price_files.prices_folder`).

    Raises:
        ConfigError: a price file was changed since it was pinned, or a price of the configuration is wrong.
    """
    files = PriceFiles(prices_folder(env))
    return book_of(settings, files, files.in_use())


def book_of(settings: Settings, files: PriceFiles, installed: Installed) -> PriceBook:
    """The same configuration over another price file. Raises as `price_book`."""
    return book_over(settings, files.read(installed), installed.sha256)


def book_over(settings: Settings, content: bytes, sha256: str) -> PriceBook:
    """The same configuration over the content of a price file. Raises as `price_book`."""
    return PriceBook.load(
        settings.price_overrides, unknown(settings), content=content, sha256=sha256, discounts=discounts(settings)
    )


def unknown(settings: Settings) -> Unknown:
    """The policy for models without a price."""
    ceiling = settings.unknown_price.ceiling_pico_per_token
    return Unknown() if ceiling is None else Unknown(ceiling_pico=ceiling)


def discounts(settings: Settings) -> dict[str, int]:
    """Basis points off the price file's rates, by provider."""
    return {name: provider.discount_basis_points for name, provider in settings.providers.items()}
