"""*Conversations*: sessions, and one session as a chat."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette.responses import Response

from headgate.core.errors import NotServed
from headgate.pages import exchanges, search_words, tenants
from headgate.pages.asked import Asked
from headgate.pages.site import Page, Site
from headgate.stores.logs.query import BadQuery, LogPage, LogQuery, LogRow, SessionPage

PATH = "/ui/conversations"

_SESSIONS = 30
_TURNS = 100


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange of a chat: how long after the one before it, in seconds."""

    row: LogRow
    pause: float | None


def show(site: Site, asked: Asked) -> Response:
    """The list: the sessions that were active last."""
    # The box is all that there is to see of a search here: a period of the address would be looked for unseen.
    search = exchanges.read(replace(asked, query={name: asked.get(name) for name in ("q", "before")}))
    logs, wrong = site.sources.logs, search.wrong
    try:
        page = SessionPage(()) if logs is None else logs.sessions(replace(search.query, limit=_SESSIONS))
    except BadQuery as error:
        page, wrong = SessionPage(()), str(error)
    return _listed(site, asked, search.typed, page, wrong)


def _listed(site: Site, asked: Asked, typed: str, page: SessionPage, wrong: str) -> Response:
    return site.render(
        asked,
        "conversations.html",
        here="conversations",
        title="Conversations",
        typed=typed,
        found=page.sessions,
        older=asked.address(before=page.next) if page.next else "",
        newest=asked.address(before=None) if asked.get("before") else "",
        searched_to=page.searched_to,
        wrong=wrong,
    )


def replay(site: Site, asked: Asked) -> Response:
    """One tenant's session as a chat, oldest first; which tenant's is asked where several have one of this name.

    Raises:
        NotServed: there is no such session, or it is another tenant's.
    """
    session, tenant = asked.parts["session"], tenants.told(asked)
    logs = site.sources.logs
    condition = search_words.written("session", session)
    if tenant is None and logs is not None:
        found = logs.sessions(LogQuery(fields={"session": session}, limit=_SESSIONS))
        if len(found.sessions) > 1:
            listed = replace(asked, path=PATH, query={"q": condition})  # where *Older* goes on
            return _listed(site, listed, condition, found, "Several tenants have a session of this name: choose one.")
        tenant = found.sessions[0].tenant if found.sessions else None
    try:
        page = LogPage(()) if logs is None else logs.conversation(session, tenant, _TURNS, asked.get("after"))
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
        users=[
            (user, tenants.exchanges(asked, tenant, search_words.written("user", user)))
            for user in sorted({row.user for row in rows if row.user})
        ],
        tenant=tenant,
        exchanges=tenants.exchanges(asked, tenant, condition),
        with_texts=any(row.user_message or row.response_text for row in rows),
    )


PAGE = Page(
    "conversations",
    "Conversations",
    PATH,
    "See",
    "c",
    [(PATH, show, ("GET",)), (f"{PATH}/{{session:path}}", replay, ("GET",))],
)
