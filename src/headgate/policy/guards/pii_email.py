"""E-mail addresses, as RFC 5321 has them where they are not quoted."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headgate.core.guards import Span

_LETTERS = r"A-Za-z0-9À-ɏͰ-ϿЀ-ӿ"
# Scripts without spaces between words (Chinese, Japanese) stand right beside addresses: they are not part of them.
_LOCAL = re.compile(rf"[{_LETTERS}._%+'\-]{{1,64}}")
"""Read backwards from the @."""
_DOMAIN = re.compile(
    rf"(?:[{_LETTERS}](?:[{_LETTERS}\-]{{0,61}}[{_LETTERS}])?\.){{1,8}}(?:xn--[a-z0-9\-]{{2,59}}|[A-Za-zÀ-ɏͰ-ϿЀ-ӿ]{{2,24}})(?![{_LETTERS}])"
)
_SPELLED = re.compile(r"[\[(] ?at ?[\])] ?([\w-]{1,63}(?: ?(?:\.|[\[(] ?dot ?[\])]) ?[\w-]{2,63}){1,4})", re.IGNORECASE)
_URL_WITH_PASSWORD = re.compile(r"://[^\s/?#:@]{0,64}:[^\s/?@]*\Z")
_SERVICES = frozenset({"git", "hg", "svn"})
"""Users that stand for a service: `git@host` is nobody's address."""


def emails(text: str) -> Iterator[Span]:
    """Addresses with an @; and those that spell it, "ada (at) example (dot) com"."""
    at = text.find("@")
    while at >= 0:
        found = _around(text, at)
        if found is not None:
            yield found
        at = text.find("@", at + 1)
    if "at)" in text or "at]" in text or "AT]" in text:
        for spelled in _SPELLED.finditer(text):
            gap = text[spelled.start() - 1 : spelled.start()] == " "
            start = _local_start(text, spelled.start() - gap)
            if start < spelled.start() - gap:
                yield Span(start, spelled.end(), "email")


def _local_start(text: str, at: int) -> int:
    local = _LOCAL.match(text[max(0, at - 64) : at][::-1])
    return at - local.end() if local else at


def _around(text: str, at: int) -> Span | None:
    domain = _DOMAIN.match(text, at + 1)
    if domain is None:
        return None
    start = _local_start(text, at)
    while start < at and text[start] in ".-'%":
        start += 1
    if start == at or text[start:at].lower() in _SERVICES:
        return None
    if _URL_WITH_PASSWORD.search(text, max(0, at - 100), at):
        return None  # a secret's business
    return Span(start, domain.end(), "email")
