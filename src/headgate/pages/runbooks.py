"""Runbooks of alerts as pages: docs/runbooks, from the package itself, so that they are there without a network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from starlette.responses import Response

from headgate.core.errors import NotServed
from headgate.pages.asked import Asked
from headgate.pages.site import HERE, Site

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

PATH = "/ui/runbooks"
PLACES = (HERE / "runbooks", HERE.parents[2] / "docs" / "runbooks")
"""In an installed package (pyproject.toml puts them there), and in the repository."""


def show(site: Site, asked: Asked) -> Response:
    """The page.

    Raises:
        NotServed: there is no such rule.
    """
    rule = asked.parts["rule"]
    file = known().get(rule)
    if file is None:
        raise NotServed("There is no such runbook. The alerts that are on name theirs.")
    title, body = rendered(file.read_text(encoding="utf-8"))
    return site.render(asked, "runbook.html", here="alerts", title=title, rule=rule, body=body)


@cache
def known() -> Mapping[str, Path]:
    """Runbooks by rule: nothing else can be asked for."""
    folder = next((each for each in PLACES if each.is_dir()), None)
    return {} if folder is None else {each.stem: each for each in folder.glob("*.md")}


def address(rule: str) -> str:
    """Where a rule's runbook is shown; "" where there is none."""
    return f"{PATH}/{rule}" if rule in known() else ""


def rendered(text: str) -> tuple[str, Markup]:
    """(The title, the rest as HTML) of a page in CommonMark, in which HTML is text like any other."""
    markdown = _markdown()
    tokens = markdown.parse(text)
    title = ""
    if tokens and tokens[0].tag == "h1":
        title, tokens = tokens[1].content, tokens[3:]
    for token in tokens:
        if token.type == "inline":
            token.children = _own_links(token.children or [])
    return title, Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704 - with HTML escaped


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt  # at the first runbook: it takes 30 ms to import

    found = MarkdownIt("commonmark", {"html": False}).disable("image")
    found.add_render_rule("fence", _code)
    return found


def _code(_renderer: object, tokens: list[Token], at: int, *_more: object) -> str:
    return str(Markup('<pre class="code" tabindex="0">{}</pre>\n').format(tokens[at].content.rstrip("\n")))


def _own_links(tokens: list[Token]) -> list[Token]:
    """To other runbooks; of other pages of the documentation, which are not here, only the names are shown."""
    kept: list[Token] = []
    leads = False
    for token in tokens:
        if token.type == "link_open":
            path = address(str(token.attrs["href"]).removesuffix(".md"))
            leads = bool(path)
            token.attrs = {"href": path}
        if leads or token.type not in ("link_open", "link_close"):
            kept.append(token)
    return kept
