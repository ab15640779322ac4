"""Answers that `core.ports.Witness`es are to see, on their way to the caller."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.exchange import Exchange
from headgate.core.ports import Substitute, Witness
from headgate.engine.answer import EXCHANGE
from headgate.engine.coded import legible
from headgate.engine.flying import kept_headers
from headgate.engine.relay import Reply
from headgate.policy.caching import unfit

LARGEST = 4 * 1024 * 1024
"""Bytes of an answer that is seen; of a longer one nothing is kept."""


def seen(witnesses: Sequence[Witness], exchange: Exchange, reply: Reply) -> Reply:
    """The reply, which those who want to will see the answer of."""
    wanting = [witness for witness in witnesses if witness.wants(exchange)]
    return Seen(wanting, exchange, reply) if wanting else reply


class Seen:
    """A `Reply` around one that is complete when all of it has gone out."""

    __slots__ = ("_inner", "_pieces", "_size", "_witnesses", "exchange", "headers", "length", "status")

    def __init__(self, witnesses: Sequence[Witness], exchange: Exchange, inner: Reply) -> None:
        self._inner = inner
        self._witnesses = witnesses
        self._pieces: list[bytes] = []
        self._size = 0
        self.exchange = exchange
        self.status = inner.status
        self.headers = inner.headers
        self.length = inner.length

    @property
    def drains(self) -> bool:
        """See `Reply`."""
        return self._inner.drains

    @property
    def drain_seconds(self) -> float:
        """See `Reply`."""
        return self._inner.drain_seconds

    async def read(self) -> bytes:
        """See `Reply.read`."""
        piece = await self._inner.read()
        if self._witnesses:
            if piece:
                self._size += len(piece)
                self._pieces.append(piece)
            if self._size > LARGEST:
                self._forget()
            elif not piece or (self.length is not None and self._size >= self.length):
                self._tell()
        return piece

    def close(self) -> None:
        """See `Reply.close`."""
        self._inner.close()
        if self._witnesses:  # some SDKs close a stream behind its terminal event
            self._tell()

    def leave(self) -> None:
        """See `Reply.leave`."""
        self._forget()
        self._inner.leave()

    def stop(self) -> None:
        """See `Reply.stop`."""
        self._inner.stop()

    def _forget(self) -> None:
        self._witnesses, self._pieces = (), []

    def _tell(self) -> None:
        """The answer, where all of it has gone out and it is one to be kept."""
        exchange, witnesses, body = self.exchange, self._witnesses, b"".join(self._pieces)
        self._forget()
        if unfit(exchange):
            return
        if self.length is None:
            # Our comment is behind the terminal event: what ends without it has not gone out to its end.
            body, ours, _ = body.rpartition(b": %s=%s" % (EXCHANGE, exchange.id.encode()))
            if not ours:
                return
        else:
            coding = next((value for name, value in self.headers if name == b"content-encoding"), b"").strip().lower()
            body = legible(body, b"" if coding == b"identity" else coding, LARGEST)
        if body:
            answer = Substitute(self.status, tuple(kept_headers(self.headers)), body)
            for witness in witnesses:
                witness.saw(exchange, answer)
