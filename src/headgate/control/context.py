"""What the admin API and the dashboard share: the gateway's parts, who asks, and the services."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from headgate.control.entry import Visitor
from headgate.control.identity import Identity, csrf_of
from headgate.control.passwords import Passwords
from headgate.control.people import Principal
from headgate.control.services.alerts import Alerts
from headgate.control.services.approvals import Approvals
from headgate.control.services.audit import Audit
from headgate.control.services.budgets import Budgets
from headgate.control.services.config import Config
from headgate.control.services.incidents import IncidentsService
from headgate.control.services.invoices import Invoices
from headgate.control.services.jobs import Jobs
from headgate.control.services.keys import Keys
from headgate.control.services.limits import Limits
from headgate.control.services.logs import Logs
from headgate.control.services.people import People
from headgate.control.services.prices import Prices
from headgate.control.services.traffic import Cache, Providers
from headgate.control.services.usage import Usage
from headgate.core.errors import Denied, Unavailable
from headgate.gateway.address import Addresses
from headgate.gateway.admin import told_actor
from headgate.gateway.auth import is_local_host
from headgate.stores.api_tokens import PREFIX

if TYPE_CHECKING:
    from headgate.gateway.app import Gateway

T = TypeVar("T")

OWNER = "owner"

_MAX_TOKEN = 200
_VIRTUAL_KEY = (
    "This is a virtual key, for calls to models. The admin API takes API tokens (hga-…): `headgate people token` "
    "makes one."
)
_PROXIED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"})
_NO_PEOPLE = (
    "This gateway has no people yet, so nobody can log in. On the machine that it runs on, make one: "
    "`headgate people add NAME --role admin`. Without people the dashboard opens only on that machine, at localhost."
)
_LOG_IN = "Log in, or send an API token as `Authorization: Bearer hga-…`."


class LoginPage(Protocol):
    """Renders the login form. `said`: why the last try failed, "" = none yet; `back`: a path to go on to."""

    def __call__(self, request: Request, said: str, back: str, status: int) -> Response: ...


class RefusedPage(Protocol):
    """Renders an error for people."""

    def __call__(self, request: Request, status: int, code: str, detail: str) -> Response: ...


@dataclass(frozen=True)
class Pages:
    """What a dashboard brings. `routes` are Starlette's; the two others replace the plain pages here."""

    routes: Sequence[BaseRoute] = ()
    login: LoginPage | None = None
    refused: RefusedPage | None = None


