"""Floods and input limits."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from headgate.core.guards import Verdict
from headgate.policy.guards.floods import LEAST, MOST, flood, floods
from headgate.policy.guards.input_limits import Brought, InputLimits, estimated_tokens, over

ROOT = Path(__file__).parents[3]
WORDS = (ROOT / "docs" / "budgets.md").read_text("utf-8").split()


@dataclass
class Text:
    text: str
    channel: str = "user"
    place: str = "input"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A" * 5000, "run"),
        ("\N{GRINNING FACE}" * 3000, "run"),
        ("poem " * 2000, "repetition"),
        ("ha ha, ho! " * 400, "repetition"),
        ("<|endoftext|>" * 300, "repetition"),
        ("\N{ZERO WIDTH SPACE}a" * 2000, "repetition"),
        ((ROOT / "docs" / "budgets.md").read_text("utf-8") * 20, "stuffing"),
    ],
)
def test_the_same_thing_over_and_over_is_a_flood(text: str, reason: str) -> None:
    assert flood(text)[0] == reason


def test_a_flood_is_found_behind_and_before_ordinary_text() -> None:
    prose = " ".join(WORDS[:700])
    assert flood(prose + "poem " * 3000)[0] == "repetition"
    assert flood("A" * 3 * len(prose) + prose)[0] == "run"
    assert flood(prose * 9 + "A" * 40_000)[0] == "run"


def test_a_flood_that_is_longer_than_what_is_looked_at_is_one() -> None:
    assert flood("poem " * MOST)[0] == "repetition"


@pytest.mark.parametrize(
    "text",
    [
        "poem " * (LEAST // 5 - 1),
        "\n".join(f"{n},2026-01-0{n % 9},ok,0.0,0.0" for n in range(2000)),
        json.dumps([{"id": n, "name": f"user{n}", "active": True, "tags": []} for n in range(1000)]),
        "\n".join(f"2026-11-21T10:{n // 60:02}:{n % 60:02} INFO retrying 10.0.0.{n % 255}" for n in range(2000)),
        base64.b64encode(Random(1).randbytes(9000)).decode(),
        "| " + "-" * 400 + " |\n" + "| one | two |\n" * 30 + " ".join(WORDS),
        "=" * 1500 + "\n" + " ".join(WORDS),
    ],
    ids=["short", "csv", "json", "log", "base64", "table", "rule"],
)
def test_tables_logs_data_and_rules_are_no_floods(text: str) -> None:
    assert flood(text) == ("", 0.0)


@pytest.mark.parametrize("pattern", ["docs/*.md", "src/headgate/engine/*.py", "tests/wire/*.py", "*.md"])
def test_no_page_and_no_code_of_ours_is_a_flood(pattern: str) -> None:
    assert [path.name for path in ROOT.glob(pattern) if flood(path.read_text("utf-8"))[0]] == []


def test_a_finding_says_where_and_how_sure_and_blocks_where_it_is_to() -> None:
    texts = [Text("hello"), Text("A" * 5000, "tool_result", "messages[1].content")]
    (flagged,) = floods(texts, block=False)
    assert (flagged.guard, flagged.verdict, flagged.reasons) == ("floods", Verdict.FLAG, ("run",))
    assert (flagged.channel, flagged.place, flagged.score) == ("tool_result", "messages[1].content", 1.0)
    assert floods(texts, block=True)[0].verdict is Verdict.BLOCK


def test_many_copies_of_one_text_are_told_once() -> None:
    page = " ".join(WORDS[:60])
    assert [each.reasons for each in floods([Text(page)] * 20, block=False)] == [("copies",)]
    assert floods([Text(page)] * 19, block=False) == []
    assert floods([Text("yes")] * 500, block=False) == []


def test_over_a_limit_is_a_block_that_names_each_limit() -> None:
    finding = over(InputLimits(characters=10, images=0), Brought(characters=11, images=2, tools=99))
    assert finding is not None
    assert (finding.verdict, finding.reasons) == (Verdict.BLOCK, ("characters 11 of 10", "images 2 of 0"))
    assert over(InputLimits(characters=11), Brought(characters=11)) is None
    assert over(InputLimits(), Brought(characters=10**9)) is None


def test_tokens_are_four_plain_characters_or_one_other() -> None:
    assert estimated_tokens(["abcd", "e", "\u4f60\u597d", ""]) == 4
