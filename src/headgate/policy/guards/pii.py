"""Personal data in a text: who, where to reach them, and the numbers that stand for them.

Recognisers are pure and linear in the length of the text. They look at published formats, at check digits, and at the
words before a number; names of persons need a language model, and come with the extra ``pii-nlp`` (`pii_presidio`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from headgate.core.guards import Span
from headgate.policy.guards.pii_address import addresses
from headgate.policy.guards.pii_email import emails
from headgate.policy.guards.pii_money import cards, ibans
from headgate.policy.guards.pii_national_ids import KNOWN, national_ids
from headgate.policy.guards.pii_network import machine_addresses
from headgate.policy.guards.pii_person import MONTH, births, documents
from headgate.policy.guards.pii_phone import phones
from headgate.policy.guards.pii_tokens import numbered_tokens
from headgate.policy.guards.spans_resolved import SEEN_BACK, resolved

PII_KINDS: tuple[str, ...] = (
    "email", "iban", "card", *(each.kind for each in KNOWN), "us_bank_routing", "uk_sort_code", "passport",
    "driving_licence", "bank_account", "ip", "mac", "date_of_birth", "phone", "address",
)  # fmt: skip
"""Every type that `find_pii` gives a span, the most specific first."""

_RANK = {kind: place for place, kind in enumerate(PII_KINDS)}
_DIGIT = re.compile(r"[0-9]")
_FOUR_DIGITS = re.compile(r"(?:[0-9][^0-9\n]{0,8}){3}[0-9]")


def find_pii(text: str, *, regions: Sequence[str] = (), kinds: Iterable[str] | None = None) -> list[Span]:
    """The personal data in a text, sorted, without overlaps; overlapping finds are one span of the more specific type.

    Args:
        regions: countries (ISO 3166-1 alpha-2) whose telephone numbers count without a word that announces them.
        kinds: only these of `PII_KINDS`; default: all.
    """
    found = resolved(_all(text, regions), _rank)
    if kinds is None:
        return found
    wanted = frozenset(kinds)
    return [span for span in found if span.type in wanted]


def _rank(kind: str) -> int:
    return _RANK.get(kind, len(_RANK))


def _all(text: str, regions: Sequence[str]) -> Iterator[Span]:
    if "@" in text or "at)" in text or "at]" in text or "AT]" in text:
        yield from emails(text)
    if ":" in text or "." in text:
        yield from machine_addresses(text)
    if _DIGIT.search(text) is None:
        return
    yield from addresses(text)
    if _FOUR_DIGITS.search(text) is None:
        return
    yield from births(text)
    yield from cards(text)
    yield from ibans(text)
    tokens = numbered_tokens(text)
    yield from national_ids(text, tokens)
    yield from documents(text, tokens)
    yield from phones(text, regions)


@dataclass(frozen=True, slots=True)
class PiiRecogniser:
    """`find_pii` as a `Recogniser`, with its settings."""

    regions: tuple[str, ...] = ()
    kinds: frozenset[str] | None = None
    name: str = "pii"

    def find(self, text: str) -> list[Span]:
        """See `find_pii`."""
        return find_pii(text, regions=self.regions, kinds=self.kinds)


_SMALL = (
    r"(?:of|and|bis|ter|x|ext|de|del|della|di|da|do|du|des|la|las|le|les|los|"
    r"rue|avenue|boulevard|place|chemin|allée|impasse|quai)"
)
_OPEN = re.compile(
    r"(?:\S+"  # a word: an e-mail address may begin so
    # A number, and what may go on with it: groups, a street, a month, a town.
    rf"|[(+]{{0,2}}[A-Za-z]{{0,2}}[0-9]\S*(?:\s+(?:[0-9(#A-ZÀ-Þ]\S*|{_SMALL}|[dl]['’]\S*|{MONTH}))*\s*(?:[^\W\d_]{{1,12}}\.?)?"
    rf"|(?i:{MONTH})\s+[0-9]{{0,2}}(?:st|nd|rd|th)?,?\s*"
    r"|[A-Z]{2}\s(?:[0-9]{1,2}\s?)*[A-D]?"
    r"|\S*(?:straße|strasse|str\.|weg|platz|allee|gasse|ufer|damm)\s+(?:[0-9]\S*\s*)?(?:[A-Za-z],?\s*)?(?:[0-9]{4,5}\s*)?"
    r"|(?:Calle|C/|Avenida|Avda\.?|Plaza|Paseo|Via|Viale|Piazza|Corso|Rua)\s.*"
    r"|(?i:P\.?\s?O\.?\s(?:Box\s)?)[0-9]*|\S+\s(?i:[\[(]\s?at\b).*"
    r")\Z",
    re.DOTALL,
)


def tail_start(text: str) -> int:
    """The index from which the end of a text that grows could still be, or become, part of a span.

    What stands before it may leave; whoever looks at the rest later needs the `pii_words.REACH` characters before it
    too, for the words that announce a number. Never further back than `SEEN_BACK` characters: of what is longer than
    that (an address with its town) the beginning may have left by the time that its end is known.
    """
    low = max(0, len(text) - SEEN_BACK)
    window = text[low:]
    for start in _starts(window):
        if _OPEN.match(window, start):
            return low + start
    return len(text)


def _starts(window: str) -> Iterator[int]:
    """Where something may begin: at the window's first character, and wherever a letter or digit follows none."""
    before = False
    for place, each in enumerate(window):
        inside = each.isalnum()
        if not each.isspace() and not (inside and before):
            yield place
        before = inside
