"""What stands in for answers that cannot be had, and who has to see answers for it: made from settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from headgate.core.ports import Substitutes, Witness
from headgate.settings.budgets import budgets_of
from headgate.settings.limits import limits_of
from headgate.settings.similar import uses
from headgate.stores.deferring import Deferring
from headgate.stores.jobs_place import JobsPlace
from headgate.stores.last_good import LastGood
from headgate.upstream.job_hook import JobHook

if TYPE_CHECKING:
    from headgate.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Substituting:
    """For both colours; empty where nothing is configured."""

    substitutes: Mapping[str, Substitutes] = field(default_factory=dict)
    witnesses: Sequence[Witness] = ()
    forgets: Sequence[Callable[[str], int]] = ()  # by how keys begin


def deferring_of(
    settings: Settings, place: JobsPlace, now: Callable[[], float], tell: Callable[..., None]
) -> dict[str, Substitutes]:
    """`use: defer` and `then: queue`, where a configuration asks for them: for event loops, where a gateway keeps what
    it promises.

    Args:
        now: seconds since the epoch.
        tell: the log's `event`.
    """
    queues = any(each.queues for each in budgets_of(settings)) or any(each.queues for each in limits_of(settings))
    if uses(settings, "defer") is None and not queues:
        return {}
    told = settings.jobs
    made = Deferring(
        place,
        now=now,
        tell=tell,
        wait_seconds=told.wait_seconds,
        keep_seconds=told.keep_seconds,
        most=told.most,
        hooks=told.webhooks,
    )
    return {"defer": made}


def hooks_of(settings: Settings, env: Mapping[str, str]) -> dict[str, JobHook]:
    """`jobs.webhooks`, by name. No secret is read yet.

    Args:
        env: where `env:` references are read.
    """
    return {
        name: JobHook(name, each.url, partial(each.secret.resolve, env))
        for name, each in settings.jobs.webhooks.items()
    }


def substituting_of(settings: Settings, now: Callable[[], float]) -> Substituting:
    """What a configuration asks for.

    Args:
        now: seconds since the epoch.
    """
    used = uses(settings, "last_good")
    if used is None:
        return Substituting()
    told = settings.last_good
    last_good = LastGood(used, keep_seconds=told.keep_seconds, most_bytes=told.bytes, per_user=told.per_user, now=now)
    return Substituting({"last_good": last_good}, (last_good,), (last_good.forget,))
