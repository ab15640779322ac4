"""*Exchanges*: search over every field and the full text, and the live tail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from starlette.responses import Response

from headgate.control.people import Right
from headgate.core.money import NANO_PER_USD
from headgate.pages import exchange, periods, search_words, tenants
from headgate.pages.asked import Asked, link
from headgate.pages.site import Page, Site
from headgate.stores.logs.erasing import Kind, Subject
from headgate.stores.logs.query import ALIASES, FIELDS, BadQuery, LogPage, LogQuery

_ANY = "any"
_ROWS = 50
_TAIL_ROWS = 100
_KNOWN = frozenset(FIELDS) | frozenset(ALIASES)
_ERASABLE: tuple[Kind, ...] = ("user", "session")
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
    def subject(self) -> Subject | None:
        """The user or session that this is a search for; of one tenant, where that is searched for, too."""
        tenant = self.query.fields.get("tenant", self.query.tenant)
        if self.query.tenant not in (None, tenant):
            return None  # another tenant's, of whom the asker sees nothing
        for kind in _ERASABLE:
            value = self.query.fields.get(kind, "")
            if value and len(value) <= _LONGEST_ERASABLE:
                return Subject(kind, value, tenant)
        return None

    @property
    def narrowed(self) -> bool:
        """Whether it asks for less than all that is kept of the subject."""
        asked = self.query
        fields = asked.fields.keys() - {"tenant"}
        return bool(len(fields) > 1 or asked.text or asked.min_cost_nano or asked.min_latency_ms or asked.errors) or (
            asked.since is not None
        )


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
        if words.unknown[0] == "tag":
            wrong = "A tag is looked for as tag:name=value. Without a value it is searched for as text."
    since, until, name = _when(asked)
    cost = words.min_cost or asked.get("min_cost")
    query = LogQuery(
        text=words.text,
        fields=fields,
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


def _when(asked: Asked) -> tuple[float | None, float | None, str]:
    """What is chosen in the form counts before a stretch that a link has brought, which the form hands on."""
    name = asked.get("period")
    if name in periods.NAMES:
        period = periods.named(name, asked.now)
    elif name != _ANY and (asked.get("from") or asked.get("since")):
        period = periods.chosen(asked.query, asked.now)
    else:
        return None, None, _ANY
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
    logs = site.sources.logs
    newest = logs.newest() if search.live and logs is not None else ""
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
        tail=_tail_address(asked, max([newest, *(row.id for row in found.rows[:1])], key=lambda each: int(each or -1))),
        periods=[(_ANY, "Any time"), *periods.NAMES.items()],
        quick=[
            (words, asked.address(before=None, live=None, **_together(asked, changes))) for words, changes in _QUICK
        ],
        fields=sorted(FIELDS),
        erase=_erase_address(site, asked, search),
    )


def _erase_address(site: Site, asked: Asked, search: Search) -> str:
    """Where the subject of a search can be erased; "" where the asker may not, or there is none."""
    subject = search.subject
    if subject is None or not asked.who.may(Right.ERASE) or not site.sources.stored:
        return ""
    told = tenants.query(subject.tenant) if asked.tenant is None else {}
    return link("/ui/exchanges/erase", kind=subject.kind, value=subject.value, **told)


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


def _tail_address(asked: Asked, after: str) -> str:
    kept = {name: value for name, value in asked.query.items() if name not in ("before", "live", "after")}
    return Asked.address(replace(asked, path="/ui/exchanges/tail", query=kept), after=after)


def tail(site: Site, asked: Asked) -> Response:
    """What came since, for htmx: rows, and the element that asks for the next."""
    search = read(asked)
    logs = site.sources.logs
    after = asked.get("after")
    try:
        page = LogPage(()) if logs is None else logs.since_id(after, replace(search.query, limit=_TAIL_ROWS))
    except BadQuery:
        page = LogPage(())
    more = page.searched_to is not None
    return site.render(asked, "tail.html", rows=page.rows, more=more, tail=_tail_address(asked, page.next or after))


def erase(site: Site, asked: Asked) -> Response:
    """Ask whether to erase what is kept of a user or a session; with the form's answer, do it."""
    asked.who.need(Right.ERASE)
    told = asked.form if asked.method == "POST" else asked.query
    kind, value = told.get("kind", ""), told.get("value", "")
    if kind not in _ERASABLE or not value or len(value) > _LONGEST_ERASABLE:
        return site.go("/ui/exchanges")
    subject = Subject(kind, value, tenants.told(asked))
    if asked.method == "POST" and told.get("sure") == "yes":
        counts = site.sources.erase(asked, subject)
        return site.render(asked, "erased.html", here="exchanges", title="Erased", subject=subject, erased=counts)
    logs = site.sources.logs
    query = LogQuery(fields={kind: value}, tenant=subject.tenant, limit=100)
    page = LogPage(()) if logs is None else logs.search(query)
    conditions = [(kind, value), *(() if subject.tenant is None else (("tenant", subject.tenant),))]
    return site.render(
        asked,
        "erase.html",
        here="exchanges",
        title="Erase",
        subject=subject,
        told=tenants.query(subject.tenant),
        number=len(page.rows),
        more=bool(page.next),
        first=min((row.at for row in page.rows), default=None),
        owners=[
            (name, link("/ui/exchanges/erase", kind=kind, value=value, **tenants.query(name)))
            for name in sorted({row.tenant for row in page.rows})
        ],
        cancel=link("/ui/exchanges", q=" ".join(search_words.written(*each) for each in conditions)),
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
