"""Discounts of a contract, off the rates of the price file."""

from __future__ import annotations

from headgate.policy.rates import RateMap

FULL = 10_000
"""Basis points of the whole."""

_SEARCHES = "s"


def discounted(rates: RateMap, basis_points: int) -> RateMap:
    """A contract's rates: list rates x (1 - discount), each rounded half-up once to a whole pico-dollar per token.

    A discount in whole percent on a list rate in whole cents per million tokens is exact. Web searches keep their list
    price, as they do in a batch: vendors' discounts are on tokens, and what is uncertain goes to the dearer side.

    Args:
        rates: of the price file.
        basis_points: the discount in hundredths of a percent, 0 to 9,999.

    Raises:
        ValueError: a discount outside of that.
    """
    if not 0 <= basis_points < FULL:
        raise ValueError(f"a discount is at least 0 and below 100%, not {discount_text(basis_points)}")
    left = FULL - basis_points

    def less(rate: int) -> int:
        return (rate * left + FULL // 2) // FULL

    found: dict[str, int | list[int | list[int]]] = {}
    for name, rate in rates.items():
        if name == _SEARCHES:
            found[name] = rate
        elif isinstance(rate, int):
            found[name] = less(rate)
        else:
            found[name] = [less(step) if isinstance(step, int) else [step[0], less(step[1])] for step in rate]
    return found


def discount_text(basis_points: int) -> str:
    """1250 as "12.5%"."""
    whole, rest = divmod(basis_points, 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".") + "%"
