"""What the engine writes down: attempts as they begin and fail, their money, and the one settlement of an exchange.

Nothing here awaits, so a cancelled task cannot stop half-way (models.md, "Streaming, endings, money").
"""

from __future__ import annotations

from headgate.core.errors import HeadgateError, Unavailable, UpstreamError
from headgate.core.exchange import Attempt, Ending, Exchange, Request, Route
from headgate.core.ports import Ports
from headgate.engine.answer import answered_status
from headgate.engine.plan import PRICED, UNREAD, Policies
from headgate.wire.dialect import Meter

UNPRICED = "unpriced"
FREE = "free"

UNSEEN_TOKENS = 256
"""Output that a provider may have written, and bills, before it noticed that we had left its stream: a quarter of a
second at a thousand tokens per second. It was on its way, so no meter has counted it; the caller's cap still bounds the
charge, and the row is marked as an estimate."""


def is_unpriced(request: Request) -> bool:
    """It may cost money that we cannot work out: unknown paths, and what is set to work, as batches are (decisions 9).

    Looking at what is kept is free, and so is keeping files.
    """
    if request.endpoint == "stored":
        path = request.path.partition("?")[0].rstrip("/")
        return request.method == "POST" and not path.endswith(_FREE_ENDS)
    return request.endpoint == "other"


def may_cost(request: Request) -> bool:
    """What a budget has to let through: calls with a price, and those that may have one that we do not know."""
    return request.endpoint in PRICED or (is_unpriced(request) and request.method not in ("GET", "HEAD"))


_FREE_ENDS = ("/files", "/uploads", "/parts", "/complete", "/cancel", "/conversations", "/items")


def once_only(request: Request, error: UpstreamError) -> bool:
    """Sending it again may do it twice: what is not read has no price, and the provider may have begun on it."""
    changes = request.endpoint in UNREAD and request.method not in ("GET", "HEAD", "DELETE")
    return changes and (error.maybe_billed or error.status >= 500)


def spent(request: Request) -> bool:
    """The body has been read away: nobody but the caller, who has it, can send this again."""
    return request.upload is not None and request.upload.begun


