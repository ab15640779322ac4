"""The data plane: one ASGI app that turns HTTP requests into exchanges."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from headgate.build import Built
from headgate.core.caller import Caller
from headgate.core.errors import (
    BadRequest,
    Denied,
    HeadgateError,
    NotServed,
    Refusal,
    TooLarge,
    Unavailable,
    UpstreamError,
    without_frames,
)
from headgate.core.exchange import Ending, Exchange, Headers, Request
from headgate.core.secret import Secret
from headgate.engine.again import Repeat
from headgate.engine.answer import SIMULATED, error_answer, error_behind, exchange_headers
from headgate.engine.books import STOPPED
from headgate.engine.plan import METERED
from headgate.engine.relay import Reply
from headgate.gateway.address import Addresses
from headgate.gateway.admin import PREFIX, AdminApi
from headgate.gateway.admin_alerts import AlertsApi
from headgate.gateway.admin_approvals import ApprovalsApi
from headgate.gateway.admin_batches import BatchesApi
from headgate.gateway.admin_budgets import BudgetsApi
from headgate.gateway.admin_cache import CacheApi
from headgate.gateway.admin_incidents import IncidentsApi
from headgate.gateway.admin_jobs import JobsApi
from headgate.gateway.admin_traffic import TrafficApi
from headgate.gateway.aside import PATHS, PREFIXES, Aside
from headgate.gateway.at_once import AtOnce
from headgate.gateway.auth import KeyRing
from headgate.gateway.cycle import App, Receive, Scope, Send
from headgate.gateway.entrance import Head, read_head
from headgate.gateway.keys import ThreadedKeys
from headgate.gateway.limits import Limits
from headgate.gateway.models import PATH, ModelLists
from headgate.gateway.paths import spoken_dialect
from headgate.gateway.repeats import Repeats
from headgate.gateway.reports import METRICS, Reports
from headgate.gateway.uploads import Arriving, whole
from headgate.gateway.visit import Visit, VisitElsewhere
from headgate.jobs.deferred import Deferred, told
from headgate.jobs.passing import Passing, is_new_batch
from headgate.jobs.served import ServedBatches
from headgate.policy.homes import owner
from headgate.policy.labels import label
from headgate.settings.limits import ADDRESS, limits_of
from headgate.stores.deferring import PATH as JOBS
from headgate.wire import DIALECTS
from headgate.wire.coding import decode_request

_NONE: dict[str, Any] = {}
_LENGTH = b"content-length"
_TURNS = 10  # of the event loop
_NOT_NOW = "Headgate cannot read its jobs now; it recovers by itself."
_SHORT = 64 * 1024  # bytes of a body that is read on the event loop
_WHOLE_ACCOUNT = (
    "This list shows everything that the provider's account has, and several tenants or keys share it here. Ask for "
    "what you have made by its id, or use a key that may speak for tenants."
)


def create(
    built: Built,
    *,
    ring: KeyRing,
    admin_token: Secret,
    body_bytes: int = Limits().body_bytes,
    aside: Callable[[Gateway], App] | None = None,
) -> Gateway:
    """The gateway's app.

    Args:
        built: the engine and its books.
        ring: who may come in.
        admin_token: the control API's credential, at least 32 characters.
        body_bytes: the largest request body once decoded; that of the connections is for bodies as they come.
        aside: makes what is served beside the data plane, at its first request, in a thread; None: nothing is.
    """
    now = built.engine.ports.clock.now
    budgets = BudgetsApi(built.engine.policies.budgets.all, built.ledger, now=now, tell=built.log.event)
    approvals = ApprovalsApi(built.approvals, now=now)
    traffic, cache, deferred = TrafficApi(built), CacheApi(built), Deferred(built)
    served = ServedBatches(built)
    jobs, batches, keys = JobsApi(built, deferred), BatchesApi(served), ThreadedKeys(built.ledger.keys)
    incidents, audit = IncidentsApi(built.incidents, now=now), built.ledger.audit
    alerts = AlertsApi(built.alerting.board)
    admin = AdminApi(
        admin_token, keys, ring, budgets, traffic, approvals, cache, jobs, incidents, alerts, audit, batches
    )
    gateway = Gateway(built, ring, admin, body_bytes, deferred, served)
    if aside is not None:
        gateway.aside = Aside(lambda: aside(gateway))
    return gateway


class Gateway:
    """An ASGI app. `draining` turns readiness to false.

    Attributes:
        aside: serves the paths of `aside.PATHS` and `aside.PREFIXES` that the control API does not; None: nobody does.
        at_once: asked by connections before they make a request of what has come; None where it could never answer.
    """

    cycle = Visit

    def __init__(
        self, built: Built, ring: KeyRing, admin: AdminApi, body_bytes: int, deferred: Deferred, served: ServedBatches
    ) -> None:
        self.draining = False
        self.aside: App | None = None
        self._built = built
        self._engine = built.engine
        self.passing = Passing(built)
        self.deferred = deferred
        self.batches = served
        self._now = built.engine.ports.clock.now
        self._ring = ring
        self._admin = admin
        self._providers = built.router.providers
        self._addresses = Addresses(built.settings.server.trusted_proxies) if _by_address(built) else None
        ports = built.engine.ports
        self._models = ModelLists(built.router, ports.upstream, ports.clock, built.log.event)
        self._reports = Reports(built, ring, draining=lambda: self.draining, deny=self._deny)
        self._body_bytes = body_bytes
        self._repeats = Repeats()
        self._repeating = self._engine.again.ever
        self.at_once = AtOnce(self._engine.again, self._repeats, ring) if self._repeating else None
        self._keep = built.settings.log.bodies != "off"

    @property
    def built(self) -> Built:
        """The engine and its books, for what is served beside the data plane."""
        return self._built

    @property
    def ring(self) -> KeyRing:
        """Who may come in. The event loop's thread alone may change it."""
        return self._ring

    @property
    def control(self) -> AdminApi:
        """The control API for the command line."""
        return self._admin

    async def start(self) -> None:
        """Before the first connection: look after what outlives processes."""
        await self.passing.start()
        await self.deferred.start()
        await self.batches.start()

    async def break_off(self) -> None:
        """The drain's time is over: what is still under way is about to be cancelled."""
        self._engine.stopping(True)

    async def stop(self) -> None:
        """Behind the last one."""
        self._engine.stopping(False)  # whoever embeds us may go on with the gate
        await self.batches.stop()
        await self.passing.stop()
        await self.deferred.stop()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One request."""
        visit = scope.get("extensions", _NONE).get("headgate")
        if type(visit) is Visit:
            served = self.direct(visit.known, scope["headers"], visit, None)
            if served is not None:
                return served
        return self._dispatch(visit if type(visit) is Visit else None, scope, receive, send)

    def direct(
        self, known: Head | None, headers: Headers, visit: Visit, body: bytes | None
    ) -> Coroutine[Any, Any, None] | None:
        """One request with the connection's last head, where that led to the data plane; else None.

        Args:
            known: what `_dispatch` made of that head.
            headers: of this request. Where it is the list that `known` was read from, they are the same.
            body: all of it; None: `visit` gives it.
        """
        if known is None or known.headers is not headers or known.ring_version != self._ring.version:
            return None
        return self._serve(known, visit, body)

    async def _dispatch(self, visit: Visit | None, scope: Scope, receive: Receive, send: Send) -> None:
        """By the path; the data plane is what is left."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path.startswith("/health/") or path == METRICS:
            await self._reports(scope, send)
        elif path.startswith(JOBS):
            await self._job(scope, send)
        elif self.aside is not None and (path in PATHS or (path.startswith(PREFIXES) and not self._admin.serves(path))):
            await self.aside(scope, receive, send)
        elif path.startswith(PREFIX):
            await self._admin(scope, receive, send)
        else:
            try:
                head = read_head(scope, self._ring, self._providers, self._addresses)
            except Refusal as refusal:
                await self._deny(refusal, scope, send)
                return
            if visit is not None and head.wrong is None:
                visit.known = head
            await self._serve(head, visit or VisitElsewhere(receive, send), None)

    async def _serve(self, head: Head, visit: Visit | VisitElsewhere, body: bytes | None) -> None:
        """The data plane: a request is read, run as an exchange, and answered."""
        exchange: Exchange | None = None
        try:
            if visit.gone:
                return  # nothing was asked
            if body is None:
                body = visit.take_body()
            if body is not None and self._repeats.some:
                repeat = self._repeats.find(head, body)
                if repeat is not None and await self._again(repeat, visit):
                    return
            if head.plain and body is not None and len(body) <= _SHORT:
                request, wrong = head.request(body, keep_text=self._keep)
            else:
                read = await self._read(head, visit, body)
                if read is None:
                    return
                request, wrong, body = read
            engine = self._engine
            exchange = engine.begin(request)
            if wrong is not None:
                await engine.refuse(exchange, wrong)
                raise wrong
            if head.asynchronous and await self._promised(exchange, visit.send):
                return
            visit.exchange = exchange
            if visit.half_closed:
                visit.watch()
            if head.plain or not is_new_batch(request):
                reply = await engine.open(exchange)
            else:
                reply = await self._pass_batch(exchange)
            try:
                if reply.length is None:
                    visit.reply = reply
                    await _hand_on(reply, visit)
                else:
                    answer = await reply.read()
                    if not visit.answer(reply.status, reply.headers, answer):
                        await _send(visit.send, reply.status, reply.headers, answer)
            finally:
                reply.close()
            if self._repeating and head.plain:
                self._repeats.keep(head, body, engine.again.of(reply))
        except (asyncio.CancelledError, Exception) as error:
            await self._broken_off(exchange, visit, error)
        finally:
            if not visit.complete:
                visit.finish()

    async def _broken_off(self, exchange: Exchange | None, visit: Visit | VisitElsewhere, error: BaseException) -> None:
        """What ended a request early: tell its caller, if there is one, in whatever form is left to do it."""
        try:
            if exchange is None:
                raise error
            if isinstance(error, HeadgateError):
                if visit.reply is not None and isinstance(error, UpstreamError):
                    without_frames(error)
                    # A raw body broke after it had begun: leaving it unfinished is what says so.
                else:
                    await self._answer_error(exchange, error, visit.send)
            elif not isinstance(error, asyncio.CancelledError):
                raise error
            elif not visit.left:  # the server is stopping
                if visit.exchange is not None:
                    await self._told_stopping(exchange, visit)
                raise error
        except (asyncio.CancelledError, Exception) as last:
            visit.break_off(last)
            if isinstance(last, asyncio.CancelledError):
                raise

    async def _read(
        self, head: Head, visit: Visit | VisitElsewhere, body: bytes | None
    ) -> tuple[Request, Refusal | None, bytes] | None:
        """The request, what is wrong with it, and its body decoded; None where nothing is left to be done: it is
        answered, or the caller left while sending it.

        Args:
            body: all of it, as it came, where it is here.
        """
        if head.endpoint == "models" and head.raw_path.startswith(PATH) and await self._listed(head, visit.send):
            return None
        upload: Arriving | None = None
        broken: Refusal | None = None
        if body is None and isinstance(visit, Visit) and not head.read_whole and not self._told(head.headers):
            body, upload = b"", Arriving(visit.receive, head.headers)
            if head.coding and head.decodes:
                broken = TooLarge(f"a body of more than {self._body_bytes} bytes is not decoded: send it plain")
        else:
            try:
                body = await self._whole(body, head, visit.receive)
            except Refusal as error:
                body, broken = b"", error
            if body is None:
                return None  # nothing was asked
        if len(body) <= _SHORT:
            request, wrong = head.request(body, keep_text=self._keep, wrong=broken, upload=upload)
        else:  # reading takes up to a second per some megabytes, in which others must be served (decisions 23)
            request, wrong = await asyncio.to_thread(head.request, body, keep_text=self._keep, wrong=broken)
        if wrong is None and head.lists_all and self._ring.shared and not head.may_list:
            wrong = Denied(_WHOLE_ACCOUNT, code="list_not_allowed", status_hint=403)
        if request.webhook and wrong is None and not self.deferred.knows(request.webhook):
            wrong = BadRequest("x-headgate-webhook: no webhook of this name is in the configuration (jobs.webhooks)")
        return request, wrong, body

    async def _again(self, repeat: Repeat, visit: Visit | VisitElsewhere) -> bool:
        """Answer a call that comes again; False where it has to be looked at as any other."""
        again = self._engine.again
        stored = again.kept(repeat)
        if stored is None:
            return False
        exchange = self._engine.begin(repeat.request)
        reply = await again.answer(exchange, repeat, stored)
        if reply is None:
            return False
        body = await reply.read()
        if not visit.answer(reply.status, reply.headers, body):
            await _send(visit.send, reply.status, reply.headers, body)
        return True

    async def _listed(self, head: Head, send: Send) -> bool:
        """Answer from the merged lists of models; False where the provider has to be asked."""
        request, wrong = head.request(b"", keep_text=False)
        exchange = self._engine.begin(request)
        try:
            if wrong is not None:
                raise wrong
            listed = await self._models.answer(request.dialect, head.raw_path, head.query)
        except Refusal as refusal:
            await self._engine.refuse(exchange, refusal)
            await self._answer_error(exchange, refusal, send)
            return True
        if listed is None:
            return False
        self._engine.answered(exchange, 200)
        headers = [(b"content-type", b"application/json"), *exchange_headers(exchange, self._now(), final=True)]
        if listed.left_out:
            headers.append((b"x-headgate-left-out", ", ".join(listed.left_out).encode()))
        if listed.simulated:
            headers.append((SIMULATED, b"true"))
        await _send(send, 200, headers, listed.body)
        return True

    def _told(self, headers: Headers) -> bool:
        """A JSON body of a size that is read: whose ids it names decides where it may go."""
        kind, length = b"", self._body_bytes + 1
        for name, value in headers:
            if name == b"content-type":
                kind = value.lower()
            elif name == b"content-length":
                length = int(value)
        return kind.startswith(b"application/json") and length <= self._body_bytes

    async def _whole(self, body: bytes | None, head: Head, receive: Receive) -> bytes | None:
        """The body, decoded, of which `body` is all where it is here already; None if the caller left.

        Raises:
            TooLarge, BadRequest: see `uploads.whole` and `coding.decode_request`.
        """
        if body is None:
            body = await whole(receive, self._body_bytes)
        if body and head.coding and head.decodes:
            # Off the loop: a body of some megabytes takes as many milliseconds.
            body = await asyncio.to_thread(decode_request, head.coding, body, self._body_bytes)
        return body

    async def _promised(self, exchange: Exchange, send: Send) -> bool:
        """`Prefer: respond-async`, where the caller's task or the configuration has `use: defer`."""
        ladder = self._engine.policies.tasks(exchange.request.caller.task).ladder
        deferring = self._engine.ports.substitutes.get("defer")
        if deferring is None or not any(step.use == "defer" for step in ladder):
            return False  # a preference: RFC 7240 lets us do without
        found = await deferring.find(exchange, "asked")
        if found is None:
            return False
        self._engine.answered(exchange, found.status)
        headers = [*found.headers, (b"preference-applied", b"respond-async")]
        headers += exchange_headers(exchange, self._now(), final=True)
        await _send(send, found.status, headers, found.body)
        return True

    async def _job(self, scope: Scope, send: Send) -> None:
        """A deferred job: its answer, or how far it is; DELETE forgets it. To others than its owner it is not there."""
        dialect = spoken_dialect(scope["raw_path"], scope["headers"])
        try:
            record = self._ring.admit(scope["headers"])
            store, job_id = self.deferred.store, scope["path"].removeprefix(JOBS)
            job = None if store is None else await asyncio.to_thread(store.get, job_id)
            whose = owner(Caller(key=record.id or record.name, tenant=record.tenant))
            if store is None or job is None or job.owner != whose or scope["method"] not in ("GET", "DELETE"):
                raise NotServed(f"there is no job {job_id[:60]}")
            if scope["method"] == "DELETE":
                await asyncio.to_thread(store.remove, job_id)
                status, kind, body = 200, b"application/json", json.dumps({"id": job_id, "deleted": True}).encode()
            else:
                status, kind, body = told(job)
        except Refusal as refusal:
            self._denied(refusal, scope)
            await self._say(send, dialect, refusal)
            return
        except HeadgateError as error:
            await self._say(send, dialect, Unavailable(error.message, told=_NOT_NOW))
            return
        headers = [(b"content-type", kind), (b"x-headgate-job", job.state.encode()), (b"cache-control", b"no-store")]
        if job.exchange:
            headers.append((b"x-headgate-exchange", job.exchange.encode()))
        await _send(send, status, headers, body)

    async def _pass_batch(self, exchange: Exchange) -> Reply:
        """A batch of the caller's own: bounded and held, then sent on, then looked after."""
        try:
            passed = await self.passing.begin(exchange)
        except Refusal as refusal:
            await self._engine.refuse(exchange, refusal)
            raise
        try:
            reply = await self._engine.open(exchange)
        except BaseException as error:
            await passed.failed(error)
            raise
        return await passed.noted(reply)

    async def _answer_error(self, exchange: Exchange, error: HeadgateError, send: Send) -> None:
        dialect = DIALECTS[exchange.request.dialect]
        owns = self._engine.owns_retries(exchange)
        answer = error_answer(dialect, exchange, error, owns_retries=owns, now=self._now())
        await _send(send, answer.status, answer.headers, answer.body)
        without_frames(error)

    async def _told_stopping(self, exchange: Exchange, visit: Visit | VisitElsewhere) -> None:
        """Tell a caller that its exchange was broken off by our own end: in the dialect, whatever it has got so far."""
        send = visit.send
        for _ in range(_TURNS):
            if exchange.ending is not None:
                break
            await asyncio.sleep(0)  # a flight of the cache's is cancelled behind its callers, and settles it
        error = Unavailable(STOPPED) if exchange.ending is None else exchange.error
        if not isinstance(error, Unavailable):
            return  # its books were closed before
        if visit.reply is None:
            await self._answer_error(exchange, error, send)
        elif exchange.ending in (None, Ending.CUT) and exchange.request.endpoint in METERED:
            dialect = DIALECTS[exchange.request.dialect]
            event = error_behind(visit.piece, dialect, exchange, error.code, error.told)
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _deny(self, refusal: Refusal, scope: Scope, send: Send) -> None:
        self._denied(refusal, scope)
        await self._say(send, spoken_dialect(scope["raw_path"], scope["headers"]), refusal)

    async def _say(self, send: Send, dialect: str, refusal: Refusal) -> None:
        body = DIALECTS[dialect].error_body(refusal.status_hint, refusal.code, refusal.told, "")
        headers = [(b"content-type", b"application/json"), (b"x-should-retry", b"false")]
        if refusal.status_hint == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await _send(send, refusal.status_hint, headers, body)

    def _denied(self, refusal: Refusal, scope: Scope) -> None:
        """Access was involved, so it is on record: why, from where, for which path; never with what."""
        client = scope.get("client")
        self._built.log.event(
            "denied" if isinstance(refusal, Denied) else "not_served",
            error_type=refusal.code,
            status_code=refusal.status_hint,
            peer=client[0] if client else "",
            method=scope["method"][:16],
            path=label(scope["path"][:1024])[:200],
        )


def _by_address(built: Built) -> bool:
    """Whether a limit counts by network address. Else nobody asks for one."""
    limits = limits_of(built.settings)
    return any(ADDRESS in limit.per or ADDRESS in dict(limit.only) for limit in limits)


async def _hand_on(reply: Reply, visit: Visit | VisitElsewhere) -> None:
    """An answer that comes piece by piece."""
    send = visit.send
    if visit.left:
        if not reply.drains:
            return
        reply.leave()
    elif not visit.open(reply.status, reply.headers):
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    while piece := await reply.read():
        if not visit.left:
            visit.piece = piece
            if not visit.pass_on(piece):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    if not visit.left and not visit.end():
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers.append((_LENGTH, b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
