"""Who changes something: for the audit log. Told by context, so that no method in between has to hand it on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does it, and how.

    Attributes:
        name: a person's, an API token's (``token:<name>``), or of whoever runs the command line; "" = not known.
        role: as `headgate.control.people.Role`; "" = none.
        way: the way in: "python", "cli", "api", "dashboard", "owner" (the dashboard without login), "webhook".
        address: the network address it comes from; "" = this process.
    """

    name: str = ""
    role: str = ""
    way: str = "python"
    address: str = ""


_acting: ContextVar[Actor] = ContextVar("headgate_actor", default=Actor())  # noqa: B039 -- frozen


def actor() -> Actor:
    """Who acts now; in process and without `acting`, nobody in particular in Python."""
    return _acting.get()


@contextmanager
def acting(who: Actor) -> Iterator[None]:
    """What is changed inside is changed by `who`. Threads begun with `asyncio.to_thread` inside know it, too."""
    token = _acting.set(who)
    try:
        yield
    finally:
        _acting.reset(token)
