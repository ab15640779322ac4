"""Links and images in an answer that carry data out: Markdown, HTML, bare addresses; the address is what counts.

A link is an exfiltration where its host is not allowed and it carries data (`carrying.py`). An image is fetched without
a click, so under `strict` any image of a host that is not allowed is. Redaction takes out the address and leaves the
link's text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from headgate.core.guards import Finding, Verdict
from headgate.policy.guards.answer_text import KEPT, Hit, Told
from headgate.policy.guards.argument_tests import in_domain
from headgate.policy.guards.carrying import Private, carries
from headgate.policy.guards.rules import BLOCK, FLAG

REMOVED = "about:blank"
"""In the place of the address of a link or an image."""
REMOVED_BARE = "[link removed]"
LONGEST = 2048
"""Characters of an address: a longer one carries data."""

_TARGET = (
    r"\]\(\s{0,8}<?|\]:\s{0,8}<?|\burl\(\s{0,8}[\"']?"
    r"|\b(?:href|src|srcset|action|formaction|poster|background|data|content|ping)\s{0,4}=\s{0,4}[\"']?"
)
_BARE = r"""(?<![a-z0-9+.-])(?=(?:https?|ftps?|wss?):[/\\])|(?<![\w./@-])(?=www\.[\w-])"""
_CANDIDATE = re.compile(f"(?P<target>{_TARGET})|(?P<bare>{_BARE})", re.IGNORECASE)
_END = re.compile(r"""[\s"'<>)\]}`|]""")
_BEGUN = re.compile(
    r"""(?i)(?:\]\(?\s{0,8}<?|(?<![a-z0-9+.-])(?:h|ht|htt|https?:?|f|ft|ftps?:?|w|ws|wss?:?|www?)"""
    r"""|\b(?:href|src|srcset|action|url)\s{0,4}[=(]?\s{0,4}["']?)\Z"""
)
_BEGUN_WITH = frozenset("hHtTpPsSfFwWcCnNlLeErR:](=<\"' \t\n")  # as its last character
_BEGUN_LONGEST = 24
_SCHEME_LONGEST = 32  # characters, with room for entities
_IMAGE_BEFORE = re.compile(
    r"""(?i)(?:!\[[^\]]{0,512}\]\(\s{0,8}<?|<(?:img|image|input|video|audio|source|track|iframe|frame|embed|object"""
    r"""|link|script|body|table|td|picture|meta|use|portal)\b[^>]{0,512}|\burl\(\s{0,8}["']?)\Z"""
)
_DEFINITION = re.compile(r"\]:\s{0,8}<?\Z")
_IMAGE_REFERENCE = re.compile(r"!\[")
_ABSOLUTE = re.compile(r"(?i)(?:https?|ftps?|wss?):/*([^/?#]*)(.*)", re.DOTALL)
_SCRIPT = re.compile(
    r"(?i)(?:javascript|vbscript|livescript):|data:(?!image/(?:png|jpe?g|gif|webp|avif)\b)[^;,]{0,99}[;,]"
)
_IGNORED = dict.fromkeys([*range(0x21), 0x7F, 0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF])
_PORT = re.compile(r":\d{0,5}\Z")
_NO_ADDRESS = re.compile(r"[^!#-&(-;=?-~]")
_WRITTEN = re.compile(r"\[[A-Za-z][^\[\]\n]{0,94}\d ?\]")
_HERE = frozenset({"localhost", "127.0.0.1", "[::1]", "0.0.0.0"})  # noqa: S104 -- a name in a text, nothing is bound


@dataclass(frozen=True, slots=True)
class LinkRules:
    """What is done about links.

    Attributes:
        mode: "flag", "redact" or "block".
        allow: hosts, as ``acme.example`` or ``*.acme.example``.
        strict: as the profile is: whatever may carry data does.
        tainted: words of third parties are in the conversation.
    """

    mode: str
    allow: Sequence[str] = ()
    strict: bool = False
    tainted: bool = False


