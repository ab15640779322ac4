"""Whose no it is, behind an SDK's error; and what a gate says of its configuration."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import headgate
from headgate.refusals import refusal


class SdkError(Exception):
    body: Any
    response: Any


def error(code: str) -> Exception:
    found = SdkError("no")
    found.body = {"headgate": {"code": code, "exchange": "ex_1"}, "error": {"message": "why"}}
    found.response = SimpleNamespace(status_code=503)
    return found


@pytest.mark.parametrize("code", ["budget_exceeded", "provider_not_configured", "unbounded"])
def test_what_headgate_refused_is_a_refusal_also_where_its_code_names_the_provider(code: str) -> None:
    found = refusal(error(code))
    assert found is not None
    assert (found.code, found.exchange_id, str(found)) == (code, "ex_1", "why")


@pytest.mark.parametrize("code", ["provider_busy", "provider_timeout", "provider_broken", "provider_rejected"])
def test_a_providers_failure_is_none(code: str) -> None:
    assert refusal(error(code)) is None


def test_a_gate_tells_what_is_likely_not_meant_in_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headgate.yml").write_text("budgets: [{usd: 1}]")
    with pytest.warns(headgate.ConfigWarning) as told:
        headgate.Gate.load(env={"HEADGATE_BUDGET": "1"}, storage="memory").close()
    found = "\n".join(str(each.message) for each in told)
    assert "headgate.yml" in found
    assert "HEADGATE_BUDGET" in found
    assert {Path(each.filename) for each in told} == {Path(__file__)}  # whose mistake it is
