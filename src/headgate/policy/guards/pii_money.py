"""Payment cards and IBANs, each with its check digits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headgate.core.guards import Span
from headgate.policy.guards.checks import valid
from headgate.policy.guards.pii_words import says_else, topics

_CARD = re.compile(
    r"[0-9](?<![0-9A-Za-z_.,+][0-9])(?:[0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    r"|[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5}|[0-9]{11,18}+)(?![0-9A-Za-z_]|[.,-][0-9])"
)
# Who issues what, from the published ranges (ISO/IEC 7812): the first digits, and how many there are in all.
_ISSUED = re.compile(
    r"(?:4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}"  # American Express
    r"|3[0689][0-9]{12}(?:[0-9]{2})?"  # Diners
    r"|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}(?:[0-9]{3})?"  # Discover
    r"|(?:2131|1800)[0-9]{11}|35[0-9]{14}"  # JCB
    r"|62[0-9]{14,17}|(?:60|8[12])[0-9]{14}"  # UnionPay, RuPay
    r"|(?:220[0-4]|9792)[0-9]{12}"  # Mir, Troy
    r"|(?:5[06-9]|6[0-9])[0-9]{10,17})"  # Maestro
)
_SURE = frozenset({14, 15, 16, 19})
"""Lengths at which the issuer's digits and the check digit are enough; others are too many things besides."""

_WEAK = frozenset({"50", "56", "57", "58", "59", "60", "61", "63", "66", "67", "68", "69", "81", "82"})
"""Wide ranges, of which few numbers are in use: with a word only."""

_IBAN = re.compile(r"[0-9]{2}(?<=[A-Za-z]{2}[0-9]{2})(?<![0-9A-Za-z][A-Za-z]{2}[0-9]{2})(?=[ -]?[0-9A-Za-z]{2})")
_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM TL SO",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE",
        31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""How long a country's IBAN is (the registry of ISO 13616)."""


def cards(text: str) -> Iterator[Span]:
    """Card numbers: an issuer's first digits, the right length, Luhn; 12 and 13 digits after a word that says so."""
    for found in _CARD.finditer(text):
        digits = found.group().replace(" ", "").replace("-", "")
        if digits[0] in "0179" and digits[:4] not in ("1800", "9792"):
            continue
        if len(set(digits)) > 1 and valid("luhn", digits) and _is_card(text, found, digits):
            yield Span(*found.span(), "card")


def _is_card(text: str, found: re.Match[str], digits: str) -> bool:
    if len(digits) == len(found.group()) and says_else(text, found.start()):
        return False
    spoken = topics(text, found.start())
    if "card" in spoken:
        return True  # whoever has issued it
    issued = _ISSUED.fullmatch(digits) is not None
    return issued and (
        "account" in spoken or (len(digits) in _SURE and (digits[:2] not in _WEAK or digits[:4] == "6011"))
    )


def ibans(text: str) -> Iterator[Span]:
    """IBANs in one piece or in groups, in either case, of the right length for their country, with the right check."""
    for found in _IBAN.finditer(text):
        start = found.start() - 2
        length = _LENGTHS.get(text[start : start + 2].upper())
        end = length and _end(text, start, length)
        if end and valid("iban", text[start:end].replace(" ", "").replace("-", "").upper()):
            yield Span(start, end, "iban")


def _end(text: str, start: int, length: int) -> int:
    """Where `length` letters and digits end that single spaces or hyphens may group; 0 if there are fewer, or more."""
    seen, place, gap = 0, start, False
    while place < len(text) and seen < length:
        each = text[place]
        if each.isascii() and each.isalnum():
            seen, gap = seen + 1, False
        elif each in " -" and not gap:
            gap = True
        else:
            return 0
        place += 1
    after = text[place : place + 1]
    return place if seen == length and not (after.isascii() and after.isalnum()) else 0
