"""Telephone numbers: with a country code, of a shape that nothing else has, or announced by a word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from headgate.core.guards import Span
from headgate.policy.guards.pii_words import says_else, topics

_EXTENSION = r"(?: ?(?:x|ext\.?|extension|Durchwahl|DW) ?[0-9]{1,6})?"
_BEFORE = r"[0-9(](?<![A-Za-z0-9_.,/+\-].)(?<![0-9]:.)(?<![0-9]\(.)"
_AFTER = r"(?![A-Za-z0-9_]|[\-.,:/][0-9])"
_PLUS = re.compile(
    r"\+(?<![A-Za-z0-9_.+]\+) ?[1-9][0-9]{0,2}(?:[ .\-/]?\(?[0-9]{1,9}+\)?){1,6}(?:-[0-9]{2,6})?"
    + _EXTENSION
    + r"(?![A-Za-z0-9_])"
)
_NATIONAL = re.compile(
    _BEFORE
    + r"(?:(?<=\()[0-9]{2,6}\)[ .\-]?[0-9]{2,8}|(?<!\()[0-9]{1,14}+)(?:[ .\-/][0-9]{2,8}+){0,5}"
    + _EXTENSION
    + _AFTER
)
_DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"
_DATE = re.compile(
    rf"{_DAY}([./\-]){_DAY}\1(?:19|20)?[0-9]{{2}}(?![0-9]|\1[0-9])"
    rf"|(?:19|20)[0-9]{{2}}([./\- ]){_DAY}\2{_DAY}(?![0-9]|\2[0-9])"
)
_SPLIT = re.compile(r"[0-9]+|[^0-9]+")

# Shapes that are no date, no amount and no identifier of another kind.
_SHAPES = (
    re.compile(
        r"(?:001[\-. ]|1[\-. ])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[\-.])[0-9]{3}[\-.][0-9]{4}"
    ),  # North America
    re.compile(r"1?[\-. ]?[2-9][0-9]{2} [2-9][0-9]{2} [0-9]{4}"),
    re.compile(r"[0-9]{2,3}-[0-9]{4}-[0-9]{4}"),  # Japan, Korea, Brazil's cities
    re.compile(r"(?:\([0-9]{2}\) ?|[1-9][0-9] (?!(?:19|20)[0-9]{2}-(?:19|20)))9?[0-9]{4}-[0-9]{4}"),  # Brazil
    re.compile(r"\(0[0-9]{1,5}\)[ .\-]?[0-9]{2,8}(?:[ .\-][0-9]{2,8}){0,3}"),
    re.compile(r"00[1-9][0-9]{0,2}(?:[ .\-][0-9]{2,8}){2,5}"),
)
_TRUNK = re.compile(r"0[1-9][0-9]{0,4}[ .\-/][0-9]{2,8}(?:([ .\-])[0-9]{2,4}(?:\1[0-9]{2,4}){0,3})?")
"""With the 0 that stands for the trunk, in groups that are set apart by one and the same character."""

_BARE = re.compile(r"0[1-9][0-9]{8,9}")
_ZIP = re.compile(r"[0-9]{5}-[0-9]{4}")
"""An American postal code: with a word only."""

_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(?: [0-9]{3})+")

_AMOUNT = re.compile(r"(?![0-9]{4}\.[0-9]{4}\Z)[0-9]+\.[0-9]+|[0-9]{1,10}0{6}|(?:0[xX])?10+")
"""A decimal, or a round number."""

_CHECKS_OFFHAND = 32
_CHARACTERS_A_CHECK = 256
"""A check by phonenumberslite costs up to a millisecond: a text gets so many; beyond them, the shape alone decides."""


def phones(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:
    """Telephone numbers.

    Args:
        regions: countries (ISO 3166, "DE") whose national numbers count without a word that announces them.
    """
    left = _CHECKS_OFFHAND + len(text) // _CHARACTERS_A_CHECK
    if "+" in text:
        for found in _PLUS.finditer(text):
            end = _international(text, found, check=left > 0)
            left -= 1
            if end:
                yield Span(found.start(), end, "phone")
    for found in _NATIONAL.finditer(text):
        written = found.group()
        digits = sum(map(str.isdigit, written))
        if not 7 <= digits <= 21 or _DATE.match(written):
            continue
        if _announced(text, found.start(), written) or _shaped(text, found.start(), written):
            yield Span(*found.span(), "phone")
        elif regions and left > 0:
            left -= 1
            if any(_is_number(written, region, exact=True) for region in regions):
                yield Span(*found.span(), "phone")


def _number_of(written: str) -> str:
    return re.split(r" ?[xeED]", written, maxsplit=1)[0]


def _shaped(text: str, start: int, written: str) -> bool:
    number = _number_of(written)
    plain = number.isdigit()
    digits = sum(map(str.isdigit, number))
    known = any(shape.fullmatch(number) for shape in _SHAPES)
    if not known:
        known = (_TRUNK.fullmatch(number) is not None and 9 <= digits <= 12) or (
            plain and _BARE.fullmatch(number) is not None
        )
    return known and number != "0123456789" and not _ZIP.fullmatch(number) and not says_else(text, start)


def _announced(text: str, start: int, written: str) -> bool:
    spoken = topics(text, start)
    if "phone" not in spoken and "talk" not in spoken:
        return False
    number = _number_of(written)
    if sum(map(str.isdigit, number)) > 15 or _AMOUNT.fullmatch(number) or says_else(text, start):
        return False
    if number.isdigit():
        return "phone" in spoken
    return "phone" in spoken or _THOUSANDS.fullmatch(number) is None or len(number) >= 9


def _international(text: str, found: re.Match[str], *, check: bool) -> int:
    """Where the number that begins there ends; 0 if none does. What is too long for one loses its last groups."""
    written = found.group()
    pieces = _SPLIT.findall(written)
    for _ in range(4):
        candidate = "".join(pieces)
        digits = sum(map(str.isdigit, _number_of(candidate)))
        if digits < 7:
            return 0
        if digits <= 16 and (_is_number(candidate, None, exact=False) if check else digits <= 15):
            return found.start() + len(candidate.rstrip(" ("))
        del pieces[-2:]
        while pieces and not pieces[-1].isdigit() and ")" not in pieces[-1]:
            pieces.pop()
    return 0


def _is_number(written: str, region: str | None, *, exact: bool) -> bool:
    import phonenumbers

    try:
        parsed = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_valid_number(parsed) if exact else phonenumbers.is_possible_number(parsed))
