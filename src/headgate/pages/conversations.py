"""*Conversations*: sessions, and one session as a chat."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.responses import Response

from headgate.core.errors import NotServed
from headgate.pages import search_words
from headgate.pages.asked import Asked
from headgate.pages.format import segment
from headgate.pages.site import Page, Site
from headgate.stores.logs.query import FIELDS, BadQuery, LogPage, LogQuery, LogRow

_SESSIONS = 30
_AT_ONCE = 200
_PAGES = 5
"""Rows that are looked through for one page of sessions: 1,000 at most."""
_TURNS = 100
_EXCERPT = 160


@dataclass(slots=True)
class Session:
    """Exchanges of one session, as far as a page of the log goes back."""

    session: str
    tenant: str
    user: str
    first: float
    last: float
    excerpt: str
    exchanges: int = 0
    cost_nano: int = 0
    failed: int = 0
    blocked: int = 0
    models: dict[str, None] = field(default_factory=dict)

    def add(self, row: LogRow) -> None:
        """An older exchange."""
        self.exchanges += 1
        self.cost_nano += row.cost_nano
        self.first = min(self.first, row.at)
        self.failed += row.ending in ("failed", "cut")
        self.blocked += row.verdict == "block"
        self.user = self.user or row.user
        self.excerpt = row.user_message[:_EXCERPT] or self.excerpt
        if row.model_served:
            self.models[row.model_served] = None

    @property
    def path(self) -> str:
        """Its page."""
        return f"/ui/conversations/{segment(self.session)}"


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange of a chat: how long after the one before it, in seconds."""

    row: LogRow
    pause: float | None


def show(site: Site, asked: Asked) -> Response:
    """The list: the sessions that were active last."""
    typed = asked.get("q")
    words = search_words.read(typed, frozenset(FIELDS))
    query = LogQuery(text=words.text, fields=words.fields, tenant=asked.tenant, limit=_AT_ONCE)
    wrong = ""
    try:
        found, older, searched_to = _sessions(site, query.checked(), asked.get("before"))
    except BadQuery as error:
        found, older, searched_to, wrong = [], "", None, str(error)
    return site.render(
        asked,
        "conversations.html",
        here="conversations",
        title="Conversations",
        typed=typed,
        found=found,
        older=asked.address(before=older) if older else "",
        newest=asked.address(before=None) if asked.get("before") else "",
        searched_to=searched_to,
        wrong=wrong,
    )


def _sessions(site: Site, query: LogQuery, before: str) -> tuple[list[Session], str, float | None]:
    """(Sessions, where the next page begins, how far was looked), by what they said last."""
    from dataclasses import replace

    logs = site.sources.logs
    found: dict[tuple[str, str], Session] = {}
    page = LogPage((), before)
    oldest = None
    for _ in range(_PAGES if logs is not None else 0):
        assert logs is not None
        page = logs.search(replace(query, before=page.next))
        for row in page.rows:
            oldest = row.at
            if row.session:
                key = (row.tenant, row.session)
                if key not in found:
                    found[key] = Session(row.session, row.tenant, row.user, row.at, row.at, "")
                found[key].add(row)
        if not page.next or len(found) >= _SESSIONS:
            break
    return list(found.values()), page.next, oldest if page.next else None


def replay(site: Site, asked: Asked) -> Response:
    """One session as a chat, oldest first.

    Raises:
        NotServed: there is no such session, or it is another tenant's.
    """
    session = asked.parts["session"]
    logs = site.sources.logs
    try:
        page = LogPage(()) if logs is None else logs.conversation(session, asked.tenant, _TURNS, asked.get("after"))
    except BadQuery:
        page = LogPage(())
    if not page.rows and not asked.get("after"):
        raise NotServed("There is no such conversation here. It may have been erased, or be another tenant's.")
    turns: list[Turn] = []
    last: float | None = None
    for row in page.rows:
        began = row.at - (row.latency_ms or 0.0) / 1000
        turns.append(Turn(row, None if last is None else max(0.0, began - last)))
        last = row.at
    rows = page.rows
    return site.render(
        asked,
        "conversation.html",
        here="conversations",
        title="Conversation",
        session=session,
        turns=turns,
        first_page=not asked.get("after"),
        older=asked.address(after=page.next) if page.next else "",
        newest=asked.address(after=None) if asked.get("after") else "",
        cost_nano=sum(row.cost_nano for row in rows),
        estimated=any(row.estimated for row in rows),
        users=sorted({row.user for row in rows if row.user}),
        tenants=sorted({row.tenant for row in rows if row.tenant}),
        with_texts=any(row.user_message or row.response_text for row in rows),
    )


PAGE = Page(
    "conversations",
    "Conversations",
    "/ui/conversations",
    "See",
    "c",
    [("/ui/conversations", show, ("GET",)), ("/ui/conversations/{session:path}", replay, ("GET",))],
)
