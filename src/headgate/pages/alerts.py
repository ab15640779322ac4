"""*Alerts*: what is on, what was, and who looks after it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from headgate.control.people import Right
from headgate.pages import runbooks
from headgate.pages.acting import Notice, acted, allowed, done
from headgate.pages.asked import Asked
from headgate.pages.site import Page, Site

PATH = "/ui/alerts"

_HISTORY = 100
_DONE = {"acknowledged": "You look after it: it is not told again until it ends."}


def show(site: Site, asked: Asked, notices: Sequence[Notice] = (), status: int = 200) -> Response:
    """The page.

    Raises:
        Denied: to a tenant-admin; alerts belong to no tenant.
    """
    active = site.control.alerts.list(asked.who)
    history = site.control.alerts.list(asked.who, ended=True, limit=_HISTORY)
    return site.render(
        asked,
        "alerts.html",
        here="alerts",
        title="Alerts",
        status=status,
        notices=(*notices, *done(asked, _DONE)),
        may=allowed(asked),
        runbook=runbooks.address,
        active=active,
        history=[each for each in history if each["resolved"] is not None],
    )


def acknowledge(site: Site, asked: Asked) -> Response:
    """The asker looks after one."""

    def work() -> Response:
        site.control.alerts.acknowledge(asked.who, asked.form.get("id", ""))
        return site.go(PATH, done="acknowledged")

    asked.who.need(Right.ALERTS)
    return acted(site, asked, PATH, work, show)


def count(site: Site, asked: Asked) -> int:
    """Alerts that nobody looks after, beside the entry in the navigation."""
    return sum(each.state == "firing" for each in site.sources.alerts(asked))


PAGE = Page(
    "alerts",
    "Alerts",
    PATH,
    "See",
    "a",
    [(PATH, show, ("GET",)), (PATH, acknowledge, ("POST",)), (f"{runbooks.PATH}/{{rule}}", runbooks.show, ("GET",))],
    all_tenants=True,
)
