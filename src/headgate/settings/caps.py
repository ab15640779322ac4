"""Caps that are told while the gate runs: read as those of the configuration are."""

from __future__ import annotations

from decimal import Decimal

from headgate.core.errors import ConfigError
from headgate.settings.units import Unfit, usd, whole

MAX_TOKENS = 10**15
_tokens = whole(0, MAX_TOKENS)


def cap_amounts(dollars: Decimal | str | float | None, tokens: int | str | None) -> tuple[int | None, int | None]:
    """(Nano-dollars, tokens); None for what is not told.

    Args:
        dollars: USD, 0 to 1,000,000,000 with at most nine decimals.
        tokens: 0 to 10**15.

    Raises:
        ConfigError: one is out of range or of a wrong type, or neither is told.
    """
    if dollars is None and tokens is None:
        raise ConfigError("a cap in usd or in tokens is needed, or both")
    nano = count = None
    mistakes = []
    if dollars is not None:
        try:
            nano = usd(_plain(dollars))
        except Unfit as error:
            mistakes.append(f"usd: {error}")
    if tokens is not None:
        try:
            count = _tokens(_plain(tokens))
        except Unfit as error:
            mistakes.append(f"tokens: {error}")
    if mistakes:
        raise ConfigError(mistakes)
    return nano, count


def _plain(value: Decimal | str | float) -> str:
    """Digits without an exponent, as the readers take them; what is no number stays none."""
    if isinstance(value, bool):
        return ""
    if isinstance(value, float):
        value = Decimal(str(value))
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
