"""Fetching a price file and its hash, from a file or over the network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headgate.core.errors import ConfigError, HeadgateError
from headgate.policy.pricecheck import MOST_BYTES

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

SECONDS = 30.0
_HASH = re.compile(r"[0-9a-f]{64}")
_MOST_HASH_FILE = 4096
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def fetch(source: str, sha256: str | None) -> tuple[bytes, str]:
    """A price file and its SHA-256, which it has.

    Args:
        source: a path, or an https URL (http only from this machine).
        sha256: what the hash has to be; None: what the file `<source>.sha256` says.

    Raises:
        ConfigError: there is no such file, no hash, or it is not reachable.
        HeadgateError: the content does not have the hash.
    """
    read = _from_network if _is_url(source) else _from_disk
    wanted = _hash_beside(source, read) if sha256 is None else sha256.strip().lower()
    if not _HASH.fullmatch(wanted):
        raise ConfigError("--sha256: a SHA-256 is 64 hexadecimal digits")
    content = read(source, MOST_BYTES)
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise HeadgateError(
            f"{source} is not what it should be: its SHA-256 is {found}, not {wanted}. Nothing was installed",
            code="price_file_changed",
        )
    return content, found


def _is_url(source: str) -> bool:
    return "://" in source


def _hash_beside(source: str, read: Callable[[str, int], bytes]) -> str:
    """The hash in `<source>.sha256`: as `sha256sum` writes it, or alone."""
    try:
        text = read(f"{source}.sha256", _MOST_HASH_FILE).decode("ascii", "replace")
    except ConfigError as error:
        raise ConfigError(f"give its hash with --sha256, or put it beside the file: {error.mistakes[0]}") from None
    return (text.split() or [""])[0].lower()


def _from_disk(source: str, most: int) -> bytes:
    try:
        with Path(source).expanduser().open("rb") as file:
            return _bounded(file, source, most)
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}") from None


def _from_network(source: str, most: int) -> bytes:
    from urllib.error import HTTPError
    from urllib.request import Request

    _check_scheme(source)
    try:
        request = Request(source, headers={"user-agent": "headgate"})  # noqa: S310 -- the scheme was checked
        with _opener().open(request, timeout=SECONDS) as answer:
            return _bounded(answer, source, most)
    except HTTPError as error:
        raise ConfigError(f"{source} answered {error.code}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(f"{source} cannot be reached: {str(reason)[:200]}") from None


def _opener() -> OpenerDirector:
    """Follows redirects, but never to a place that `_check_scheme` refuses."""
    from urllib.request import HTTPRedirectHandler, build_opener

    class Careful(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            _check_scheme(newurl)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return build_opener(Careful)


def _check_scheme(url: str) -> None:
    where = urlsplit(url)
    if where.scheme == "https" or (where.scheme == "http" and where.hostname in _LOCAL):
        return
    raise ConfigError(f"{url[:200]}: prices are fetched over https only, or read from a file")


def _bounded(file: IO[bytes], source: str, most: int) -> bytes:
    content = file.read(most + 1)
    if len(content) > most:
        raise ConfigError(f"{source} has more than {most:,} bytes: it is not a price file")
    return content
