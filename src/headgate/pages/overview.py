"""*Overview*: what it costs, how it goes, and what changed since yesterday."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from headgate.control.people import Right
from headgate.core.errors import BadRequest
from headgate.core.money import NANO_PER_USD
from headgate.pages import changes, periods
from headgate.pages import format as formats
from headgate.pages.acting import allowed
from headgate.pages.asked import Asked, link
from headgate.pages.changes import Change, Days, Sentence
from headgate.pages.figures import Figures, between, by_value, over_time, total, values
from headgate.pages.periods import DAY, HOUR, MINUTE, Period
from headgate.pages.plots import Plot, Series, plot
from headgate.pages.search_words import summed
from headgate.pages.site import Page, Site
from headgate.stores.logs.query import LogQuery

_SYNC = "overview"
_TOP = 5
_COMPARED = 200
"""Values of a dimension that are compared with the day before: what is below is no news."""
_BROKEN_DOWN = ("user", "task", "model", "tenant", "provider")
_PERIODS = ("1h", "24h", "7d", "30d")


@dataclass(frozen=True, slots=True)
class Tile:
    """A number with its plot. `aside`: what else there is to say of it."""

    title: str
    number: str
    change: Change | None
    aside: str
    plot: Plot
    path: str = ""


@dataclass(frozen=True, slots=True)
class Top:
    """The dearest values of one dimension: (name, sums, share of the largest, address)."""

    title: str
    path: str
    rows: list[tuple[str, Figures, float, str]]


def show(site: Site, asked: Asked) -> Response:
    """The page; the welcome where nothing was ever recorded."""
    logs = site.sources.logs
    if logs is None or not logs.search(LogQuery(tenant=asked.tenant, limit=1)).rows or site.demo.running:
        return _welcome(site, asked, recorded=site.sources.stored)
    span = logs.span()
    young = span is not None and asked.now - span[0] < 2 * HOUR
    period = periods.chosen(asked.query, asked.now, "1h" if young else "24h")
    earlier = period.before()
    rows = logs.rollup(period.since, period.until, period.step, None, asked.tenant)
    sums, before = total(rows), between(logs, earlier.since, earlier.until, asked.tenant, asked.now)
    days = _days(site, asked)
    said = changes.sentences(days)
    return site.render(
        asked,
        "overview.html",
        here="overview",
        title="Overview",
        period=period,
        choices=[(each, periods.SHORT[each], asked.address(period=each)) for each in _PERIODS],
        tiles=_tiles(sums, before, over_time(rows, period), period),
        sentences=[(each, _address(each)) for each in said],
        ordinary="" if said else changes.ordinary(days),
        tops=[_top(site, asked, period, days, dimension) for dimension in ("user", "model", "task")],
        alerts=site.sources.alerts(asked),
        incidents=site.sources.incidents(asked),
        behind=site.sources.behind(asked),
        simulated=site.sources.simulated,
    )


def _days(site: Site, asked: Asked) -> Days:
    """The last 24 hours, and those before. What is broken down is so by whole hours, the current one included."""
    logs = site.sources.logs
    assert logs is not None
    minute, hour = asked.now // MINUTE * MINUTE + MINUTE, asked.now // HOUR * HOUR + HOUR
    now, before = (between(logs, end - DAY, end, asked.tenant, asked.now) for end in (minute, minute - DAY))

    def broken_down(until: float) -> dict[str, dict[str, Figures]]:
        return {name: by_value(logs.top(until - DAY, until, name, asked.tenant, _COMPARED)) for name in _BROKEN_DOWN}

    return Days(now, before, broken_down(hour), broken_down(hour - DAY))


def _address(sentence: Sentence) -> str:
    return link(sentence.page, **{"period": "24h", **(sentence.query or {})}) if sentence.about else ""


def _tiles(sums: Figures, before: Figures, points: list[Figures], period: Period) -> list[Tile]:
    usd = 1 / NANO_PER_USD
    latency = [Series("p50", [each.latency_at(0.5) for each in points], "line", "muted")]
    latency.append(Series("p95", [each.latency_at(0.95) for each in points], "line"))
    ttft = [Series("p50", [each.ttft_at(0.5) for each in points], "line", "muted")]
    ttft.append(Series("p95", [each.ttft_at(0.95) for each in points], "line"))
    failed = [each.failed_share for each in points]

    def made(title: str, unit: str, *series: Series) -> Plot:
        return plot(f"{title}, {period.words.lower()}", period, unit, series, sync=_SYNC)  # type: ignore[arg-type]

    query = period.query()
    estimated = (
        f", {formats.money(sums.estimated_nano)} of it in exchanges with an estimate" if sums.estimated_nano else ""
    )
    refused = f", {formats.count(sums.refused)} refused by Headgate" if sums.refused else ""
    return [
        Tile(
            "Spend",
            formats.money(sums.cost_nano),
            changes.relative(sums.cost_nano, before.cost_nano, welcome=""),
            f"{formats.money(sums.each_nano)} an exchange{estimated}",
            made("Spend", "usd", Series("Spend", values(points, "cost_nano", usd), "bars")),
            link("/ui/spend", **query),
        ),
        Tile(
            "Exchanges",
            formats.count(sums.exchanges),
            changes.relative(sums.exchanges, before.exchanges, welcome=""),
            f"{formats.count(sums.attempts)} attempts, {formats.short(sums.prompt_tokens + sums.output_tokens)} tokens",
            made("Exchanges", "count", Series("Exchanges", values(points, "exchanges"), "bars")),
            link("/ui/exchanges", **query),
        ),
        Tile(
            "Failed",
            formats.share(sums.failed_share),
            changes.points(sums.failed_share, before.failed_share, welcome="less"),
            f"{formats.count(sums.failed)} of {formats.count(sums.exchanges)}{refused}",
            made("Failed exchanges", "share", Series("Failed", failed, "area", "bad")),
            link("/ui/exchanges", errors="1", **query),
        ),
        Tile(
            "Latency, p95",
            formats.ms(sums.latency_at(0.95)),
            changes.relative(sums.latency_at(0.95), before.latency_at(0.95), welcome="less"),
            f"p50 {formats.ms(sums.latency_at(0.5))}, p99 {formats.ms(sums.latency_at(0.99))}",
            made("Latency", "ms", *latency),
            _slow(sums.latency_at(0.95), query),
        ),
        Tile(
            "Time to first content, p95",
            formats.ms(sums.ttft_at(0.95)),
            changes.relative(sums.ttft_at(0.95), before.ttft_at(0.95), welcome="less"),
            f"p50 {formats.ms(sums.ttft_at(0.5))}, p99 {formats.ms(sums.ttft_at(0.99))}",
            made("Time to first content", "ms", *ttft),
        ),
        Tile(
            "Saved by caches",
            formats.money(sums.saved_nano),
            changes.relative(sums.saved_nano, before.saved_nano, welcome="more"),
            f"{formats.share(sums.hit_share)} of exchanges were hits",
            made("Saved by caches", "usd", Series("Saved", values(points, "saved_nano", usd), "bars", "good")),
            link("/ui/exchanges", q="cache:hit", **query),
        ),
    ]


def _slow(p95: float | None, query: Mapping[str, str]) -> str:
    return link("/ui/exchanges", min_ms=f"{p95 * 0.9:.0f}", **query) if p95 else ""


def _top(site: Site, asked: Asked, period: Period, days: Days, dimension: str) -> Top:
    assert site.sources.logs is not None
    found = days.now_by[dimension]
    if period.name != "24h":
        found = by_value(site.sources.logs.top(period.since, period.until, dimension, asked.tenant, _TOP + 1))
    named = [(name, each) for name, each in found.items() if name][:_TOP]
    largest = max((each.cost_nano for _, each in named), default=0) or 1
    query = period.query()
    rows = [
        (name, each, each.cost_nano / largest, link("/ui/exchanges", q=summed(dimension, name), **query))
        for name, each in named
    ]
    return Top(f"Spend by {dimension}", link("/ui/spend", by=dimension, **query), rows)


def _welcome(site: Site, asked: Asked, *, recorded: bool) -> Response:
    """Before the first exchange: what to do to see one."""
    return site.render(
        asked,
        "welcome.html",
        here="overview",
        title="Welcome",
        recorded=recorded,
        simulated=site.sources.simulated and site.sources.open,
        may=allowed(asked),
        running=site.demo.running or asked.get("demo") == "1",
        url=asked.url,
    )


def start_demo(site: Site, asked: Asked) -> Response:
    """The button of the welcome page.

    Raises:
        BadRequest: calls would cost money, or need a key.
        Denied: it is not this role's to have work done: the calls stay in the ledger and the log.
    """
    asked.who.need(Right.JOBS)
    if not site.sources.simulated or not site.sources.open or asked.server is None:
        raise BadRequest("The demonstration runs only where the simulator answers and no key is needed.")
    site.demo.begin(*asked.server)
    return site.go("/", demo="1")


def wait_for_demo(site: Site, _asked: Asked) -> Response:
    """Asked by htmx until it is over."""
    return Response(status_code=204, headers={} if site.demo.running else {"hx-redirect": "/"})


PAGE = Page(
    "overview",
    "Overview",
    "/",
    "See",
    "o",
    [("/", show, ("GET",)), ("/ui/demo", start_demo, ("POST",)), ("/ui/demo", wait_for_demo, ("GET",))],
)
