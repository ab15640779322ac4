"""The control API: how the CLI changes keys and caps while a server holds the database (decisions 21).

Only for the same machine and user: it listens to loopback peers that know the control token, a random string per
start which `stores` publishes in its lock file, readable by the owner only.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from headgate.core.actors import Actor, acting
from headgate.core.errors import BadRequest, Denied, HeadgateError, NotServed, Refusal, TooLarge
from headgate.core.secret import Secret
from headgate.gateway.admin_alerts import AlertsApi
from headgate.gateway.admin_approvals import ApprovalsApi, named
from headgate.gateway.admin_batches import BatchesApi
from headgate.gateway.admin_budgets import BudgetsApi
from headgate.gateway.admin_cache import CacheApi
from headgate.gateway.admin_incidents import IncidentsApi
from headgate.gateway.admin_jobs import JobsApi
from headgate.gateway.admin_traffic import TrafficApi
from headgate.gateway.auth import KeyRecord, KeyRing, digest, is_local_host
from headgate.gateway.cycle import Receive, Scope, Send, log_failure
from headgate.gateway.limits import error_body, error_headers
from headgate.policy.guards.decisions import MAX_BODY as MAX_DECISION
from headgate.stores.audit_log import BEGUN, AuditLog

PREFIX = "/admin/api/"
_KEYS = PREFIX + "keys"
_BUDGETS = PREFIX + "budgets"
_APPROVALS = PREFIX + "approvals"
_CACHE = (PREFIX + "cache", PREFIX + "cache/forget")
_JOBS = PREFIX + "jobs/"
_INCIDENTS = PREFIX + "incidents"
_BATCHES = PREFIX + "batches/"
_ALERTS = PREFIX + "alerts"
_TRAFFIC = (PREFIX + "providers", PREFIX + "breakers/lift")
_ROOMS = frozenset(
    {"keys", "budgets", "approvals", "cache", "providers", "breakers", "jobs", "batches", "incidents", "alerts"}
)
_MAX_BODY = 16 * 1024
_MAX_TEXT = 200
_PROXIED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"via"})


def told_actor(scope: Scope) -> Actor:
    """Who runs the command line, as it says itself: it has the token."""
    name = next((value for header, value in scope["headers"] if header == b"x-headgate-by"), b"")
    client = scope.get("client")
    text = "".join(ch for ch in name[:64].decode("utf-8", "replace") if ch.isprintable())
    return Actor(text, "admin", "cli", client[0] if client else "")


class StoredKey(Protocol):
    """A key as a `KeysStore` describes it, without the key. `created` and `revoked` are seconds since the epoch."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def environment(self) -> str: ...
    @property
    def may_speak_for_tenants(self) -> bool: ...
    @property
    def created(self) -> float: ...
    @property
    def revoked(self) -> float | None: ...


class KeysStore(Protocol):
    """Where made keys are kept. The second of a pair is the key itself, told this once.

    Every method may raise `Unavailable` (the database cannot be written); `rotate` and `revoke` raise `NotServed`
    for an id that is unknown (or, for `rotate`, revoked), `create` raises `BadRequest` for a name that is taken.
    """

    async def create(
        self, name: str, tenant: str, environment: str, may_speak_for_tenants: bool
    ) -> tuple[StoredKey, str]: ...

    async def list(self) -> Sequence[StoredKey]: ...

    async def rotate(self, key_id: str) -> tuple[StoredKey, str]: ...

    async def revoke(self, key_id: str) -> StoredKey: ...