class Control:
    """Made once per gateway, on no event loop. Services block: call them in threads.

    Attributes:
        gateway, built: the running gateway, and the parts behind it.
        now: seconds since the epoch.
        pages: the dashboard's, once it is made.
        keys, budgets, limits, ...: the services, see `headgate.control.services`.
    """

    def __init__(self, gateway: Gateway, *, passwords: Passwords | None = None) -> None:
        """
        Args:
            passwords: with other costs than the default's.
        """
        self.gateway = gateway
        self.built = gateway.built
        self.now: Callable[[], float] = gateway.built.engine.ports.clock.now
        self.pages = Pages()
        self.identity = Identity(self.built.ledger, now=self.now, tell=self.built.log.event, passwords=passwords)
        self.keys = Keys(self)
        self.budgets = Budgets(self)
        self.limits = Limits(self)
        self.alerts = Alerts(self)
        self.approvals = Approvals(self)
        self.jobs = Jobs(self)
        self.prices = Prices(self)
        self.usage = Usage(self)
        self.invoices = Invoices(self)
        self.providers = Providers(self)
        self.cache = Cache(self)
        self.incidents = IncidentsService(self)
        self.config = Config(self)
        self.people = People(self)
        self.audit = Audit(self)
        self.logs = Logs(self)
        self._addresses = Addresses(self.built.settings.server.trusted_proxies)
        self._secret = secrets.token_bytes(32)  # of the owner's CSRF token: holds for this process
        self._loop: asyncio.AbstractEventLoop | None = None

    def serving(self) -> None:
        """A request has come: from now on its event loop is the gateway's."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()

    def on_loop(self, work: Callable[[], None]) -> None:
        """Run `work` in the event loop's thread, as everything that changes the key ring has to, and wait for it.

        Call it in another thread. Before the first request there is no loop, and nobody to be in the way of.
        """
        loop = self._loop
        if loop is None:
            work()
            return
        done: Future[None] = Future()

        def run() -> None:
            try:
                work()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        loop.call_soon_threadsafe(run)
        done.result(30.0)

    def awaited(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What a coroutine of the gateway's returns. Call it in another thread than the event loop's.

        Raises:
            Unavailable: no request has come yet, so that there is no loop.
        """
        if self._loop is None:
            raise Unavailable("The gateway is not up yet: try again in a moment.")
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(30.0)

    async def visitor(self, request: Request) -> Visitor | None:
        """Who asks; None: nobody that is known.

        Raises:
            Denied: a credential that is not valid.
            Unavailable: the ledger cannot be read.
        """
        address = self.address_of(request)
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return Visitor(await self._bearer(request, credential.strip(), address))
        cookie = self.cookie_of(request)
        if cookie:
            who = await asyncio.to_thread(self.identity.session, cookie, address)
            if who is not None:
                return Visitor(who, csrf=csrf_of(cookie))
        if self._is_owner(request) and not await asyncio.to_thread(self.identity.anybody):
            who = Principal(OWNER, "admin", way=OWNER, address=address)
            return Visitor(who, csrf=hmac.digest(self._secret, b"csrf", "sha256").hex(), open=True)
        return None

    async def _bearer(self, request: Request, credential: str, address: str) -> Principal:
        if credential.startswith(PREFIX):
            return await asyncio.to_thread(self.identity.token, credential[:_MAX_TOKEN], address)
        if credential.startswith("hg-"):
            raise Denied(_VIRTUAL_KEY, code="invalid_token")
        self.gateway.control.admit(request.scope)  # the command line on this machine
        told = told_actor(request.scope)
        return Principal(told.name or "cli", "admin", way="cli", address=told.address)

    async def stranger(self, request: Request) -> tuple[str, str, int]:
        """Why nobody unknown comes in: (a sentence, a code, a status)."""
        if await asyncio.to_thread(self.identity.anybody):
            return _LOG_IN, "login_needed", 401
        return _NO_PEOPLE, "no_people", 403

    def cookie_name(self, request: Request) -> str:
        """Of the session. Over https with the prefix that no other host and no plain http may set (RFC 6265bis)."""
        return "__Host-headgate_session" if self.secure(request) else "headgate_session"

    def cookie_of(self, request: Request) -> str:
        """What the browser sends as its session; "" = nothing."""
        return request.cookies.get(self.cookie_name(request), "")[:_MAX_TOKEN]

    def _is_owner(self, request: Request) -> bool:
        """On a loopback address, under a local name, not through a proxy: whoever gets here owns the machine."""
        headers = request.headers
        if not self.gateway.ring.loopback or self.built.settings.server.trusted_proxies:
            return False
        if not _PROXIED.isdisjoint(headers.keys()) or not is_local_host(headers.get("host", "").encode()):
            return False
        return request.client is not None and _is_loopback(request.client.host)

    def address_of(self, request: Request) -> str:
        """Where a request comes from; behind a trusted proxy, whom that names."""
        return "" if request.client is None else self._addresses.of(request.client.host, request.headers.raw)

    def host_of(self, request: Request) -> str:
        """What the browser calls this gateway: host and port."""
        told = request.headers.get("x-forwarded-host", "") if self._trusts_peer(request) else ""
        return told.partition(",")[0].strip() or request.headers.get("host", "")

    def secure(self, request: Request) -> bool:
        """Whether the browser speaks https, to us or to a trusted proxy."""
        told = request.headers.get("x-forwarded-proto", "") if self._trusts_peer(request) else ""
        return (told.partition(",")[0].strip() or request.url.scheme) == "https"

    def _trusts_peer(self, request: Request) -> bool:
        try:
            peer = ipaddress.ip_address("" if request.client is None else request.client.host)
        except ValueError:
            return False
        networks = map(ipaddress.ip_network, self.built.settings.server.trusted_proxies)
        return any(peer.version == network.version and peer in network for network in networks)

    def refused_page(self, request: Request, status: int, code: str, detail: str) -> Response:
        """An error for people."""
        if self.pages.refused is not None:
            return self.pages.refused(request, status, code, detail)
        return plain_page(str(status), detail, status)


def plain_page(title: str, text: str, status: int = 200) -> Response:
    """A page without anything: what there is where no dashboard is."""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Headgate: {escape(title)}</title>'
        f"<main><h1>Headgate</h1><p>{escape(text)}</p></main></html>",
        status_code=status,
    )


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
