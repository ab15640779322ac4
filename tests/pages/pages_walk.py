"""What every page has to stand, in a real browser: no errors, nothing from elsewhere, nothing wider than the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 360, "height": 740}
SERIOUS = ("serious", "critical")


@contextmanager
def visiting(browser: Any, url: str, *, size: dict[str, int] = WIDE, colours: str = "light") -> Iterator[Any]:
    """A page of a fresh browser. What it writes on the console, throws, or asks of anybody else fails the test."""
    context = browser.new_context(viewport=size, color_scheme=colours, base_url=url, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(90_000)
    wrong: list[str] = []
    page.on("console", lambda told: wrong.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((url, "data:")) else wrong.append(asked.url))
    page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective))"
    )
    try:
        yield page
    finally:
        context.close()
    assert wrong == []


def too_wide(page: Any) -> str:
    """What is wider than a phone or a desk, for whoever has to mend it; "" = nothing."""
    found = []
    for size in (PHONE, WIDE):
        page.set_viewport_size(size)
        found.append(_wider(page))
    return "\n".join(filter(None, found))


def _wider(page: Any) -> str:
    return str(
        page.evaluate(
            """() => {
                const most = document.documentElement.clientWidth;
                if (document.documentElement.scrollWidth <= most) return "";
                const all = [...document.querySelectorAll("body *")];
                const found = all.filter(e => e.getBoundingClientRect().right > most + 1);
                return found.slice(0, 5).map(e => e.outerHTML.slice(0, 120)).join("\\n") || "something";
            }"""
        )
    )


def barriers(page: Any, *, only: Sequence[str] = ()) -> list[str]:
    """What axe finds that keeps people out: serious and critical. `only`: these of its rules."""
    page.evaluate(_axe())
    told = {"resultTypes": ["violations"], **({"runOnly": {"type": "rule", "values": list(only)}} if only else {})}
    found = page.evaluate("told => axe.run(document, told)", told)
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0]['failureSummary'][:300]}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]


@cache
def _axe() -> str:
    return AXE.read_text(encoding="utf-8")


def walk(page: Any, path: str, *, colours: str) -> list[str]:
    """Open a page and say what is wrong with it. In dark colours only what colours can break is looked at."""
    page.goto(path)
    return wrong_with(page, colours=colours)


def wrong_with(page: Any, *, colours: str) -> list[str]:
    """The same of the page that is open."""
    if colours == "dark":
        return barriers(page, only=("color-contrast", "link-in-text-block"))
    wide = too_wide(page)
    return [*barriers(page), *([f"wider than the window: {wide}"] if wide else [])]
