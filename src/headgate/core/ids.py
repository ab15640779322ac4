"""Exchange ids: time-ordered, so that a new row always lands at the right edge of an index."""

from __future__ import annotations

from collections.abc import Callable

PREFIX = "ex_"


def id_maker(getrandbits: Callable[[int], int]) -> Callable[[float], str]:
    """A function from a time in seconds to a new id: ``ex_`` + 12 hex digits of milliseconds + 16 random ones.

    Args:
        getrandbits: a source of random bits, like `random.Random().getrandbits`.
    """

    form = PREFIX + "%028x"

    def new_id(now: float) -> str:
        return form % (int(now * 1000) << 64 | getrandbits(64))

    return new_id
