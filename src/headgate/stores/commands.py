"""What is put into the writer's queue, beside settled exchanges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headgate.core.exchange import Attempt, Exchange
from headgate.policy.holding import Ask
from headgate.stores.session import Closing, Session
from headgate.stores.statements import Row
from headgate.stores.waiters import Waiter


def closing_of(exchange: Exchange, attempt: Attempt) -> Closing:
    """What closes an attempt's hold."""
    spent, used = attempt.cost_nano + attempt.elsewhere_nano, attempt.used_tokens + attempt.elsewhere_tokens
    return exchange.id, attempt.number, spent, used


class Intent(msgspec.Struct, eq=False):
    """An intent row, who waits for it, and what it asks to set aside: that knows what is left before he is woken."""

    # A struct of msgspec's is made without a call of Python's.
    row: Row
    waiter: Waiter
    ask: Ask | None = None


class Closed:
    """An attempt that has ended while its exchange goes on: its row, and what closes its hold."""

    __slots__ = ("closing", "row")

    def __init__(self, row: Row, closing: Closing) -> None:
        self.row = row
        self.closing = closing


class Call:
    """Work in the writer thread, behind everything queued before it. None: only say when that is durable."""

    __slots__ = ("result", "waiter", "work")

    def __init__(self, work: Callable[[Session], Any] | None, waiter: Waiter) -> None:
        self.work = work
        self.waiter = waiter
        self.result: Any = None


class Stop(Call):
    """The last command."""

    __slots__ = ()


Command = Intent | Exchange | Closed | Call
