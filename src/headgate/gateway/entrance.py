"""What a request's head decides: who asks, for what, where it goes. Worked out once per head, not once per request.

An SDK sends the same head over a keep-alive connection again and again, but for its content-length. The connection
then gives the app the very same list of headers, and what was decided from it holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.core.caller import Caller
from headgate.core.errors import BadRequest, NotServed, Refusal
from headgate.core.exchange import Facts, Headers, Prepared, Request, Route, Upload
from headgate.engine.plan import UNREAD
from headgate.gateway.address import Addresses
from headgate.gateway.auth import NEVER_FORWARDED, KeyRing
from headgate.gateway.cycle import Scope
from headgate.gateway.paths import missing_version, target
from headgate.policy.attribution import Asked, asked, with_user
from headgate.wire import DIALECTS
from headgate.wire.coding import readable
from headgate.wire.dialect import Dialect
from headgate.wire.state import in_path, lists_all, referred

_NOT_FORWARDED = NEVER_FORWARDED | {
    b"api-key",
    b"host",
    b"connection",
    b"content-length",
    b"transfer-encoding",
    b"accept-encoding",
    b"content-encoding",
}
_LOOKED_AT = frozenset({b"content-type", b"content-encoding", b"accept-encoding", b"prefer"})
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::\d+)?|\[[0-9A-Fa-f:.]+\](?::\d+)?")
_READABLE = frozenset({*readable(), b"identity"})


@dataclass(slots=True)
class Head:
    """One head, read. It holds as long as `ring_version` is the ring's, for the list of headers it was read from.

    Attributes:
        coding: the request body's content coding, b"" = none.
        wrong: why the request cannot be run, if so; it is recorded all the same.
        own_url, address, prepared: see `Request`.
    """

    headers: Headers
    raw_path: bytes
    ring_version: int
    dialect: Dialect
    endpoint: str
    method: str
    path: str
    provider: str
    said: Asked
    coding: bytes = b""
    decodes: bool = True  # the body is read, so it goes on plain
    lists_all: bool = False  # everything of a kind that the provider's account has is asked for
    may_list: bool = False
    own_url: str = ""
    address: str = ""
    wrong: BadRequest | None = None
    prepared: Prepared = field(default_factory=dict)
    asynchronous: bool = False  # `Prefer: respond-async`
    query: bytes = b""
    plain: bool = field(init=False)  # nothing about it asks for more than to read the body and run it
    read_whole: bool = field(init=False)  # the body says what the call costs, so it is read before it goes on
    _same: dict[str, Any] | None = None  # what all requests with this head have in common

    def __post_init__(self) -> None:
        self.read_whole = self.endpoint not in UNREAD
        unusual = self.coding or self.lists_all or self.wrong or self.asynchronous or self.said.webhook
        self.plain = self.read_whole and self.endpoint != "models" and not unusual

    def request(
        self, body: bytes, *, keep_text: bool, wrong: Refusal | None = None, upload: Upload | None = None
    ) -> tuple[Request, Refusal | None]:
        """The request with this head and a body, decoded, and why it cannot be run if so.

        Args:
            wrong: what is wrong with the body already.
            upload: the body, where it is not held in memory; `body` is empty then.
        """
        try:
            if self.plain and wrong is None:
                facts = self.dialect.read_request(self.endpoint, body, keep_text=keep_text)
            else:
                wrong = self.wrong or wrong
                facts = self._facts(body, keep_text, wrong)
        except BadRequest as error:
            facts = Facts()
            wrong = wrong or error
        same = self._same
        if same is None:
            same = self._same = vars(self._without_body())
        request = _new(Request)
        request.__dict__ = same.copy()
        request.body = body
        request.facts = facts
        if facts.user:
            request.caller = with_user(request.caller, facts.user)
        if upload is not None:
            request.upload = upload
        return request, wrong

    def _facts(self, body: bytes, keep_text: bool, wrong: Refusal | None) -> Facts:
        if not self.read_whole or (wrong is not None and not body):
            return Facts(state=in_path(self.path) + (referred(body) if body else ()), keeps=True)
        return self.dialect.read_request(self.endpoint, body, keep_text=keep_text)

    def _without_body(self) -> Request:
        said = self.said
        return Request(
            dialect=self.dialect.name,
            endpoint=self.endpoint,
            method=self.method,
            path=self.path,
            headers=said.headers,
            body=b"",
            facts=Facts(),
            caller=said.caller,
            way_in="gateway",
            correlation_id=said.correlation_id,
            timeout=said.timeout,
            provider=self.provider,
            client_retries=said.client_retries,
            own_url=self.own_url,
            prepared=self.prepared,
            batch=bool(said.batch),
            address=self.address,
            on_cut=said.on_cut,
            approval=said.approval,
            cache=said.cache,
            patience=said.patience,
            may_defer=self.asynchronous,
            webhook=said.webhook,
        )


_new = object.__new__


def read_head(scope: Scope, ring: KeyRing, providers: Mapping[str, Route], addresses: Addresses | None = None) -> Head:
    """Who comes in, and for what.

    Args:
        addresses: tells the caller's network address; None: nobody asks for it.

    Raises:
        Denied, NotServed, BadRequest: nothing is run and nothing recorded in the ledger.
    """
    headers = scope["headers"]
    method = scope["method"]
    version = ring.version
    key = ring.admit(headers)
    if method in ("TRACE", "TRACK"):  # an echo would show the caller the provider's credential
        raise NotServed(f"{method} is not served", code="method_not_allowed", status_hint=405)
    where = target(scope["raw_path"], scope["query_string"], headers, providers)
    if where is None:
        path = scope["path"][:200]
        hint = f". The SDK's base URL lacks /v1: it is /v1{path} here" if missing_version(path) else ""
        raise NotServed(f"Headgate serves no {method[:16]} {path}{hint}")
    dialect = DIALECTS[where.dialect]
    caller = Caller(key=key.id or key.name, tenant=key.tenant, environment=key.environment)
    endpoint = dialect.endpoint(method, where.path.partition("?")[0])
    kind: bytes | None = None
    coding, asynchronous = b"", False
    accepted: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name not in _LOOKED_AT:
            continue
        if name == b"content-type":
            kind = value.lower() if kind is None else kind
        elif name == b"content-encoding":
            coding = value.strip().lower()
        elif name == b"accept-encoding":
            accepted.append((name, _both_read(value)))
        elif b"respond-async" in value.lower():
            asynchronous = True
    # A body that is not read goes on in its coding.
    decodes = endpoint not in UNREAD or (endpoint == "stored" and (kind or b"").startswith(b"application/json"))
    dropped = _NOT_FORWARDED if decodes else _NOT_FORWARDED - {b"content-encoding"}
    kept = [h for h in headers if h[0] not in dropped]
    kept += accepted
    wrong: BadRequest | None = None
    try:
        said = asked(kept, caller, may_name_tenant=key.may_speak_for_tenants)
    except BadRequest as error:
        said, wrong = Asked(caller, []), error
    return Head(
        headers,
        scope["raw_path"],
        version,
        dialect,
        endpoint,
        method,
        where.path,
        where.provider,
        said,
        b"" if coding == b"identity" else coding,
        decodes,
        lists_all(method, where.path),
        key.may_speak_for_tenants,
        _own_url(scope) if endpoint == "stored" else "",
        _address(scope, addresses) if addresses is not None else "",
        wrong,
        asynchronous=asynchronous,
        query=scope["query_string"],
    )


def _address(scope: Scope, addresses: Addresses) -> str:
    client = scope.get("client")
    return addresses.of(client[0], scope["headers"]) if client else ""


def _field(headers: Headers, wanted: bytes) -> bytes:
    """The first value of a header; b"" where there is none."""
    return next((value for name, value in headers if name == wanted), b"")


def _own_url(scope: Scope) -> str:
    """What a caller of a batch's path calls this gateway: what comes before `/v1/messages/batches`; else ""."""
    base, found, _ = scope["raw_path"].decode("ascii", "replace").partition("/v1/messages/batches")
    host = _field(scope["headers"], b"host").decode("ascii", "replace")
    if not found or not _HOST.fullmatch(host):
        return ""
    told = _field(scope["headers"], b"x-forwarded-proto")
    scheme = told.decode("ascii", "replace") if told in (b"http", b"https") else scope["scheme"]
    return f"{scheme}://{host}{base}"


def _both_read(accepted: bytes) -> bytes:
    """`Accept-Encoding` as it goes on: of what the caller takes, the codings we can read too (RFC 9110, 12.5.3)."""
    items = [item.strip() for item in accepted.split(b",")]
    known = [item for item in items if item.partition(b";")[0].strip().lower() in _READABLE]
    return b", ".join(known) or b"identity"
