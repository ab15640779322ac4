"""*Checklist*: what has to be so before the first real user, looked at now: as `headgate check` shows it."""

from __future__ import annotations

from starlette.responses import Response

from headgate import checklist
from headgate.checklist import STATES, Item
from headgate.control.people import Right
from headgate.pages.asked import Asked
from headgate.pages.site import Page, Site

PATH = "/ui/checklist"


def show(site: Site, asked: Asked) -> Response:
    """The page. It takes about a second.

    Raises:
        Denied: to a tenant-admin; it is about the whole installation.
    """
    asked.who.need(Right.READ_ALL)
    built = site.control.built
    reader, logs = checklist.sources_of(built.settings, built)
    items = checklist.run(built.settings, built, reader, logs, now=asked.now)
    groups: dict[str, list[Item]] = {}
    for each in items:
        groups.setdefault(each.group, []).append(each)
    return site.render(
        asked,
        "checklist.html",
        here="checklist",
        title="Checklist",
        groups=groups,
        numbers=[(state, sum(each.state == state for each in items)) for state in STATES],
    )


PAGE = Page("checklist", "Checklist", PATH, "Installation", "h", [(PATH, show, ("GET",))], all_tenants=True)
