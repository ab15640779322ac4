"""What people read: money to sensible digits, durations, times with the exact one at hand, strangers' texts.

These are the filters of the templates. Every one that returns markup has escaped what it was given.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from urllib.parse import quote

from markupsafe import Markup, escape

from headgate.core.money import NANO_PER_USD, usd_text

DASH = "–"
_DASH = Markup("–")

_INDENTED = 20_000  # characters of JSON that is shown with line feeds

# What a page must not obey, and a person has to see: controls but line feed and tab, marks that turn the reading
# direction around, what has no width, and the letters of the tag block, which nobody can see and models read.
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
# An accent on an accent on an accent climbs out of its line.
_PILE = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u0610-\u061a\u064b-\u065f\u0e31-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})[\u0300-\u036f\u0483-\u0489\u0610-\u061a\u064b-\u065f\u0e31-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)


def money(nano: int | None) -> str:
    """Nano-dollars to the digits that matter: $1,234, $12.34, $0.123, $0.00012; "–" for None."""
    if nano is None:
        return DASH
    if nano < 0:
        return f"-{money(-nano)}"
    dollars = nano / NANO_PER_USD
    if not nano:
        return "$0"
    if dollars >= 1000:
        return f"${dollars:,.0f}"
    if dollars >= 1:
        return f"${dollars:,.2f}"
    if dollars >= 0.01:
        return f"${dollars:.3f}"
    if nano < 1000:  # below a millionth of a dollar
        return f"${usd_text(nano)}"
    places = 1 + next(place for place in range(1, 10) if dollars * 10**place >= 1)
    return f"${dollars:.{places}f}"


def exact(nano: int) -> str:
    """Nano-dollars to the last digit: for titles."""
    return f"-${usd_text(-nano)}" if nano < 0 else f"${usd_text(nano)}"


def cost(nano: int | None, estimated: bool = False) -> Markup:
    """Money with the exact amount in its title, and ≈ in front of what is an estimate."""
    if nano is None:
        return _DASH
    told = f"{exact(nano)}, estimated" if estimated else exact(nano)
    mark = Markup('<span aria-label="estimated">≈</span>') if estimated else ""
    return Markup('<span class="nowrap" title="{}">{}{}</span>').format(told, mark, money(nano))


def ms(value: float | None) -> str:
    """Milliseconds for people: 0.4 ms, 123 ms, 1.23 s, 2.5 min."""
    if value is None:
        return DASH
    if value >= 60_000:
        return f"{value / 60_000:.1f} min"
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def span(seconds: float | None) -> str:
    """A stretch of time for people: 45 s, 12 min, 3 h, 5 d."""
    if seconds is None:
        return DASH
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def count(number: float | None) -> str:
    """A whole number in groups of three digits."""
    return DASH if number is None else f"{round(number):,}"


def short(number: float | None) -> str:
    """A large number of things for narrow columns: 950, 12.3k, 4.1M."""
    if number is None:
        return DASH
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if abs(number) >= size * (10 if unit == "k" else 1):
            return f"{number / size:.1f}{unit}"
    return f"{round(number):,}"


def share(value: float | None) -> str:
    """A part of 1 as a percentage."""
    if value is None:
        return DASH
    percent = value * 100
    return f"{percent:.1f}%" if 0 < abs(percent) < 10 else f"{percent:.0f}%"


def moment(seconds: float | None) -> str:
    """Seconds since the epoch in UTC, to the second."""
    if seconds is None:
        return DASH
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return DASH


def minute(seconds: float | None) -> str:
    """As `moment`, to the minute."""
    told = moment(seconds)
    return told if told == DASH else f"{told[:16]} UTC"


def ago(seconds: float | None, now: float) -> Markup:
    """How long ago, with the moment itself in the title and for machines."""
    told = moment(seconds)
    if seconds is None or told == DASH:
        return _DASH
    past = now - seconds
    words = "now" if abs(past) < 1 else f"{_coarse(past)} ago" if past > 0 else f"in {_coarse(-past)}"
    iso = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return Markup('<time class="nowrap" datetime="{}" title="{}" data-ago="{}">{}</time>').format(
        iso, told, f"{seconds:.3f}", words
    )


def _coarse(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def visible(text: object, limit: int = 0) -> Markup:
    """Text that a stranger wrote, escaped, with what cannot be seen written out.

    Args:
        limit: characters that are shown; 0 = all.
    """
    plain = _PILE.sub(r"\1…", str(text))
    if limit and len(plain) > limit:
        plain = plain[: limit - 1] + "…"
    found, last = [], 0
    for match in _ODD.finditer(plain):
        found.append(escape(plain[last : match.start()]))
        found.append(_written(match.group()))
        last = match.end()
    found.append(escape(plain[last:]))
    return Markup("").join(found)


def _written(character: str) -> Markup:
    return Markup('<span class="odd">{}</span>').format(_code(character))


def _code(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def json_text(value: object) -> str:
    """JSON that can be read and edited: what cannot be seen is written out, as JSON writes it."""

    def written(found: re.Match[str]) -> str:
        units = found.group().encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))

    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _INDENTED:  # what is nested grows a hundredfold
        text = json.dumps(value, ensure_ascii=False, indent=2)
    # Outside of strings JSON has nothing odd: json.dumps writes spaces and line feeds there, and nothing else.
    return _ODD.sub(written, text)


def name(text: object, limit: int = 120) -> Markup:
    """A caller's word (a user, a tenant, a model) in the middle of ours: it cannot change how ours are read."""
    return Markup("<bdi>{}</bdi>").format(visible(text, limit)) if text else _DASH


def plain(text: object) -> str:
    """For titles and labels: as `visible`, without markup."""
    return _ODD.sub(lambda found: _code(found.group()), str(text))


def segment(text: str) -> str:
    """One part of a path: a name may have slashes of its own."""
    return quote(text, safe="", errors="replace")


def local(address: str) -> str:
    """An address of ours; "" for one that leads elsewhere."""
    return address if address.startswith("/") and not address.startswith(("//", "/\\")) else ""


FILTERS = {
    "money": money,
    "exact": exact,
    "cost": cost,
    "ms": ms,
    "span": span,
    "count_of": count,
    "short": short,
    "share": share,
    "moment": moment,
    "minute": minute,
    "visible": visible,
    "name": name,
    "plain": plain,
    "segment": segment,
    "local": local,
    "json_text": json_text,
}
