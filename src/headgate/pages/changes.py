"""What changed since the day before, in sentences with numbers and links."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from headgate.pages import format as formats
from headgate.pages.figures import Figures
from headgate.pages.search_words import summed

Tone = Literal["better", "worse", ""]

NOTABLE = 0.15
"""A change of a sum that is worth a sentence: a share of what it was."""
ENOUGH = 20
"""Exchanges in both stretches, below which a percentage says nothing."""
PENNIES = 10_000_000
"""Nano-dollars: a change of money below a cent is none."""
_MOST = 8


@dataclass(frozen=True, slots=True)
class Change:
    """How one number moved. `tone` says whether that is welcome, `sign` which way it went."""

    words: str
    sign: Literal["up", "down", "same"]
    tone: Tone


@dataclass(frozen=True, slots=True)
class Sentence:
    """A finding. `about` and `path`: the words of the link at its end, and where it leads."""

    text: str
    tone: Tone
    sign: str
    about: str = ""
    query: Mapping[str, str] | None = None
    page: str = "/ui/spend"


def relative(now: float | None, before: float | None, *, welcome: Literal["more", "less", ""]) -> Change | None:
    """A number against what it was; None where there is nothing to compare with."""
    if now is None or before is None or not before:
        return None
    moved = now / before - 1
    if abs(moved) < 0.005:
        return Change("as before", "same", "")
    words = f"{abs(moved) * 100:.0f}%" if abs(moved) < 10 else f"{now / before:.0f} times"
    up = moved > 0
    tone: Tone = "" if not welcome or abs(moved) < 0.05 else "better" if up == (welcome == "more") else "worse"
    return Change(words, "up" if up else "down", tone)


def points(now: float | None, before: float | None, *, welcome: Literal["more", "less", ""]) -> Change | None:
    """A share against what it was, in percentage points."""
    if now is None or before is None:
        return None
    moved = (now - before) * 100
    if abs(moved) < 0.05:
        return Change("as before", "same", "")
    tone: Tone = "" if not welcome else "better" if (moved > 0) == (welcome == "more") else "worse"
    return Change(f"{abs(moved):.1f} points", "up" if moved > 0 else "down", tone)


@dataclass(frozen=True, slots=True)
class Days:
    """Two stretches of the same length, as a whole and by value of each dimension."""

    now: Figures
    before: Figures
    now_by: Mapping[str, Mapping[str, Figures]]
    before_by: Mapping[str, Mapping[str, Figures]]


def sentences(days: Days) -> list[Sentence]:
    """What a person would want to be told, the most important first; empty where nothing is out of the ordinary."""
    now, before = days.now, days.before
    if not before.exchanges or now.exchanges + before.exchanges < ENOUGH:
        return []
    found = [*_money(days), *_failures(days), *_speed(days), *_savings(days), *_refusals(days), *_newcomers(days)]
    if now.exchanges and abs(now.exchanges / before.exchanges - 1) >= NOTABLE:
        how = _against(now.exchanges, before.exchanges, formats.count, "fewer")
        text = f"{formats.count(now.exchanges)} exchanges: {how}."
        found.append(Sentence(text, "", "up" if now.exchanges > before.exchanges else "down"))
    return found[:_MOST]


def _against(now: float, before: float, words: Callable[[int], str], less: str = "less") -> str:
    """`38% more than the $8.99 of the day before`."""
    ratio, was = now / before, f"the {words(round(before))} of the day before"
    if ratio >= 2:
        return f"{ratio:.1f} times {was}" if ratio < 10 else f"{ratio:,.0f} times {was}"
    return f"{abs(ratio - 1) * 100:.0f}% {'more' if ratio > 1 else less} than {was}"


def _money(days: Days) -> list[Sentence]:
    now, before = days.now.cost_nano, days.before.cost_nano
    moved = now - before
    if abs(moved) < PENNIES or not before or abs(moved) / before < NOTABLE:
        return []
    more = moved > 0
    text = f"Spend is {formats.money(now)}: {_against(now, before, formats.money)}."
    found = [Sentence(text, "worse" if more else "better", "up" if more else "down", "Spend by user", {"by": "user"})]
    for dimension in ("user", "task", "model", "tenant"):
        name, part = _mover(days, dimension, lambda each: each.cost_nano, more=more)
        if name and part >= abs(moved) * 0.4 and len(days.now_by.get(dimension, ())) > 1:
            part_words = "most" if part < abs(moved) * 0.95 else "all"
            how = f"{formats.money(part)} {'more' if more else 'less'}"
            text = f"The {dimension} {name} accounts for {part_words} of that: {how}."
            found.append(Sentence(text, "", "same", "Exchanges", {"q": summed(dimension, name)}, "/ui/exchanges"))
            break
    return found


def _mover(days: Days, dimension: str, value: Callable[[Figures], int], *, more: bool) -> tuple[str, int]:
    """Who moved the sum most in its direction, and by how much."""
    now, before = days.now_by.get(dimension, {}), days.before_by.get(dimension, {})
    nothing = Figures()
    best, most = "", 0
    for name in {*now, *before} - {""}:
        moved = value(now.get(name, nothing)) - value(before.get(name, nothing))
        moved = moved if more else -moved
        if moved > most:
            best, most = name, moved
    return best, most


def _failures(days: Days) -> list[Sentence]:
    now, before = days.now.failed_share or 0.0, days.before.failed_share or 0.0
    if abs(now - before) < 0.005 or max(now, before) < 0.01 or not days.now.exchanges:
        return []
    worse = now > before
    text = f"{formats.share(now)} of exchanges failed, after {formats.share(before)} the day before."
    name, part = _mover(days, "provider", lambda each: each.failed, more=True) if worse else ("", 0)
    if name and part > 1:
        text += f" {name} has {formats.count(part)} more failures than before."
    return [
        Sentence(
            text,
            "worse" if worse else "better",
            "up" if worse else "down",
            "Failed exchanges",
            {"errors": "1"},
            "/ui/exchanges",
        )
    ]


def _speed(days: Days) -> list[Sentence]:
    found = []
    for what, now, before in (
        ("The p95 of latency", days.now.latency_at(0.95), days.before.latency_at(0.95)),
        ("The p95 of the time to first content", days.now.ttft_at(0.95), days.before.ttft_at(0.95)),
    ):
        if now is None or before is None or abs(now / before - 1) < 0.25 or abs(now - before) < 100:
            continue
        slower = now > before
        text = f"{what} is {formats.ms(now)}, {'up' if slower else 'down'} from {formats.ms(before)}."
        found.append(
            Sentence(
                text,
                "worse" if slower else "better",
                "up" if slower else "down",
                "Slow exchanges",
                {"min_ms": f"{now:.0f}"},
                "/ui/exchanges",
            )
        )
    return found[:1]


def _savings(days: Days) -> list[Sentence]:
    now, before = days.now.hit_share or 0.0, days.before.hit_share or 0.0
    if abs(now - before) < 0.03 or not days.now.exchanges:
        return []
    more = now > before
    text = f"The cache answered {formats.share(now)} of exchanges, after {formats.share(before)}"
    text += f"; caches saved {formats.money(days.now.saved_nano)}." if days.now.saved_nano > 0 else "."
    return [
        Sentence(
            text, "better" if more else "worse", "up" if more else "down", "Hits", {"q": "cache:hit"}, "/ui/exchanges"
        )
    ]


def _refusals(days: Days) -> list[Sentence]:
    found = []
    for word, about, query in (
        ("blocked", "Blocked exchanges", {"q": "verdict:block"}),
        ("refused", "Refused exchanges", {"q": "ending:refused"}),
    ):
        now, before = getattr(days.now, word), getattr(days.before, word)
        if word == "refused":  # what a guard blocked was refused, too
            now, before = now - days.now.blocked, before - days.before.blocked
        if abs(now - before) < max(5, before * NOTABLE):
            continue
        who = "Guards blocked" if word == "blocked" else "Headgate refused"
        text = f"{who} {formats.count(now)} exchanges, after {formats.count(before)} the day before."
        found.append(Sentence(text, "", "up" if now > before else "down", about, query, "/ui/exchanges"))
    return found


def _newcomers(days: Days) -> list[Sentence]:
    found = []
    for dimension in ("tenant", "model"):
        new = [
            name
            for name, each in days.now_by.get(dimension, {}).items()
            if name and name not in days.before_by.get(dimension, {}) and each.exchanges >= 3
        ]
        if new:
            listed = ", ".join(new[:3]) + (f" and {len(new) - 3} more" if len(new) > 3 else "")
            cost = sum(days.now_by[dimension][name].cost_nano for name in new)
            word = f"New {dimension}{'s' if len(new) > 1 else ''} since yesterday"
            found.append(
                Sentence(
                    f"{word}: {listed}, {formats.money(cost)}.", "", "same", f"Spend by {dimension}", {"by": dimension}
                )
            )
    return found


def ordinary(days: Days) -> str:
    """What there is to say where nothing stands out."""
    now, before = days.now, days.before
    if not before.exchanges:
        return "There is no day before to compare with yet."
    if not now.exchanges:
        return f"No exchanges in the last 24 hours, after {formats.count(before.exchanges)} in the 24 hours before."
    return (
        f"Nothing out of the ordinary: {formats.money(now.cost_nano)} after {formats.money(before.cost_nano)}, "
        f"{formats.count(now.exchanges)} exchanges after {formats.count(before.exchanges)}."
    )
