"""Check digits, by python-stdnum: imported on first use, for it costs 100 ms."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=128)
def _checker(module: str) -> Callable[[str], bool]:
    found: Callable[[str], bool] = importlib.import_module(f"stdnum.{module}").is_valid
    return found


def valid(module: str, number: str) -> bool:
    """Whether `number` satisfies a module of python-stdnum: "luhn", "iban", "pl.pesel".

    python-stdnum's own checks raise errors of theirs only; a number that one of them cannot read is no number.
    """
    try:
        return bool(_checker(module)(number))
    except (ValueError, IndexError, KeyError):
        return False
