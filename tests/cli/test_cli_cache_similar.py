"""`headgate cache similar`: what was measured, and whether it may answer."""

from __future__ import annotations

import json
from pathlib import Path

from cli_commands import Run  # it lies beside this file

from headgate.policy.shadowing import WATCHING
from headgate.similar import TASK
from headgate.stores.shadow_file import Outcome, ShadowFile

EMBEDDER = "openai/text-embedding-3-small"


def prepared(folder: Path, same: int, different: int, mode: str = "answer") -> None:
    (folder / "headgate.yaml").write_text(f"similar: {{embedder: {EMBEDDER}, mode: {mode}}}\n")
    file = ShadowFile(folder / "headgate.db.similar.db")
    for place in range(same + different):
        result = "same" if place < same else "different"
        file.note(Outcome(0.0, TASK, EMBEDDER, WATCHING, result, live_nano=1_000))


def test_it_says_how_often_it_would_have_been_wrong_and_that_it_may_answer(run: Run, tmp_path: Path) -> None:
    prepared(tmp_path, 198, 2)
    shown = run("cache", "similar", "--json")
    found = json.loads(shown.stdout)
    assert (shown.returncode, found["compared"], found["false_hits"], found["may_answer"]) == (0, 200, 2, True)
    assert found["low"] < found["false_hit_rate"] == 0.01 < found["high"]
    assert found["would_have_saved_usd"] == "0.0002"


def test_what_is_wanted_and_not_given_is_an_exit_code(run: Run, tmp_path: Path) -> None:
    prepared(tmp_path, 10, 0)
    assert run("cache", "similar").returncode == 1
    prepared(tmp_path, 0, 0, mode="shadow")
    assert run("cache", "similar").returncode == 0


def test_without_it_there_is_nothing_to_show(run: Run) -> None:
    shown = run("cache", "similar")
    assert (shown.returncode, shown.stdout) == (0, "`similar` is off: see docs/similar.md.\n")
