"""Secrets that are told by what is around them: tokens of three parts, PEM blocks, passwords in URLs, headers."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from headgate.core.guards import Span
from headgate.policy.guards.secret_shapes import is_placeholder, is_random, stands_alone

_JWT = re.compile(
    r"eyJ[A-Za-z0-9_\-]{8,}+(?:\.[A-Za-z0-9_\-]{8,}+(?:\.[A-Za-z0-9_\-]*+){0,3}"
    # Its first part, begun at the end of what there is: a stream must not wait for the dot.
    r"|\.?[A-Za-z0-9_\-]{0,8}\Z(?<=eyJ[A-Za-z0-9_.\-]{30}))"
)
_JWT_RUN = re.compile(r"[A-Za-z0-9_\-]*+")
_JWT_BEGUN = re.compile(r"eyJ(?:hbGci|0eXAi|raWQi|4NXQi|lbmMi|jdHki|6aXAi)")
"""The JSON of a header that begins with alg, typ, kid, x5t, enc, cty or zip."""

_PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_LINE_ENDS = r"\s|\\+[nr]|[\"'>|#+]"
_PEM_HEADER = r"[A-Za-z\-]{2,20}: ?[^\n]{0,80}"  # Proc-Type, Version
_PEM_BODY = re.compile(rf"(?:{_LINE_ENDS}|{_PEM_HEADER}\n|[A-Za-z0-9+/=]{{16,}}+)*+(?:[A-Za-z0-9+/=]+\Z)?")
_PEM_BEGUN = re.compile(
    rf"(?:{_LINE_ENDS}|{_PEM_HEADER}\n){{0,64}}+[A-Za-z0-9+/=]{{16}}"
    rf"|(?:{_LINE_ENDS}){{0,8}}+{_PEM_HEADER}(?:\Z|\n(?:{_LINE_ENDS}|{_PEM_HEADER}\n){{0,64}}+(?:{_PEM_HEADER}|[A-Za-z0-9+/=]{{0,15}})\Z)"
)
_END_WITHIN = 200
"""Characters after the body in which its END may come: one further away is another block's."""

_PASSWORD_IN_URL = re.compile(
    r"://([^\s/?#:@\"'<>`]{0,64}):([^\s/@\"'<>`]{3,256}(?:@[^\s/@\"'<>`]{1,64}(?=@))?)@[\w.\-\[]"
)
_BEARER = re.compile(r"(?:[Bb]earer|BEARER|[Tt]oken)[ \t]{1,4}([A-Za-z0-9._~+/\-]{16,512}={0,2})")
_BASIC = re.compile(r"[Bb]asic[ \t]{1,4}([A-Za-z0-9+/]{8,512}={0,2})(?![A-Za-z0-9+/=])")


def structured_secrets(text: str) -> Iterator[Span]:
    """JWTs, private keys in PEM, passwords in URLs, bearer tokens and basic credentials."""
    if "eyJ" in text:
        yield from _jwts(text)
    if "-----BEGIN " in text:
        yield from _private_keys(text)
    if "://" in text and "@" in text:
        for found in _PASSWORD_IN_URL.finditer(text):
            if not is_placeholder(found.group(2)):
                yield Span(*found.span(2), "url_password")
    if "earer" in text or "BEARER" in text or "oken " in text:
        for found in _BEARER.finditer(text):
            if not is_placeholder(found.group(1)) and is_random(found.group(1), least=16, bits=3.2):
                yield Span(*found.span(1), "bearer_token")
    if "asic " in text:
        for found in _BASIC.finditer(text):
            if _is_basic(found.group(1)):
                yield Span(*found.span(1), "basic_credentials")


def _jwts(text: str) -> Iterator[Span]:
    at = text.find("eyJ")
    while at >= 0:
        found = _JWT.match(text, at)
        if found is None:
            # Whatever begins later in the same run of characters ends where this has ended: it is none either, and is
            # not tried, or a run of nothing but beginnings would cost the square of its length.
            end = _JWT_RUN.match(text, at + 3).end()  # type: ignore[union-attr]  # it matches nothing, too
        else:
            end = found.end()
            if stands_alone(text, at) and ("." in found.group() or _JWT_BEGUN.match(found.group())):
                yield Span(at, end, "jwt")
        at = text.find("eyJ", end)


def _private_keys(text: str) -> Iterator[Span]:
    """From BEGIN to END; where END is missing, as far as it looks like one: a stream may still be at it."""
    place = 0
    end: re.Match[str] | None = None
    looked = False
    while (begun := _PEM.search(text, place)) is not None:
        place = begun.end()
        if _PEM_BEGUN.match(text, place) is None:
            continue  # quoted without a key
        if not looked or (end is not None and end.start() < place):
            end, looked = _PEM_END.search(text, place), True
        body = _PEM_BODY.match(text, place)
        stop = body.end() if body else place
        if end is not None and end.start() <= stop + _END_WITHIN and _PEM.search(text, stop, end.start()) is None:
            stop = max(stop, end.end())
        yield Span(begun.start(), stop, "private_key")
        place = stop


def _is_basic(value: str) -> bool:
    try:
        plain = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return False
    user, colon, password = plain.partition(":")
    return (
        bool(colon)
        and user.isprintable()
        and len(password) >= 3
        and password.isprintable()
        and not is_placeholder(password)
    )
