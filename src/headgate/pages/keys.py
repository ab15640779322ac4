"""*Keys and budgets*: virtual keys made, rotated and revoked; caps; what callers are limited to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from headgate.control.people import Right
from headgate.control.problems import told
from headgate.core.budget import Budget
from headgate.core.errors import BadRequest, ConfigError, HeadgateError, NotServed
from headgate.core.money import usd_text
from headgate.pages import caps
from headgate.pages.acting import Notice, acted, allowed, done
from headgate.pages.asked import Asked, link
from headgate.pages.caps import EVERY
from headgate.pages.search_words import written
from headgate.pages.site import Page, Site

PATH = "/ui/keys"

_MOST_BUDGETS = 60
_DONE = {
    "revoked": "The key is revoked: calls with it are refused from now on.",
    "capped": "The cap is changed. It counts at once, for calls that wait, too.",
    "restored": "The cap is the configuration's again.",
}


def show(site: Site, asked: Asked, notices: Sequence[Notice] = (), status: int = 200) -> Response:
    """The page."""
    found = site.control.keys.list(asked.who)
    working = [each for each in found if each["revoked"] is None]
    return site.render(
        asked,
        "keys.html",
        here="keys",
        title="Keys and budgets",
        status=status,
        notices=(*notices, *done(asked, _DONE)),
        may=allowed(asked),
        keys=sorted(working, key=lambda each: (each["tenant"], each["name"])),
        revoked=[each for each in found if each["revoked"] is not None],
        open=site.sources.open,
        key_caps=_key_caps(site, asked),
        budgets=site.sources.budgets(asked, _MOST_BUDGETS),
        cap_path=caps.PATH if asked.who.may(Right.CAPS) else "",
        configured=caps.budgets_of(site, asked),
        every=EVERY,
        usd_text=usd_text,
        limits=site.control.limits.list(asked.who),
    )


def create(site: Site, asked: Asked) -> Response:
    """Make a key, give it its caps, and show it: this once."""
    form = asked.form

    def work() -> Response:
        made = site.control.keys.create(
            asked.who,
            form.get("name", "").strip(),
            tenant=form.get("tenant", "").strip(),
            environment=form.get("environment", "").strip(),
            may_speak_for_tenants=form.get("speaks") == "yes",
        )
        return _made(site, asked, made, "made", _capped(site, asked, made["id"]))

    asked.who.need(Right.KEYS)
    return acted(site, asked, PATH, work, show)


def _capped(site: Site, asked: Asked, key_id: str) -> tuple[Notice, ...]:
    """The caps that the form asks for. The key is made by now, and has to be shown whatever comes of them."""
    said = []
    for budget, field in _key_caps(site, asked):
        usd = asked.form.get(field, "").strip()
        if usd:
            try:
                site.control.budgets.set_cap(asked.who, budget.id, key_id, usd=usd.removeprefix("$"))
            except (ConfigError, HeadgateError) as error:
                said.append(Notice("bad", f"The key is made, but its cap of {budget.id} is not set: {told(error)[2]}"))
            else:
                said.append(Notice("good", f"Its cap of {budget.id} is set."))
    return tuple(said)


def _key_caps(site: Site, asked: Asked) -> list[tuple[Budget, str]]:
    """Budgets that have an account for each key, with the field of the form that caps it."""
    if asked.tenant is not None or not asked.who.may(Right.CAPS):
        return []
    return [
        (budget, f"cap_{place}")
        for place, budget in enumerate(caps.budgets_of(site, asked))
        if budget.per == ("key",) and not budget.only
    ]


def _made(site: Site, asked: Asked, made: dict[str, Any], done_word: str, notices: tuple[Notice, ...] = ()) -> Response:
    tenants = [each for each in caps.budgets_of(site, asked) if each.per == ("tenant",) and asked.who.may(Right.CAPS)]
    return site.render(
        asked,
        "key_made.html",
        here="keys",
        title="The key",
        notices=notices,
        key=made,
        done_word=done_word,
        url=asked.url,
        caps=[
            (each.id, made["tenant"], link(caps.PATH, budget=each.id, scope=made["tenant"]))
            for each in tenants
            if made["tenant"] and asked.tenant is None
        ],
    )


def one(site: Site, asked: Asked, notices: Sequence[Notice] = (), status: int = 200) -> Response:
    """One key: what it is, and to rotate or revoke it.

    Raises:
        NotServed: there is none of this id, or it is another tenant's.
    """
    key_id = asked.parts["id"]
    found = next((each for each in site.control.keys.list(asked.who) if each["id"] == key_id), None)
    if found is None or not key_id:
        raise NotServed("There is no key of this id here.", code="no_key")
    budgets = [each for each in caps.budgets_of(site, asked) if each.per == ("key",)]
    return site.render(
        asked,
        "key.html",
        here="keys",
        title=f"Key {found['name']}",
        status=status,
        notices=notices,
        may=allowed(asked),
        key=found,
        exchanges=link("/ui/exchanges", q=written("key", key_id)),
        caps=[(each.id, link(caps.PATH, budget=each.id, scope=key_id)) for each in budgets if asked.tenant is None],
    )


def rotate(site: Site, asked: Asked) -> Response:
    """Give it a new secret, and show that: this once."""
    key_id = asked.parts["id"]

    def work() -> Response:
        _sure(asked)
        return _made(site, asked, site.control.keys.rotate(asked.who, key_id), "rotated")

    asked.who.need(Right.KEYS)
    return acted(site, asked, f"{PATH}/{key_id}", work, one)


def revoke(site: Site, asked: Asked) -> Response:
    """End it for good."""
    key_id = asked.parts["id"]

    def work() -> Response:
        _sure(asked)
        site.control.keys.revoke(asked.who, key_id)
        return site.go(PATH, done="revoked")

    asked.who.need(Right.KEYS)
    return acted(site, asked, f"{PATH}/{key_id}", work, one)


def _sure(asked: Asked) -> None:
    if asked.form.get("sure") != "yes":
        raise BadRequest("Tick the box to say that you are sure.")


PAGE = Page(
    "keys",
    "Keys and budgets",
    PATH,
    "Control",
    "k",
    [
        (PATH, show, ("GET",)),
        (f"{PATH}/create", create, ("POST",)),
        (caps.PATH, caps.show, ("GET",)),
        (caps.PATH, caps.change, ("POST",)),
        (f"{PATH}/{{id}}", one, ("GET",)),
        (f"{PATH}/{{id}}/rotate", rotate, ("POST",)),
        (f"{PATH}/{{id}}/revoke", revoke, ("POST",)),
    ],
)
