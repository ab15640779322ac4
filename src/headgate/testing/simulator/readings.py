"""The ways in which a text can be read by a model that does whatever it is told: as it stands, and decoded.

Bounded: at most :data:`MOST` characters of a text are read, and at most :data:`RUNS` encoded runs in it are decoded.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64decode
from binascii import unhexlify
from codecs import decode as decoded_by
from collections.abc import Iterator
from urllib.parse import unquote

MOST = 50_000
RUNS = 20

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[ :]?){16,}")
_SPELLED = re.compile(r"(?:\S[ .-]{1,3}){8,}\S")  # l i k e   t h i s
_HIDDEN = dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), 0xAD, 0xFEFF])
_MARKS = re.compile("[\ue000-\uf8ff]")  # the private use area, where datamarking takes its marks from
_TAGS = {0xE0000 + code: code for code in range(0x20, 0x7F)}  # invisible copies of ASCII
_ALIKE = str.maketrans("аеорсухіјѕԁԛԝΑΒΕΗΙΚΜΝΟΡΤΧ", "aeopcyxijsdqwABEHIKMNOPTX")


def readings(text: str) -> Iterator[str]:
    """`text` as it stands, and then whatever else it may be read as. None is told twice."""
    told: set[str] = set()
    for reading in _all(text[:MOST]):
        if reading not in told:
            told.add(reading)
            yield reading


def _all(text: str) -> Iterator[str]:
    yield text
    yield unicodedata.normalize("NFKC", text.translate({**_HIDDEN, **_TAGS}).translate(_ALIKE))
    yield _MARKS.sub(" ", text)
    if "%" in text:
        yield unquote(text)
    yield decoded_by(text, "rot13")
    yield text[::-1]
    for run in list(_SPELLED.finditer(text))[:RUNS]:
        yield _together(run[0])
    for run in list(_BASE64.finditer(text))[:RUNS]:
        yield _text(_from_base64(run[0]))
    for run in list(_HEX.finditer(text))[:RUNS]:
        yield _text(_from_hex(run[0]))


def _together(run: str) -> str:
    """Single characters with one separator between them, words with more."""
    return re.sub(r"[ .-]{2,}|(?<=\S)[ .-](?=\S)", lambda gap: " " if len(gap[0]) > 1 else "", run)


def _from_base64(run: str) -> bytes:
    plain = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4))
    except ValueError:
        return b""


def _from_hex(run: str) -> bytes:
    digits = re.sub(r"[ :]", "", run)
    try:
        return unhexlify(digits[: len(digits) // 2 * 2])
    except ValueError:
        return b""


def _text(found: bytes) -> str:
    try:
        return found.decode()
    except UnicodeDecodeError:
        return ""
