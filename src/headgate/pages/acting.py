"""Forms that change something: what a role is offered, what came of it, and what to say where it did not work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starlette.responses import Response

from headgate.control.people import Right
from headgate.control.problems import told
from headgate.core.errors import ConfigError, Denied, HeadgateError
from headgate.pages.asked import Asked

if TYPE_CHECKING:
    from headgate.pages.site import Site

Render = Callable[["Site", Asked, "tuple[Notice, ...]", int], Response]
"""The page that a form is on, with what there is to say on top of it, and a status."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence on top of a page. `tone`: good, warn or bad."""

    tone: str
    words: str


def done(asked: Asked, words: Mapping[str, str]) -> tuple[Notice, ...]:
    """What the form before this page did.

    Args:
        words: the sentence for each value of the address's `done`: nothing that an address says is repeated.
    """
    said = words.get(asked.get("done"))
    return (Notice("good", said),) if said else ()


def acted(site: Site, asked: Asked, path: str, work: Callable[[], Response], page: Render) -> Response:
    """Do what a form asks; where it cannot be done, show its page again with the reason.

    Args:
        path: of that page.

    Raises:
        Denied: it is not the asker's to do.
    """
    try:
        return work()
    except Denied:
        raise
    except (ConfigError, HeadgateError) as error:
        status, _, said, _ = told(error)
        typed = {name: value for name, value in asked.form.items() if name != "csrf"}
        return page(site, replace(asked, path=path, query=typed), (Notice("bad", said),), status)


def allowed(asked: Asked) -> Callable[[str], bool]:
    """For templates: `may("keys")`. What a role may not do it is not offered."""

    def may(right: str) -> bool:
        return asked.who.may(Right(right))

    return may
