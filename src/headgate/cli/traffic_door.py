"""How traffic stands in the running gateway, asked through its control API. Whoever cannot be asked is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

if TYPE_CHECKING:
    from headgate.settings.model import Settings

_NOBODY = "no gateway of this ledger is running"


class Running(NamedTuple):
    """What the gateway said; `rows` is None where there is none to ask, and `why` says so then."""

    rows: list[dict[str, Any]] | None
    why: str = ""
    url: str = ""


def running(settings: Settings, provider: str = "", family: str | None = None) -> Running:
    """`traffic_report.providers_report` of the gateway that writes this ledger's file.

    Raises:
        Unavailable: it is there and does not answer.
    """
    from headgate.cli.control import ask
    from headgate.stores.lockfile import read_lock
    from headgate.stores.opening import sqlite_file

    file = sqlite_file(settings.storage)
    if file is None:
        return Running(None, "only a gateway whose ledger is an SQLite file can be found; ask its /health/providers")
    found = read_lock(file)
    if found is None:
        return Running(None, _NOBODY)
    if not found.url:
        return Running(None, f"process {found.pid} writes this ledger, and is no gateway")
    told = {name: value for name, value in (("provider", provider), ("family", family)) if value}
    query = f"?{urlencode(told)}" if told else ""
    answer = ask(found.url, found.token, "GET", f"/providers{query}")
    return Running(None, _NOBODY) if answer is None else Running(answer["providers"], "", found.url)


def lift(settings: Settings, provider: str) -> dict[str, Any] | None:
    """Close what is open of a provider; None where there is no gateway to ask.

    Raises:
        ConfigError: the gateway knows no such provider.
        Unavailable: it is there and does not answer.
    """
    from headgate.cli.control import ask_running
    from headgate.stores.opening import sqlite_file

    file = sqlite_file(settings.storage)
    return None if file is None else ask_running(file, "POST", "/breakers/lift", {"provider": provider})
