"""What `headgate cache similar` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.core.errors import ConfigError
from headgate.core.money import usd_text
from headgate.policy.shadowing import WATCHING, interval
from headgate.policy.similar import may_answer
from headgate.similar import TASK
from headgate.stores.opening import similar_file
from headgate.stores.shadow_file import ShadowFile

if TYPE_CHECKING:
    from headgate.settings.model import Settings


def report(settings: Settings) -> dict[str, Any]:
    """What was measured, in plain values.

    Raises:
        ConfigError: no other process can see it, or it cannot be read.
    """
    rules = settings.similar
    if rules is None:
        return {"on": False}
    path = similar_file(settings.storage)
    if path is None:
        raise ConfigError("storage: memory: what was compared is in the memory of the process that serves")
    tally = ShadowFile(path).tally(TASK, rules.embedder, WATCHING)
    counted = tally.counted
    low, high = interval(counted.different, counted.compared)
    return {
        "on": True,
        "embedder": rules.embedder,
        "mode": "answer" if rules.answers else "shadow",
        "threshold": rules.threshold,
        "compared": counted.compared,
        "until": rules.until,
        "false_hits": counted.different,
        "false_hit_rate": round(counted.different / counted.compared, 4) if counted.compared else None,
        "low": round(low, 4),
        "high": round(high, 4),
        "bound": rules.false_hits_basis_points / 10_000,
        "would_have_saved_usd": usd_text(tally.live_nano),
        "may_answer": may_answer(rules, counted),
    }
