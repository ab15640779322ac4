"""`python -m benchmarks.guards_pii`, on a few lines of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.guards_pii import main, rows, spans

from benchmarks import guards_pii


def write(directory: Path, name: str, lines: list[dict[str, object]]) -> None:
    directory.joinpath(name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    address = {"start": 3, "end": 18, "type": "EMAIL"}
    name = {"start": 0, "end": 3, "type": "PERSON"}
    write(
        tmp_path,
        "pii.jsonl",
        [
            {"kind": "positive", "text": None, "text_parts": ["to ada@", "example.com"], "spans": [address]},
            {"kind": "positive", "text": "Ada", "spans": [name]},
            {"kind": "negative", "text": "nothing", "spans": []},
            {"kind": "negative", "text": "bob@example.com", "spans": []},
        ],
    )
    write(tmp_path, "benign.jsonl", [{"text": "How tall is it?"}, {"text": "ask ada@example.com"}])
    return tmp_path


def test_a_span_counts_as_covered_only_whole_and_a_negative_line_with_a_find_as_flagged(data: Path) -> None:
    numbers = {number.name: number for number in spans(rows(data, "pii.jsonl"))}
    assert numbers["labelled spans not covered"].value == 50
    assert numbers["EMAIL not covered"].value == 0
    assert numbers["PERSON not covered"].value == 100
    assert numbers["negative lines flagged"].value == 50
    assert numbers["negative lines flagged"].missed


def test_the_parts_asked_for_are_printed_and_a_missed_target_fails_only_if_told(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards_pii, "ROUNDS", 1)
    assert main(["--data", str(data)]) == 0
    assert "ordinary prompts with personal data" in capsys.readouterr().out
    assert main(["spans", "--data", str(data), "--check"]) == 1
    assert main(["plain", "--data", str(data), "--markdown"]) == 0


def test_without_data_it_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spans", "--data", str(tmp_path)]) == 1
    assert "pii.jsonl" in capsys.readouterr().out
