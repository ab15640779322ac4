"""`cache:` and what tasks and keys say of it, as the engine's rules."""

from __future__ import annotations

from headgate.policy.caching import CacheRules
from headgate.settings.model import Settings, frozen


def caching_of(settings: Settings) -> CacheRules | None:
    """What is kept, and for how long; None: nothing is, whoever asks."""
    default = settings.cache.default_seconds
    tasks = {name: task.cache_seconds for name, task in settings.tasks.items() if task.cache_seconds is not None}
    keys = {key.name: key.cache_seconds for key in settings.keys if key.cache_seconds is not None}
    if default == 0 and not any((*tasks.values(), *keys.values())):
        return None
    told = settings.cache
    return CacheRules(default, frozen(tasks), frozen(keys), version=told.version, per_user=told.per_user)
