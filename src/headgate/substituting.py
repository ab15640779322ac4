"""What stands in for answers that cannot be had, and who has to see answers for it: made from settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate.core.ports import Substitutes, Witness
from headgate.settings.similar import uses
from headgate.stores.deferring import Deferring
from headgate.stores.jobs_place import JobsPlace
from headgate.stores.last_good import LastGood

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
    """`use: defer`, where a configuration asks for it: for event loops, where a gateway keeps what it promises.

    Args:
        now: seconds since the epoch.
        tell: the log's `event`.
    """
    return {} if uses(settings, "defer") is None else {"defer": Deferring(place, now=now, tell=tell)}


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
