"""An SDK's HTTP request as an exchange's request: which provider, which dialect, which path, whose credential."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from headgate.core.caller import Caller
from headgate.core.errors import BadRequest
from headgate.core.exchange import Facts, Headers, Request, Route, Upload
from headgate.engine.plan import UNREAD
from headgate.policy.attribution import Asked, asked, with_user
from headgate.transport.hosts import provider_at
from headgate.wire import DIALECTS
from headgate.wire.dialect import Dialect
from headgate.wire.state import in_path, referred

# What the client library adds for its own connection; the upstream computes them anew.
_OF_THE_CONNECTION = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding", b"accept-encoding"})
_LENGTH = frozenset({b"Content-Length", b"content-length"})
_HEADS = 32  # that a client knows again, each of up to
_HEAD_BYTES = 8 * 1024
# Where they are behind: a deployment (Azure), a version of its own (Google), a gateway's prefix.
_PRICED = re.compile(r"/(?:chat/completions|embeddings|responses)(?=[/?]|$)")


class Bases:
    """The configured providers' base URLs, longest first."""

    def __init__(self, providers: Mapping[str, Route]) -> None:
        routes = sorted(providers.values(), key=lambda route: -len(route.base_url))
        self._known = [replace(route, credential=None) for route in routes]  # the SDK brings its own

    def split(self, url: str, headers: Headers) -> tuple[Route, str]:
        """(the route that the SDK itself has chosen, the path behind its base URL).

        Where both dialects live on one host (a gateway, the simulator), OpenAI's base URL begins as Anthropic's paths
        do: then the dialect that is spoken decides.
        """
        fitting = [
            r for r in self._known if url.startswith(r.base_url) and url[len(r.base_url) :][:1] in ("/", "?", "")
        ]
        if not fitting:
            return _unknown(url, headers)
        route = fitting[0]
        if len(fitting) > 1:
            dialect = _spoken(url, headers)
            route = next((r for r in fitting if r.dialect == dialect), route)
        return route, url[len(route.base_url) :]


@dataclass(slots=True)
class Head:
    """What all requests with one method, URL and list of headers have in common, for one caller.

    Attributes:
        wrong: why none of them can be run, if so.
        attributes: the headers say more of the caller, so it holds for this one only.
        same: the requests' fields, but for what a body and the context say.
    """

    dialect: Dialect
    endpoint: str
    caller: Caller
    said: Asked
    wrong: BadRequest | None
    attributes: bool
    same: dict[str, Any]

    def request(
        self,
        body: bytes,
        caller: Caller,
        keep: bool,
        upload: Upload | None = None,
        batch: bool = False,
        approval: str = "",
    ) -> tuple[Request, BadRequest | None]:
        """The request with a body, and why it cannot be run if so (it is recorded either way).

        Args:
            batch: the context's priority; a header of the request wins over it.
            approval: the context's, likewise.
        """
        said, wrong = self.said, self.wrong
        request = _new(Request)
        request.__dict__ = self.same.copy()
        request.body = body
        try:
            if self.endpoint in UNREAD:
                request.facts = Facts(state=in_path(request.path) + referred(body), keeps=True)
            else:
                request.facts = self.dialect.read_request(self.endpoint, body, keep_text=keep)
        except BadRequest as error:
            request.facts = Facts()
            wrong = wrong or error
        if not self.attributes:
            request.caller = caller
        if request.facts.user:
            request.caller = with_user(request.caller, request.facts.user)
        request.upload = upload
        if batch and said.batch is None:
            request.batch = True
        if approval and not said.approval:
            request.approval = approval
        return request, wrong


_new = object.__new__


def read_head(bases: Bases, method: str, url: str, headers: Iterable[tuple[bytes, bytes]], caller: Caller) -> Head:
    """What follows from a head alone. `caller`: the context's."""
    fields = [(n.lower(), v) for n, v in headers if n.lower() not in _OF_THE_CONNECTION]
    direct, path = bases.split(url, fields)
    dialect = DIALECTS[direct.dialect]
    wrong: BadRequest | None = None
    try:
        said = asked(fields, caller, may_name_tenant=True)
    except BadRequest as error:
        wrong = error
        said = asked([f for f in fields if not f[0].startswith(b"x-headgate-")], caller, may_name_tenant=True)
    endpoint = dialect.endpoint(method, path.partition("?")[0])
    request = Request(
        dialect=direct.dialect,
        endpoint=endpoint,
        method=method,
        path=path,
        headers=said.headers,
        body=b"",
        facts=Facts(),
        caller=said.caller,
        way_in="in-process",
        correlation_id=said.correlation_id,
        timeout=said.timeout,
        patience=said.patience,
        direct=direct,
        client_retries=said.client_retries,
        batch=bool(said.batch),
        on_cut=said.on_cut,
        approval=said.approval,
        cache=said.cache,
    )
    return Head(dialect, endpoint, caller, said, wrong, said.caller is not caller, vars(request))


class Heads:
    """`read_head` for one client: an SDK sends the same head again and again, but for its content-length, which client
    libraries write last. What follows from one that was seen lately is not worked out again.

    Values are secrets, so what is kept is bounded, and goes with the client, which keeps its own credential.
    """

    def __init__(self, bases: Bases) -> None:
        self._bases = bases
        self._known: dict[tuple[str, str, tuple[tuple[bytes, bytes], ...]], Head] = {}

    def head(self, method: str, url: str, headers: Headers, caller: Caller) -> Head:
        """As `read_head`. Several threads may ask at once."""
        if headers and headers[-1][0] in _LENGTH:
            headers = headers[:-1]
        place = method, url, tuple(headers)
        head = self._known.get(place)
        if head is None or (head.attributes and head.caller is not caller):
            head = read_head(self._bases, method, url, headers, caller)
            self._keep(place, head)
        return head

    def _keep(self, place: tuple[str, str, tuple[tuple[bytes, bytes], ...]], head: Head) -> None:
        if head.wrong is None and len(place[1]) + sum(len(n) + len(v) for n, v in place[2]) <= _HEAD_BYTES:
            if len(self._known) >= _HEADS:
                self._known.clear()
            self._known[place] = head


def goes_through(bases: Bases, method: str, url: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the request's body is handed on without being read."""
    direct, path = bases.split(url, [(n.lower(), v) for n, v in headers])
    return DIALECTS[direct.dialect].endpoint(method, path.partition("?")[0]) in UNREAD


def _spoken(url: str, headers: Headers) -> str:
    known = "/v1/messages" in url or any(n == b"anthropic-version" for n, _ in headers)
    return "anthropic" if known else "openai"


def _unknown(url: str, headers: Headers) -> tuple[Route, str]:
    """A base URL that no configured provider has."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    origin, path = f"{scheme}://{host}", slash + path
    dialect = _spoken(url, headers)
    mark = "/v1/messages" if "/v1/messages" in path else "/v1/"
    at = path.find(mark)
    if dialect == "openai":
        priced = _PRICED.search(path)
        at = priced.start() if priced is not None else at + 3 if at >= 0 else -1
    split = max(at, 0)
    return _direct(provider_at(host, dialect), dialect, origin + path[:split]), path[split:]


def _direct(provider: str, dialect: str, base: str) -> Route:
    return Route(provider, "", dialect, base)
