"""How traffic stands with each provider, breakers, and what keeps answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.cache_report import forgotten, told_of, whose_answers
from headgate.control.people import Principal, Right
from headgate.core.actors import acting
from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.engine.blocking import run_blocking
from headgate.traffic_report import known, lift, providers_report

if TYPE_CHECKING:
    from headgate.control.context import Control


class Providers:
    """Of all tenants together, so not for a tenant-admin."""

    def __init__(self, control: Control) -> None:
        self._built = control.built

    def report(self, who: Principal) -> dict[str, Any]:
        """``{"status", "providers": [...]}``: breakers, rate limits, who waits. Sends nothing."""
        who.need(Right.READ_ALL)
        return providers_report(self._built, told=True)

    def lift(self, who: Principal, provider: str) -> dict[str, Any]:
        """Close every breaker of a provider. Raises NotServed where there is no such provider."""
        who.need(Right.INCIDENTS)
        try:
            known(self._built, provider)
        except ConfigError as error:
            raise NotServed(error.message, code="no_provider") from None
        with acting(who.actor), self._built.ledger.audit.around("breakers.lift", provider) as came:
            lifted = lift(self._built, provider, by=who.name)
            came.after = {"lifted": lifted}
        return {"provider": provider, "lifted": lifted}


class Cache:
    """Answers that are kept."""

    def __init__(self, control: Control) -> None:
        self._built = control.built

    def report(self, who: Principal) -> dict[str, Any]:
        """How it does."""
        who.need(Right.READ_ALL)
        return self._built.caching.report()

    def forget(self, who: Principal, whose: dict[str, Any]) -> dict[str, Any]:
        """Forget answers: ``{"tenant": "acme"}``, ``{"key": "dev"}`` or ``{"everything": true}``.

        Raises:
            BadRequest: it is none of these.
            Unavailable: the place cannot be reached.
        """
        who.need(Right.CACHE)
        try:
            wanted = whose_answers(whose)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        subject = " ".join(f"{name}={value}" for name, value in wanted.items()) or "everything"
        audit, tenant = self._built.ledger.audit, wanted.get("tenant", "")
        with acting(who.actor), audit.around("cache.forget", subject, tenant=tenant) as came:
            count = run_blocking(forgotten(self._built.caching.port(blocking=True), wanted))
            came.after = told_of(self._built, wanted, count, by=who.name)
        return dict(came.after)
