"""What every page has to stand, in a real browser: no errors, nothing from elsewhere, nothing wider than the window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    wrong: list[str] = []
    page.on("console", lambda told: wrong.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((url, "data:")) else wrong.append(asked.url))
    page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
    page.add_init_script("addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective))")
    try:
        yield page
    finally:
        context.close()
    assert wrong == []


def too_wide(page: Any) -> str:
    """What is wider than the window, for whoever has to mend it; "" = nothing."""
    return str(
        page.evaluate(
            """() => {
                const most = document.documentElement.clientWidth;
                if (document.documentElement.scrollWidth <= most) return "";
                const found = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > most + 1);
                return found.slice(0, 5).map(e => e.outerHTML.slice(0, 120)).join("\\n") || "something";
            }"""
        )
    )


def barriers(page: Any) -> list[str]:
    """What axe finds that keeps people out: serious and critical."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0]['failureSummary'][:300]}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]