class AdminApi:
    """An ASGI app for the paths under `PREFIX`. Changes reach the running gateway's ring at once."""

    __slots__ = (
        *("_alerts", "_approvals", "_audit", "_batches", "_budgets", "_cache", "_incidents", "_jobs"),
        *("_ring", "_store", "_token", "_traffic"),
    )

    def __init__(
        self,
        token: Secret,
        store: KeysStore,
        ring: KeyRing,
        budgets: BudgetsApi | None = None,
        traffic: TrafficApi | None = None,
        approvals: ApprovalsApi | None = None,
        cache: CacheApi | None = None,
        jobs: JobsApi | None = None,
        incidents: IncidentsApi | None = None,
        alerts: AlertsApi | None = None,
        audit: AuditLog | None = None,
        batches: BatchesApi | None = None,
    ) -> None:
        if len(token.reveal()) < 32:
            raise ValueError("the control token needs at least 32 characters")
        self._token = b"Bearer " + token.reveal().encode()
        self._store = store
        self._ring = ring
        self._budgets = budgets
        self._traffic = traffic
        self._approvals = approvals
        self._cache = cache
        self._jobs = jobs
        self._incidents = incidents
        self._alerts = alerts
        self._audit = audit
        self._batches = batches

    def serves(self, path: str) -> bool:
        """Whether a path is this API's. Those with a version are the admin API's (`headgate.control`)."""
        return path.startswith(PREFIX) and path.removeprefix(PREFIX).partition("/")[0] in _ROOMS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            by_webhook = await self._decides(scope)
            if not by_webhook:
                self.admit(scope)
            most = MAX_DECISION if scope["path"].startswith(_APPROVALS) else _MAX_BODY
            with acting(Actor(way="webhook") if by_webhook else told_actor(scope)):
                status, answer = await self._served(
                    scope, await _read(receive, most), by="webhook" if by_webhook else "api"
                )
            payload = json.dumps(answer).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]
        except Exception as error:
            if not isinstance(error, HeadgateError):
                log_failure("the control API", error)
                error = HeadgateError("The control API failed. The gateway's log has the cause.", code="internal_error")
            status = error.status_hint
            payload = error_body(status, error.code, error.message)
            headers = error_headers(payload)
        headers.append((b"cache-control", b"no-store"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    async def _served(self, scope: Scope, body: bytes, *, by: str) -> tuple[int, dict[str, Any]]:
        method, path, query = scope["method"], scope["path"], scope.get("query_string", b"")
        rest = path.removeprefix(_APPROVALS)
        if self._approvals is not None and rest != path and named(rest):
            return 200, await self._approvals.answer(method, rest, query, body, by=by)
        if path == _BUDGETS and self._budgets is not None:
            return 200, await self._budgets.answer(method, query, body)
        if path in _TRAFFIC and self._traffic is not None:
            if method == "POST":
                await self._record("breakers.lift", _told(body), BEGUN)
            answer = self._traffic.answer(method, path, query, body)
            if answer.get("lifted"):
                await self._record("breakers.lift", answer["provider"], answer)
            return 200, answer
        if path in _CACHE and self._cache is not None:
            if method == "POST":
                await self._record("cache.forget", _told(body), BEGUN)
            answer = await self._cache.answer(method, path, body)
            if method == "POST":
                await self._record("cache.forget", _told(body), answer)
            return 200, answer
        if self._jobs is not None and (path + "/").startswith(_JOBS):
            rest = path[len(_JOBS) - 1 :]
            action = "job." + (rest.rpartition("/")[2] if method == "POST" else "remove")
            if method != "GET":
                await self._record(action, rest, BEGUN)
            answer = await self._jobs.answer(method, rest, query, by="api")
            if method != "GET":
                await self._record(action, rest, answer)
            return 200, answer
        if self._batches is not None and (path + "/").startswith(_BATCHES):
            rest = path[len(_BATCHES) - 1 :]
            subject, _, word = rest.removeprefix("/").partition("/")
            action = f"batch.{word or 'submit'}" if method == "POST" else "batch.remove"
            if method != "GET":
                await self._record(action, subject, BEGUN)
            answer = await self._batches.answer(method, rest, body)
            if method != "GET":
                await self._record(action, str(answer.get("id") or answer["batch"]["id"]), answer)
            return 200, answer
        if self._incidents is not None and _is_below(path, _INCIDENTS):
            return await self._incidents.answer(method, path.removeprefix(_INCIDENTS), query, body)
        if self._alerts is not None and _is_below(path, _ALERTS):
            return 200, await self._alerts.answer(method, path.removeprefix(_ALERTS), query, body)
        return await self._answer(method, path, body)

    async def _record(self, action: str, subject: str, after: Mapping[str, Any]) -> None:
        """A change that is not the ledger's has a row before it is made, too: see `AuditLog.around`."""
        if self._audit is not None:
            await asyncio.to_thread(self._audit.record, action, subject, after=after)

    async def _decides(self, scope: Scope) -> bool:
        """It is a decision about one approval, with the token that was given out for that."""
        if self._approvals is None or scope["method"] != "POST" or not scope["path"].startswith(_APPROVALS):
            return False
        token = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return await self._approvals.may_decide(scope["path"].removeprefix(_APPROVALS), token)

    def admit(self, scope: Scope) -> None:
        """The same machine, not through a browser or a proxy, and with the token.

        Raises:
            Denied: 403 for where the request comes from, 401 for the token.
        """
        token = host = b""
        foreign = not _is_loopback(scope.get("client"))
        for name, value in scope["headers"]:
            if name == b"authorization":
                token = value
            elif name == b"host":
                host = value
            elif name == b"origin" or name in _PROXIED:
                foreign = True
        if foreign or not is_local_host(host):
            raise Denied("The control API serves this machine's command line only.", code="forbidden", status_hint=403)
        if not hmac.compare_digest(token, self._token):
            raise Denied("The control token is not valid. It changes at every start of the gateway.")

    async def _answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if path == _KEYS:
            if method == "GET":
                return 200, {"keys": [_shown(key) for key in await self._store.list()]}
            if method == "POST":
                return 201, await self._made(self._store.create(*_wanted(body)))
        elif path.startswith(_KEYS + "/"):
            key_id, _, action = path[len(_KEYS) + 1 :].partition("/")
            if key_id and method == "POST" and action == "rotate":
                return 200, await self._made(self._store.rotate(key_id))
            if key_id and method == "DELETE" and not action:
                key = await self._store.revoke(key_id)
                self._ring.revoke(key.id)
                return 200, _shown(key)
        raise NotServed("The control API has no such path or method.")

    async def _made(self, making: Awaitable[tuple[StoredKey, str]]) -> dict[str, Any]:
        key, text = await making
        self._ring.replace(
            digest(text), KeyRecord(key.id, key.name, key.tenant, key.environment, key.may_speak_for_tenants)
        )
        return {**_shown(key), "key": text}


def _shown(key: StoredKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "environment": key.environment,
        "may_speak_for_tenants": key.may_speak_for_tenants,
        "created": key.created,
        "revoked": key.revoked,
    }


def _told(body: bytes) -> str:
    """Of what a change is, as it was sent."""
    return body.decode("utf-8", "replace")[:_MAX_TEXT]


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _is_loopback(client: Any) -> bool:
    try:
        address = ipaddress.ip_address(client[0])
    except (TypeError, IndexError, ValueError):
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


async def _read(receive: Receive, most: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: above `most` bytes.
        Refusal: the caller left (nobody reads this).
    """
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refusal("The request was not sent to its end.")
        piece: bytes = message.get("body", b"")
        body += piece
        if len(body) > most:
            raise TooLarge(f"The body of this request may have {most:,} bytes at most.")
        if not message.get("more_body"):
            return body


def _wanted(body: bytes) -> tuple[str, str, str, bool]:
    """The fields of a key to make.

    Raises:
        BadRequest: not a JSON object, an unknown field, a wrong type, no name, or text that no terminal should show.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(fields, dict):
        raise BadRequest("The body has to be a JSON object.")
    speaks = fields.pop("may_speak_for_tenants", False)
    if not isinstance(speaks, bool):
        raise BadRequest("may_speak_for_tenants has to be true or false.")
    texts = []
    for field in ("name", "tenant", "environment"):
        text = fields.pop(field, "")
        if not isinstance(text, str) or len(text) > _MAX_TEXT or not text.isprintable():
            raise BadRequest(f"{field} has to be a string of at most {_MAX_TEXT} printable characters.")
        texts.append(text)
    if fields:
        raise BadRequest("Only name, tenant, environment and may_speak_for_tenants are known.")
    if not texts[0].strip():
        raise BadRequest("A key needs a name.")
    return texts[0], texts[1], texts[2], speaks
