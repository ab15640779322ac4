"""The doors of this room: one upstream per colour, which takes the way that each origin needs.

Our own pool, unless a proxy applies to the origin (asked once per origin) or the event loop is not asyncio's.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from headgate.core.ports import Incoming, Outgoing
from headgate.upstream.blocking import BlockingPool
from headgate.upstream.environment import proxy_for
from headgate.upstream.http1 import Origin, Target, parse_url
from headgate.upstream.pool import IDLE_EXPIRY, MAX_CONNECTIONS, AsyncPool
from headgate.upstream.tls import Verify

if TYPE_CHECKING:  # httpx2 is imported when the first proxy is met
    from headgate.upstream.httpx2_fallback import Httpx2BlockingUpstream, Httpx2Upstream

_DIRECT = 1024  # URLs remembered as going through our own pool


def async_upstream(
    *,
    proxy: str | None = None,
    trust_env: bool = True,
    verify: Verify = None,
    max_connections: int = MAX_CONNECTIONS,
    max_idle: int = MAX_CONNECTIONS,
    idle_expiry: float = IDLE_EXPIRY,
) -> AsyncUpstream:
    """The upstream for coroutines, under asyncio, uvloop or trio.

    Args:
        proxy: a proxy's URL for everything; wins over the environment.
        trust_env: follow HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.
        verify: None for the operating system's trust store, a PEM file of CAs, or an `ssl.SSLContext`.
        max_connections, max_idle: per origin and event loop.
        idle_expiry: seconds.
    """
    return AsyncUpstream(
        AsyncPool(verify=verify, max_connections=max_connections, max_idle=max_idle, idle_expiry=idle_expiry),
        _rule(proxy, trust_env),
        verify,
    )


def blocking_upstream(
    *,
    proxy: str | None = None,
    trust_env: bool = True,
    verify: Verify = None,
    max_connections: int = MAX_CONNECTIONS,
    max_idle: int = MAX_CONNECTIONS,
    idle_expiry: float = IDLE_EXPIRY,
) -> BlockingUpstream:
    """The upstream for threads; `run_blocking` drives it. Arguments as `async_upstream`, `max_*` per origin."""
    return BlockingUpstream(
        BlockingPool(verify=verify, max_connections=max_connections, max_idle=max_idle, idle_expiry=idle_expiry),
        _rule(proxy, trust_env),
        verify,
    )


def _rule(proxy: str | None, trust_env: bool) -> Callable[[Origin], str | None]:
    if proxy is not None:
        return lambda _origin: proxy
    return proxy_for if trust_env else lambda _origin: None


class AsyncUpstream:
    """See `async_upstream`. A `core.ports.Upstream`."""

    def __init__(self, pool: AsyncPool, rule: Callable[[Origin], str | None], verify: Verify) -> None:
        self.pool = pool
        self._rule = rule
        self._verify = verify
        self._proxies: dict[Origin, str | None] = {}
        self._direct: dict[str, Target] = {}
        self._fallbacks: dict[str | None, Httpx2Upstream] = {}

    def send(self, outgoing: Outgoing) -> Coroutine[Any, Any, Incoming]:
        """Send and wait for the response's headers; raises as `AsyncPool.send`."""
        target = self._direct.get(outgoing.url)
        # Where trio was never imported, whoever awaits this is in an asyncio task.
        if target is not None and ("trio" not in sys.modules or _in_asyncio_task()):
            return self.pool.send(outgoing, target)
        return self._send(outgoing)

    async def _send(self, outgoing: Outgoing) -> Incoming:
        """The long way: for a URL that is new, for proxies and for trio."""
        target = parse_url(outgoing.url)
        origin = target.origin
        try:
            proxy = self._proxies[origin]
        except KeyError:
            proxy = self._proxies[origin] = self._rule(origin)
        if proxy is not None or not _in_asyncio_task():
            return await self._fallback(proxy).send(outgoing)
        if len(self._direct) >= _DIRECT:
            self._direct.clear()
        self._direct[outgoing.url] = target
        return await self.pool.send(outgoing, target)

    def _fallback(self, proxy: str | None) -> Httpx2Upstream:
        fallback = self._fallbacks.get(proxy)
        if fallback is None:
            from headgate.upstream.httpx2_fallback import Httpx2Upstream

            fallback = self._fallbacks.setdefault(proxy, Httpx2Upstream(proxy, verify=self._verify))
        return fallback

    async def aclose(self) -> None:
        """Drop the running loop's connections; unfinished answers break."""
        for fallback in list(self._fallbacks.values()):
            await fallback.aclose()
        if _in_asyncio_task():
            await self.pool.aclose()


def _in_asyncio_task() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    # Trio may be a guest in asyncio's thread: then a loop is running, but no task of it.
    return "trio" not in sys.modules or asyncio.current_task() is not None


class BlockingUpstream:
    """See `blocking_upstream`. A `core.ports.Upstream` whose coroutines never suspend."""

    def __init__(self, pool: BlockingPool, rule: Callable[[Origin], str | None], verify: Verify) -> None:
        self.pool = pool
        self._rule = rule
        self._verify = verify
        self._proxies: dict[Origin, str | None] = {}
        self._fallbacks: dict[str, Httpx2BlockingUpstream] = {}

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Send and wait for the response's headers; raises as `AsyncPool.send`. Never suspends."""
        origin = parse_url(outgoing.url).origin
        try:
            proxy = self._proxies[origin]
        except KeyError:
            proxy = self._proxies[origin] = self._rule(origin)
        if proxy is None:
            return await self.pool.send(outgoing)
        fallback = self._fallbacks.get(proxy)
        if fallback is None:
            from headgate.upstream.httpx2_fallback import Httpx2BlockingUpstream

            fallback = self._fallbacks.setdefault(proxy, Httpx2BlockingUpstream(proxy, verify=self._verify))
        return await fallback.send(outgoing)

    def close(self) -> None:
        """Drop the idle connections. The upstream stays usable."""
        for fallback in list(self._fallbacks.values()):
            fallback.close()
        self.pool.close()
