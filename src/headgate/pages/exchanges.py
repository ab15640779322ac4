"""*Exchanges*: search over every field and the full text, and the live tail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from starlette.responses import Response

from headgate.control.people import Right
from headgate.core.money import NANO_PER_USD
from headgate.pages import exchange, periods, search_words
from headgate.pages.asked import Asked
from headgate.pages.site import Page, Site
from headgate.stores.logs.query import ALIASES, FIELDS, BadQuery, LogPage, LogQuery, LogRow

_PERIODS = ("1h", "24h", "7d", "30d")
_ANY = "any"
_ROWS = 50
_TAIL_ROWS = 100
_KNOWN = frozenset(FIELDS) | frozenset(ALIASES)
_LONGEST_ERASABLE = 256

_QUICK = (
    ("Failed", {"errors": "1"}),
    ("Slower than 5 s", {"min_ms": "5000"}),
    ("Blocked by a guard", {"q": "verdict:block"}),
    ("Cache hits", {"q": "cache:hit"}),
    ("Cut short by the cap", {"q": "stop_reason:max_tokens"}),
)


@dataclass(frozen=True, slots=True)
class Search:
    """What the address asks for, as the log store takes it.

    Attributes:
        typed: the search box.
        wrong: what cannot be understood, for people; "" = nothing.
        live: rows are added as they come.
    """

    typed: str
    query: LogQuery
    period: str
    wrong: str
    live: bool

    @property
    def subject(self) -> tuple[str, str] | None:
        """The user or session that this is a search for."""
        for name in ("user", "session"):
            value = self.query.fields.get(name, "")
            if value and len(value) <= _LONGEST_ERASABLE:
                return name, value
        return None


def conditions(asked: Asked) -> Asked:
    """An address that names fields one by one, as alerts' do (`?provider=openai&errors=true`), as our form has it."""
    named = {name: value for name, value in asked.query.items() if name in _KNOWN and value}
    if not named and asked.get("errors") != "true":
        return asked
    kept = {name: value for name, value in asked.query.items() if name not in named}
    written = [search_words.written(name, value) for name, value in named.items()]
    kept["q"] = " ".join([*filter(None, [kept.get("q", "")]), *written])
    if kept.get("errors") == "true":
        kept["errors"] = "1"
    return replace(asked, query=kept)


def read(asked: Asked) -> Search:
    """The search that an address describes."""
    typed = asked.get("q")
    words = search_words.read(typed, _KNOWN)
    fields = {ALIASES.get(name, name): value for name, value in words.fields.items()}
    wrong = ""
    if words.unknown:
        wrong = f"“{words.unknown[0]}:” is no field of the log, so it is searched for as text."
    since, until, name = _when(asked)
    cost = words.min_cost or asked.get("min_cost")
    query = LogQuery(
        text=words.text,
        fields={**fields, **_tags(typed)},
        since=since,
        until=until,
        min_cost_nano=_nano(cost),
        min_latency_ms=words.min_latency_ms or asked.number("min_ms"),
        errors=words.errors or asked.get("errors") == "1",
        tenant=asked.tenant,
        before=asked.get("before"),
        limit=_ROWS,
    )
    live = asked.get("live") == "1" and not query.before and name != "custom"
    return Search(typed, query, name, wrong, live)


def _tags(typed: str) -> Mapping[str, str]:
    """`tag:team=search`, as many as there are."""
    found = {}
    for part in search_words.read(typed, frozenset({"tag"})).fields.items():
        if part[0] == "tag" and "=" in part[1]:
            key, _, value = part[1].partition("=")
            found[f"tag:{key}"] = value
    return found


def _when(asked: Asked) -> tuple[float | None, float | None, str]:
    if not (asked.get("from") or asked.get("since")) and asked.get("period") not in periods.NAMES:
        return None, None, _ANY
    period = periods.chosen(asked.query, asked.now)
    until = None if period.name in ("1h", "24h", "7d", "30d", "today", "month") else period.until
    return period.since, until, period.name


def _nano(text: str) -> int:
    try:
        return max(0, min(10**18, int(Decimal(text.removeprefix("$") or 0) * NANO_PER_USD)))
    except (InvalidOperation, ValueError, OverflowError):
        return 0


def show(site: Site, asked: Asked) -> Response:
    """The page: the form, and a page of rows."""
    asked = conditions(asked)
    search = read(asked)
    found, wrong = _found(site, search.query)
    if wrong:
        search = replace(search, wrong=wrong)
    older = asked.address(before=found.next, live=None) if found.next else ""
    return site.render(
        asked,
        "exchanges.html",
        here="exchanges",
        title="Exchanges",
        search=search,
        found=found,
        older=older,
        newest=asked.address(before=None) if search.query.before else "",
        searched_to=found.searched_to,
        tail=_tail_address(asked, found.rows[0].id if found.rows else _newest(site, asked)),
        periods=[(_ANY, "Any time"), *((name, periods.NAMES[name]) for name in (*_PERIODS, "today", "yesterday"))],
        quick=[
            (words, asked.address(before=None, live=None, **_together(asked, changes))) for words, changes in _QUICK
        ],
        fields=sorted(FIELDS),
        may_erase=asked.who.may(Right.ERASE) and site.sources.stored,
    )


