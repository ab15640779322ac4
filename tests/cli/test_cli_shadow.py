"""`headgate shadow`: the report, and what a person decides."""

from __future__ import annotations

import json
from pathlib import Path

from cli_commands import Run  # it lies beside this file

from headgate.policy.shadowing import SWITCHED, WATCHING
from headgate.stores.shadow_file import Outcome, ShadowFile

PAGE = "tasks: {classify: {shadow: {model: claude-haiku-4-5, until: 20}}}\n"


def prepared(folder: Path, same: int, different: int) -> ShadowFile:
    (folder / "headgate.yaml").write_text(PAGE)
    file = ShadowFile(folder / "headgate.db.shadow.db")
    for place in range(same + different):
        result = "same" if place < same else "different"
        file.note(Outcome(0.0, "classify", "claude-haiku-4-5", WATCHING, result, live_nano=3_000, other_nano=1_000))
    return file


def test_the_report_says_how_many_agree_what_it_costs_and_what_to_do(run: Run, tmp_path: Path) -> None:
    prepared(tmp_path, 20, 0)
    (row,) = json.loads(run("shadow", "--json").stdout)["shadows"]
    assert (row["compared"], row["same"], row["enough"], row["low"]) == (20, 20, True, 0.8389)
    assert (row["live_nano"], row["other_nano"]) == (60_000, 20_000)
    shown = run("shadow")
    assert shown.returncode == 0
    assert "20 of 20" in shown.stdout
    assert "switch" in shown.stdout


def test_a_person_switches_goes_back_and_begins_anew(run: Run, tmp_path: Path) -> None:
    file = prepared(tmp_path, 10, 10)
    assert "keep the model" in run("shadow").stdout
    assert run("shadow", "switch", "classify").returncode == 0
    assert file.state("classify", "claude-haiku-4-5")[0] == SWITCHED
    assert run("shadow", "switch", "classify").returncode == 2
    assert run("shadow", "back", "classify").returncode == 0
    assert run("shadow").returncode == 1
    assert run("shadow", "again", "classify").returncode == 0
    assert file.tally("classify", "claude-haiku-4-5", WATCHING).counted.compared == 0


def test_without_a_second_model_there_is_nothing_to_show(run: Run) -> None:
    shown = run("shadow")
    assert (shown.returncode, shown.stdout) == (0, "No task has a `shadow`: see docs/shadow.md.\n")
    assert run("shadow", "switch", "classify").returncode == 2
