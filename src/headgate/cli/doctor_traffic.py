"""The traffic of the gateway that is running: breakers that are open, errors that retries hide, headers that lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from headgate.cli.doctor_report import NOTE, OK, SKIPPED, WARNING, Finding
from headgate.cli.traffic_text import header_lines, open_text, rates_text
from headgate.core.errors import Unavailable
from headgate.policy.rate_facts import SILENT_ANSWERS

if TYPE_CHECKING:
    from headgate.settings.model import Settings

SKEW_SECONDS = 30.0
"""As `doctor_providers.SKEW_SECONDS`: a clock that differs by more is worth a warning."""

_AT_FAULT = 0.01
"""Of the answers with a field that cannot be believed: from here on it is a warning, below it a note."""

_REMEDIES = {
    "money": "give the account money, then: headgate providers lift",
    "auth": "put a valid key in its place; a new value is taken up without a restart, or: headgate providers lift",
    "forbidden": "allow the credential that model, or take the route out, then: headgate providers lift",
}


def check_traffic(settings: Settings) -> Iterator[Finding]:
    """What the running gateway knows; where none runs, that it is not known."""
    from headgate.cli.traffic_door import running

    try:
        found = running(settings)
    except Unavailable as error:
        yield Finding("traffic", WARNING, error.message, "look at the gateway's log")
        return
    if found.rows is None:
        yield Finding("traffic", SKIPPED, f"not known: {found.why}")
        return
    findings = [each for row in found.rows if row["used"] for each in _of(row)]
    yield from findings
    if not any(each.level == WARNING for each in findings):
        used = sum(row["used"] for row in found.rows)
        said = f"{used} of {len(found.rows)} providers were used" if used else "nothing was sent yet"
        yield Finding("traffic", OK, f"the gateway at {found.url}: {said}, and no breaker is open")


def _of(row: Mapping[str, Any]) -> Iterator[Finding]:
    name = row["provider"]
    for each in row["open"]:
        remedy = _REMEDIES.get(each["cause"], "")
        yield Finding("traffic", WARNING, f"{name}: {open_text(each)}", f"{remedy} {name}" if remedy else "")
    if row["hidden"]:
        what = f"{name}: {rates_text(row)}: retries hide it, and each of them costs time"
        yield Finding("traffic", WARNING, what, "look at the provider's status page, and at fallbacks")
    yield from _headers(row)


def _headers(row: Mapping[str, Any]) -> Iterator[Finding]:
    """Headers of rates that contradict themselves, are in the past or are not there, and clocks that differ."""
    name, headers = row["provider"], row["headers"]
    lines = list(header_lines(row))
    if not lines:
        return
    silent = headers["answers"] >= SILENT_ANSWERS and not headers["told"]
    if silent:
        remedy = f"if you know its limits, set providers.{name}.requests_per_minute and tokens_per_minute"
        yield Finding("traffic", NOTE, f"{name}: {lines[0]}", remedy)
        lines = lines[1:]
    if not lines:
        return
    share = sum(headers["dropped"].values()) / max(1, headers["answers"])
    off = abs(headers["clock_ahead"]) > SKEW_SECONDS
    level = WARNING if share >= _AT_FAULT or off else NOTE
    remedies = ["what cannot be believed is left out, and the rest is followed"] if headers["dropped"] else []
    remedies += ["look at this machine's clock (NTP)"] if off else []
    yield Finding("traffic", level, f"{name}: {'; '.join(lines)}", "; ".join(remedies))
