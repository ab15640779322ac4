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

    since = time.time() - DAYS * 86_400.0
    try:
        reader = open_reader(settings.storage)
        if scope == "model":
            sent = reader.sent_as(value, since)
            if sent is not None:
                return _sent_otherwise(value, *sent)
        else:
            only: dict[str, Any] = {scope: value}
            if reader.usage(since=since, **only).total.exchanges:
                return ""
    except HeadgateError:
        return ""  # there is no ledger yet, or it cannot be read
    return (
        f"no call of the last {DAYS} days was of the {scope} {value!r}, and the configuration does not name it: "
        "look for a typing error"
    )


def _sent_otherwise(value: str, provider: str, model: str) -> str:
    """Vendors answer as `model-2026-11-20` what was sent as `model`, and an incident goes by what is sent."""
    if value in (model, f"{provider}/{model}"):
        return ""
    sent = f"{provider}/{model}"
    return f"{value!r} is how a model has answered; its calls are sent as {sent!r}, and incidents go by that name"


def _configured(settings: Settings, scope: str) -> set[str]:
    if scope == "task":
        return set(settings.tasks)
    if scope == "tenant":
        return {key.tenant for key in settings.keys}
    from headgate.settings.retirements import used

    routes = used(settings)
    return {*settings.models, *(each.model for each in routes), *(f"{each.provider}/{each.model}" for each in routes)}
