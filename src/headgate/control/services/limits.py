"""Callers' limits, as they are configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.control.people import Principal, Right
from headgate.control.services import Rows
from headgate.settings.limits import limits_of

if TYPE_CHECKING:
    from headgate.control.context import Control


class Limits:
    """A tenant-admin sees those that count for its tenant's calls."""

    def __init__(self, control: Control) -> None:
        self._settings = control.built.settings

    def list(self, who: Principal) -> Rows:
        """All, with where each is written."""
        who.need(Right.READ)
        tenant = who.tenant_scope()
        keys = {key.name for key in self._settings.keys if tenant is None or key.tenant == tenant}
        found = []
        for limit in limits_of(self._settings):
            only = dict(limit.only)
            if tenant is not None and (only.get("tenant", tenant) != tenant or only.get("key", "") not in {"", *keys}):
                continue
            found.append(
                {
                    "per": list(limit.per),
                    "only": only,
                    "requests_per_minute": limit.requests_per_minute,
                    "tokens_per_minute": limit.tokens_per_minute,
                    "source": limit.source,
                }
            )
        return found
