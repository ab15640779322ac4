"""Asking a provider's admin API: one GET at a time, retried where that may help, with the admin key in a header."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headgate.core.secret import Secret
from headgate.upstream.usage_reports import Get, Query, ReportError

if TYPE_CHECKING:
    import httpx2

ANTHROPIC_URL = "https://api.anthropic.com"
OPENAI_URL = "https://api.openai.com/v1"
SIMULATED = "x-headgate-simulated"

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
MOST_BYTES = 64 * 1024 * 1024
TRIES = 4
LONGEST_WAIT = 60.0  # seconds
_VERSION = "2023-06-01"


class ReportClient:
    """One vendor's admin API. A context manager.

    Args:
        vendor: "anthropic" or "openai".
        key: the admin key.
        base_url: what comes before the path; with ``/v1`` for OpenAI, as its SDK takes it.
        sleep: waits so many seconds before another try.

    Attributes:
        simulated: the last answer came from a simulator.
    """

    def __init__(self, vendor: str, key: Secret, base_url: str, sleep: Callable[[float], None]) -> None:
        import httpx2

        self._vendor = vendor
        self._base = base_url.rstrip("/")
        self._key = key
        self._sleep = sleep
        self.simulated = False
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        self._client = httpx2.Client(timeout=timeout)  # redirects are not followed: they would take the key along

    def __enter__(self) -> ReportClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def get(self) -> Get:
        """What `usage_reports` asks with."""
        return self._get

    def _headers(self) -> dict[str, str]:
        value = self._key.reveal()
        if self._vendor == "anthropic":
            return {"x-api-key": value, "anthropic-version": _VERSION}
        return {"authorization": f"Bearer {value}"}

    def _get(self, path: str, query: Query) -> Mapping[str, Any]:
        """Ask, several times where the provider is busy.

        Raises:
            ReportError: no answer, or one that is no report.
        """
        url = f"{self._base}{path}"
        for tried in range(1, TRIES + 1):
            status, body, wait = self._ask(url, query)
            if status == 200:
                return _object(url, body)
            if status not in (0, 408, 429, 500, 502, 503, 504, 529) or tried == TRIES:
                raise ReportError(self._said(url, status, body))
            self._sleep(min(LONGEST_WAIT, wait if wait is not None else 2.0**tried))
        raise AssertionError("the last try returns or raises")

    def _ask(self, url: str, query: Query) -> tuple[int, bytes, float | None]:
        """(status, 0 for no answer; body, or in words why there is none; seconds to wait, if told)."""
        import httpx2

        try:
            with self._client.stream("GET", url, params=list(query), headers=self._headers()) as answer:
                self.simulated = answer.headers.get(SIMULATED) == "true"
                pieces, size = [], 0
                for piece in answer.iter_bytes():
                    pieces.append(piece)
                    size += len(piece)
                    if size > MOST_BYTES:
                        raise ReportError(
                            f"{url} answered with more than {MOST_BYTES // 2**20} MiB: ask for fewer days"
                        )
                return answer.status_code, b"".join(pieces), _wait(answer)
        except httpx2.InvalidURL:
            raise ReportError(f"{url[:200]!r} is no address") from None
        except httpx2.UnsupportedProtocol:
            raise ReportError(f"{url[:200]!r}: expected an address that begins with http:// or https://") from None
        except httpx2.HTTPError as error:
            # Only its kind: a message could repeat what was sent.
            return 0, type(error).__name__.encode(), None

    def _said(self, url: str, status: int, body: bytes) -> str:
        name = f"{self._vendor.upper()}_ADMIN_KEY"
        if status in (401, 403):
            return (
                f"{url} refused the admin key ({status}): {name} has to hold an admin key of the organization; an "
                "ordinary API key may not read usage"
            )
        if not status:
            return f"{url} gave no answer ({body.decode('ascii', 'replace')}): is it the right address, and is it up?"
        if status == 404:
            return f"{url} is not there (404): this address has no usage reports, or the account is no organization's"
        return f"{url} answered {status}{_reason(body)}"


def _wait(answer: httpx2.Response) -> float | None:
    told = answer.headers.get("retry-after", "")
    return float(told) if told.replace(".", "", 1).isdecimal() and told.isascii() else None


def _object(url: str, body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ReportError(f"{url} answered something that is no JSON object: is it the provider's own address?")
    return found


def _reason(body: bytes) -> str:
    """The message of a vendor's error body, for people; a key in it would be the vendor's own masked form."""
    try:
        told = json.loads(body)["error"]["message"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""
    return f": {told[:300]}" if isinstance(told, str) else ""
