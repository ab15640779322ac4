"""What a page is asked, and where it asks: one request, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request

from headgate.control.people import Principal
from headgate.core.errors import BadRequest
from headgate.policy.guards.decisions import MAX_BODY

MAX_FIELDS = 64
MAX_VALUE = 4_096
"""Characters of one parameter: a search is a sentence, not a document."""
MAX_FORM_VALUE = MAX_BODY
"""Characters of one field of a form, as many as a body may have: a tool's arguments are a document."""
THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a page.

    Attributes:
        who: asks, and has been let in.
        path: of the address, decoded; `parts` are what its route took out of it.
        query, form: parameters by name; the last one counts where a name is there twice.
        now: seconds since the epoch.
        partial: htmx asks for a part of the page.
        theme: "light", "dark", or "" as the browser has it.
        url: the gateway's address as the browser has it; "" = not known.
        server: (address, port) that the connection came in on; None = not known.
    """

    who: Principal
    csrf: str
    logged_in: bool
    method: str
    path: str
    parts: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    now: float
    partial: bool
    theme: str
    url: str = ""
    server: tuple[str, int] | None = None

    @property
    def tenant(self) -> str | None:
        """The one tenant that may be seen; None: all."""
        return self.who.tenant_scope()

    def get(self, name: str, default: str = "") -> str:
        """A parameter of the query, without white space around it."""
        return self.query.get(name, default).strip()

    def number(self, name: str, least: float = 0.0) -> float:
        """A parameter that is a number; `least` where it is absent, no number, or below it."""
        try:
            found = float(self.get(name).removeprefix("$") or least)
        except ValueError:
            return least
        return found if least <= found < 1e15 else least

    def address(self, **changes: str | None) -> str:
        """This page's address with other parameters; None takes one away."""
        kept = {name: value for name, value in self.query.items() if value}
        for name, value in changes.items():
            kept.pop(name, None)
            if value:
                kept[name] = value
        return link(self.path, **kept)


def link(path: str, **query: str) -> str:
    """An address on this gateway, with its parameters encoded."""
    told = urlencode({name: value for name, value in query.items() if value}, errors="replace")
    return f"{path}?{told}" if told else path


async def asked_of(request: Request, now: float, url: str = "") -> Asked:
    """Read a request. `url`: the gateway's address as the browser has it.

    Raises:
        BadRequest: a parameter or a form that cannot be read.
    """
    form: Mapping[str, str] = {}
    if request.method == "POST":
        form = _pairs(await request.body(), most=MAX_FORM_VALUE)
    theme = request.cookies.get("headgate_theme", "")
    visitor = request.state.visitor
    return Asked(
        who=request.state.who,
        csrf=request.state.csrf,
        logged_in=visitor is not None and not visitor.open,
        method=request.method,
        path=request.url.path,
        parts={name: str(value) for name, value in request.path_params.items()},
        query=_pairs(request.scope.get("query_string", b"")),
        form=form,
        now=now,
        partial="hx-request" in request.headers,
        theme=theme if theme in THEMES else "",
        url=url,
        server=_server(request),
    )


def _server(request: Request) -> tuple[str, int] | None:
    told = request.scope.get("server")
    return (str(told[0]), int(told[1])) if told and told[1] else None


def _pairs(raw: bytes, most: int = MAX_VALUE) -> dict[str, str]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="replace")
    except ValueError:
        raise BadRequest(f"The address or the form cannot be read, or has more than {MAX_FIELDS} fields.") from None
    return {name: value[:most].replace("\x00", "") for name, value in pairs}
