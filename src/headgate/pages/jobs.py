"""*Jobs*: deferred calls and batches: how far they are, what they have cost; cancelled, and tried again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.responses import Response

from headgate.control.people import Right
from headgate.core.errors import BadRequest
from headgate.pages.acting import Notice, acted, allowed, done
from headgate.pages.asked import Asked, link
from headgate.pages.site import Page, Site
from headgate.stores.job_rows import STATES

PATH = "/ui/jobs"

_ROWS = 50
_DONE = {
    "cancelled": "It is cancelled. What had begun may still end, and is paid.",
    "retried": "It is done again.",
    "batch-cancelled": "Nothing more of the batch is begun. What had begun may still end, and is paid.",
    "batch-retried": "The lines that failed or were cancelled are done again.",
}


def show(site: Site, asked: Asked, notices: Sequence[Notice] = (), status: int = 200) -> Response:
    """The page."""
    state = asked.get("state") if asked.get("state") in STATES else ""
    jobs, after = site.control.jobs, asked.get("after")
    told = jobs.list(asked.who, state=state or None, limit=_ROWS, after=after)
    batches = [] if after else jobs.batches(asked.who, limit=_ROWS)
    queue = told["queue"]
    more = len(told["jobs"]) == _ROWS
    return site.render(
        asked,
        "jobs.html",
        here="jobs",
        title="Jobs",
        status=status,
        notices=(*notices, *done(asked, _DONE)),
        may=allowed(asked),
        jobs=told["jobs"],
        queue=queue,
        batches=[(each, _parts(each)) for each in batches],
        choices=[("", "All", PATH), *((each, each, link(PATH, state=each)) for each in STATES)],
        state=state,
        older=link(PATH, state=state, after=told["jobs"][-1]["id"]) if more else "",
        newest=link(PATH, state=state) if after else "",
        in_queue=0 if queue is None else sum(queue["states"].get(each, 0) for each in ("queued", "running")),
    )


def _parts(batch: dict[str, Any]) -> list[tuple[float, str]]:
    """What the bar shows: answered, failed, on the way."""
    total = batch["total"] or 1
    wrong = batch["failed"] + batch["broken"] + batch["cancelled"]
    return [(batch["succeeded"] / total, "fill"), (wrong / total, "bad"), (batch["sent"] / total, "held")]


def change(site: Site, asked: Asked) -> Response:
    """Cancel or retry a deferred call or a batch."""
    jobs, who = site.control.jobs, asked.who
    does: dict[str, Callable[[str], object]] = {
        "cancelled": lambda which: jobs.cancel(who, which),
        "retried": lambda which: jobs.retry(who, which),
        "batch-cancelled": lambda which: jobs.cancel_batch(who, which),
        "batch-retried": lambda which: jobs.retry_batch(who, which),
    }

    def work() -> Response:
        what = asked.form.get("do", "")
        if what not in does:
            raise BadRequest("There is nothing like that to do with a job.")
        does[what](asked.form.get("id", ""))
        return site.go(PATH, done=what)

    who.need(Right.JOBS)
    return acted(site, asked, PATH, work, show)


PAGE = Page("jobs", "Jobs", PATH, "Control", "j", [(PATH, show, ("GET",)), (PATH, change, ("POST",))])
