"""Where the provider's side of a reconciliation comes from: its API, a file, or a simulator."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.core.errors import ConfigError
from headgate.core.secret import Secret

if TYPE_CHECKING:
    from headgate.upstream.usage_reports import Report

VENDORS = ("anthropic", "openai")
ADMIN_KEYS = {"anthropic": "ANTHROPIC_ADMIN_KEY", "openai": "OPENAI_ADMIN_KEY"}
"""The environment variables that hold the admin keys."""

# What a simulator takes for an admin key. A real one never goes to an address that somebody typed.
_MADE_UP = {"anthropic": "sk-ant-" + "admin-simulated", "openai": "sk-" + "admin-simulated"}


@dataclass(slots=True)
class Source:
    """One provider's report. `simulated`: a simulator made it."""

    vendor: str
    report: Report
    simulated: bool = False


def fetch(vendors: Sequence[str], against: str, since: float, until: float) -> list[Source]:
    """The reports of these vendors of the UTC days in [since, until), seconds since the epoch.

    Args:
        vendors: of :data:`VENDORS`. With "api", one without an admin key is left out if another has one.
        against: "api", the URL of a simulator, or a file; a file is one vendor's.

    Raises:
        ConfigError: no admin key; a file that cannot be read.
        ReportError: a report that could not be had.
    """
    if against == "api":
        keyed = [vendor for vendor in vendors if os.environ.get(ADMIN_KEYS[vendor], "").strip()]
        if not keyed:
            needed = " or ".join(ADMIN_KEYS[vendor] for vendor in vendors)
            raise ConfigError(
                f"no admin key: set {needed} in the environment (an organization's admin key; an ordinary API key may "
                "not read usage), or name a file or a simulator with --against"
            )
        return [_asked(vendor, Secret(os.environ[ADMIN_KEYS[vendor]].strip()), "", since, until) for vendor in keyed]
    if against.startswith(("http://", "https://")):
        return [_asked(vendor, Secret(_MADE_UP[vendor]), against, since, until) for vendor in vendors]
    from headgate.cli.reconcile_files import read_file

    if len(vendors) != 1:
        raise ConfigError(f"{against} is one provider's report: say whose, with --provider anthropic or openai")
    return [Source(vendors[0], read_file(Path(against)))]


def _asked(vendor: str, key: Secret, url: str, since: float, until: float) -> Source:
    from headgate.upstream.report_client import ANTHROPIC_URL, OPENAI_URL, ReportClient
    from headgate.upstream.usage_reports import anthropic_report, openai_report

    base = url.rstrip("/")
    if vendor == "anthropic":
        base, read = base or ANTHROPIC_URL, anthropic_report
    else:
        base, read = f"{base.removesuffix('/v1')}/v1" if base else OPENAI_URL, openai_report
    with ReportClient(vendor, key, base, time.sleep) as client:
        report = read(client.get, since, until)
        return Source(vendor, report, client.simulated)
