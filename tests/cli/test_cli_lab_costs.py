"""`headgate lab costs`: three ways through one pipeline, each with a bill that is the simulator's invoice."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from headgate.cli import lab_costs_chart, lab_pipeline
from headgate.cli.group import cli
from headgate.cli.lab_costs import MODELS, as_document
from headgate.cli.lab_pipeline import STEPS, WAYS, Bill, Work, run
from headgate.testing.simulator.models import MODELS as SIMULATED

WORK = Work(3, "claude-sonnet-5-5", "claude-haiku-5-5")


@pytest.fixture(scope="module")
def bills() -> list[Bill]:
    """Every way, once."""
    return [run(WORK, way, lambda: None) for way in WAYS]


def test_every_bill_is_the_simulators_invoice_to_the_nano_dollar(bills: list[Bill]) -> None:
    assert [bill.total for bill in bills] == [bill.invoiced for bill in bills]
    assert all(bill.invoiced > 0 for bill in bills)
    assert all(bill.calls == WORK.documents * len(STEPS) for bill in bills)


def test_only_the_simple_steps_change_hands_and_they_get_cheaper(bills: list[Bill]) -> None:
    one, hybrid, _ = bills
    for step in STEPS:
        assert (hybrid.models[step.name] == WORK.cheap) == step.simple
        if step.simple:
            assert hybrid.ours[step.name] < one.ours[step.name] / 10


def test_a_batch_costs_exactly_half_of_the_same_calls(bills: list[Bill]) -> None:
    _, hybrid, batched = bills
    assert batched.tokens["extract"] == hybrid.tokens["extract"]
    assert batched.ours["extract"] * 2 == hybrid.ours["extract"]
    assert batched.total < hybrid.total < bills[0].total


def test_a_later_step_reads_what_the_one_before_has_written(bills: list[Bill]) -> None:
    for bill in bills:
        assert bill.tokens["summarise"][0] > bill.tokens["extract"][1]
        assert bill.tokens["answer"][0] > bill.tokens["summarise"][1]


def test_the_models_to_choose_from_are_the_simulators() -> None:
    assert set(MODELS) <= set(SIMULATED)


def test_the_document_holds_each_way_with_its_steps(bills: list[Bill]) -> None:
    told = as_document(WORK, bills)
    assert [each["way"] for each in told["ways"]] == [way.name for way in WAYS]
    assert all(each["agrees"] and len(each["steps"]) == len(STEPS) for each in told["ways"])


@pytest.mark.parametrize("ending", [".svg", ".png"])
def test_the_chart_is_an_image_of_its_kind_and_always_the_same(bills: list[Bill], tmp_path: Path, ending: str) -> None:
    one, other = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    lab_costs_chart.save(bills, one)
    lab_costs_chart.save(bills, other)
    assert one.read_bytes() == other.read_bytes()
    if ending == ".svg":
        assert "one model" in "".join(ET.fromstring(one.read_text()).itertext())
    else:
        assert one.read_bytes().startswith(b"\x89PNG")


def test_bills_that_do_not_agree_end_with_1(monkeypatch: pytest.MonkeyPatch, bills: list[Bill]) -> None:
    def wrong(work: Work, way: object, tell: object) -> Bill:
        found = bills[0]
        return Bill(found.way, found.calls, found.invoiced + 1, found.ours, found.tokens, found.models)

    monkeypatch.setattr(lab_pipeline, "run", wrong)
    result = CliRunner().invoke(cli, ["lab", "costs", "--json"], standalone_mode=False)
    assert result.return_value == 1
    assert not any(each["agrees"] for each in json.loads(result.stdout)["ways"])
