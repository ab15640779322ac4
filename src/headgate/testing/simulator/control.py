"""The simulator's own doors under `/_sim/`: invoice, requests, scenario, reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.errors import ConfigError
from headgate.testing.simulator.wire import Wire

if TYPE_CHECKING:
    from headgate.testing.simulator.app import Simulator

_MAX_SCENARIO = 1024 * 1024


async def control(sim: Simulator, wire: Wire, method: str, path: str) -> None:
    """Answer a request to `/_sim/...`."""
    status, answer = await _answer(sim, wire, method, path)
    body = msgspec.json.encode(answer)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-headgate-simulated", b"true"),
    ]
    await wire.start(status, headers)
    await wire.write(body, more=False)


async def _answer(sim: Simulator, wire: Wire, method: str, path: str) -> tuple[int, Any]:
    if (method, path) == ("GET", "/_sim/invoice"):
        return 200, sim.invoice()
    if (method, path) == ("GET", "/_sim/requests"):
        return 200, {"requests": sim.requests()}
    if (method, path) == ("POST", "/_sim/reset"):
        sim.reset()
        return 200, {"scenario": sim.scenario.name}
    if (method, path) == ("POST", "/_sim/scenario"):
        body = await wire.body(_MAX_SCENARIO)
        try:
            # Text only: a path in a request would let a client read this machine's files.
            sim.load(_text(body))
        except (ConfigError, UnicodeDecodeError) as error:
            return 400, {"error": str(error)}
        return 200, {"scenario": sim.scenario.name}
    return 404, {
        "error": f"{method} {path}: try GET /_sim/invoice or /_sim/requests, POST /_sim/scenario or /_sim/reset"
    }


def _text(body: bytes | None) -> str:
    if not body:
        raise ConfigError("scenario: send a shipped name, or a scenario as YAML or JSON")
    return body.decode() + "\n"
