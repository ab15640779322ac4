"""*Guards*: tool calls that wait for a person, and what was blocked, redacted and flagged, by which guard."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from headgate.control.people import Right
from headgate.core.errors import BadRequest
from headgate.pages import periods
from headgate.pages.acting import Notice, acted, allowed, done
from headgate.pages.asked import Asked, link
from headgate.pages.figures import over_time, total, values
from headgate.pages.format import json_text
from headgate.pages.periods import Period
from headgate.pages.plots import Plot, Series, plot
from headgate.pages.search_words import written
from headgate.pages.site import Page, Site
from headgate.pages.spend import in_bars
from headgate.policy.guards.tools import MAX_ARGUMENTS, read_arguments
from headgate.stores.logs.query import GuardCount, GuardCounts, LogQuery, LogRow, RollupRow

PATH = "/ui/guards"
VERDICTS = (("block", "bad", "blocked"), ("redact", "warn", "redacted"), ("flag", "muted", "flagged"))

_PERIODS = ("24h", "7d", "30d")
_EXAMPLES = 12
_WAITING = 100
_DECIDED = 20
_OBJECT = f"one JSON object that all programs read alike, of at most {MAX_ARGUMENTS:,} characters"
_DONE = {
    "approved": "Approved: whoever asked has it with the same request.",
    "edited": "Approved with the arguments that you wrote.",
    "denied": "Denied: whoever asked is told.",
}


@dataclass(slots=True)
class Found:
    """What one rule of one guard has found.

    Attributes:
        example: of its newest exchange.
    """

    guard: str
    rule: str
    last: float
    example: str
    numbers: dict[str, int] = field(default_factory=lambda: {verdict: 0 for verdict, _, _ in VERDICTS})

    @property
    def number(self) -> int:
        """All together."""
        return sum(self.numbers.values())


def show(site: Site, asked: Asked, notices: Sequence[Notice] = (), status: int = 200) -> Response:
    """The page."""
    period = in_bars(periods.chosen(asked.query, asked.now, "7d"))
    logs = site.sources.logs
    counts = GuardCounts(()) if logs is None else logs.guards(period.since, period.until, asked.tenant)
    found = _found(counts.counts)
    rows = _rollup(site, asked, period)
    approvals = site.control.approvals
    every = approvals.list(asked.who, limit=_WAITING)
    return site.render(
        asked,
        "guards.html",
        here="guards",
        title="Guards",
        status=status,
        notices=(*notices, *done(asked, _DONE)),
        may=allowed(asked),
        pending=approvals.list(asked.who, state="pending", limit=_WAITING),
        decided=[each for each in every if each["state"] != "pending"][:_DECIDED],
        period=period,
        choices=[(name, periods.SHORT[name], link(PATH, period=name)) for name in _PERIODS],
        plot=_plot(rows, period),
        sums={verdict: total(row for row in rows if row.value == verdict).exchanges for verdict, _, _ in VERDICTS},
        found=found,
        searches={each.guard: link("/ui/exchanges", q=written("guard", each.guard)) for each in found},
        examples=_blocked(site, asked, period),
        verdicts=VERDICTS,
        counted_from=counts.counted_from,
    )


def decide(site: Site, asked: Asked) -> Response:
    """Approve a call, with the model's arguments or with others, or deny it."""
    form = asked.form

    def work() -> Response:
        approval = form.get("id", "")
        word = form.get("decision")
        if word not in ("approve", "deny"):
            raise BadRequest("This is no decision: approve or deny.")
        note = form.get("note", "").strip()
        if word == "deny":
            site.control.approvals.decide(asked.who, approval, approve=False, reason=note)
            return site.go(PATH, done="denied")
        given = site.control.approvals.show(asked.who, approval)["arguments"]
        edited = _edited(form["arguments"], given) if "arguments" in form else None
        site.control.approvals.decide(asked.who, approval, approve=True, arguments=edited, reason=note)
        return site.go(PATH, done="approved" if edited is None else "edited")

    asked.who.need(Right.APPROVE)
    return acted(site, asked, PATH, work, show)


def _edited(text: str, given: Any) -> dict[str, Any] | None:
    """The arguments in place of the model's; None where they are the same.

    Args:
        given: the model's, as `approval_json` tells them.

    Raises:
        BadRequest: they are no JSON object.
    """
    if text.replace("\r\n", "\n").strip() == json_text(given):
        return None
    found = read_arguments(text)
    if found is None:
        raise BadRequest(f"The arguments are not {_OBJECT}; nothing was decided. What the model wrote is there again.")
    if not text.strip():
        raise BadRequest("The arguments are empty; nothing was decided. A call without any has {} there.")
    return None if _same(found, given) else found


def _same(one: Any, other: Any) -> bool:
    """The same JSON, in any order: to Python `true` is 1, and 1.0 too."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def count(site: Site, asked: Asked) -> int:
    """Calls that wait, beside the entry in the navigation."""
    return len(site.control.approvals.list(asked.who, state="pending", limit=_WAITING))


def _rollup(site: Site, asked: Asked, period: Period) -> list[RollupRow]:
    logs = site.sources.logs
    if logs is None:
        return []
    return list(logs.rollup(period.since, period.until, period.step, "verdict", asked.tenant))


def _plot(rows: Sequence[RollupRow], period: Period) -> Plot:
    series = [
        Series(
            words, values(over_time((row for row in rows if row.value == verdict), period), "exchanges"), "bars", tone
        )
        for verdict, tone, words in VERDICTS
    ]
    return plot(f"Exchanges that a guard acted on, {period.words.lower()}", period, "count", series, stacked=True)


def _found(counts: Iterable[GuardCount]) -> list[Found]:
    """By guard and rule, the most first."""
    found: dict[str, Found] = {}
    for count in counts:
        guard, _, rule = count.word.partition(":")
        each = found.setdefault(count.word, Found(guard, rule, count.last, count.exchange_id))
        each.numbers[count.verdict] += count.exchanges
        if count.last > each.last:
            each.last, each.example = count.last, count.exchange_id
    return sorted(found.values(), key=lambda each: (-each.number, each.guard, each.rule))


def _blocked(site: Site, asked: Asked, period: Period) -> Sequence[LogRow]:
    """The newest exchanges that were blocked."""
    logs = site.sources.logs
    query = LogQuery(
        fields={"verdict": "block"}, since=period.since, until=period.until, tenant=asked.tenant, limit=_EXAMPLES
    )
    return () if logs is None else logs.search(query).rows


PAGE = Page(
    "guards",
    "Guards",
    PATH,
    "Control",
    "u",
    [(PATH, show, ("GET",)), (f"{PATH}/decide", decide, ("POST",))],
)
