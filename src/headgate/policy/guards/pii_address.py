"""Postal addresses, where a pattern is enough: a street and its number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from headgate.core.guards import Span

_NAME = r"[A-ZÀ-Þ0-9][\w'’.\-]{0,24}"
_LOCAL_NAME = r"[A-ZÀ-Þ][\w'’\-]{1,30}"
_SUFFIX = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Way|"
    r"Parkway|Pkwy|Circle|Cir|Highway|Hwy|Crescent|Close|Row|Mews|Alley|Trail|Loop)(?![A-Za-z])\.?"
)
_UNIT = r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Floor|Flat|#)\.? ?[0-9A-Za-z]{1,6})?"
_TOWN = rf"(?:,? ?\n?{_NAME}(?: {_NAME}){{0,2}})?"
_FRENCH = ("rue ", "avenue ", "boulevard ", "place ", "chemin ", "allée ", "impasse ", "quai ")
_GERMAN = ("straße ", "strasse ", "str. ", "weg ", "platz ", "allee ", "gasse ", "ufer ", "damm ")
_ROMANCE = ("Calle ", "C/", "Avenida ", "Avda", "Plaza ", "Paseo ", "Via ", "Viale ", "Piazza ", "Corso ", "Rua ")


class _Form(NamedTuple):
    signs: tuple[str, ...]  # one of them is in every address of this form; none: try the pattern on every text
    pattern: re.Pattern[str]


_FORMS = (
    _Form(
        (),
        re.compile(
            r"[0-9](?<![0-9A-Za-z.,\-][0-9])[0-9]{0,4}[A-Za-z]? (?:(?:N|S|E|W|NE|NW|SE|SW)\.? )?"
            rf"(?:{_NAME} ){{1,3}}?{_SUFFIX}{_UNIT}"
            rf"(?:{_TOWN},? [A-Z]{{2}} [0-9]{{5}}(?:-[0-9]{{4}})?"
            rf"|{_TOWN},? [A-Z]{{1,2}}[0-9][A-Z0-9]? [0-9][A-Z]{{2}})?"
        ),
    ),
    _Form(("ox ", "OX "), re.compile(r"[Pp](?<![A-Za-z].)\.? ?[Oo]\.? [Bb](?:ox|OX) [0-9]{1,8}(?![0-9])")),
    _Form(
        _GERMAN,
        re.compile(
            r"[A-ZÄÖÜ](?<!\w.)[\wäöüß.\-]{1,30}(?:straße|strasse|str\.|weg|platz|allee|gasse|ufer|damm) "
            r"[0-9]{1,3} ?[a-zA-Z]?(?!\w)(?:,? [0-9]{4,5} [A-ZÄÖÜ][\wäöüß\-]{1,30})?"
        ),
    ),
    _Form(
        _FRENCH,
        re.compile(
            r"[0-9](?<![\w.,\-].)[0-9]{0,3}(?: ?(?:bis|ter))?,? "
            r"(?:rue|avenue|boulevard|place|chemin|allée|impasse|quai)"
            rf"(?: (?:de|du|des|la|le|les)){{0,3}} (?:[dl]['’])?{_LOCAL_NAME}(?: {_LOCAL_NAME}){{0,3}}"
            rf"(?:,? [0-9]{{5}} {_LOCAL_NAME})?"
        ),
    ),
    _Form(
        _ROMANCE,
        re.compile(
            r"[CAPVR](?<!\w.)(?<=[CAPVR])(?:alle|/|venida|vda\.?|laza|aseo|ia|iale|iazza|orso|ua)"
            rf"(?: (?:de|del|della|di|da|do|dos|la|las|los)){{0,3}} {_LOCAL_NAME}"
            r"(?: (?:[A-ZÀ-Þ]|de|del|di|da|do)[\w'’\-]{0,30}){0,3},? (?:n\.?º? ?)?[0-9]{1,4}(?!\w|[.,][0-9])"
            rf"(?:,? [0-9]{{4,5}} {_LOCAL_NAME})?"
        ),
    ),
)

_YEAR = re.compile(r"(?:19|20)[0-9]{2} ")
_WHEN_WORDS = "in since from by until the of during after before In Since The"
_WHEN = frozenset(_WHEN_WORDS.split())
"""Before a year: "since 2011 Wall Street"."""


def addresses(text: str) -> Iterator[Span]:
    """Streets with a house number as English, German, French, Spanish, Italian and Portuguese write them; PO boxes."""
    for form in _FORMS:
        if form.signs and not any(map(text.__contains__, form.signs)):
            continue
        for found in form.pattern.finditer(text):
            written = found.group()
            if _YEAR.match(written) is None or _word_before(text, found.start()) not in _WHEN:
                yield Span(found.start(), found.start() + len(written.rstrip(" ,\n")), "address")


def _word_before(text: str, start: int) -> str:
    words = text[max(0, start - 16) : start].split()
    return words[-1] if words else ""
