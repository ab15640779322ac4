"""Values that are given a secret's name: ``password = "..."``, ``api_key: ...``, "the password is ..."."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headgate.core.guards import Span
from headgate.policy.guards.secret_shapes import entropy, is_password, is_placeholder, is_random

_STEMS = tuple(
    form
    for stem in ("pass", "pwd", "secret", "token", "key", "credential", "contraseña")
    for form in (stem, stem.title(), stem.upper())
)
# What may stand between a stem and the sign: the rest of the name, what closes quotes and brackets. No comparisons.
_ASSIGNED = re.compile(r"[A-Za-z_]{0,10}[\"'`\]\\)]{0,4}[ \t]{0,4}(?::=|=>|=(?!=)|:)")
_NAME_BACKWARDS = re.compile(r"[A-Za-z0-9_.\-]{1,49}(?: [A-Za-z0-9_]{1,21}){0,3}")
_VALUE = re.compile(r"[ \t]{0,4}(?:\\?[\"'`]|[rbfu][\"'])?([^\s\"'`,;<>(){}\[\]\\]{6,512})")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NAME_BACK = 72
_NESTED = 4
"""Assignments within one value ("a=b&token=...") that are looked at: values are long, and no text may cost a square."""

_HASHES = re.compile(r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})")

_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")

_PASSWORDS = frozenset({"password", "passwd", "pwd", "passphrase", "passwort", "contraseña", "passcode", "pass", "pw"})
_TOKENS = frozenset(
    {
        "secret",
        "token",
        "apikey",
        "credential",
        "credentials",
        "apitoken",
        "accesstoken",
        "secretkey",
        "accesskey",
        "authtoken",
    }
)
_BEFORE_KEY_WORDS = (
    "api access secret private auth account signing encryption license service admin master client app "
    "application storage subscription shared webhook session deploy bot hmac"
)
_BEFORE_KEY = frozenset(_BEFORE_KEY_WORDS.split())
_SPOKEN = re.compile(r"ass(?:word|code|phrase) (?:is|was|to)(?: now| set to)?:? {0,2}[\"'“`]?([^\s\"'“”`,]{6,64})")


def assigned_secrets(text: str) -> Iterator[Span]:
    """Values after a secret's name and a sign that assigns; passwords that a sentence tells."""
    reached = nested = 0
    for sign in _signs(text):
        nested = nested + 1 if sign < reached else 0
        if nested > _NESTED:
            continue
        kind = _named(text, sign)
        value = _VALUE.match(text, sign) if kind else None
        if value is not None:
            reached = max(reached, value.end())
            span = _judged(kind, value)
            if span is not None:
                yield span
    if "ass" not in text:
        return
    for spoken in _SPOKEN.finditer(text):
        value_said = spoken.group(1).rstrip(".!?)")
        if is_password(value_said) and not value_said.endswith(("=", ":")):
            yield Span(spoken.start(1), spoken.start(1) + len(value_said), "password")


def _signs(text: str) -> list[int]:
    """Where the signs end that assign to a name with a secret's word in it, in order."""
    found: set[int] = set()
    for stem in _STEMS:
        place = text.find(stem)
        while place >= 0:
            assigned = _ASSIGNED.match(text, place + len(stem))
            if assigned is not None:
                found.add(assigned.end())
            place = text.find(stem, place + len(stem))
    return sorted(found)


def _named(text: str, sign: int) -> str:
    """ "password", "token", "aws" or "key", by the name that stands before the sign; "" if it is none of a secret."""
    before = text[max(0, sign - _NAME_BACK) : sign].rstrip(" \t:=>")
    if before.endswith(("]", '"', "'", "`", "\\", ")")):
        before = before.rstrip("]\"'`\\)")
    named = _NAME_BACKWARDS.match(before[::-1])
    if named is None:
        return ""
    parts = [part.lower() for part in _PART.findall(named.group()[::-1])]
    if not parts:
        return ""
    last, before_last = parts[-1], parts[-2] if len(parts) > 1 else ""
    if last in _PASSWORDS:
        return "password"
    if last == "key" and "secret" in parts and ("access" in parts or "aws" in parts):
        return "aws"
    if last in _TOKENS or (last == "key" and before_last in _BEFORE_KEY):
        return "token"
    return "key" if last == "key" and len(parts) == 1 else ""


def _judged(kind: str, value: re.Match[str]) -> Span | None:
    written = value.group(1).rstrip(".:!?")
    span = value.start(1), value.start(1) + len(written)
    if is_placeholder(written) or written.startswith(("$", "%", "{", "http://", "https://")):
        return None
    if written.startswith("/") and len(written) < 80:
        return None  # a path
    called = value.string[value.end() : value.end() + 1] in ("(", "[")
    if called and _PATH.fullmatch(written):
        return None  # hashlib.sha256(...)
    if kind == "password":
        return Span(*span, "password") if is_password(written) else None
    if kind == "aws" and len(written) == 40 and entropy(written) >= 3.5:
        return Span(*span, "aws_secret_key")
    if _PATH.fullmatch(written) and (not any(map(str.isdigit, written)) or ("." in written and len(written) < 40)):
        return None  # settings.TOKEN, rfc3161.TimeStampToken
    if kind == "key":
        drawn = is_random(written, least=24, bits=3.8) and _HASHES.fullmatch(written) is None and "/" not in written
        return Span(*span, "assigned_secret") if drawn else None
    return Span(*span, _assigned(written)) if is_random(written, least=12, bits=3.0) else None


def _assigned(written: str) -> str:
    return "azure_storage_key" if len(written) == 88 and written.endswith("==") else "assigned_secret"
