"""The plots of an audit, as SVG inside of its page: no script, nothing fetched, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from headgate.cli.audit_text import money
from headgate.cli.text import safe

_WIDTH = 900
_BAR, _GAP = 22, 10
_NAMES = 250  # pixels for names on the left
_MOST_LETTERS = 34
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#5b6875"  # Okabe and Ito's: apart for people who see few colours


def _label(text: str, most: int = _MOST_LETTERS) -> str:
    shown = safe(text)
    return escape(shown if len(shown) <= most else shown[: most - 1] + "…", quote=True)


def _open(height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" role="img" aria-label="{escape(title, quote=True)}" '
        'xmlns="http://www.w3.org/2000/svg" font-size="13" fill="#16202b">'
    )


def bars(rows: Sequence[tuple[str, int]], title: str) -> str:
    """Horizontal bars of nano-dollars, in the order given."""
    most = max((nano for _, nano in rows), default=0) or 1
    room = _WIDTH - _NAMES - 130
    found = [_open(len(rows) * (_BAR + _GAP) + _GAP, title)]
    for place, (name, nano) in enumerate(rows):
        top = _GAP + place * (_BAR + _GAP)
        width = max(1.0, room * nano / most)
        found.append(f'<text x="{_NAMES - 10}" y="{top + 15}" text-anchor="end">{_label(name or "–")}</text>')
        found.append(f'<rect x="{_NAMES}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{BLUE}"/>')
        found.append(f'<text x="{_NAMES + width + 8:.1f}" y="{top + 15}">{money(nano)}</text>')
    return "".join([*found, "</svg>"])


def steps(before: int, saved: Sequence[tuple[str, int]], after: int, title: str) -> str:
    """From what it cost to what it would have cost: what each kind of change takes away, one under the other."""
    rows = [("as it was", 0, before, GREY)]
    left = before
    for name, nano in saved:
        rows.append((name, left - nano, nano, ORANGE))
        left -= nano
    rows.append(("with all of it", 0, after, BLUE))
    room = (_WIDTH - _NAMES - 130) / max(1, before)
    found = [_open(len(rows) * (_BAR + _GAP) + _GAP, title)]
    for place, (name, start, nano, colour) in enumerate(rows):
        top = _GAP + place * (_BAR + _GAP)
        x, width = _NAMES + max(0, start) * room, max(1.0, nano * room)
        sign = "−" if colour == ORANGE else ""
        found.append(f'<text x="{_NAMES - 10}" y="{top + 15}" text-anchor="end">{_label(name)}</text>')
        found.append(f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>')
        found.append(f'<text x="{x + width + 8:.1f}" y="{top + 15}">{sign}{money(nano)}</text>')
    return "".join([*found, "</svg>"])


def hours(values: Sequence[tuple[str, int]], title: str) -> str:
    """24 columns, one for each hour of the day."""
    height, base = 200, 165
    by_hour = dict(values)
    most = max(by_hour.values(), default=0) or 1
    step = (_WIDTH - 20) / 24
    found = [_open(height, title), f'<line x1="10" x2="{_WIDTH - 10}" y1="{base}" y2="{base}" stroke="#d9dfe5"/>']
    for hour in range(24):
        name = f"{hour:02d}"
        tall = 140 * by_hour.get(name, 0) / most
        x = 10 + hour * step
        said = escape(f"{name}:00, {money(by_hour.get(name, 0))}", quote=True)
        found.append(
            f'<rect x="{x + 3:.1f}" y="{base - tall:.1f}" width="{step - 6:.1f}" height="{tall:.1f}" fill="{BLUE}">'
            f"<title>{said}</title></rect>"
        )
        found.append(f'<text x="{x + step / 2:.1f}" y="{base + 20}" text-anchor="middle">{name}</text>')
    found.append(f'<text x="10" y="15" fill="{GREY}">{money(most)} at most</text>')
    return "".join([*found, "</svg>"])
