"""The numbers of traffic at a small size: counts, and times of the lab's own clock. None depends on the machine.

What a real clock tells (failover, CPU, real time) is measured by `python -m benchmarks.traffic` and not asserted.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from benchmarks.report import Number
from benchmarks.traffic_fairness import Load
from benchmarks.traffic_pacing import CASES

from benchmarks import traffic, traffic_fairness, traffic_pacing, traffic_storm, traffic_waiting

ROOT = Path(__file__).resolve().parents[2]


def missed(numbers: Iterable[Number]) -> list[str]:
    found = list(numbers)
    assert found
    return [f"{each.name}: {each.value} ({each.note})" for each in found if each.missed]


@pytest.mark.parametrize("case", CASES[:2], ids=["anthropic", "openai"])
@pytest.mark.parametrize("overload", [0.5, 1.0, 3.0])
def test_a_sole_consumer_sees_no_429s_and_ends_within_a_tenth_of_the_ideal(
    case: traffic_pacing.Case, overload: float
) -> None:
    assert missed(traffic_pacing.measure([case], [overload])) == []


def test_answers_that_take_seconds_and_come_in_any_order_cost_a_sole_consumer_no_429s() -> None:
    # 121 of 2,107 were refused when an overtaken answer's remainder was believed. All comes within ten seconds, while
    # what may be in flight has yet to grow: so only the 429s are looked at.
    case = traffic_pacing.Case("anthropic", 600, 3.0, 10)
    share, _ = traffic_pacing.measure([case], [10.0])
    assert not share.missed, share


def test_a_flood_costs_the_others_less_than_a_tenth_of_their_throughput_and_less_than_their_p95_again() -> None:
    assert missed(traffic_fairness.measure(Load(seconds=15, quiet=4, share=0.8))) == []


@pytest.mark.parametrize("way", ["in process", "gateway"])
def test_a_storm_under_an_sdk_at_its_defaults_is_at_most_a_third_more_calls(way: str) -> None:
    assert missed(traffic_storm.measure(30, ("standard",), ("anthropic, async",), (way,))) == []


def test_exchanges_that_wait_go_in_a_fair_order_and_none_is_overtaken() -> None:
    numbers = list(traffic_waiting.measure(2_000))
    assert missed(numbers) == []
    assert any("turns by which tenants differ" in each.name and each.target is not None for each in numbers)


def test_the_command_prints_its_numbers_and_refuses_a_part_that_there_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [sys.executable, "-m", "benchmarks.traffic", "cost", "--quick"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "CPU that turns add to an exchange" in ended.stdout
    with pytest.raises(SystemExit) as refused:
        traffic.parser().parse_args(["speed"])
    assert refused.value.code == 2
    assert "failover" in capsys.readouterr().err
