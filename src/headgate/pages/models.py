"""*Models and providers*: health, headroom, breakers; what models cost and how slow they are; incident switches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from headgate.control.people import Right
from headgate.core.errors import BadRequest
from headgate.core.incidents import KINDS, SCOPES
from headgate.pages import periods
from headgate.pages.acting import Notice, acted, allowed, done
from headgate.pages.asked import Asked, link
from headgate.pages.figures import by_value
from headgate.pages.periods import HOUR
from headgate.pages.search_words import summed
from headgate.pages.site import Page, Site

PATH = "/ui/models"
LASTS = {"900": "15 minutes", "3600": "1 hour", "14400": "4 hours", "86400": "1 day", "604800": "7 days"}

_PERIODS = ("1h", "24h", "7d")
_MODELS = 60
_PACES = 8
_DONE = {
    "closed": "Every breaker of the provider is closed.",
    "set": "It is on: it counts for calls from now on, and ends by itself.",
    "ended": "It is lifted.",
}


def show(site: Site, asked: Asked, notices: Sequence[Notice] = (), status: int = 200) -> Response:
    """The page.

    Raises:
        Denied: to a tenant-admin; providers are everybody's.
    """
    report = site.control.providers.report(asked.who)
    period = periods.chosen(asked.query, asked.now, "24h")
    logs = site.sources.logs
    step = "minute" if period.length <= 2 * HOUR else "hour"
    rows = [] if logs is None else logs.rollup(period.since, period.until, step, "model", None)
    settings = site.control.built.settings
    providers = sorted(settings.providers)
    models = by_value(rows)
    return site.render(
        asked,
        "models.html",
        here="models",
        title="Models and providers",
        status=status,
        notices=(*notices, *done(asked, _DONE)),
        may=allowed(asked),
        providers=report["providers"],
        paces={each["provider"]: _paces(each) for each in report["providers"]},
        incidents=site.control.incidents.list(asked.who),
        period=period,
        choices=[(name, periods.SHORT[name], link(PATH, period=name)) for name in _PERIODS],
        models=list(models.items())[:_MODELS],
        searches={name: link("/ui/exchanges", q=summed("model", name), **period.query()) for name in models},
        kinds=KINDS,
        scopes=SCOPES,
        lasts=LASTS,
        known=[*providers, *sorted(settings.models), *[name for name in models if name][:_MODELS]],
        targets=sorted(settings.models),
    )


def _paces(provider: dict[str, Any]) -> list[tuple[str, dict[str, Any], float]]:
    """(Whose, the limit, what share of it is left) of each rate limit, the tightest first."""
    found = []
    for pace in provider.get("paces", ()):
        whose = " ".join(filter(None, (pace["family"], pace["credential"])))
        for limit in pace.get("limits", ()):
            most = limit["limit"]
            left = 1.0 if not most else max(0.0, min(1.0, limit["left"] / most))
            found.append((whose, limit, left))
    return sorted(found, key=lambda each: each[2])[:_PACES]


def lift_breakers(site: Site, asked: Asked) -> Response:
    """Close a provider's breakers."""

    def work() -> Response:
        site.control.providers.lift(asked.who, asked.form.get("provider", ""))
        return site.go(PATH, done="closed")

    asked.who.need(Right.INCIDENTS)
    return acted(site, asked, PATH, work, show)


def switch(site: Site, asked: Asked) -> Response:
    """Stop, slow or degrade; or lift what is on."""
    form = asked.form

    def work() -> Response:
        incidents = site.control.incidents
        if form.get("do") == "lift":
            incidents.lift(asked.who, form.get("id", ""))
            return site.go(PATH, done="ended")
        kind, rate = form.get("kind", ""), form.get("rate", "").strip()
        if form.get("lasts") not in LASTS:
            raise BadRequest("Choose how long it lasts.")
        if kind == "slow" and not (rate.isascii() and rate.isdigit() and len(rate) < 9):
            raise BadRequest("Slow needs a number of requests per minute.")
        incidents.set(
            asked.who,
            kind,
            form.get("scope", ""),
            form.get("value", "").strip(),
            to=form.get("to", "").strip() if kind == "degrade" else "",
            rate=int(rate) if kind == "slow" else 0,
            why=form.get("why", "").strip(),
            seconds=float(form["lasts"]),
        )
        return site.go(PATH, done="set")

    asked.who.need(Right.INCIDENTS)
    return acted(site, asked, PATH, work, show)


PAGE = Page(
    "models",
    "Models and providers",
    PATH,
    "Control",
    "m",
    [
        (PATH, show, ("GET",)),
        (f"{PATH}/breakers", lift_breakers, ("POST",)),
        (f"{PATH}/incidents", switch, ("POST",)),
    ],
    all_tenants=True,
)
