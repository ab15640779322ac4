"""*Audit*: every change that people made, in a chain of hashes that can be verified."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from headgate.core.errors import BadRequest
from headgate.pages import format as formats
from headgate.pages.asked import Asked
from headgate.pages.site import Page, Site

PATH = "/ui/audit"

_ROWS = 50
_TIMES = ("expires", "since", "until", "created", "lifted")


def show(site: Site, asked: Asked) -> Response:
    """The page.

    Raises:
        Denied: to a tenant-admin; who does what is everybody's.
    """
    audit = site.control.audit
    below = asked.get("below")
    rows = audit.list(
        asked.who,
        below=int(below) if below.isascii() and below.isdigit() and len(below) < 16 else None,
        limit=_ROWS,
        **{name: asked.get(name) for name in ("actor", "action", "subject")},
    )
    return site.render(
        asked,
        "audit.html",
        here="audit",
        title="Audit",
        rows=[(each, _changed(each)) for each in rows],
        verified=_verified(site, asked),
        filtered=any(asked.get(name) for name in ("actor", "action", "subject")),
        older=asked.address(below=str(rows[-1]["number"]), verify=None) if len(rows) == _ROWS else "",
        newest=asked.address(below=None, verify=None) if below else "",
    )


def _verified(site: Site, asked: Asked) -> dict[str, Any] | None:
    """What came of the button; None: nobody has pressed it.

    Raises:
        BadRequest: what was noted is no number and hash.
    """
    if asked.get("verify") != "1":
        return None
    noted = asked.get("noted")
    number, _, digest = noted.partition(":")
    if noted and not (number.isascii() and number.isdigit() and len(number) < 16 and digest):
        raise BadRequest("What you noted is a number, a colon and a hash, as Verify shows them: 412:9f3c…")
    return site.control.audit.verify(asked.who, number=int(number) if noted else None, digest=digest)


def _changed(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(What, before, after) of each field that the row is about."""
    before, after = row["before"] or {}, row["after"] or {}
    names = dict.fromkeys([*before, *after])
    return [(name, _text(name, before.get(name)), _text(name, after.get(name))) for name in names]


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if name in _TIMES and isinstance(value, int | float):
        return formats.minute(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


PAGE = Page("audit", "Audit", PATH, "Installation", "l", [(PATH, show, ("GET",))], all_tenants=True)
