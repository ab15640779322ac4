"""A provider goes down, and unmodified SDKs go on getting the last good answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_sdks import Way, body, call  # it lies beside this file
from e2e_world import Gateway  # it lies beside this file

from headgate.testing.server import SimulatorServer

OVERRIDES: dict[str, Any] = {
    "providers": {name: {"breaker": "off", "concurrency": "off"} for name in ("anthropic", "openai")},
    "retry": {"attempts": 1},
    "degrade": [{"on": "any", "use": "last_good"}],
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[SimulatorServer, Gateway]]:
    with SimulatorServer() as sim, Gateway(tmp_path, sim.url, sim.openai_url, overrides=OVERRIDES) as gateway:
        yield sim, gateway


@pytest.mark.parametrize("sdk", ["anthropic", "openai"])
def test_during_an_outage_the_sdk_gets_what_it_got_before_whole_and_streamed(
    world: tuple[SimulatorServer, Gateway], sdk: str
) -> None:
    sim, gateway = world
    way = Way(gateway.url)
    asked = [body(sdk, "hello", stream=stream) for stream in (False, True)]
    before = [call(way, sdk, "sync", each) for each in asked]
    sim.load("outage")
    for first, each in zip(before, asked, strict=True):
        again = call(way, sdk, "sync", each)
        assert (again.error, again.text(), again.stop()) == (None, first.text(), first.stop())
        assert again.headers["x-headgate-degraded"] == "overload: last good answer"
        row = gateway.exchange(again.headers["x-headgate-exchange"])
        assert (row["ending"], row["status"], row["cost_nano"]) == ("failed", 200, 0)
    assert call(way, sdk, "sync", body(sdk, "something else")).error is not None
