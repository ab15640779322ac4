"""What watches the answers of an exchange, decided once its request has been looked at."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.exchange import Exchange
from headgate.engine.approving import Approving
from headgate.engine.plan import Plan
from headgate.policy.guards.rules import GuardRules
from headgate.policy.guards.toolwatch import ToolWatch
from headgate.policy.guards.watch import Restorer, Watching
from headgate.wire.gated import GATED
from headgate.wire.segments import Segment


def watch_answers(
    exchange: Exchange,
    plan: Plan,
    rules: GuardRules,
    texts: Sequence[Segment],
    approving: Approving,
    restorer: Restorer | None = None,
) -> None:
    """Have the answers of a request watched (`plan.inspects`), where there is anything to watch for.

    Args:
        texts: of the request, as they were before anything was taken out.
        restorer: puts what was taken out back into answers; None: nothing was.
    """
    if exchange.request.endpoint not in GATED:
        return
    tainted = any(each.channel in ("document", "tool_result") for each in texts)

    def calls() -> ToolWatch | None:
        return approving.watch(exchange, plan, rules, tainted=tainted)

    made = Watching(rules, texts, restorer=restorer, calls=calls if rules.watches_calls else None)
    if made.needed:
        plan.inspects = made
