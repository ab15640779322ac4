"""Text to values: durations, sizes, percentages, money, counts, switches. Exact; only seconds become a float.

Each reader raises ValueError; its child Unfit says what was expected, and who calls adds where, and what was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from urllib.parse import SplitResult, urlsplit

from headgate.core.money import NANO_PER_USD, nano


class Unfit(ValueError):
    """A value of the wrong kind. `str()` says what was expected; `choices` are words it may have been meant as."""

    def __init__(self, expected: str, choices: Sequence[str] = ()) -> None:
        super().__init__(expected)
        self.choices = tuple(choices)


_WHOLE = re.compile(r"[+-]?[0-9][0-9_]{0,30}")
_DECIMAL = re.compile(r"([0-9][0-9_]{0,20})(?:\.([0-9]{1,20}))?")
_WITH_UNIT = re.compile(r"([0-9][0-9_]{0,20}(?:\.[0-9]{1,20})?) ?([A-Za-z%]*)")
_RATIO = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,6})?) ?x?")

SECONDS = {
    "": Decimal(1),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
}
BYTES = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
TRUE = frozenset({"true", "yes", "on"})
FALSE = frozenset({"false", "no", "off"})


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`, both included; ``1_000`` is 1000."""
    expected = f"expected a whole number from {low:,} to {high:,}".replace(",", "_")

    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise Unfit(expected)
        number = int(text.replace("_", ""))
        if not low <= number <= high:
            raise Unfit(expected)
        return number

    return read


def seconds(low: float, high: float, *, zero: bool = False) -> Callable[[str], float]:
    """A reader of durations in seconds: ``500ms``, ``5s``, ``2m``, ``1h``, ``30d``, ``1w``; a plain number is seconds.

    Args:
        low, high: the range in seconds, both included.
        zero: 0 is also allowed.
    """
    expected = f"expected a duration from {duration_text(low)} to {duration_text(high)}, like 500ms, 30s, 5m, 1h or 30d"

    def read(text: str) -> float:
        match = _WITH_UNIT.fullmatch(text)
        if match is None or match[2] not in SECONDS:
            raise Unfit(expected)
        value = float(Decimal(match[1].replace("_", "")) * SECONDS[match[2]])
        if not (low <= value <= high or (zero and value == 0)):
            raise Unfit(expected)
        return value

    return read


def duration_text(value: float) -> str:
    """Seconds in the largest unit that keeps them whole."""
    for unit in ("d", "h", "m", "s"):
        factor = int(SECONDS[unit])
        if value >= factor and value % factor == 0:
            return f"{value / factor:.0f}{unit}"
    return f"{value * 1000:g}ms" if value else "0"


def size(low: int, high: int) -> Callable[[str], int]:
    """A reader of sizes in bytes: ``32MB`` is 32,000,000 and ``32MiB`` is 33,554,432."""
    expected = f"expected a size from {low} to {high} bytes, like 64KiB, 32MB or 32MiB"

    def read(text: str) -> int:
        match = _WITH_UNIT.fullmatch(text)
        if match is None or match[2].lower() not in BYTES:
            raise Unfit(expected)
        value = Decimal(match[1].replace("_", "")) * BYTES[match[2].lower()]
        if value != value.to_integral_value() or not low <= value <= high:
            raise Unfit(expected)
        return int(value)

    return read


def money(scale: int, high: int, *, unit: str) -> Callable[[str], Decimal]:
    """A reader of exact, non-negative amounts up to `high`, no finer than 1/`scale` of `unit`."""
    digits = len(str(scale)) - 1
    expected = f"expected an amount from 0 to {high:_} in {unit}, with at most {digits} decimals, like 10 or 0.25"

    def read(text: str) -> Decimal:
        match = _DECIMAL.fullmatch(text)
        if match is None:
            raise Unfit(expected)
        amount = Decimal(text.replace("_", ""))
        if amount > high or (amount * scale) % 1 != 0:
            raise Unfit(expected)
        return amount

    return read


_usd = money(NANO_PER_USD, 1_000_000_000, unit="USD")


