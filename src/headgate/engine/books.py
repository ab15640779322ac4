"""What the engine writes down: attempts as they begin and fail, their money, and the one settlement of an exchange.

Nothing here awaits, so a cancelled task cannot stop half-way (models.md, "Streaming, endings, money").
"""

from __future__ import annotations

from headgate.core.errors import HeadgateError, Unavailable, UpstreamError, UpstreamTimeout
from headgate.core.exchange import Attempt, Ending, Exchange, Request, Route, new_attempt
from headgate.core.money import MOST_CHARGE
from headgate.core.ports import Incoming, Ports
from headgate.engine import limiting, prompting
from headgate.engine.answer import answered_status
from headgate.engine.plan import PRICED, UNREAD, Plan, Policies
from headgate.policy.calibration import Shown, widths
from headgate.policy.estimate import as_told
from headgate.policy.pricebook import CEILING
from headgate.policy.rates import STANDARD_SPEEDS, STANDARD_TIERS
from headgate.wire.dialect import UNREADABLE, Meter

UNPRICED = "unpriced"
FREE = "free"
BOUND = "bound"
"""What stands for the price version of a charge that is the attempt's bound (as in `stores.sweep`)."""


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


STOPPED = "Headgate was shut down before the answer was complete. Send the request again."


class Books:
    """Keeps exchanges' records. Shared by the engine and its replies.

    Attributes:
        stopping: what is under way is being broken off by us: whoever has not got its answer has not left.
    """

    __slots__ = (
        "_ceiling",
        "_charges",
        "_ledger",
        "_limits",
        "_log",
        "_policies",
        "_tasks",
        "_turns",
        "now",
        "stopping",
    )

    def __init__(self, ports: Ports, policies: Policies) -> None:
        self.stopping = False
        self._policies = policies
        self.now = ports.clock.now  # seconds since the epoch
        self._ledger, self._log, self._limits, self._turns = ports.ledger, ports.log, ports.limits, ports.turns
        self._charges = policies.charges
        self._tasks = policies.tasks
        self._ceiling = policies.unbounded_ceiling

    def owns_retries(self, exchange: Exchange) -> bool:
        """Whether Headgate, not the caller, retries this exchange."""
        return self._tasks(exchange.request.caller.task).recovery.owns_retries and not spent(exchange.request)

    def begin(self, exchange: Exchange, plan: Plan, route: Route, waited: float) -> Attempt:
        """A new attempt, with the most it can cost.

        Raises:
            UnknownPrice: see `Charges.check`. Nothing has been written then.
        """
        now, request, attempts = self.now(), exchange.request, exchange.attempts
        attempt = new_attempt(len(attempts) + exchange.unsent + 1, route, now, 0, waited)
        crossed = None if plan.crossed is None else plan.sent_to(route)
        if crossed is not None:
            request, attempt.lost = crossed
            attempt.sent_as = request
        if request.endpoint in PRICED:
            most = self._charges.bound(route, request.facts, len(request.body), now, ceiling=self._ceiling)
            if most is None:
                attempt.bound_nano = None
            else:
                attempt.bound_nano, attempt.bound_tokens = most.nano, most.tokens
        if plan.output_cap:
            attempt.output_cap = request.facts.max_output_tokens or 0
        exchange.upstream_gateway = ""  # that an earlier attempt went through another Headgate says nothing of this one
        attempts.append(attempt)
        return attempt

    def note(self, attempt: Attempt, meter: Meter) -> None:
        """Take over what a meter has seen."""
        attempt.usage = meter.usage
        attempt.usage_final = meter.usage_final
        attempt.model_served = meter.model
        attempt.stop_reason = meter.stop_reason

    def shown(
        self,
        attempt: Attempt,
        meter: Meter | None = None,
        *,
        until: float,
        left: bool = False,
        lost: bool = False,
    ) -> Shown:
        """What an attempt's stream has shown.

        Args:
            until: when its last piece was asked for, seconds since the epoch.
            left: it was still being written when we left it.
            lost: its connection broke.
        """
        began = attempt.first_content if attempt.first_content is not None else until
        silent, hides = max(0.0, began - attempt.started), attempt.route.dialect == "openai"
        seconds = max(0.0, until - began)
        if meter is None:
            return Shown(silent=silent, seconds=seconds, left=left, lost=lost, hides=hides)
        return Shown(
            meter.content_bytes,
            meter.wide_bytes,
            meter.beyond_bytes,
            meter.sealed_bytes,
            meter.kinds,
            silent,
            seconds,
            left,
            lost,
            hides,
        )

    def shown_nano(self, attempt: Attempt, meter: Meter, *, until: float) -> int:
        """What a stream has shown, in nano-dollars of output, as it is expected to be billed."""
        return self._charges.output_nano(attempt.route, self.shown(attempt, meter, until=until), attempt.started)

    def charge(
        self,
        exchange: Exchange,
        attempt: Attempt,
        shown: Shown | None = None,
        whole: bytes = b"",
        *,
        final: bool = True,
    ) -> None:
        """Work out an attempt's cost: exact from a final usage, else estimated from what was shown, and marked.

        Args:
            shown: by its stream; None for an answer in one piece, which is `whole`.
            final: `attempt.usage` is the provider's last word.
        """
        request = exchange.request
        if request.endpoint not in PRICED:
            # What is set aside for it is settled on rows of its own.
            attempt.price_version = UNPRICED if is_unpriced(request) and not request.prepaid_nano else FREE
            return
        if exchange.upstream_gateway:
            return  # a Headgate upstream has charged it (decisions 20)
        try:
            plain = None
            if final and attempt.error is None:
                plain = self._charges.ordinary(attempt, attempt.sent_as or request, shown)
            if plain is None:
                self._work_out(exchange, attempt, shown, whole, final=final)
            else:
                attempt.cost_nano, attempt.price_version = plain
        except Exception as error:
            # A mistake of ours must neither hide the cost nor leave the exchange unsettled, its hold with it.
            attempt.cost_nano, attempt.estimated = attempt.bound_nano or 0, True
            attempt.price_version = attempt.price_version or BOUND
            self._tell(exchange, attempt, "charge_failed", error=type(error).__name__)

    def _work_out(
        self, exchange: Exchange, attempt: Attempt, shown: Shown | None, whole: bytes, *, final: bool
    ) -> None:
        request = attempt.sent_as or exchange.request
        charges, route, usage = self._charges, attempt.route, attempt.usage
        if usage is not None and not charges.believable(route, usage, attempt.started):
            final = False
            self._tell(exchange, attempt, "bad_usage", **as_told(usage))
        if usage is None or not final:
            seen = shown if shown is not None else self._shown_whole(attempt, whole)
            to_end = seen.left and route.bills_to_end
            body = request.body
            usage = charges.cut(route, usage, seen, request.facts, body, attempt.started, to_end=to_end)
            attempt.usage = usage
            attempt.estimated = True
        elif attempt.error is None:
            charges.learn(route, usage, shown, request.facts, request.body)
        served = attempt.model_served
        cost, version = charges.charge(route, served, usage, attempt.started)
        attempt.cost_nano, attempt.price_version = cost, version
        if cost >= MOST_CHARGE and not attempt.estimated:  # at prices that nobody can mean
            attempt.estimated = True
            self._tell(exchange, attempt, "bad_usage", **as_told(usage))
        tier, speed = usage.service_tier, usage.speed
        if tier not in STANDARD_TIERS or speed not in STANDARD_SPEEDS or usage.iterations or version.endswith(CEILING):
            self._tell_doubts(exchange, attempt, charges.doubts(route, served, usage, attempt.started))
            attempt.usage, attempt.nested = usage.whole(), bool(usage.iterations)  # for whatever counts tokens
        if attempt.estimated and request.facts.background:  # it goes on without us, and nobody tells us how far
            attempt.cost_nano = max(attempt.cost_nano, attempt.bound_nano or 0)
        if attempt.bound_nano is not None and attempt.cost_nano > attempt.bound_nano:
            # It costs more than the most it could cost: the bound, and with it the hold, was wrong.
            costs = {"bound_nano": attempt.bound_nano, "cost_nano": attempt.cost_nano}
            self._tell(exchange, attempt, "bound_broken", **costs, estimated=attempt.estimated)

    def _tell_doubts(self, exchange: Exchange, attempt: Attempt, doubts: tuple[str, ...]) -> None:
        """A price that is a fallback is told: nobody would otherwise come to know of it."""
        if doubts:
            self._tell(exchange, attempt, "price_doubt", doubts=list(doubts), price_version=attempt.price_version)

    def _shown_whole(self, attempt: Attempt, body: bytes) -> Shown:
        """An answer in one piece: all of its JSON counts as content."""
        seen = self.shown(attempt, until=self.now())
        seen.content = len(body)
        seen.wide, seen.beyond = widths(body)
        return seen

    def _tell(self, exchange: Exchange, attempt: Attempt, event: str, **facts: object) -> None:
        self._log.event(
            event,
            exchange=exchange.id,
            attempt=attempt.number,
            provider=attempt.route.provider,
            model=attempt.model_served or attempt.route.model or exchange.request.facts.model,
            request_id=attempt.request_id,
            **facts,
        )

    def charge_begun(
        self, exchange: Exchange, attempt: Attempt, meter: Meter, error: UpstreamError, incoming: Incoming
    ) -> None:
        """A stream failed of which nothing was handed on: what its meter has seen is on the bill, and what has arrived
        behind an event that nobody can read. `incoming` is not read after this."""
        left = isinstance(error, UpstreamTimeout)  # it was we who left
        if meter.error is not None and meter.error.type in UNREADABLE and not meter.over:
            meter.feed(incoming.arrived())
            left = not meter.over
        self.note(attempt, meter)
        if not error.maybe_billed:
            return
        if error.kind != "refusal":  # which is an answer like any other, to learn from as well
            attempt.error = error
        lost = error.kind in ("broken", "truncated")
        shown = self.shown(attempt, meter, until=self.now(), left=left, lost=lost)
        self.charge(exchange, attempt, shown, final=meter.usage_final)

    def charge_left(self, exchange: Exchange, attempt: Attempt, meter: Meter, incoming: Incoming) -> None:
        """A stream of which nothing was handed on, and which we leave: what has arrived is on its bill."""
        arrived = incoming.arrived()
        if arrived:
            meter.feed(arrived)
        self.note(attempt, meter)
        shown = self.shown(attempt, meter, until=self.now(), left=not meter.over)
        self.charge(exchange, attempt, shown, final=meter.usage_final)

    def charge_unseen(self, exchange: Exchange, attempt: Attempt) -> None:
        """Sent, and nothing shown: what the provider bills is unknown, so the whole bound is charged, and marked."""
        self.charge(exchange, attempt, final=False)
        if attempt.price_version not in (UNPRICED, FREE) and not exchange.upstream_gateway:
            attempt.cost_nano = max(attempt.cost_nano, attempt.bound_nano or 0)

    def fail(self, exchange: Exchange, attempt: Attempt, error: UpstreamError) -> None:
        """An attempt failed, and its exchange may go on. One that is charged already stays so."""
        attempt.ended = self.now()
        attempt.error = error
        attempt.request_id = attempt.request_id or error.request_id
        if attempt.sent and error.maybe_billed and not attempt.price_version:
            self._charge_failed(exchange, attempt)
        self._end_turn(exchange, attempt)
        self._ledger.close(exchange, attempt)

    def close(self, exchange: Exchange, attempt: Attempt) -> None:
        """An attempt has answered and is charged, and its exchange goes on with another. Idempotent."""
        if attempt.ended is None:
            attempt.ended = self.now()
        self._end_turn(exchange, attempt)
        self._ledger.close(exchange, attempt)

    def _end_turn(self, exchange: Exchange, attempt: Attempt) -> None:
        if attempt.marks is not None:
            prompting.ended(exchange, attempt, self._policies)
        if self._turns is not None:
            self._turns.ended(exchange, attempt)

    def _charge_failed(self, exchange: Exchange, attempt: Attempt) -> None:
        streamed = attempt.first_byte is not None and exchange.request.facts.stream
        if attempt.usage is not None and (attempt.usage_final or not streamed):
            self.charge(exchange, attempt)  # an error beside a final usage
        elif streamed:
            left = isinstance(attempt.error, UpstreamTimeout)  # it was we who left
            self.charge(exchange, attempt, self.shown(attempt, until=self.now(), left=left), final=False)
        else:
            self.charge_unseen(exchange, attempt)

    def settle(
        self, exchange: Exchange, ending: Ending, error: BaseException | None = None, now: float | None = None
    ) -> None:
        """Close the books on an exchange, once; later calls change nothing.

        Args:
            now: where the clock has just been read.
        """
        if exchange.ending is not None:
            return
        if now is None:
            now = self.now()
        told = error
        if self.stopping and not isinstance(error, Exception) and ending in (Ending.ABANDONED, Ending.CANCELLED):
            ending, told = Ending.CUT if ending is Ending.ABANDONED else ending, Unavailable(STOPPED)
        exchange.ending = ending
        exchange.ended = now
        if told is not None and isinstance(told, Exception):
            if not isinstance(told, HeadgateError):
                told = HeadgateError(f"{type(told).__name__} inside Headgate", code="internal_error")
            exchange.error = told
            told.exchange_id = exchange.id
            if not exchange.status:  # nothing has been answered yet
                exchange.status = answered_status(told, exchange, owns_retries=self.owns_retries(exchange))
        if exchange.attempts:
            last = exchange.attempts[-1]
            if last.ended is None:
                last.ended = now
                if last.sent and last.status == 0 and not isinstance(error, Unavailable):
                    self.charge_unseen(exchange, last)  # cancelled in flight
                elif last.sent and not last.price_version:
                    self._charge_interrupted(exchange, last)
            if last.marks is not None:
                prompting.ended(exchange, last, self._policies)
            if self._turns is not None:
                self._turns.closed(exchange)
        if exchange.taken is not None and self._limits is not None:
            limiting.correct(self._limits, exchange, exchange.taken)
        self._ledger.settle(exchange)
        self._log.write(exchange)

    def _charge_interrupted(self, exchange: Exchange, attempt: Attempt) -> None:
        """Cancelled, or failed inside Headgate, between the response's headers and its first content."""
        if attempt.status >= 300:
            return
        if exchange.request.facts.stream:
            self.charge(exchange, attempt, self.shown(attempt, until=self.now(), left=True), final=False)
        else:
            self.charge_unseen(exchange, attempt)
