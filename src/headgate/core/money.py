"""Money: integer nano-dollars inside, decimal USD outside.

One nano-dollar is 1e-9 USD. Rates are integers in pico-dollars per token (1e-12 USD), so that every published
price in USD per million tokens with up to six decimals is exact (decisions 7).
"""

from __future__ import annotations

from decimal import Decimal

NANO_PER_USD = 1_000_000_000
PICO_PER_NANO = 1_000
_HALF_NANO = PICO_PER_NANO // 2

MOST_CHARGE = 10**15
"""The most that one attempt is charged, or held for: a million dollars, in nano-dollars. No answer costs as much, and
9,000 such charges still have a sum in 63 bits, which is what a column of the ledger and a sum over it can hold."""
MOST_SUM = 2**62
"""The most that an account says it has spent, nano-dollars or tokens: half of what its column can hold, so that there
is room for what a sweep adds to it."""


def pico_to_nano(pico: int) -> int:
    """Round pico-dollars half-up to nano-dollars: once per attempt, after the exact sum. `pico` must be >= 0."""
    return (pico + _HALF_NANO) // PICO_PER_NANO


def usd(nano: int) -> Decimal:
    """Nano-dollars as an exact decimal number of USD."""
    return Decimal(nano) / NANO_PER_USD


def usd_text(nano: int) -> str:
    """Nano-dollars as a plain decimal string of USD, without an exponent and without trailing zeros ("0.0015")."""
    if nano < 0:
        return f"-{usd_text(-nano)}"
    whole, fraction = divmod(nano, NANO_PER_USD)
    return f"{whole}.{fraction:09d}".rstrip("0") if fraction else str(whole)


def usd_bytes(nano: int) -> bytes:
    """As `usd_text`, in ASCII and half the time: of what every call is told, and its line of the log. `nano` >= 0."""
    if 0 < nano < NANO_PER_USD:
        return b"0." + (b"%09d" % nano).rstrip(b"0")
    return (b"%d.%09d" % divmod(nano, NANO_PER_USD)).rstrip(b"0").rstrip(b".")


def nano(amount: Decimal | int | str) -> int:
    """USD to nano-dollars, exactly.

    Raises:
        ValueError: `amount` is finer than a nano-dollar, or not a finite number.
    """
    exact = Decimal(amount) * NANO_PER_USD
    if not exact.is_finite() or exact != exact.to_integral_value():
        raise ValueError(f"{amount} USD is not a whole number of nano-dollars")
    return int(exact)
