"""A meter whose stream goes through a gate (`gates.py`)."""

from __future__ import annotations

from typing import Any, cast

from headgate.core.guards import Finding, Inspector
from headgate.wire.dialect import UNREADABLE, Meter
from headgate.wire.gate_chat import ChatGate
from headgate.wire.gate_messages import MessagesGate
from headgate.wire.gate_responses import ResponsesGate
from headgate.wire.gates import Gate

_GATES: dict[str, type[Gate]] = {"messages": MessagesGate, "chat": ChatGate, "responses": ResponsesGate}
GATED = frozenset(_GATES)
"""Endpoints whose streams can be watched."""


def gated(endpoint: str, meter: Meter, inspector: Inspector, *, keep_text: bool = False) -> Meter:
    """`meter`, with an inspector behind it.

    Args:
        endpoint: one of `GATED`; the dialect of what the meter hands on.
    """
    # mypy does not see what `__getattr__` gives: everything else is the meter's own.
    return cast("Meter", Gated(meter, _GATES[endpoint](inspector, keep_text=keep_text)))


def blocked(meter: Meter) -> Finding | None:
    """What an inspector has ended this meter's stream for; None where it has not, or there is none."""
    return meter.blocked if isinstance(meter, Gated) else None


class Gated:
    """A `Meter` whose stream goes through a gate.

    It counts what the provider sends. `started` and `ended` are the caller's: content has gone out; its stream has
    ended. Where the inspector has stopped the answer, `ended` is true and `over` is not: the provider goes on writing.

    Attributes:
        metered: the meter behind it.
    """

    __slots__ = ("_gate", "_lost", "metered")

    def __init__(self, metered: Meter, gate: Gate) -> None:
        self.metered = metered
        self._gate = gate
        self._lost = False  # the provider failed before any content

    def __getattr__(self, name: str) -> Any:
        return getattr(self.metered, name)

    @property
    def blocked(self) -> Finding | None:
        """What the answer was stopped for."""
        return self._gate.stopped

    @property
    def inspector(self) -> Inspector:
        """Who watches."""
        return self._gate.inspector

    @property
    def started(self) -> bool:
        """See `Meter`."""
        return self._gate.spoke and not self._lost

    @property
    def ended(self) -> bool:
        """See `Meter`."""
        return self._gate.stopped is not None or self.metered.ended

    def feed(self, piece: bytes) -> bytes:
        """See `Meter.feed`."""
        block = self.metered.feed(piece)
        error = self.metered.error
        if error is not None and error.type == "event_too_large":
            return self._gate.fail()
        out = self._gate.feed(block)
        if error is not None and not self.metered.started:
            self._lost = True
        if self.metered.ended or (error is not None and error.type not in UNREADABLE):
            out += self._gate.finish()
        return out

    def finish(self) -> bytes:
        """See `Meter.finish`: whole frames only. Part of one could not be read, by anybody."""
        rest = self.metered.finish()
        out = self._gate.feed(rest) if self.metered.ended else b""
        return out + self._gate.finish()

    def text(self) -> str:
        """See `Meter.text`: what has gone out."""
        return self._gate.text()
