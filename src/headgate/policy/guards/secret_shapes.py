"""What is no secret although it looks like one: placeholders; and how random a string is."""

from __future__ import annotations

import math
import re
from collections import Counter

_PLACEHOLDER = re.compile(
    r"(?:x{4,}|\*{3,}|\.{3}|…|_{4,}|0{8,}|example|sample|your[-_ ]?|my[-_]?(?:secret|key|token|password|api)|"
    r"placeholder|change[-_]?me|"
    r"replace|redacted|dummy|fake|foobar|insert|todo|<[^>]{0,40}>|\[[a-z]{2,20}\]|\$\{|\$\(|\{\{|%\(|%s|\benv\b|getenv|environ|process\.env|"
    r"1234567890?(?:abc|$)|abcdef(?:ghij|123))",
    re.IGNORECASE,
)
_LOOKED_AT = 128
"""Characters of a value: enough to tell."""

_COMMON = (
    "password passwd pass pwd secret token key apikey api_key username user admin root test testing none "
    "null nil true false undefined string str bytes int float bool optional any required default empty "
    "hidden unknown value auth basic bearer digest hunter2 letmein qwerty 123456 12345678 postgres mysql "
    "guest"
)
_WORDS = frozenset(_COMMON.split())
_IDENTIFIER = re.compile(r"[A-Za-z_]+(?:[.\-_:/][A-Za-z_]+)*[?!.,:;]?")
_CLASSES = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"), re.compile("[^A-Za-z0-9]"))


def entropy(text: str) -> float:
    """Bits per character, of the text's own characters (Shannon): 0 for "aaaa", 4 for 16 that all differ."""
    if not text:
        return 0.0
    total = len(text)
    return -sum(count / total * math.log2(count / total) for count in Counter(text).values())


def is_placeholder(value: str) -> bool:
    """What stands where a secret would be: "xxxx", "<your-key>", "${VAR}", "changeme", "password"."""
    return value.lower() in _WORDS or len(set(value)) <= 3 or _PLACEHOLDER.search(value[:_LOOKED_AT]) is not None


def is_random(value: str, *, least: int, bits: float) -> bool:
    """Whether a value looks drawn and not written: so long, so many bits a character, digits or mixed case in it."""
    if len(value) < least or (_IDENTIFIER.fullmatch(value) and value.lower() == value):
        return False
    if not any(map(str.isdigit, value)) and (
        len(value) < 24 or value.lower() == value or any(each in value for each in "._-")
    ):
        return False
    return entropy(value[:_LOOKED_AT]) >= bits


def is_password(value: str) -> bool:
    """Whether a value that is called a password could be one: 8 characters or more of three classes, or random."""
    if not 6 <= len(value) <= 128 or is_placeholder(value):
        return False
    classes = sum(each.search(value) is not None for each in _CLASSES)
    if _IDENTIFIER.fullmatch(value):
        return False
    return (len(value) >= 8 and classes >= 3) or (
        classes >= 2 and entropy(value) >= 2.5 and any(map(str.isdigit, value))
    )


def stands_alone(text: str, start: int) -> bool:
    """Whether no word goes on at `start`."""
    before = text[max(0, start - 2) : start]
    if before in ("\\n", "\\t", "\\r"):
        return True  # an escape of JSON's, and no letter
    return not ((before[-1:].isalnum() and before.isascii()) or before.endswith("_"))
