"""*Spend*: who and what it went to, over any period, and how the budgets stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from starlette.responses import Response

from headgate.core.money import NANO_PER_USD, usd_text
from headgate.pages import periods, tenants
from headgate.pages.asked import Asked, link
from headgate.pages.csv_cells import attachment
from headgate.pages.figures import Figures, by_value, over_time, total, values
from headgate.pages.periods import DAY, HOUR, Period
from headgate.pages.plots import Plot, Series, plot
from headgate.pages.search_words import summed
from headgate.pages.site import Page, Site
from headgate.stores.logs.query import DIMENSIONS, RollupRow

_PERIODS = ("24h", "yesterday", "7d", "30d", "month")
_DRAWN = 5
"""Values that have a colour of their own; the rest is drawn as one."""
_SHOWN = 100
_MOST = 100_000
"""Lines of a CSV."""
_COLUMNS = (
    *("exchanges", "attempts", "failed", "refused", "blocked", "hits", "truncated"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
)

WORDS = {"error": "error", "stop_reason": "stop reason", "way_in": "way in", "model_asked": "model asked for"}


def show(site: Site, asked: Asked) -> Response:
    """The page."""
    period, by, tenant = _wanted(asked)
    whole = _rows(site, period, None, tenant)
    sums = total(whole)
    found = _top(site, period, by, tenant, _SHOWN)
    owners = [] if asked.tenant is not None else [*_top(site, period, "tenant", None, _SHOWN), tenant or ""]
    largest = max((each.cost_nano for each in found.values()), default=0) or 1
    few = len(found) < _SHOWN  # so that each may have a colour, and reading them all is no work
    return site.render(
        asked,
        "spend.html",
        here="spend",
        title="Spend",
        period=period,
        by=by,
        word=WORDS.get(by, by),
        dimensions=[(name, WORDS.get(name, name)) for name in DIMENSIONS],
        choices=[(each, periods.SHORT[each], _other_period(asked, each)) for each in _PERIODS],
        tenant=tenant or "",
        tenants=sorted({*owners} - {""}),
        sums=sums,
        rows=[
            (
                name,
                each,
                each.cost_nano / largest,
                each.cost_nano / sums.cost_nano if sums.cost_nano else 0.0,
                tenants.exchanges(asked, tenant, summed(by, name), **period.query()) if name else "",
            )
            for name, each in found.items()
        ],
        more=not few,
        plot=_plot(_rows(site, period, by, tenant) if few else whole, found if few else {"": sums}, period, by),
        csv=link("/ui/spend.csv", by=by, tenant=asked.get("tenant"), **period.query()),
        dates=(_day(period.since), _day(period.until - 1)),
        budgets=site.sources.budgets(asked),
    )


def export(site: Site, asked: Asked) -> Response:
    """The same as CSV: every value up to 100,000, money to the nano-dollar."""
    period, by, tenant = _wanted(asked)
    found = _top(site, period, by, tenant, _MOST)
    heads = [by, "cost_usd", "estimated_usd", "saved_usd", *_COLUMNS]
    lines = (
        (
            [name],
            [usd_text(getattr(each, f"{kind}_nano")) for kind in ("cost", "estimated", "saved")]
            + [getattr(each, column) for column in _COLUMNS],
        )
        for name, each in found.items()
    )
    return attachment(f"headgate-spend-by-{by}-{_day(period.since)}.csv", heads, lines)


def _wanted(asked: Asked) -> tuple[Period, str, str | None]:
    by = asked.get("by") if asked.get("by") in DIMENSIONS else "user"
    tenant = asked.tenant if asked.tenant is not None else asked.get("tenant") or None
    return in_bars(periods.chosen(asked.query, asked.now, "7d")), by, tenant


def in_bars(period: Period) -> Period:
    """The same period from a whole hour or day on, with a bar for each: as finely as `LogReader.top` sums."""
    if period.length <= 2 * DAY:
        return replace(period, since=-(-period.since // HOUR) * HOUR, step="hour", bucket=HOUR)
    return replace(period, since=period.since // DAY * DAY, step="day", bucket=DAY)


def _rows(site: Site, period: Period, by: str | None, tenant: str | None) -> list[RollupRow]:
    logs = site.sources.logs
    return [] if logs is None else list(logs.rollup(period.since, period.until, period.step, by, tenant))


def _top(site: Site, period: Period, by: str, tenant: str | None, most: int) -> dict[str, Figures]:
    logs = site.sources.logs
    return {} if logs is None else by_value(logs.top(period.since, period.until, by, tenant, most))


def _plot(rows: list[RollupRow], found: Mapping[str, Figures], period: Period, by: str) -> Plot:
    """Bars on bars: the dearest values, and all others together. Of very many values only what they come to."""
    usd, word = 1 / NANO_PER_USD, WORDS.get(by, by)
    drawn = list(found)[:_DRAWN]
    series = []
    for place, name in enumerate(drawn):
        points = over_time((row for row in rows if row.value == name), period)
        series.append(
            Series(
                name[:60] or (f"no {word}" if len(found) > 1 else "all"),
                values(points, "cost_nano", usd),
                "bars",
                f"c{place + 1}",
            )
        )
    if len(found) > _DRAWN:
        rest = over_time((row for row in rows if row.value not in drawn), period)
        series.append(Series("others", values(rest, "cost_nano", usd), "bars", "c6"))
    if not series:
        series.append(Series("spend", [0.0 for _ in period.starts()], "bars", "c1"))
    return plot(f"Spend by {word}, {period.words.lower()}", period, "usd", series, stacked=True)


def _other_period(asked: Asked, name: str) -> str:
    return asked.address(**{"period": name, "from": None, "to": None})


def _day(moment: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


PAGE = Page(
    "spend",
    "Spend",
    "/ui/spend",
    "Money",
    "s",
    [("/ui/spend", show, ("GET",)), ("/ui/spend.csv", export, ("GET",))],
)
