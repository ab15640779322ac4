"""A uvicorn protocol that lends the application its connection, so that a fault can break it."""

from __future__ import annotations

from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headgate.testing.simulator.wire import EXTENSION


class LendingProtocol(HttpToolsProtocol):
    """Puts the transport into ``scope["extensions"]``. For the simulator only."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {EXTENSION: self.transport}
