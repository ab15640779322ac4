"""Finding what is encoded inside of a text: base64, hexadecimal, URL, HTML and Unicode escapes, binary, Morse.

Only what decodes to readable text counts: images, keys, hashes and compressed data do not, and cost a look at their
first bytes. Nothing decodes to more characters than it has itself.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

_B64 = r"[A-Za-z0-9+/_\-]"
_BASE64 = re.compile(
    rf"(?<![A-Za-z0-9+/_\-])(?:{_B64}{{16,}}(?:\r?\n{_B64}{{16,}}){{0,400}}(?:\r?\n{_B64}{{1,76}})?)={{0,2}}"
)
_RUN = re.compile(rf"{_B64}{{16}}")
# Those that are tried on every text begin with a class of characters that are rare in prose, so that it is skimmed.
_HEX = re.compile(r"[0-9c-fC-F][0-9A-Fa-f](?<![0-9A-Fa-f]{3})(?:[ :,]?(?:0x|\\x)?[0-9A-Fa-f]{2}){7,}")
_URL = re.compile(r"%[0-9A-Fa-f]{2}(?:[^\s%]{0,40}%[0-9A-Fa-f]{2}){2,}[^\s%]{0,400}")
_URL_FRONT = re.compile(r"[^\s%]{1,40}\Z")
_ONE = r"(?:\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|U\+[0-9A-Fa-f]{4})"
_ESCAPES = re.compile(rf"{_ONE}(?:[ ]?{_ONE}){{3,}}")
_ESCAPE = re.compile(r"(?:\\u|\\x|U\+)([0-9A-Fa-f]{2,4})")
_ENTITIES = re.compile(r"(?:&#x?[0-9A-Fa-f]{2,6};[ ]?){4,}")
_BINARY = re.compile(r"[01]{8}(?:[ ,]?[01]{8}){3,}(?![01])")
_MORSE = re.compile(r"[.\-]{1,6}(?:(?: {1,3}| ?/ ?)[.\-]{1,6}){8,}(?![.\-])")
_WORDLIKE = re.compile(r"[^\W\d_]{2,}")
_SAMPLE = 96  # bytes of an encoded part that decide whether it is text

_MORSE_CODES = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----."
)
_MORSE_LETTERS = dict(zip(_MORSE_CODES.split(), "abcdefghijklmnopqrstuvwxyz0123456789", strict=True))


def decoded(text: str) -> Iterator[tuple[str, int, int, str]]:
    """What is encoded in a text: (how, start, end, what it says)."""
    long = any(_RUN.search(word) for word in text.split() if len(word) >= 16)
    for how, needs, pattern, decode in _KINDS:
        if needs not in text or (pattern is _BASE64 and not long):
            continue
        for found in pattern.finditer(text):
            start, end = found.span()
            if pattern is _URL and (front := _URL_FRONT.search(text[max(0, start - 40) : start])):
                start -= len(front.group())
            said = decode(text[start:end])
            if said is not None and readable(said):
                yield how, start, end, said


def readable(text: str) -> bool:
    """Whether this is somebody's words: printable, with at least two words, mostly of letters."""
    if len(text) < 6 or not text.replace("\n", "").replace("\t", "").replace("\r", "").isprintable():
        return False
    sample = text[:400]
    letters = sum(map(len, _WORDLIKE.findall(sample)))
    return letters >= 0.5 * len(sample)


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if len(raw) >= 8 and raw[1::2].count(0) * 2 > len(raw) * 0.9:  # UTF-16, as PowerShell's encoded commands are
        return raw.decode("utf-16-le", "replace")
    return None


def _base64(found: str) -> str | None:
    packed = "".join(found.split()).rstrip("=").replace("-", "+").replace("_", "/")
    for skip in (0, 1, 2, 3):  # a part of a longer run may begin anywhere
        head = packed[skip : skip + _SAMPLE]
        if _could_be_text(_unpack(head)):
            return _text(_whole_letters(_unpack(packed[skip:])))
        if "=" in found or len(packed) < 400:
            break
    return None


def _unpack(packed: str) -> bytes:
    packed = packed[: len(packed) - (len(packed) % 4 == 1)]
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4))
    except (binascii.Error, ValueError):
        return b""


def _whole_letters(raw: bytes) -> bytes:
    """Without the beginning and the end of a letter that was cut."""
    start = 0
    while start < min(3, len(raw)) and raw[start] & 0xC0 == 0x80:
        start += 1
    for back in range(1, min(4, len(raw)) + 1):
        if raw[-back] & 0xC0 == 0xC0:
            need = 2 if raw[-back] < 0xE0 else 3 if raw[-back] < 0xF0 else 4
            return raw[start : len(raw) - back] if back < need else raw[start:]
        if raw[-back] < 0x80:
            break
    return raw[start:]


def _could_be_text(raw: bytes) -> bool:
    if len(raw) < 6:
        return False
    controls = sum(1 for byte in raw if byte < 32 and byte not in (9, 10, 13))
    return controls == 0 or raw[1::2].count(0) * 2 > len(raw) * 0.9


def _hex(found: str) -> str | None:
    digits = re.sub(r"0x|\\x|[ :,]", "", found)
    try:
        raw = bytes.fromhex(digits[: len(digits) // 2 * 2])
    except ValueError:
        return None
    return _text(raw) if _could_be_text(raw[:_SAMPLE]) else None


def _url(found: str) -> str | None:
    said = unquote(found, errors="replace").replace("+", " ")
    return said if said != found else None


def _escapes(found: str) -> str | None:
    return "".join(chr(int(code, 16)) for code in _ESCAPE.findall(found))


def _entities(found: str) -> str | None:
    return html.unescape(found).strip()


def _binary(found: str) -> str | None:
    bits = found.replace(" ", "").replace(",", "")
    return _text(bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) // 8 * 8, 8)))


def _morse(found: str) -> str | None:
    words = re.split(r" ?/ ?| {3,}", found)
    said = " ".join("".join(_MORSE_LETTERS.get(letter, "?") for letter in word.split()) for word in words)
    return said if said.count("?") * 4 < len(said) else None


_KINDS: tuple[tuple[str, str, re.Pattern[str], Callable[[str], str | None]], ...] = (
    ("base64", "", _BASE64, _base64),
    ("hex", "", _HEX, _hex),
    ("url", "%", _URL, _url),
    ("escapes", "\\", _ESCAPES, _escapes),
    ("escapes", "U+", _ESCAPES, _escapes),
    ("entities", "&#", _ENTITIES, _entities),
    ("binary", "01", _BINARY, _binary),
    ("morse", "-", _MORSE, _morse),
)
