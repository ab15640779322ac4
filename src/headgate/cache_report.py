"""Answers that are to be forgotten: whose, and what comes of it. For the control API, the command line and Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.policy.caching import partition

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.core.ports import Cache

MOST_CHARACTERS = 200
_EXPECTED = 'One of these is expected: {"tenant": "acme"}, {"key": "dev"} or {"everything": true}.'


def whose_answers(fields: object) -> dict[str, str]:
    """`fields` as they came, as `forget` takes them: a tenant's, a key's, or {} for all.

    Raises:
        ValueError: they are none of these.
    """
    if not isinstance(fields, dict) or len(fields) != 1:
        raise ValueError(_EXPECTED)
    ((name, value),) = fields.items()
    if name == "everything" and value is True:
        return {}
    if name not in ("tenant", "key") or not isinstance(value, str) or not 0 < len(value) <= MOST_CHARACTERS:
        raise ValueError(_EXPECTED)
    return {name: value}


def prefix_of(whose: dict[str, str]) -> str:
    """How the keys of these answers begin; "" = all do."""
    return f"{partition(tenant=whose.get('tenant', ''), key=whose.get('key', ''))}:" if whose else ""


async def forget(built: Built, whose: dict[str, str], *, by: str) -> dict[str, Any]:
    """Forget them, on an event loop; it is on record in the log.

    Args:
        whose: see `whose_answers`.
        by: who wanted it: "gateway", "cli", "python".

    Returns:
        `forgotten`, a count or None where the place does not tell, and `cache`, its name.

    Raises:
        Unavailable: the place cannot be reached, and may keep them.
    """
    return told_of(built, whose, await forgotten(built.caching.port(blocking=False), whose), by=by)


async def forgotten(cache: Cache, whose: dict[str, str]) -> int:
    """How many were forgotten; -1 = not known."""
    return await cache.forget(prefix_of(whose))


def told_of(built: Built, whose: dict[str, str], count: int, *, by: str) -> dict[str, Any]:
    """What is said of it, and written into the log. Answers that are kept for other reasons go with them."""
    for also in built.forgets:
        also(prefix_of(whose))
    shown = {"forgotten": None if count < 0 else count, "cache": built.caching.report()["cache"]}
    built.log.event("cache_forgotten", by=by, whose=whose or "everything", **shown)
    return shown
