"""Callers' limits, as they are configured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from headgate.control.people import Principal, Right
from headgate.control.services import Rows
from headgate.settings.limits import limits_of

if TYPE_CHECKING:
    from headgate.control.context import Control


_CALLERS = frozenset({"user", "session", "address"})


class Limits:
    """A tenant-admin sees those that count for its tenant's calls, and that name nobody else's callers."""

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
            if tenant is not None and not _is_of(only, tenant, keys):
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


def _is_of(only: Mapping[str, str], tenant: str, keys: Collection[str]) -> bool:
    """Whether a tenant may know of a limit. A caller that is named without a tenant may be anybody's.

    Args:
        keys: the names of the tenant's keys.
    """
    if only.get("tenant", tenant) != tenant or ("key" in only and only["key"] not in keys):
        return False
    its_own = "tenant" in only or "key" in only
    return its_own or not any(name in _CALLERS or name.startswith("tag:") for name in only)