def usd(text: str) -> int:
    """An amount from 0 to 1,000,000,000 USD, in nano-dollars: ``0.25`` is 250,000,000."""
    return nano(_usd(text))


def percentage(high: int, *, like: str, zero: bool = False) -> Callable[[str], int]:
    """A reader of percentages in hundredths of a percent, up to `high` of them: ``80%`` is 8000.

    Args:
        like: an example for the message.
        zero: 0% is also allowed.
    """
    low = "from 0%" if zero else "above 0% and"
    expected = f"expected a percentage {low} up to {f'{high / 100:f}'.rstrip('0').rstrip('.')}%, like {like}"

    def read(text: str) -> int:
        match = _WITH_UNIT.fullmatch(text)
        if match is not None and match[2] == "%":
            points = Decimal(match[1].replace("_", "")) * 100
            if points == points.to_integral_value() and (0 < points <= high or (zero and points == 0)):
                return int(points)
        raise Unfit(expected)

    return read


basis_points = percentage(10_000, like="80%")
"""A share of a cap."""


def ratio(text: str) -> float:
    """How many times as much: above 1, up to 1,000. ``2x`` is 2.0."""
    match = _RATIO.fullmatch(text)
    value = float(match[1]) if match is not None else 0.0
    if not 1 < value <= 1000:
        raise Unfit("expected a ratio above 1x and up to 1000x, like 2x or 1.5x")
    return value


def switch(text: str) -> bool:
    """``true``, ``yes``, ``on`` or their opposites, in any case."""
    word = text.lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise Unfit("expected true or false")


def one_of(choices: Sequence[str]) -> Callable[[str], str]:
    """A reader of modes. YAML's false and true, yes and no are `off` and `on` where those are choices."""
    expected = f"expected {' or '.join(choices) if len(choices) < 3 else 'one of ' + ', '.join(choices)}"

    def read(text: str) -> str:
        word = text.lower()
        if word in choices:
            return word
        word = "on" if word in TRUE else "off" if word in FALSE else word
        if word in choices:
            return word
        raise Unfit(expected, choices)

    return read


def text_up_to(limit: int) -> Callable[[str], str]:
    """A reader of text: not empty, at most `limit` characters, no spaces at its ends."""

    def read(text: str) -> str:
        if not text or len(text) > limit or text != text.strip():
            raise Unfit(f"expected a text of 1 to {limit} characters without spaces at its ends")
        return text

    return read


def split_url(text: str, schemes: Sequence[str]) -> SplitResult:
    """A URL of one of `schemes` with a host and a sane port. Messages never repeat it: it may hold a credential."""
    listed = "a URL that starts with " + " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        url = urlsplit(text)
        port = url.port
        host = url.hostname
    except ValueError:
        raise Unfit(f"expected {listed}, and this is no valid URL") from None
    if url.scheme not in schemes or any(ch <= " " for ch in text):
        raise Unfit(f"expected {listed}")
    if not host or port == 0:
        raise Unfit(f"expected {listed} and a host, like {schemes[0]}://host:port")
    return url


def plain_url(text: str) -> str:
    """An http(s) URL without a credential."""
    url = split_url(text, ("http", "https"))
    if url.username is not None or url.password is not None:
        raise ValueError("a URL with a credential in it")
    return text


def base_url(text: str) -> str:
    """An http(s) URL to build on: no credential, query or fragment. It is normalised as HTTP clients do, so that what
    they call is recognised (RFC 3986, 6.2.2.1 and 6.2.3): host in lower case, without a port that its scheme has anyway
    and without a trailing slash."""
    url = split_url(text, ("http", "https"))
    if url.username is not None or url.password is not None:
        raise ValueError("a URL with a credential in it: put the credential under api_key as a reference")
    if url.query or url.fragment or "?" in text or "#" in text:
        raise ValueError("a base URL has no ? and no #")
    host = url.netloc if "[" in url.netloc else url.netloc.lower()
    host = host.removesuffix(":443" if url.scheme == "https" else ":80")
    return f"{url.scheme}://{host}{url.path}".rstrip("/")
