"""A plot as `static/app.js` draws it, and as the table below it says it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from headgate.core.money import NANO_PER_USD
from headgate.pages import format as formats
from headgate.pages.periods import DAY, Period

Unit = Literal["usd", "count", "ms", "share"]
Kind = Literal["line", "area", "bars", "dashed"]

_WORDS: dict[Unit, Callable[[Any], str]] = {
    "usd": lambda value: formats.money(None if value is None else round(value * NANO_PER_USD)),
    "count": formats.count,
    "ms": formats.ms,
    "share": formats.share,
}
_MOST_ROWS = 400


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot.

    Attributes:
        values: None where nothing was.
        tone: a colour of `app.css`: accent, good, warn, bad, muted, c1 to c6.
    """

    label: str
    values: Sequence[float | None]
    kind: Kind = "area"
    tone: str = "accent"


@dataclass(frozen=True, slots=True)
class Plot:
    """What the macro `plot` takes: the label, what is drawn, and the rows of the table."""

    label: str
    data: dict[str, Any]
    rows: list[list[str]]


def plot(
    label: str, period: Period, unit: Unit, series: Sequence[Series], *, sync: str = "", stacked: bool = False
) -> Plot:
    """A plot over a period: as many values in each series as the period has starts.

    Args:
        sync: plots with the same word show the same moment together.
        stacked: each series stands on the one before it.
    """
    starts = period.starts()
    words = _WORDS[unit]
    data: dict[str, Any] = {
        "x": starts,
        "step": period.bucket,
        "unit": unit,
        "sync": sync,
        "stacked": stacked,
        "series": [
            {
                "label": each.label,
                "values": [_rounded(value) for value in each.values],
                "kind": each.kind,
                "tone": each.tone,
            }
            for each in series
        ],
    }
    rows = [
        [_stamp(start, period.bucket), *(words(each.values[place]) for each in series)]
        for place, start in enumerate(starts[:_MOST_ROWS])
        if any(each.values[place] for each in series)
    ]
    return Plot(label, data, rows)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _stamp(start: int, bucket: int) -> str:
    at = datetime.fromtimestamp(start, UTC)
    return f"{at:%Y-%m-%d}" if bucket >= DAY else f"{at:%m-%d %H:%M}"
