"""A gateway that may give similar answers, with a real embeddings endpoint behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from e2e_sdks import Way, body, call  # it lies beside this file
from e2e_world import Gateway  # it lies beside this file

from headgate.testing.server import SimulatorServer

OVERRIDES: dict[str, Any] = {
    "similar": {
        "embedder": "openai/text-embedding-3-small",
        "mode": "answer",
        "trust": "on",
        "check": "0.01%",
        "threshold": 0.5,
        "timeout": "10s",
    },
}


CAP = {"anthropic": "max_tokens", "openai": "max_completion_tokens"}


@pytest.mark.parametrize("sdk", ["anthropic", "openai"])
def test_the_sdk_gets_an_answer_to_the_same_question_and_the_ledger_says_so(tmp_path: Path, sdk: str) -> None:
    with SimulatorServer() as sim, Gateway(tmp_path, sim.url, sim.openai_url, overrides=OVERRIDES) as gateway:
        way = Way(gateway.url)
        first = call(way, sdk, "async", body(sdk, "How do I reset my password?"))
        background = gateway.built.background
        assert background is not None
        assert background.idle(10)
        again = call(way, sdk, "async", body(sdk, "How do I reset my password?", **{CAP[sdk]: 101}))
        assert "x-headgate-cache" not in again.headers  # another parameter, another partition
        seen = call(way, sdk, "async", body(sdk, "how do I reset my password"))
        assert (seen.error, seen.text()) == (None, first.text())
        assert seen.headers["x-headgate-cache"] == "similar"
        row = gateway.exchange(seen.headers["x-headgate-exchange"])
        assert (row["ending"], row["cost_nano"], row["cache"]) == ("complete", 0, "similar")
        gate_forgets = [forget("") for forget in gateway.built.forgets]
        assert gate_forgets == [2]
        assert any(row["task"] == "similar:" and row["cost_nano"] > 0 for row in gateway.rows("exchanges"))