def _together(asked: Asked, changes: Mapping[str, str]) -> dict[str, str | None]:
    found: dict[str, str | None] = dict(changes)
    typed = asked.get("q")
    if "q" in changes and typed and changes["q"] not in typed:
        found["q"] = f"{typed} {changes['q']}"
    return found


def _found(site: Site, query: LogQuery) -> tuple[LogPage, str]:
    logs = site.sources.logs
    if logs is None:
        return LogPage(()), "This gateway keeps no log store: there is nothing to search."
    try:
        return logs.search(query.checked()), ""
    except BadQuery as error:
        return LogPage(()), str(error)


def _newest(site: Site, asked: Asked) -> str:
    """A cursor behind everything that there is now, where a search found nothing."""
    logs = site.sources.logs
    page = None if logs is None else logs.search(LogQuery(tenant=asked.tenant, limit=1))
    return page.rows[0].id if page is not None and page.rows else "0"


def _tail_address(asked: Asked, after: str) -> str:
    kept = {name: value for name, value in asked.query.items() if name not in ("before", "live", "after")}
    return Asked.address(replace(asked, path="/ui/exchanges/tail", query=kept), after=after)


def tail(site: Site, asked: Asked) -> Response:
    """What came since, for htmx: rows, and the element that asks for the next."""
    search = read(asked)
    logs = site.sources.logs
    after = asked.get("after", "0")
    try:
        page = LogPage(()) if logs is None else logs.since_id(after, asked.tenant, _TAIL_ROWS)
    except BadQuery:
        page = LogPage(())
    if page.rows:
        after = max(page.rows, key=lambda row: int(row.id)).id
    rows = sorted((row for row in page.rows if matches(row, search.query)), key=lambda row: int(row.id), reverse=True)
    return site.render(asked, "tail.html", rows=rows, tail=_tail_address(asked, after))


def matches(row: LogRow, query: LogQuery) -> bool:
    """Whether a new row is one that a search asks for. Of its texts it is only looked whether each word is in them."""
    if query.errors and row.ending not in ("failed", "refused", "cut") and row.status_code < 400:
        return False
    if row.cost_nano < query.min_cost_nano or (row.latency_ms or 0.0) < query.min_latency_ms:
        return False
    if not all(_has(row, name, value) for name, value in query.fields.items()):
        return False
    texts = f"{row.user_message}\n{row.response_text}".casefold()
    return all(word.strip('"*').casefold() in texts for word in query.text.split())


def _has(row: LogRow, name: str, value: str) -> bool:
    if name.startswith("tag:"):
        return row.tags.get(name[4:]) == value
    if name == "model":
        return value in (row.model_asked, row.model_served)
    if name == "guard":
        return any(word == value or word.partition(":")[0] == value for word in row.guards)
    found = getattr(row, name, None)
    if found is None:
        found = row.more.get(name, "")
    if isinstance(found, bool):
        return str(found).lower() == value.lower() or str(int(found)) == value
    return str(found) == value


def erase(site: Site, asked: Asked) -> Response:
    """Ask whether to erase what is kept of a user or a session; with the form's answer, do it."""
    asked.who.need(Right.ERASE)
    told = asked.form if asked.method == "POST" else asked.query
    kind, value = told.get("kind", ""), told.get("value", "")
    if kind not in ("user", "session") or not value or len(value) > _LONGEST_ERASABLE:
        return site.go("/ui/exchanges")
    if asked.method == "POST" and told.get("sure") == "yes":
        counts = site.sources.erase(asked, kind, value)
        return site.render(
            asked, "erased.html", here="exchanges", title="Erased", kind=kind, value=value, erased=counts
        )
    logs = site.sources.logs
    page = LogPage(()) if logs is None else logs.search(LogQuery(fields={kind: value}, tenant=asked.tenant, limit=100))
    first = min((row.at for row in page.rows), default=None)
    return site.render(
        asked,
        "erase.html",
        here="exchanges",
        title="Erase",
        kind=kind,
        value=value,
        number=len(page.rows),
        more=bool(page.next),
        first=first,
    )


def day_of(seconds: float) -> str:
    """A day of UTC, as an address names it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


PAGE = Page(
    "exchanges",
    "Exchanges",
    "/ui/exchanges",
    "See",
    "e",
    [
        ("/ui/exchanges", show, ("GET",)),
        ("/ui/exchanges/tail", tail, ("GET",)),
        ("/ui/exchanges/erase", erase, ("GET", "POST")),
        ("/ui/exchanges/{id}", exchange.show, ("GET",)),
    ],
)
