"""How traffic stands with every provider, as plain data: for `/health/providers` and the command line.

Seconds are from now. Credentials are told by their place among the provider's keys, or by their reference, never by
their value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from headgate.core.errors import ConfigError
from headgate.core.secret import Secret
from headgate.policy.breaker import OPEN
from headgate.policy.breakers import value_of
from headgate.policy.provider_look import LaneLook, ProviderLook
from headgate.policy.turn import account_name
from headgate.settings.fields import suggestion

if TYPE_CHECKING:
    from headgate.build import Built

OTHER_KEY = "another key: the caller's own, or an earlier value"


def providers_report(built: Built, *, told: bool, provider: str = "", family: str | None = None) -> dict[str, Any]:
    """``{"status", "providers": [...]}``. Sends nothing and changes nothing.

    Args:
        told: with references of credentials, and why a provider cannot be used: for the operator.
        provider: only this one.
        family: only paces of this family of models (`policy.families`).
    """
    router = built.router
    looks = {each.name: each for each in built.turns.providers(provider, family)}
    names = [name for name in router.providers if not provider or name == provider]
    found = []
    for name in (*names, *(name for name in looks if name not in router.providers)):
        names_of = _Names(built, name, told=told)
        row: dict[str, Any] = {"provider": name, "ready": name not in router.unready}
        if told and name in router.unready:
            row["why"] = router.unready[name]
        look = looks.get(name)
        found.append({**row, "used": look is not None, **(_row(look, names_of) if look is not None else {})})
    wrong = any(row.get("open") or row.get("hidden") for row in found)
    return {"status": "degraded" if wrong else "ok", "providers": found}


def known(built: Built, provider: str) -> None:
    """Raises ConfigError: there is no such provider."""
    if provider not in built.router.providers:
        raise ConfigError(
            f"there is no provider named {provider!r}{suggestion(provider, tuple(built.router.providers))}"
        )


def lift(built: Built, provider: str, *, by: str) -> int:
    """Close every breaker of a provider, on record in the log. Returns how many were open.

    Args:
        by: who does it, for the log: "gateway", "python".

    Raises:
        ConfigError: there is no such provider.
    """
    known(built, provider)
    lifted = built.turns.lift(provider)
    if lifted:
        built.log.event("breakers_lifted", provider=provider, lifted=lifted, by=by)
    return lifted


def _row(look: ProviderLook, names: _Names) -> dict[str, Any]:
    rates, headers = look.rates, look.headers
    return {
        "in_flight": look.in_flight,
        "cap": look.cap,
        "cap_adapts": look.adapts,
        "waiting": look.waiting,
        "retries_left": _short(look.retries_left),
        "attempts": rates.attempts,
        "attempt_error_rate": _short(rates.attempt_errors),
        "exchanges": rates.exchanges,
        "exchange_error_rate": _short(rates.exchange_errors),
        "hidden": rates.hidden,
        "open": [
            {
                "what": each.what,
                "model": each.model,
                "credential": names.of_value(each.credential),
                "state": each.state,
                "probing": each.state != OPEN,
                "cause": each.cause,
                "retry_after": _short(each.retry_after),
            }
            for each in look.opened
        ],
        "paces": [_pace(lane, names) for lane in look.lanes],
        "more_paces": look.more_lanes,
        "headers": {
            "answers": headers.answers,
            "told": headers.told,
            "dropped": dict(headers.faults),
            "clock_ahead": _short(headers.skew),
        },
    }


def _pace(lane: LaneLook, names: _Names) -> dict[str, Any]:
    pace = lane.pace
    found: dict[str, Any] = {
        "family": lane.family,
        "credential": names.of_account(lane.account),
        "waiting": lane.waiting,
        "paced": pace is not None,
    }
    if pace is not None:
        found |= {
            "in_flight": pace.in_flight,
            "window": pace.window,
            "blocked": _short(pace.blocked),
            "share": _short(pace.share),
            "limits": [
                {"name": each.name, "limit": each.limit, "left": int(each.left), "per_second": _short(each.per_second)}
                for each in pace.levels
            ],
        }
    return found


class _Names:
    """What one provider's credentials are called."""

    def __init__(self, built: Built, provider: str, *, told: bool) -> None:
        router = built.router
        route = router.providers.get(provider)
        settings = built.settings.providers.get(provider)
        references = settings.api_keys if settings is not None else ()
        keys = router.keys.get(provider) or ((route.credential,) if route is not None and route.credential else ())
        self._values: dict[int, str] = {0: ""}
        self._accounts: dict[str, str] = {}
        if route is None:
            return
        self._accounts[account_name(provider, route.base_url, b"")] = ""
        for place, (secret, name) in enumerate(_named(keys, references, told=told)):
            self._values.setdefault(value_of(secret), name or f"key {place + 1}")
            account = account_name(provider, route.base_url, secret.reveal().encode())
            self._accounts.setdefault(account, name or f"key {place + 1}")

    def of_value(self, value: int) -> str:
        return self._values.get(value, OTHER_KEY)

    def of_account(self, account: str) -> str:
        return self._accounts.get(account, OTHER_KEY)


def _named(keys: Any, references: Any, *, told: bool) -> Iterator[tuple[Secret, str]]:
    for place, secret in enumerate(keys):
        yield secret, str(references[place]) if told and place < len(references) else ""


def _short(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
