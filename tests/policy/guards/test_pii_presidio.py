"""The Presidio adapter, against a stand-in: Presidio's model is in no package registry."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType

import pytest

from headgate.core.guards import Span
from headgate.policy.guards.pii import PiiRecogniser
from headgate.policy.guards.pii_presidio import PresidioRecogniser
from headgate.policy.guards.recogniser import Recogniser
from headgate.policy.guards.secrets import SecretsRecogniser


@dataclass
class Result:
    entity_type: str
    start: int
    end: int
    score: float


class Analyzer:
    def analyze(self, text: str, language: str) -> list[Result]:
        assert language == "en"
        return [
            Result("PERSON", 0, 3, 0.85),
            Result("PERSON", 0, 12, 0.7),
            Result("DATE_TIME", 20, 24, 0.9),
            Result("US_NPI", 30, 40, 0.9),
            Result("LOCATION", 14, 18, 0.2),
        ]


def test_what_presidio_is_sure_of_comes_as_spans_of_our_types() -> None:
    assert PresidioRecogniser(analyzer=Analyzer()).find("x" * 50) == [Span(0, 12, "person"), Span(30, 40, "us_npi")]
    assert Span(14, 18, "location") in PresidioRecogniser(analyzer=Analyzer(), threshold=0.1).find("x" * 50)


def test_presidio_is_imported_at_the_first_text_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("presidio_analyzer")
    module.AnalyzerEngine = Analyzer  # type: ignore[attr-defined] -- a stand-in
    recogniser = PresidioRecogniser()
    monkeypatch.setitem(sys.modules, "presidio_analyzer", module)
    assert recogniser.find("x" * 50)[0].type == "person"


def test_without_presidio_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(ImportError, match=r"headgate\[pii-nlp\]"):
        PresidioRecogniser().find("Ada")


def test_a_threshold_beyond_a_share_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        PresidioRecogniser(threshold=50)


def test_every_recogniser_has_a_name_and_finds() -> None:
    recognisers: list[Recogniser] = [PiiRecogniser(), SecretsRecogniser(), PresidioRecogniser(analyzer=Analyzer())]
    assert [each.name for each in recognisers] == ["pii", "secrets", "presidio"]
