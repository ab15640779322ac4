"""The frame around every page: templates, navigation, static files, errors; and the threads that pages are made in."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from headgate.pages import format as formats
from headgate.pages.asked import THEMES, Asked, asked_of, link
from headgate.pages.demo import Demo
from headgate.pages.search_words import written
from headgate.pages.sources import Sources
from headgate.pages.tenants import conversation

if TYPE_CHECKING:
    from headgate.control.context import Control

HERE = Path(__file__).parent
STATIC = HERE / "static"
THREADS = 4
"""Pages that are made at once. They share the interpreter with the data plane, which must not starve."""

_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}

Handler = Callable[["Site", Asked], Response]
"""A page: blocks as it likes, because it is called in a thread."""


@dataclass(frozen=True, slots=True)
class Page:
    """An entry of the navigation and what is behind it.

    Attributes:
        name: of the page, for `Site.render(here=...)` and `Site.counts`.
        group: the heading that it is under.
        key: the letter after `g` that goes there; "" = none.
        routes: (path, handler, methods) of it and of what is below it.
        all_tenants: it shows what belongs to no tenant, so a tenant-admin has no use for it.
    """

    name: str
    title: str
    path: str
    group: str
    key: str
    routes: Sequence[tuple[str, Handler, Sequence[str]]]
    all_tenants: bool = False


class Site:
    """What every page is made with: one per gateway.

    Attributes:
        control: the gateway's parts and services.
        sources: where figures come from.
        demo: the demonstration that the welcome page offers.
    """

    def __init__(self, control: Control, pages: Sequence[Page]) -> None:
        self.control = control
        self.sources = Sources(control)
        self.demo = Demo()
        self.counts: dict[str, Callable[[Asked], int]] = {}
        self._pages = pages
        self._threads = CapacityLimiter(THREADS)
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters.update(formats.FILTERS)
        self._templates.globals.update(asset=asset, link=link, written=written, conversation=conversation)

    def routes(self) -> list[Route]:
        """Starlette's routes of all pages, and of the static files."""
        found = [Route("/static/{path:path}", _static, methods=["GET"])]
        for page in self._pages:
            for path, handler, methods in page.routes:
                found.append(Route(path, self._endpoint(handler), methods=list(methods)))
        return found

    def _endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            control = self.control
            url = f"{'https' if control.secure(request) else 'http'}://{control.host_of(request)}"
            asked = await asked_of(request, control.now(), url)
            return await to_thread.run_sync(self._made, handler, asked, limiter=self._threads)

        return answer

    def _made(self, handler: Handler, asked: Asked) -> Response:
        self.sources.catch_up()
        return handler(self, asked)

    def render(self, asked: Asked, template: str, *, here: str = "", status: int = 200, **context: Any) -> Response:
        """A page.

        Args:
            template: extends `base.html`, or is a part of a page for htmx.
            here: the `Page.name` that the navigation marks.
            context: what the template names; `title` is needed where it extends `base.html`.
        """
        context.setdefault("notices", ())
        text = self._templates.get_template(template).render(
            asked=asked,
            person=asked.who,
            logged_in=asked.logged_in,
            csrf=asked.csrf,
            theme=asked.theme,
            now=asked.now,
            ago=lambda seconds: formats.ago(seconds, asked.now),
            here=here,
            navigation=() if asked.partial else self._navigation(asked),
            counts={} if asked.partial else {name: count(asked) for name, count in self.counts.items()},
            **context,
        )
        return HTMLResponse(text.encode("utf-8", "replace"), status_code=status)

    def go(self, path: str, **query: str) -> Response:
        """On to another page, after a form was acted on."""
        return RedirectResponse(link(path, **query), status_code=303)

    def _navigation(self, asked: Asked) -> list[tuple[str, list[Page]]]:
        groups: dict[str, list[Page]] = {}
        for page in self._pages:
            if not page.all_tenants or asked.who.role != "tenant-admin":
                groups.setdefault(page.group, []).append(page)
        return list(groups.items())

    def login(self, request: Request, said: str, back: str, status: int) -> Response:
        """The form to log in with: `control.context.LoginPage`."""
        return self._alone(request, "login.html", status, said=said, back=back, title="Log in")

    def refused(self, request: Request, status: int, code: str, detail: str) -> Response:
        """An error for people: `control.context.RefusedPage`."""
        return self._alone(request, "error.html", status, status=status, code=code, detail=detail, title=_title(status))

    def _alone(self, request: Request, template: str, status_code: int, **context: Any) -> Response:
        """A page without the frame: nobody may be logged in."""
        theme = request.cookies.get("headgate_theme", "")
        text = self._templates.get_template(template).render(theme=theme if theme in THEMES else "", **context)
        return HTMLResponse(text.encode("utf-8", "replace"), status_code=status_code)


def _title(status: int) -> str:
    return {403: "Not allowed", 404: "Not found", 503: "Not available now"}.get(
        status, "Something went wrong" if status >= 500 else "This did not work"
    )


def asset(path: str) -> str:
    """The address of a static file. It changes with the file's content, so that browsers may keep it."""
    return f"/static/{path}?v={_file(path)[1][:12]}"


@cache
def _file(path: str) -> tuple[bytes, str]:
    content = (STATIC / path).read_bytes()
    return content, hashlib.sha256(content).hexdigest()


@cache
def _known() -> Mapping[str, str]:
    """Static files by path, with their content types: nothing else can be asked for."""
    return {
        each.relative_to(STATIC).as_posix(): _KINDS[each.suffix] for each in STATIC.rglob("*") if each.suffix in _KINDS
    }


async def _static(request: Request) -> Response:
    path = request.path_params["path"]
    kind = _known().get(path)
    if kind is None:
        return Response("There is no such file.", status_code=404, media_type="text/plain")
    content, digest = _file(path)
    named = request.query_params.get("v") == digest[:12]
    headers = {"etag": f'"{digest[:32]}"', "cache-control": f"public, max-age={31_536_000 if named else 300}"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
