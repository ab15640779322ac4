"""A model's refusal, where other models are to follow it: read to its end, kept, and given to the caller after all
where nothing better comes.

It is a complete answer and is charged as one, beside what follows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.errors import UpstreamError, UpstreamRejected
from headgate.core.exchange import Attempt, Exchange
from headgate.core.ports import Clock, Incoming
from headgate.engine.answer import HeaderList
from headgate.engine.draft import whole_reply
from headgate.engine.plan import Plan, Refused
from headgate.engine.relay import WholeReply
from headgate.wire.dialect import Meter

if TYPE_CHECKING:
    from headgate.engine.books import Books

LONGEST_SECONDS = 15.0
MOST_BYTES = 256 * 1024
"""A stream that refuses is read to its end, for its bill. One that goes on for longer is handed on as it is."""


def refused(plan: Plan, attempt: Attempt, status: int, headers: HeaderList, body: bytes) -> UpstreamError:
    """The failure that stands for a refusal. The answer is kept in the plan, the first one of several."""
    if plan.refused is None:
        plan.refused = Refused(attempt, status, headers, body)
    return UpstreamRejected(
        f"{attempt.route.provider}'s model refused",
        kind="refusal",
        maybe_billed=True,
        status=status,
        provider_code=attempt.stop_reason[:64],
        request_id=attempt.request_id,
    )


async def read_out(incoming: Incoming, meter: Meter, held: list[bytes], clock: Clock, shown_by: float) -> bool:
    """Read a stream to its end into `held`; False where that takes too long, or it breaks inside.

    Args:
        shown_by: when the caller has to hear something (`Plan.shown_by`).
    """
    until, size = min(clock.now() + LONGEST_SECONDS, shown_by), 0
    while not meter.ended:
        left = until - clock.now()
        if left <= 0 or not await incoming.wait(left):
            return False
        piece = await incoming.read()
        held.append(meter.feed(piece) if piece else meter.finish())
        size += len(piece)
        if meter.error is not None or (not piece and not meter.ended) or size > MOST_BYTES:
            return False
    return meter.error is None


def after_all(books: Books, exchange: Exchange, plan: Plan) -> WholeReply | None:
    """The refusal, for the caller, because nothing better came; None where there was none."""
    kept = plan.refused
    if kept is None or exchange.ending is not None:
        return None
    # The attempt that answers is the last one: what is said of the answer is said of that.
    exchange.attempts.sort(key=lambda attempt: attempt is kept.attempt)
    return whole_reply(books, exchange, plan, kept.status, list(kept.headers), kept.body)
