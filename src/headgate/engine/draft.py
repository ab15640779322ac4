"""A JSON answer that has still to be looked at: it is charged, and its exchange is open."""

from __future__ import annotations

from headgate.core.exchange import Exchange
from headgate.engine.answer import HeaderList
from headgate.engine.books import Books
from headgate.engine.plan import Plan
from headgate.engine.relay import WholeReply


def whole_reply(
    books: Books, exchange: Exchange, plan: Plan, status: int, headers: HeaderList, body: bytes
) -> WholeReply:
    """The answer as it goes out; or a draft of it, where it is checked first."""
    kind = Draft if plan.answer is not None or plan.checks else WholeReply
    return kind(books, exchange, status, headers, body)


class Draft(WholeReply):
    """Never handed on: `deliver` makes the reply that is.

    Attributes:
        attempt: that has answered.
        body: as it came, in whatever coding.
    """

    __slots__ = ("attempt", "body")

    def __init__(self, books: Books, exchange: Exchange, status: int, headers: HeaderList, body: bytes) -> None:
        # Not the parent's, which settles.
        self._books = books
        self._body = self.body = body
        self.exchange = exchange
        self.status = status
        self.headers = headers
        self.length = len(body)
        self.attempt = exchange.attempts[-1]

    def deliver(self, *more: tuple[bytes, bytes], body: bytes | None = None) -> WholeReply:
        """Settle the exchange as complete, with this as its answer.

        Args:
            more: headers.
            body: decoded JSON in place of its own.
        """
        headers = [*self.headers, *more]
        if body is not None:
            headers = [h for h in headers if h[0] != b"content-encoding"]
        attempts = self.exchange.attempts
        # The attempt that answers is the last one: what is said of the answer is said of that.
        attempts.sort(key=lambda attempt: attempt is self.attempt)
        return WholeReply(self._books, self.exchange, self.status, headers, self.body if body is None else body)