class Links:
    """A `TextGuard`. `private` is what the conversation holds."""

    __slots__ = ("_private", "_removing", "_rules", "_scan", "_seen_image")

    def __init__(self, rules: LinkRules, private: Private) -> None:
        self._rules = rules
        self._private = private
        self._scan = 0  # from here on nothing has been settled
        self._removing: re.Pattern[str] | None = None  # what ends the address that is being taken out
        self._seen_image = False

    def look(self, told: Told, *, final: bool) -> int:
        """See `TextGuard`."""
        buf, base = told.buf, told.base
        at = max(self._scan - base, 0)
        if self._removing is not None:
            ended = self._removing.search(buf, at)
            stop = ended.start() if ended else len(buf)
            if stop > at:
                told.hits.append(Hit(base + at, base + stop, None, ""))
            at = stop
            self._scan = base + at
            if ended is None:
                return told.end
            self._removing = None
        while (found := _candidate(buf, at)) is not None:
            start = found.end()
            end = _ending_of(found)
            ended = end.search(buf, start, start + LONGEST + 1)
            stop = ended.start() if ended else min(len(buf), start + LONGEST + 1)
            whole = final or ended is not None or stop - start > LONGEST
            why = self._judge(buf, found, buf[start:stop], whole=whole)
            if why is None:
                if not whole and stop - start < _SCHEME_LONGEST:
                    self._scan = base + found.start()
                    return base + start
                stop = start  # no address: what comes behind may be one
            elif why:
                self._hit(told, base + start, base + stop, why, bare=found["target"] is None)
                if not (final or ended) and self._rules.mode != FLAG:
                    self._removing = end
                    self._scan = told.end
                    return told.end
            elif not whole:
                self._scan = base + found.start()
                return base + start
            at = max(stop, start, found.start() + 1)
        self._scan = max(base + at, told.end - _BEGUN_LONGEST)
        begun = None
        if not final and buf[-1:] in _BEGUN_WITH:
            begun = _BEGUN.search(buf, max(at, len(buf) - _BEGUN_LONGEST))
        return base + begun.start() if begun else told.end

    def _hit(self, told: Told, start: int, end: int, why: str, *, bare: bool) -> None:
        mode = self._rules.mode
        verdict = {FLAG: Verdict.FLAG, BLOCK: Verdict.BLOCK}.get(mode, Verdict.REDACT)
        text = (REMOVED_BARE if bare else REMOVED) if verdict is Verdict.REDACT else None
        told.hits.append(Hit(start, end, Finding("links", verdict, (why,)), text))

    def _judge(self, buf: str, found: re.Match[str], raw: str, *, whole: bool) -> str | None:
        """Why an address is not let through; "" where it is, or where that cannot be told yet; None: it is none."""
        address = _plain(raw)
        if found["target"] is not None and _SCRIPT.match(address):
            return "script"
        absolute = _absolute(address, bare=found["target"] is None)
        if absolute is None:
            return None
        user, host, rest = absolute
        if not (whole or rest):
            return ""
        rules, private = self._rules, self._private
        if _is_allowed(host, rules.allow) or private.trusts(raw):
            return ""
        image = self._is_image(buf, found)
        if image and rules.strict:
            return "image"
        if whole and not image and not (rules.strict and rules.tainted) and private.holds(raw):
            return ""
        if user or len(raw) > LONGEST or carries(host, rest, private, strict=rules.strict, whole=whole):
            return "image" if image else "data"
        return "tainted" if rules.strict and rules.tainted else ""

    def _is_image(self, buf: str, found: re.Match[str]) -> bool:
        self._seen_image = self._seen_image or _IMAGE_REFERENCE.search(buf) is not None
        before = buf[max(0, found.start() - 600) : found.end()]
        if _IMAGE_BEFORE.search(before):
            return True
        # An image may refer to it from above or from below.
        return _DEFINITION.search(before) is not None and (self._seen_image or self._rules.strict)


def leads_out(buf: str, at: int, rules: LinkRules, private: Private) -> bool:
    """Whether the character at a place is part of an address whose host is not allowed, and which neither the
    application nor the user has written so up to that character.

    Args:
        rules: only its `allow` counts.
    """
    if at > LONGEST and not _NO_ADDRESS.search(buf, at - LONGEST, at):
        return True  # of an address so long, the beginning need not be known any more
    low = max(0, at - KEPT)
    for found in _CANDIDATE.finditer(buf, low, at):
        if _outside(buf, found.end(), at, _ending_of(found)):
            continue
        raw = buf[found.end() : at]
        absolute = _absolute(_plain(raw), bare=found["target"] is None)
        # Whoever has asked about a page has not asked to tell it anything: only a link that went on so is trusted.
        if absolute is not None and not _is_allowed(absolute[1], rules.allow) and not private.trusts(raw + buf[at]):
            return True
    return False


def _outside(buf: str, start: int, at: int, end: re.Pattern[str]) -> bool:
    """Whether an address that begins at `start` has ended before `at`. What closes a placeholder does not end it."""
    within = _WRITTEN.sub(lambda found: "_" * len(found[0]), buf[start:at])
    return end.search(within) is not None


def _plain(raw: str) -> str:
    """An address as a browser reads it."""
    return html.unescape(raw).translate(_IGNORED).replace("\\", "/")


def _absolute(address: str, *, bare: bool) -> tuple[str, str, str] | None:
    """(user, host in lower case, what comes behind it) of a plain address; None: it leads to no host."""
    if address.startswith("//") or (bare and address[:4].lower() == "www."):
        address = f"https:{'' if address.startswith('//') else '//'}{address}"
    found = _ABSOLUTE.match(address)
    if found is None:
        return None
    netloc, rest = found.groups()
    user, _, host = netloc.rpartition("@")
    return user, _PORT.sub("", host).rstrip(".").lower(), rest


def _is_allowed(host: str, allow: Sequence[str]) -> bool:
    return host in _HERE or any(in_domain(host, pattern) for pattern in allow)


def _candidate(buf: str, at: int) -> re.Match[str] | None:
    """The next place where an address may begin. Most text has none of these characters, and is not searched."""
    tail = buf[at:]
    if "/" in tail or "]" in tail or "=" in tail or "(" in tail or "\\" in tail or "." in tail:
        return _CANDIDATE.search(buf, at)
    return None


def _ending_of(found: re.Match[str]) -> re.Pattern[str]:
    """What ends the address: a quote where one has opened it, so that no line end hides the rest."""
    opened = (found["target"] or "")[-1:]
    return _QUOTED.get(opened, _END)


_QUOTED = {quote: re.compile(f"[{quote}>]") for quote in "\"'"}
