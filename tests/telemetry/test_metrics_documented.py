"""What is documented, and what the examples ask for, is what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from headgate import Gate
from headgate.policy.tracing import Tracing
from headgate.telemetry.families import Family

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\b(?:headgate|process)_[a-z0-9_]+")


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Family]:
    storage = f"sqlite:///{tmp_path_factory.mktemp('m') / 'h.db'}"
    traces = {"to": "http://127.0.0.1:9", "sample": "0%"}
    with Gate.load(env={}, storage=storage, traces=traces, budgets=[{"usd": 1}]) as gate:
        assert isinstance(gate.built.engine.policies.tracing, Tracing)
        return gate.metrics.families()


def told(families: list[Family]) -> set[str]:
    """Names as Prometheus has them."""
    return {f"{each.name}_total" if each.kind == "counter" else each.name for each in families}


def test_every_metric_is_documented(families: list[Family]) -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    text = text.replace("`…", "`headgate_budget_accounts")
    documented = set(NAME.findall(text))
    assert told(families) <= documented


@pytest.mark.parametrize("name", ["headgate.rules.yml", "grafana.json"])
def test_the_examples_ask_for_metrics_that_there_are(families: list[Family], name: str) -> None:
    text = (ROOT / "examples" / "prometheus" / name).read_text(encoding="utf-8")
    assert yaml.safe_load(text) if name.endswith("yml") else json.loads(text)
    known = told(families) | {f"{each.name}_bucket" for each in families if each.kind == "histogram"}
    assert set(NAME.findall(text)) <= known


def test_names_and_units_follow_the_conventions(families: list[Family]) -> None:
    for each in families:
        assert not each.name.endswith("_total"), each.name
        assert each.kind != "histogram" or each.name.endswith("_seconds"), each.name
        assert each.help.endswith("."), each.name
        assert not {"user", "session", "key"} & set(each.labels), each.name
    names = [each.name for each in families]
    assert len(names) == len(set(names))
