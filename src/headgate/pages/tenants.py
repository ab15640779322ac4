"""Which tenant a link or a form is about, beside a name that several tenants may have: a user's, a session's."""

from __future__ import annotations

from collections.abc import Mapping

from headgate.pages.asked import Asked, link
from headgate.pages.format import segment
from headgate.pages.search_words import written


def told(asked: Asked) -> str | None:
    """The tenant that a request is about, "" for what has none; None: all of them.

    Whoever sees one tenant only is told about that one, whatever the address says.
    """
    if asked.tenant is not None:
        return asked.tenant
    said = asked.form if asked.method == "POST" else asked.query
    return said.get("tenant", "") or ("" if said.get("no_tenant") == "yes" else None)


def query(tenant: str | None) -> Mapping[str, str]:
    """Of an address or a form, what `told` reads. An empty parameter is left out of addresses, so "" has its own."""
    if tenant is None:
        return {}
    return {"tenant": tenant} if tenant else {"no_tenant": "yes"}


def exchanges(asked: Asked, tenant: str | None, *conditions: str, **period: str) -> str:
    """Where the exchanges that fit are searched for: this tenant's, as `told` has it.

    Whoever sees one tenant only finds no other's, and needs no condition for that.
    """
    within = () if tenant is None or asked.tenant is not None else (written("tenant", tenant),)
    return link("/ui/exchanges", q=" ".join(dict.fromkeys((*conditions, *within))), **period)


def conversation(session: str, tenant: str) -> str:
    """Where a session of a tenant's is shown."""
    return link(f"/ui/conversations/{segment(session)}", **query(tenant))
