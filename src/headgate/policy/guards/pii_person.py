"""What is told by its label: dates of birth, passports, driving licences, bank accounts; and postal addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from headgate.core.guards import Span
from headgate.policy.guards.checks import valid
from headgate.policy.guards.pii_words import topics

MONTH = (
    r"(?:jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez|ene|abr|ago|dic|janv|févr|avr|juin|juil|août|déc|gen|mag|giu|lug|set|ott)"
    r"[^\W\d_]{0,7}\.?"
)
_DATE = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9]{1,4}[./\-][0-9]{1,2}[./\-][0-9]{1,4}"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th|\.|º)? (?:of |de )?{MONTH},? (?:de |del )?[0-9]{{4}}"
    r"|[0-9]{4}年[0-9]{1,2}月[0-9]{1,2}日)(?![0-9])",
    re.IGNORECASE,
)
_DATE_AMERICAN = re.compile(rf"(?<![^\W_]){MONTH} [0-9]{{1,2}}(?:st|nd|rd|th)?,? [0-9]{{4}}(?![0-9])", re.IGNORECASE)
_BORN = (
    "born", "BORN", "Born", "irth", "IRTH", "dob", "DOB", "DoB", "eboren", "eburts", "nacim", "nacid",
    "né ", "née ", "naiss",
    "nascit", "nato", "nata", "nascim", "nascid", "geboorte", "född", "yntymäaika", "urodz",
    "生年月日", "出生", "생년월일",
)  # fmt: skip
_PAPERS = (
    "assport", "ASSPORT", "eisepass", "asaport", "asseport", "assaport", "aspoort", "assnummer", "icen",
    "ICEN", "DL ", "dl ", "ührerschein",
    "ermis", "atente", "arnet", "ccount", "CCOUNT", "cct", "onto", "ABA", "aba", "outing", "OUTING", "rtn",
    "RTN", "ort", "cuenta", "ompte",
    "パスポート", "护照", "여권",
)  # fmt: skip
"""Parts of the words for them: a text without any is not looked through."""

_BORN_WITHIN = 36
"""Characters: "born" says what the next date is, not the one after that."""

_PASSPORT = re.compile(r"[A-Z]{0,3}[0-9]{6,9}[A-Z]{0,2}|[CFGHJKLMNPRTVWXYZ0-9]{9,10}")
_LICENCE = re.compile(r"[A-Z0-9]+(?:-[A-Z0-9]+)*")
_ACCOUNT = re.compile(r"[0-9]{2,17}(?:-[0-9]{1,10}){0,3}")
_YEARS = re.compile(r"(?:19|20)[0-9]{2}-(?:19|20)[0-9]{2}")
_SORT_CODE = re.compile(r"[0-9]{2}-[0-9]{2}-[0-9]{2}")


def births(text: str) -> Iterator[Span]:
    """Dates after a word for birth."""
    if not any(map(text.__contains__, _BORN)):
        return
    for pattern in (_DATE, _DATE_AMERICAN):
        for found in pattern.finditer(text):
            low = max(0, found.start() - _BORN_WITHIN)
            if "date_of_birth" in topics(text[low : found.start()], found.start() - low):
                yield Span(*found.span(), "date_of_birth")


def documents(text: str, tokens: Iterable[tuple[int, int]]) -> Iterator[Span]:
    """Passports, driving licences, bank accounts, routing numbers and sort codes, after their label."""
    if not any(map(text.__contains__, _PAPERS)):
        return
    for start, end in tokens:
        if 6 <= end - start <= 24:
            written = text[start:end]
            if sum(map(str.isdigit, written)) >= 4:
                kind = _document(written.upper(), text, start)
                if kind:
                    yield Span(start, end, kind)


def _document(written: str, text: str, start: int) -> str:
    spoken = topics(text, start)
    if not spoken:
        return ""
    if "us_bank_routing" in spoken and len(written) == 9 and written.isdigit() and valid("us.rtn", written):
        return "us_bank_routing"
    if "uk_sort_code" in spoken and _SORT_CODE.fullmatch(written):
        return "uk_sort_code"
    if "passport" in spoken and _PASSPORT.fullmatch(written):
        return "passport"
    if "driving_licence" in spoken and _LICENCE.fullmatch(written) and len(written) <= 20:
        return "driving_licence"
    if "bank_account" in spoken and _ACCOUNT.fullmatch(written) and not _YEARS.fullmatch(written):
        return "bank_account"
    return ""
