"""`headgate batch`: from a file to results in its order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_commands import Run

from headgate.testing.server import SimulatorServer


@pytest.fixture
def folder(tmp_path: Path, headgate_simulator: SimulatorServer) -> Path:
    config = {"providers": {"anthropic": {"base_url": headgate_simulator.url, "api_key": "env:KEY"}}}
    (tmp_path / "headgate.yaml").write_text(json.dumps(config))
    lines = [
        {
            "custom_id": f"line {n}",
            "params": {
                "model": "claude-haiku-4-5",
                "max_tokens": 10,
                "messages": [{"role": "user", "content": f"say {n}"}],
            },
        }
        for n in range(3)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "not json\n")
    return tmp_path


def test_a_file_is_submitted_run_looked_at_and_fetched(run: Run, folder: Path) -> None:
    submitted = run("batch", "submit", "in.jsonl", "--via", "paced", "--json", KEY="fake")
    told = json.loads(submitted.stdout)
    assert submitted.returncode == 1  # a line cannot be run
    assert told["broken"][0]["line"] == 4
    name = told["batch"]["id"]
    ran = run("batch", "run", name, "-o", "out.jsonl", KEY="fake")
    assert ran.returncode == 1
    assert "3 succeeded, 1 broken" in ran.stdout
    status = json.loads(run("batch", "status", name[:10], "--json").stdout)
    assert (status["state"], status["succeeded"], status["broken"]) == ("ended", 3, 1)
    assert name in run("batch", "status").stdout
    fetched = run("batch", "results", name)
    assert fetched.stdout == (folder / "out.jsonl").read_text()
    assert [json.loads(line)["custom_id"] for line in fetched.stdout.splitlines()[:3]] == ["line 0", "line 1", "line 2"]


def test_a_batch_that_was_cancelled_is_over_and_can_be_forgotten(run: Run, folder: Path) -> None:
    name = json.loads(run("batch", "submit", "in.jsonl", "--json", KEY="fake").stdout)["batch"]["id"]
    cancelled = run("batch", "cancel", name, "--remove", KEY="fake")
    assert cancelled.returncode == 0, cancelled.stderr
    assert "3 cancelled" in cancelled.stdout
    assert "no batch was submitted yet" in run("batch", "status").stdout


def test_mistakes_are_sentences_and_exit_with_2(run: Run, folder: Path) -> None:
    for arguments in (("status", "batch_0"), ("results", "batch_0"), ("run", "missing.jsonl"), ("run", "batch_0")):
        ended = run("batch", *arguments, KEY="fake")
        assert ended.returncode == 2, arguments
        assert ended.stderr.startswith("headgate: ")
        assert "Traceback" not in ended.stderr
