"""`headgate logs search`, `show` and `export`, over lines as a gateway writes them, and over a gateway's own."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from cli_commands import Run, Serving, headgate

KEY = "sk-" + "ant-api03-" + "q7Zr4Lx9" * 5
PII = ("jane.doe@example.com", "4111 1111 1111 1111", KEY)
CARD = int(PII[1].replace(" ", ""))
NAME = "AKIA" + "Q7ZRLX9M" + "2PVKT5WD"
PLANTED = f"Write to {PII[0]}, card {PII[1]}, with {KEY}."


def line(number: int, **more: Any) -> str:
    """One line of the log, `number` seconds after the first."""
    at = datetime.fromtimestamp(time.time() - 3600 + number, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    told = {
        "timestamp": at,
        "event": "exchange",
        "exchange_id": f"ex_{number:028x}",
        "request_id": "",
        "user_id": "ada",
        "correlation_id": "",
        "session_id": "s-1",
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "latency_ms": 100.0 + number,
        "ttft_ms": 50.0,
        "cost_usd": 0.001,
        "key": "k1",
        "tenant": "acme",
        "task": "chat",
        "feature": "",
        "environment": "",
        "way_in": "gateway",
        "stream": False,
        "dialect": "anthropic",
        "endpoint": "messages",
        "provider": "anthropic",
        "model_asked": "claude-haiku-4-5",
        "model_served": "claude-haiku-4-5",
        "system_prompt_hash": "h1",
        "ending": "complete",
        "attempts": 1,
        "stop_reason": "end_turn",
        "client_retries": 0,
        "estimated": False,
        "price_version": "p",
        "error_kind": "",
        "status_code": 200,
        "error_type": "",
        "simulated": False,
        "verdict": "allow",
        "cache": "miss",
        "user_message": f"question {number}",
        "response_text": f"answer {number}",
    }
    return json.dumps({**told, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asked: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "max_tokens": 9,
        "stream": True,
        "metadata": {"user_id": "ada"},
    }
    asked |= {"system": f"Be kind. {KEY}", "messages": [{"role": "user", "content": PLANTED}]}
    called = {"type": "tool_use", "id": "t1", "name": "pay", "input": {"card": CARD, NAME: 1, "count": 12}}
    asked["messages"] += [{"role": "assistant", "content": [called]}]
    lines = [
        line(1),
        line(2, user_message="=HYPERLINK(0)", user_id="ben", session_id="s-2", cost_usd=2.5),
        line(3, ending="failed", status_code=502, error_type="provider_error", response_text=""),
        line(4, verdict="flag", guards=["injection:override"], tags={"team": "search"}),
        line(5, user_message=PLANTED, response_text=f"I wrote to {PII[0]}.", request_body=json.dumps(asked)),
        line(6, user_message="\x1b[2Jclear", correlation_id="c-9"),
    ]
    (tmp_path / "headgate.yaml").write_text("log: {bodies: full, requests: on}\n")
    (tmp_path / "headgate.db.log.jsonl").write_text("".join(f"{each}\n" for each in lines))
    return tmp_path


def ids(text: str) -> list[int]:
    return [int(json.loads(each)["exchange_id"].removeprefix("ex_"), 16) for each in text.splitlines()]


@pytest.mark.usefixtures("folder")
def test_any_field_and_any_word_finds_its_exchanges_the_newest_first(run: Run) -> None:
    for told, found in (
        ((), [6, 5, 4, 3, 2, 1]),
        (("--user", "ben"), [2]),
        (("--status", "502"), [3]),
        (("--ending", "failed", "--errors"), [3]),
        (("--where", "guard=injection"), [4]),
        (("--where", "tag:team=search"), [4]),
        (("--correlation", "c-9"), [6]),
        (("--min-cost", "1"), [2]),
        (("--slower", "105.5"), [6]),
        (("question", "--since", "2h"), [4, 3, 1]),
        (("--until", "2h"), []),
    ):
        done = run("logs", "search", "--json", *told)
        assert ids(done.stdout) == found, (told, done.stderr)
        assert done.returncode == (0 if found else 1)


@pytest.mark.usefixtures("folder")
def test_a_page_names_the_next_one_and_the_table_obeys_nobody(run: Run) -> None:
    done = run("logs", "search", "--limit", "4")
    assert "\x1b" not in done.stdout
    assert "\\x1b[2Jclear" in done.stdout
    cursor = done.stderr.partition("more: --before ")[2].strip()
    assert ids(run("logs", "search", "--json", "--limit", "4", "--before", cursor).stdout) == [2, 1]


@pytest.mark.usefixtures("folder")
def test_a_session_reads_as_a_conversation_from_its_beginning(run: Run) -> None:
    done = run("logs", "search", "--session", "s-1", "--conversation")
    assert done.stdout.index("question 1") < done.stdout.index("answer 1") < done.stdout.index("question 4")
    assert "flag: injection:override" in done.stdout
    assert "several tenants" not in done.stderr
    assert run("logs", "search", "--conversation").returncode == 2


def test_a_conversation_of_two_tenants_says_whose_each_turn_is(run: Run, folder: Path) -> None:
    with (folder / "headgate.db.log.jsonl").open("a") as file:
        file.write(line(7, tenant="globex", user_message="theirs") + "\n")
    done = run("logs", "search", "--session", "s-1", "--conversation")
    assert "--tenant" in done.stderr
    turn = next(each for each in done.stdout.splitlines() if f"{7:028x}" in each)
    assert "globex" in turn
    assert "theirs" not in run("logs", "search", "--session", "s-1", "--conversation", "--tenant", "acme").stdout


@pytest.mark.usefixtures("folder")
def test_sessions_are_listed_once_each_with_what_all_their_exchanges_come_to(run: Run) -> None:
    one, other = map(json.loads, run("logs", "sessions", "--json").stdout.splitlines())
    assert (one["session"], one["exchanges"], one["failed"], one["excerpt"]) == ("s-1", 5, 1, "question 1")
    assert (other["session"], other["cost_usd"], other["user"]) == ("s-2", "2.5", "ben")
    done = run("logs", "sessions", "question", "--errors", "--limit", "1")
    assert "s-1" in done.stdout
    assert "s-2" not in done.stdout
    assert run("logs", "sessions", "--user", "nobody").returncode == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "told", [("--where", "nosuch=1"), ("--where", "x"), ("--before", "zz"), ("--min-cost", "much")]
)
def test_a_question_that_makes_no_sense_is_misuse_in_words(run: Run, told: tuple[str, ...]) -> None:
    done = run("logs", "search", *told)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("folder")
def test_csv_holds_no_formula(run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(run("logs", "export", "--format", "csv").stdout)))
    assert [row["user_message"] for row in rows][4] == "'=HYPERLINK(0)"
    assert [row["cost_usd"] for row in rows][4] == "2.5"
    assert "\x1b" not in "".join(row["user_message"] for row in rows)


def test_a_dataset_of_full_logs_holds_no_planted_word_and_no_flagged_exchange(run: Run, folder: Path) -> None:
    done = run("logs", "export", "--dataset", "-o", "set.jsonl")
    assert done.returncode == 0, done.stderr
    text = (folder / "set.jsonl").read_text()
    assert not [each for each in (*PII, str(CARD), NAME) if each in text]
    cases = {int(c["id"].removeprefix("ex_"), 16): c for c in map(json.loads, text.splitlines())}
    assert set(cases) == {6, 5, 2, 1}
    assert cases[5]["input"]["system"].startswith("Be kind.")
    assert "stream" not in cases[5]["input"]
    assert cases[5]["input"]["messages"][1]["content"][0]["input"]["count"] == 12
    assert '"ada"' not in json.dumps(cases[5])
    assert cases[1]["metadata"]["partial"] is True
    assert cases[1]["label"] is None


@pytest.mark.usefixtures("folder")
def test_an_export_takes_the_place_of_a_file_only_when_it_is_whole_and_nobody_else_reads_it(
    run: Run, folder: Path
) -> None:
    week = folder / "week.csv"
    week.write_text("last week's")
    week.chmod(0o644)
    assert run("logs", "export", "--format", "csv", "--where", "colour=red", "-o", "week.csv").returncode == 2
    assert week.read_text() == "last week's"
    assert run("logs", "export", "--format", "csv", "-o", "week.csv").returncode == 0
    assert "question 1" in week.read_text()
    assert week.stat().st_mode & 0o777 == 0o600
    assert not list(folder.glob(".week*"))


@pytest.mark.usefixtures("folder")
def test_an_export_goes_into_a_pipe_that_has_a_number_in_place_of_a_name(run: Run) -> None:
    read, write = os.pipe()  # as `-o /dev/stdout | ...` and `-o >(gzip > x)` have them
    done = run("logs", "export", "-o", f"/dev/fd/{write}")
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as file:
        assert (done.returncode, file.read()) == (0, run("logs", "export").stdout), done.stderr


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_that_finds_nothing_takes_the_place_of_no_file(run: Run, folder: Path, form: str) -> None:
    kept = folder / "keep"
    kept.write_text("what was found before")
    done = run("logs", "export", "--user", "adaa", "--format", form, "-o", "keep")
    assert (done.returncode, done.stderr) == (1, "0 exchanges\n")
    assert kept.read_text() == "what was found before"
    assert not list(folder.glob(".keep*"))
    assert run("logs", "export", "--user", "adaa", "--format", form, "-o", "new").returncode == 1
    assert (folder / "new").exists()


@pytest.mark.usefixtures("folder")
def test_a_sample_is_the_same_for_the_same_seed(run: Run) -> None:
    first, again = (run("logs", "export", "--sample", "2", "--seed", "3").stdout for _ in range(2))
    assert first == again
    assert len(first.splitlines()) == 2
    assert {run("logs", "export", "--sample", "2", "--seed", str(n)).stdout for n in range(9)} != {first}


def test_what_both_sdks_asked_a_gateway_is_found_while_it_runs_and_shown_with_its_texts(serving: Serving) -> None:
    mark = f"pelican{time.time_ns()}"
    headers = {"x-headgate-session": mark, "x-headgate-user": "zoe"}
    turn = {"role": "user", "content": f"one {mark}"}
    claude = anthropic.Anthropic(api_key="none", base_url=serving.url, default_headers=headers, max_retries=0)
    claude.messages.create(model="claude-haiku-4-5", max_tokens=20, messages=[turn])  # type: ignore[list-item]
    gpt = openai.OpenAI(api_key="none", base_url=f"{serving.url}/v1", default_headers=headers, max_retries=0)
    gpt.chat.completions.create(model="gpt-6-luna", max_completion_tokens=20, messages=[turn])  # type: ignore[list-item]
    found: list[str] = []
    end = time.monotonic() + 60  # a busy machine may leave the gateway's log, and who takes it in, waiting for a core
    while len(found) < 2 and time.monotonic() < end:
        done = headgate("logs", "search", "--session", mark, "--json", cwd=serving.folder)
        found = done.stdout.splitlines()
    assert {json.loads(each)["dialect"] for each in found} == {"anthropic", "openai"}, done.stderr
    assert headgate("logs", "search", mark, "--json", cwd=serving.folder).stdout.count("\n") == 2
    shown = headgate("logs", "show", json.loads(found[0])["exchange_id"], cwd=serving.folder).stdout
    assert f"one {mark}" in shown
    assert "attempt 1" in shown
