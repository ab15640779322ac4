"""Whether anybody has heard of what an incident names: a name with a typing error stops nothing, and nobody says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from headgate.core.errors import HeadgateError

if TYPE_CHECKING:
    from headgate.settings.model import Settings

DAYS = 30


def unheard_of(settings: Settings, scope: str, value: str) -> str:
    """A warning for people where neither the configuration nor the ledger's last 30 days know the name; "" = they do,
    or it cannot be told."""
    if scope == "provider" or value in _configured(settings, scope):
        return ""
    from headgate.stores.opening import open_reader

    only: dict[str, Any] = {scope: value.rpartition("/")[2] if scope == "model" else value}
    try:
        found = open_reader(settings.storage).usage(since=time.time() - DAYS * 86_400.0, **only)
    except HeadgateError:
        return ""  # there is no ledger yet, or it cannot be read
    if found.total.exchanges:
        return ""
    return (
        f"no call of the last {DAYS} days was of the {scope} {value!r}, and the configuration does not name it: "
        "look for a typing error"
    )


def _configured(settings: Settings, scope: str) -> set[str]:
    if scope == "task":
        return set(settings.tasks)
    if scope == "tenant":
        return {key.tenant for key in settings.keys}
    from headgate.settings.retirements import used

    routes = used(settings)
    return {*settings.models, *(each.model for each in routes), *(f"{each.provider}/{each.model}" for each in routes)}