class Books:
    """Keeps exchanges' records. Shared by the engine and its replies."""

    __slots__ = ("_ceiling", "_charges", "_clock", "_ports", "_tasks")

    def __init__(self, ports: Ports, policies: Policies) -> None:
        self._ports = ports
        self._clock = ports.clock
        self._charges = policies.charges
        self._tasks = policies.tasks
        self._ceiling = policies.unbounded_ceiling

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    def owns_retries(self, exchange: Exchange) -> bool:
        """Whether Headgate, not the caller, retries this exchange."""
        return self._tasks(exchange.request.caller.task).recovery.owns_retries and not spent(exchange.request)

    def begin(self, exchange: Exchange, route: Route, waited: float) -> Attempt:
        """A new attempt, with the most it can cost.

        Raises:
            UnknownPrice: see `Charges.check`. Nothing has been written then.
        """
        now = self._clock.now()
        request = exchange.request
        bound: int | None = 0
        tokens = 0
        if request.endpoint in PRICED:
            most = self._charges.bound(route, request.facts, len(request.body), now, ceiling=self._ceiling)
            bound, tokens = (None, 0) if most is None else (most.nano, most.tokens)
        attempt = Attempt(len(exchange.attempts) + 1, route, now, bound, waited, bound_tokens=tokens)
        exchange.upstream_gateway = ""  # that an earlier attempt went through another Headgate says nothing of this one
        exchange.attempts.append(attempt)
        return attempt

    def note(self, attempt: Attempt, meter: Meter) -> None:
        """Take over what a meter has seen."""
        attempt.usage = meter.usage
        attempt.usage_final = meter.usage_final
        attempt.model_served = meter.model
        attempt.stop_reason = meter.stop_reason

    def charge(self, exchange: Exchange, attempt: Attempt, *, content_bytes: int, final: bool = True) -> None:
        """Work out an attempt's cost: exact from a final usage, else estimated from what was shown, and marked."""
        request = exchange.request
        if request.endpoint not in PRICED:
            attempt.price_version = UNPRICED if is_unpriced(request) else FREE
            return
        if exchange.upstream_gateway:
            return  # a Headgate upstream has charged it (decisions 20)
        usage = attempt.usage
        if usage is None or not final:
            usage = self._charges.cut(attempt.route, usage, content_bytes, request.facts, len(request.body))
            attempt.usage = usage
            attempt.estimated = True
        attempt.cost_nano, attempt.price_version = self._charges.charge(
            attempt.route, attempt.model_served, usage, attempt.started
        )
        if attempt.estimated and request.facts.background:  # it goes on without us, and nobody tells us how far
            attempt.cost_nano = max(attempt.cost_nano, attempt.bound_nano or 0)

    def charge_unseen(self, exchange: Exchange, attempt: Attempt) -> None:
        """Sent, and nothing shown: what the provider bills is unknown, so the whole bound is charged, and marked."""
        self.charge(exchange, attempt, content_bytes=0, final=False)
        if attempt.price_version not in (UNPRICED, FREE) and not exchange.upstream_gateway:
            attempt.cost_nano = max(attempt.cost_nano, attempt.bound_nano or 0)

    def charge_left(self, exchange: Exchange, attempt: Attempt, *, content_bytes: int, final: bool = False) -> None:
        """We left a stream that was being written: what was shown, and what was on its way."""
        self.charge(exchange, attempt, content_bytes=content_bytes + UNSEEN_TOKENS, final=final)

    def fail(self, exchange: Exchange, attempt: Attempt, error: UpstreamError) -> None:
        """An attempt failed before anything was handed on."""
        attempt.ended = self._clock.now()
        attempt.error = error
        attempt.request_id = attempt.request_id or error.request_id
        if attempt.sent and error.maybe_billed:
            self._charge_failed(exchange, attempt)
        self._ports.ledger.close(exchange, attempt)

    def _charge_failed(self, exchange: Exchange, attempt: Attempt) -> None:
        streamed = attempt.first_byte is not None and exchange.request.facts.stream
        if attempt.usage is not None and (attempt.usage_final or not streamed):
            self.charge(exchange, attempt, content_bytes=0)  # an error beside a final usage
        elif streamed:
            self.charge(exchange, attempt, content_bytes=0, final=False)
        else:
            self.charge_unseen(exchange, attempt)

    def settle(self, exchange: Exchange, ending: Ending, error: BaseException | None = None) -> None:
        """Close the books on an exchange, once; later calls change nothing."""
        if exchange.ending is not None:
            return
        exchange.ending = ending
        now = self._clock.now()
        exchange.ended = now
        if isinstance(error, Exception):
            if not isinstance(error, HeadgateError):
                error = HeadgateError(f"{type(error).__name__} inside Headgate", code="internal_error")
            exchange.error = error
            error.exchange_id = exchange.id
            if not exchange.status:  # nothing has been answered yet
                exchange.status = answered_status(error, exchange, owns_retries=self.owns_retries(exchange))
        last = exchange.last
        if last is not None and last.ended is None:
            last.ended = now
            if last.sent and last.status == 0 and not isinstance(error, Unavailable):
                self.charge_unseen(exchange, last)  # cancelled in flight
            elif last.sent and not last.price_version:
                self._charge_interrupted(exchange, last)
        self._ports.ledger.settle(exchange)
        self._ports.log.write(exchange)

    def _charge_interrupted(self, exchange: Exchange, attempt: Attempt) -> None:
        """Cancelled, or failed inside Headgate, between the response's headers and its first content."""
        if attempt.status >= 300:
            return
        if exchange.request.facts.stream:
            self.charge_left(exchange, attempt, content_bytes=0)
        else:
            self.charge_unseen(exchange, attempt)
