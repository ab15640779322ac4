"""A gateway with a second model: the caller's SDK sees nothing of it, the ledger does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from e2e_sdks import Way, body, call  # it lies beside this file
from e2e_world import Gateway  # it lies beside this file

from headgate.policy.shadowing import WATCHING
from headgate.stores.shadow_file import ShadowFile
from headgate.testing.server import SimulatorServer

OTHER = "anthropic/claude-haiku-4-5"
OVERRIDES: dict[str, Any] = {"tasks": {"classify": {"shadow": {"model": OTHER, "sample": "100%"}}}}


@pytest.mark.parametrize("sdk", ["anthropic", "openai"])
def test_both_answers_are_compared_behind_the_callers_back(tmp_path: Path, sdk: str) -> None:
    with SimulatorServer() as sim, Gateway(tmp_path, sim.url, sim.openai_url, overrides=OVERRIDES) as gateway:
        way = Way(gateway.url)
        for stream in (False, True):
            seen = call(
                way, sdk, "async", body(sdk, "hello", stream=stream), default_headers={"x-headgate-task": "classify"}
            )
            assert seen.error is None
            assert seen.headers["x-headgate-attempts"] == "1"
        background = gateway.built.background
        assert background is not None
        assert background.idle(10)
        by_task = [row["task"] for row in gateway.rows("exchanges")]
        assert sorted(by_task) == ["classify", "classify", "shadow:classify", "shadow:classify"]
        counted = ShadowFile(tmp_path / "gateway.db.shadow.db").tally("classify", OTHER, WATCHING).counted
        assert counted.compared == 2
        assert {row["ending"] for row in gateway.rows("exchanges")} == {"complete"}
