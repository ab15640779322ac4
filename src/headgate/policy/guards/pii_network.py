"""Addresses of machines: IP versions 4 and 6, and MAC addresses that are called so."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from headgate.core.guards import Span
from headgate.policy.guards.pii_words import topics, words_before

_FOUR = re.compile(r"[0-9](?<![0-9A-Za-z_.][0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z_]|\.[0-9])")
_TWO_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_SIX = re.compile(r"[0-9A-Fa-f:]{2,60}(?:\.[0-9.]{1,12})?(?![0-9A-Za-z_])")
_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2}")
_MAC_SIGNS = (
    "mac", "Mac", "MAC", "ther", "THER", "wadd", "WADD", "ssid", "SSID", "ifi", "IFI", "etooth", "addr", "hysical",
    "arp",
    "ARP",
)  # fmt: skip
_GOES_ON = re.compile(r"[0-9A-Za-z:-]")
_HEX = frozenset("0123456789abcdefABCDEF")
_VERSION_BEFORE = ("==", ">=", "<=", "~=", "!=", "^", "~")
_VERSION_WORDS = frozenset({"version", "versions", "v", "release", "build", "firmware", "upgrade", "section", "rev"})
_LONG_GROUP = re.compile(r"[0-9A-Fa-f]{3}")
_NET_OF_ONE = re.compile(r"[23][0-9A-Fa-f]{3}|f[cde][0-9A-Fa-f]{2}|64|::ffff", re.IGNORECASE)


def machine_addresses(text: str) -> Iterator[Span]:
    """IP and MAC addresses. Not: loopback, "this network", netmasks; versions and section numbers of four parts."""
    if text.count(".") >= 3:
        for found in _FOUR.finditer(text):
            if _is_four(found.group()) and not _is_version(text, found.start()):
                yield Span(*found.span(), "ip")
    if text.count(":") >= 2:
        yield from _sixes(text)
    if any(map(text.__contains__, _MAC_SIGNS)):
        for found in _MAC.finditer(text):
            before, after = text[max(0, found.start() - 1) : found.start()], text[found.end() : found.end() + 1]
            alone = not _GOES_ON.match(after) and (before == ":" or not _GOES_ON.match(before))
            if alone and len(set(found.group()) - {"0", ":", "-", "."}) > 1 and "mac" in topics(text, found.start()):
                yield Span(*found.span(), "mac")


def _is_four(written: str) -> bool:
    parts = written.split(".")
    if any(int(part) > 255 or (len(part) > 1 and part[0] == "0") for part in parts):
        return False
    return parts[0] not in ("0", "127", "255")


def _is_version(text: str, start: int) -> bool:
    before = text[max(0, start - 3) : start].rstrip(" ")
    if before.endswith(_VERSION_BEFORE):
        return True
    if before.endswith("/") and not before.endswith("//"):
        return True  # Chrome/120.0.0.1
    if before.endswith(("-", "@")):
        return "@" not in before or "://" not in text[max(0, start - 80) : start]
    words = words_before(text, start, 12)
    return bool(words) and words[-1] in _VERSION_WORDS


def _sixes(text: str) -> Iterator[Span]:
    done = 0
    for colons in _TWO_COLONS.finditer(text):
        if colons.start() < done:
            continue
        start = colons.start()
        while start and colons.start() - start < 5 and text[start - 1] in _HEX:
            start -= 1
        found = _SIX.match(text, start)
        done = colons.end() if found is None else found.end()
        before = text[start - 1] if start else " "
        if found is None or (before.isascii() and before.isalnum()) or before in "_.":
            continue
        written = found.group().rstrip(":") if not found.group().endswith("::") else found.group()
        written = written.rstrip(".")
        if _is_six(written):
            yield Span(found.start(), found.start() + len(written), "ip")


def _is_six(written: str) -> bool:
    if written.count(":") < 2 or not any(each.isdigit() for each in written) or not _LONG_GROUP.search(written):
        return False  # std::a, 12:30:45, fingerprints of two digits a group
    if "::" in written and not _NET_OF_ONE.match(written):
        return False  # C++'s and Rust's paths can be spelled in hexadecimal digits
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)
