"""Every item, looked at in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from headgate.checklist import money, reliability, safety, safety_tools, watching
from headgate.checklist.facts import Facts
from headgate.checklist.items import WARN, Item, Result
from headgate.core.errors import HeadgateError

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.settings.model import Settings
    from headgate.stores.logs.reader import LogReader
    from headgate.stores.reader import Reader

Look = Callable[[Facts], Result]

ITEMS: Mapping[str, tuple[tuple[str, str, Look], ...]] = {
    "Reliability": (
        ("retries", "Failed calls are retried, by one owner", reliability.retries),
        ("timeouts", "Every call has timeouts", reliability.timeouts),
        ("fallback", "Another provider takes over", reliability.fallback),
        ("health", "Health can be asked for, and says something", reliability.health),
    ),
    "Money": (
        ("usage", "Every call's usage is recorded", money.usage),
        ("budget-alerts", "Somebody is told at 80% of a budget", money.budget_alerts),
        ("budget-stop", "Spending stops at 100% of a budget", money.budget_stop),
        ("user-limits", "No single user can take everything", money.user_limits),
        ("routing", "Simple work goes to a cheap model", money.routing),
        ("caps", "Answers have an output cap", money.caps),
        ("cache", "The same question is not paid for twice", money.cache),
        ("prompt-caching", "Providers' prompt caches are used", money.prompt_caching),
        ("history", "Conversations do not grow without bound", money.history),
    ),
    "Safety": (
        ("untrusted-input", "Third parties' texts are marked as data", safety.untrusted_input),
        ("injection", "Injected instructions are refused", safety.injection),
        ("keys", "Keys are references, and can be read", safety.keys),
        ("prompt-secrets", "No secrets in prompts", safety.prompt_secrets),
        ("tools", "Tool calls are validated", safety_tools.tools),
        ("approvals", "Risky tool calls wait for a person", safety_tools.approvals),
        ("logs", "Logs are structured, and without personal data", safety.logs),
    ),
    "Watching": (
        ("error-alert", "Somebody is told when calls fail", watching.error_alert),
        ("latency-alerts", "Somebody is told of slow p95 and p99", watching.latency_alerts),
        ("stop-reasons", "Stop reasons are recorded, and answers end by themselves", watching.stop_reasons),
        ("eval-set", "An eval set is at hand", watching.eval_set),
    ),
}
"""By group, in the order in which they are shown: (id, title, what looks)."""


def run(
    settings: Settings,
    built: Built | None = None,
    reader: Reader | None = None,
    log_reader: LogReader | None = None,
    *,
    env: Mapping[str, str] | None = None,
    now: float | None = None,
) -> tuple[Item, ...]:
    """Look at every item. Blocks, for about a second; sends nothing anywhere, and writes nothing.

    Args:
        built: the gateway that runs in this process; None: there is none.
        reader, log_reader: the ledger and the log store, as `sources_of` opens them; None: there is none.
        env: where `env:` references are read; None: the process's.
        now: seconds since the epoch; None: the clock's.
    """
    facts = Facts(
        settings, built, reader, log_reader, os.environ if env is None else env, time.time() if now is None else now
    )
    return tuple(
        Item(name, title, group, *_looked(look, facts)) for group, looks in ITEMS.items() for name, title, look in looks
    )


def _looked(look: Look, facts: Facts) -> Result:
    try:
        return look(facts)
    except HeadgateError as error:
        return Result(WARN, f"This could not be looked at: {error.message}", "headgate doctor")


def sources_of(settings: Settings, built: Built | None = None) -> tuple[Reader | None, LogReader | None]:
    """The ledger and the log store of a configuration, for `run`. Where there is none, or it cannot be read, None.

    The log reader is the caller's to close, but for that of `built`.
    """
    from headgate.settings.log import log_place_of
    from headgate.stores.logs.place import Logs
    from headgate.stores.opening import open_reader

    reader: Reader | None = None
    logs: LogReader | None = None
    try:
        reader = open_reader(settings.storage) if built is None else built.ledger.reader()
    except HeadgateError:
        reader = None
    try:
        if built is not None:
            return reader, built.logs.fresh()
        door = Logs(log_place_of(settings))
        try:
            door.fresh()  # takes in what was logged before now
        finally:
            door.close()
        logs = door.place.reader()
    except HeadgateError:
        logs = None
    return reader, logs
