"""What is planted: credentials of every kind and personal data, each found by one search. None of it is real."""

from __future__ import annotations

import random
import string

_RNG = random.Random(20261121)


def _drawn(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(_RNG.choice(alphabet) for _ in range(count))


HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits

KEYS = {
    "anthropic": "sk-" + "ant-api03-" + _drawn(60),
    "openai": "sk-" + "proj-" + _drawn(60),
    "headgate": "hg-" + "abcd1234-" + _drawn(32),
    "aws": "AK" + "IA" + _drawn(16, UPPER),
    "github": "gh" + "p_" + _drawn(36),
    "gitlab": "gl" + "pat-" + _drawn(20),
    "slack": "xo" + "xb-233595380389-2547126945324-" + _drawn(24),
    "stripe": "sk_" + "live_" + _drawn(24),
    "google": "AI" + "za" + _drawn(35),
    "sendgrid": "S" + "G." + _drawn(22) + "." + _drawn(43),
    "npm": "npm" + "_" + _drawn(36),
    "huggingface": "h" + "f_" + _drawn(34),
    "databricks": "da" + "pi" + _drawn(32, HEX),
    "groq": "gs" + "k_" + _drawn(52),
}
"""As their makers shape them, so that the guards know them."""

PERSONAL = {
    "card": "4539 5787 6362 1486",
    "iban": "DE02 1203 0000 0000 2020 51",
    "mail": "ada.canary.5f0c@mail-of-canaries.org",
    "phone": "+49 30 90182055",
    "ssn": "521-44-9184",
}

TOLD = " ; ".join([*KEYS.values(), *(f"my {kind}: {value}" for kind, value in PERSONAL.items())])
"""All of them in one text."""


def forms(value: str) -> set[str]:
    """A value, and what would say as much: without its spaces, and as a URL has it."""
    from urllib.parse import quote, quote_plus

    plain = {value, value.replace(" ", ""), value.replace(" ", "").replace("-", "")}
    return plain | {quote(each) for each in plain} | {quote_plus(each) for each in plain}
