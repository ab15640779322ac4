"""Runbooks of alerts as pages: docs/runbooks, from the package itself, so that they are there without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape
from starlette.responses import Response

from headgate.core.errors import NotServed
from headgate.pages.asked import Asked
from headgate.pages.site import HERE, Site

PATH = "/ui/runbooks"
PLACES = (HERE / "runbooks", HERE.parents[2] / "docs" / "runbooks")
"""In an installed package (pyproject.toml puts them there), and in the repository."""

_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\[((?:`[^`]*`|[^\]])*)\]\(([^)\s]+)\)")
_CODE, _STRONG, _LABEL, _TARGET = 1, 2, 3, 4


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
    """(The title, the rest as HTML) of a page in as much Markdown as runbooks use."""
    title, rest = "", text
    if text.startswith("# "):
        heading, _, rest = text.partition("\n")
        title = heading.removeprefix("# ").strip()
    return title, Markup("\n").join(_blocks(rest.splitlines()))


def _blocks(lines: list[str]) -> Iterator[Markup]:
    at = 0
    while at < len(lines):
        line, end = lines[at], at + 1
        if line.startswith("```"):
            while end < len(lines) and not lines[end].startswith("```"):
                end += 1
            code = escape("\n".join(lines[at + 1 : end]))
            yield Markup('<pre class="code" tabindex="0">{}</pre>').format(code)
            end += 1
        elif line.startswith("#"):
            yield Markup("<h2>{}</h2>").format(_inline(line.lstrip("# ")))
        elif line.strip():
            while end < len(lines) and lines[end].strip() and not lines[end].startswith(("```", "#")):
                end += 1
            yield _list(lines[at:end]) if line.startswith("- ") else _paragraph(lines[at:end])
        at = end


def _paragraph(lines: list[str]) -> Markup:
    return Markup("<p>{}</p>").format(_inline(" ".join(each.strip() for each in lines)))


def _list(lines: list[str]) -> Markup:
    entries = [each.strip() for each in re.split(r"^- ", "\n".join(lines), flags=re.MULTILINE) if each.strip()]
    items = (Markup("<li>{}</li>").format(_inline(" ".join(each.split()))) for each in entries)
    return Markup("<ul>{}</ul>").format(Markup("").join(items))


def _inline(text: str) -> Markup:
    found, at = Markup(""), 0
    for match in _INLINE.finditer(text):
        found += escape(text[at : match.start()])
        if match[_CODE] is not None:
            found += Markup("<code>{}</code>").format(match[_CODE])
        elif match[_STRONG] is not None:
            found += Markup("<strong>{}</strong>").format(_inline(match[_STRONG]))
        else:
            found += _link(match[_LABEL], match[_TARGET])
        at = match.end()
    return found + escape(text[at:])


def _link(label: str, target: str) -> Markup:
    """To another runbook; other pages of the documentation are not here, and only their names are shown."""
    path = address(target.removesuffix(".md"))
    return Markup('<a href="{}">{}</a>').format(path, _inline(label)) if path else _inline(label)
