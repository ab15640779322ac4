"""Models that a configuration names and that stop answering (docs/cli.md says how to renew the dates)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

from headgate.cli.doctor_report import NOTE, OK, PROBLEM, WARNING, Finding
from headgate.settings.retirements import DATED, Retirement, Use, retirement_of, retirements, used, vendor_of

if TYPE_CHECKING:
    from headgate.settings.model import Settings

__all__ = ["Use", "check_models", "listed", "retirement_of", "retirements", "retiring", "used"]

SOON_DAYS = 120
"""A retirement nearer than this is a warning, a later one a note: vendors give 60 days to 6 months."""


def check_models(settings: Settings, today: date) -> Iterator[Finding]:
    """A finding for each model that is retired or will be; and how old the data is."""
    dated, known = retirements()
    uses = used(settings)
    quiet = True
    for use in uses:
        retirement = retirement_of(vendor_of(use.provider, settings), use.model, known)
        if retirement is not None:
            quiet = False
            yield retiring(use, retirement.retires, today, _instead(retirement), f"as of {dated}")
    if not uses:
        yield Finding("models", OK, "the configuration names no model")
    elif quiet:
        yield Finding("models", OK, f"{len({(u.provider, u.model) for u in uses})} named, none retires (as of {dated})")


def _instead(retirement: Retirement) -> str:
    whose = "the vendor recommends" if retirement.successor_by == "vendor" else "the newest of its line is"
    return f"{whose} {retirement.successor}; {retirement.source}"


def retiring(use: Use, retires: date, today: date, instead: str, source: str) -> Finding:
    """The finding of one model with a date."""
    name = f"{use.provider}/{use.model} in {use.path} ({use.origin})"
    left = (retires - today).days
    if left < 0:
        return Finding("models", PROBLEM, f"{name} was retired on {retires} ({source})", instead)
    level = WARNING if left <= SOON_DAYS else NOTE
    return Finding("models", level, f"{name} retires on {retires}, in {left} days ({source})", instead)


def listed(uses: Sequence[Use], provider: str, names: frozenset[str]) -> list[Use]:
    """The uses of a provider's models that its own list does not name, not even with a date."""
    missing = [use for use in uses if use.provider == provider and use.model not in names]
    return [use for use in missing if not any(DATED.sub("", name) == use.model for name in names)]
