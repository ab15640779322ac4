"""A TCP connection to one of a name's addresses, in both colours: one that does not answer must not hide the others.

Happy Eyeballs (RFC 8305): addresses of both families in turn, each a quarter of a second after the one before or as
soon as that has failed, and the first that answers wins.
"""

from __future__ import annotations

import asyncio
import errno
import os
import selectors
import socket
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from time import monotonic
from typing import Any

STAGGER_SECONDS = 0.25
"""RFC 8305, section 5: the connection attempt delay."""

_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR)

Address = tuple[Any, ...]
"""As `socket.getaddrinfo` tells one."""


def in_turn(found: Sequence[Address]) -> deque[Address]:
    """The families in turn, each in the system's order, beginning with the family that it names first (section 4)."""
    first = [each for each in found if each[0] == found[0][0]]
    others = [each for each in found if each[0] != found[0][0]]
    return deque(each for each in chain.from_iterable(zip_longest(first, others)) if each is not None)


async def reach(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A connected socket that does not block. The caller bounds the time.

    Raises:
        OSError: no address could be reached; of the last one that failed.
    """
    found = _numeric(host, port) or await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    waiting = in_turn(found)
    if len(waiting) == 1:
        return await _connected(loop, waiting[0])
    last: BaseException = OSError("no address")
    tries: set[asyncio.Task[socket.socket]] = set()
    try:
        while waiting or tries:
            if waiting:
                tries.add(loop.create_task(_connected(loop, waiting.popleft())))
            pause = STAGGER_SECONDS if waiting else None
            done, _ = await asyncio.wait(tries, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                tries.discard(each)
                error = each.exception()
                if error is None:
                    return each.result()
                last = error
        raise last
    finally:
        for each in tries:
            if not each.cancel() and each.exception() is None:
                each.result().close()  # it came in second


def _numeric(host: str, port: int) -> Sequence[Address]:
    """Of a host that is an address there is nothing to resolve, in a thread of the loop's."""
    with suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return ()


async def _connected(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "win32":  # whose own loop cannot watch a socket
            await loop.sock_connect(sock, where)
        else:
            await _connect(loop, sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(loop: asyncio.AbstractEventLoop, sock: socket.socket, where: Any) -> None:
    """In place of `loop.sock_connect`: uvloop's resolves `where` once more, in a thread, and without an IPv6 scope."""
    failed = sock.connect_ex(where)
    if failed in _UNDER_WAY:
        writable: asyncio.Future[None] = loop.create_future()
        loop.add_writer(sock, _tell, writable)
        try:
            await writable
        finally:
            loop.remove_writer(sock)
        failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failed:
        raise OSError(failed, os.strerror(failed))


def _tell(writable: asyncio.Future[None]) -> None:
    if not writable.done():  # it is called again until it is removed
        writable.set_result(None)


def reach_blocking(host: str, port: int, deadline: float) -> socket.socket:
    """A connected socket.

    Args:
        deadline: monotonic time.

    Raises:
        TimeoutError: none has answered by then.
        OSError: as `reach`.
    """
    waiting = in_turn(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    last: OSError = OSError("no address")
    begin_at = 0.0
    with selectors.DefaultSelector() as selector:
        tries: set[socket.socket] = set()
        try:
            while waiting or tries:
                now = monotonic()
                if now >= deadline:
                    raise TimeoutError
                if waiting and now >= begin_at:
                    family, kind, protocol, _, where = waiting.popleft()
                    begin_at = now + STAGGER_SECONDS
                    try:
                        sock = socket.socket(family, kind, protocol)
                    except OSError as error:  # the system has no such family
                        last, begin_at = error, now
                        continue
                    tries.add(sock)
                    sock.setblocking(False)
                    failed = sock.connect_ex(where)
                    if failed not in _UNDER_WAY:
                        last, begin_at = _dropped(tries, sock, failed), now
                        continue
                    selector.register(sock, selectors.EVENT_WRITE)
                until = min(deadline, begin_at) if waiting else deadline
                for key, _ in selector.select(max(0.0, until - monotonic())):
                    sock = key.fileobj  # type: ignore[assignment]  # it is what was registered
                    failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not failed:
                        tries.discard(sock)
                        sock.setblocking(True)
                        return sock
                    selector.unregister(sock)
                    last, begin_at = _dropped(tries, sock, failed), 0.0
            raise last
        finally:
            for each in tries:
                with suppress(OSError):
                    each.close()


def _dropped(tries: set[socket.socket], sock: socket.socket, failed: int) -> OSError:
    tries.discard(sock)
    sock.close()
    return OSError(failed, os.strerror(failed))
