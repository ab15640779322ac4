"""What is served beside the data plane: the admin API and the dashboard, another ASGI app.

It is made at its first request, and in a thread: importing what it needs takes about a second and 40 MB, which the data
plane must neither pay nor stand still for. The gateway knows nothing of it but this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headgate.core.errors import HeadgateError
from headgate.gateway.cycle import App, Receive, Scope, Send, log_failure
from headgate.gateway.limits import error_body, error_headers

PATHS = frozenset({"/", "/login", "/logout"})
PREFIXES = ("/static/", "/ui/", "/admin/api/")

_FAILED = "This page could not be made. The gateway's log has the cause."


class Aside:
    """Implements `App`, by the app that `make` makes. A `make` that raises is tried again at the next request."""

    __slots__ = ("_app", "_make", "_making")

    def __init__(self, make: Callable[[], App]) -> None:
        self._app: App | None = None
        self._make = make
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if app is None:
            try:
                app = await self._made()
            except Exception as error:
                if not isinstance(error, HeadgateError):
                    log_failure("making the admin API", error)
                said = error.message if isinstance(error, HeadgateError) else _FAILED
                body = error_body(503, "unavailable", said)
                await send({"type": "http.response.start", "status": 503, "headers": error_headers(body)})
                await send({"type": "http.response.body", "body": body})
                return
        await app(scope, receive, send)

    async def _made(self) -> App:
        async with self._making:
            if self._app is None:
                self._app = await asyncio.to_thread(self._make)
            return self._app
