"""Microsoft Presidio as a recogniser: names, places and whatever else its language model finds (``headgate[pii-nlp]``).

Presidio brings spaCy; its model you install yourself (``python -m spacy download en_core_web_sm``): Headgate never
downloads one. The analysis is far slower than our own recognisers: use it off the event loop, and for short texts.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, Protocol

from headgate.core.guards import Span
from headgate.policy.guards.spans_resolved import resolved

KINDS = {
    "PERSON": "person", "LOCATION": "location", "NRP": "group", "ORGANIZATION": "organisation",
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "IP_ADDRESS": "ip", "US_SSN": "us_ssn",
    "US_ITIN": "us_itin", "US_PASSPORT": "passport", "US_DRIVER_LICENSE": "driving_licence",
    "US_BANK_NUMBER": "bank_account",
    "UK_NHS": "uk_nhs", "UK_NINO": "uk_nino", "DATE_TIME": "date", "MEDICAL_LICENSE": "medical_licence",
    "CRYPTO": "wallet",
}  # fmt: skip
"""Presidio's entities, as our types; others keep their name in lower case."""

LEFT_OUT = frozenset({"DATE_TIME", "URL"})
"""Found everywhere, and nobody's."""


class Analyzer(Protocol):
    """What is used of ``presidio_analyzer.AnalyzerEngine``."""

    def analyze(self, text: str, language: str) -> Iterable[Any]:
        """Results with ``entity_type``, ``start``, ``end`` and ``score``."""
        ...


class PresidioRecogniser:
    """Presidio's findings as spans; a `Recogniser`.

    Args:
        language: of the texts, as Presidio names it.
        threshold: 0 to 1; findings that Presidio is less sure of are left out.
        analyzer: one that is configured already; default: Presidio's own, made at the first text.
    """

    name = "presidio"

    def __init__(self, *, language: str = "en", threshold: float = 0.5, analyzer: Analyzer | None = None) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}: it is a share, 0 to 1")
        self._language = language
        self._threshold = threshold
        self._analyzer = analyzer

    def find(self, text: str) -> list[Span]:
        """See `Recogniser.find`.

        Raises:
            ImportError: presidio-analyzer is not installed; the message says what to install.
        """
        if self._analyzer is None:
            self._analyzer = _made()
        spans = [
            Span(result.start, result.end, KINDS.get(result.entity_type, result.entity_type.lower()))
            for result in self._analyzer.analyze(text=text, language=self._language)
            if result.score >= self._threshold and result.entity_type not in LEFT_OUT
        ]
        return resolved(spans, lambda _: 0)


def _made() -> Analyzer:
    try:
        module = importlib.import_module("presidio_analyzer")
    except ImportError as error:
        raise ImportError(
            "recognising names needs Presidio: pip install 'headgate[pii-nlp]', and a spaCy model, "
            "for example: python -m spacy download en_core_web_sm"
        ) from error
    made: Analyzer = module.AnalyzerEngine()
    return made
