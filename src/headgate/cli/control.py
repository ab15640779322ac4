"""Talking to the running gateway's control API, with the token from the ledger's lock file."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headgate.core.errors import ConfigError, Unavailable

SECONDS = 15.0
_MAX_ANSWER = 4 * 1024 * 1024


def ask(
    url: str,
    token: str,
    method: str,
    path: str,
    fields: Mapping[str, object] | None = None,
    *,
    seconds: float = SECONDS,
) -> dict[str, Any] | None:
    """One request.

    Args:
        url: where the gateway listens, on loopback.
        path: behind ``/admin/api``.
        seconds: how long it may take to answer.

    Returns:
        The answer, or None if nobody listens there: the lock file outlived its gateway.

    Raises:
        ConfigError: the gateway said no to what was asked.
        Unavailable: it did not answer, or could not do it.
    """
    where = urlsplit(url)
    # Straight to loopback: the environment's proxies are for other machines, and must never see the token.
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port or 80, timeout=seconds)
    try:
        body = b"" if fields is None else json.dumps(fields).encode()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "x-headgate-by": user()}
        connection.request(method, f"/admin/api{path}", body, headers)
        response = connection.getresponse()
        status, answer = response.status, json.loads(response.read(_MAX_ANSWER))
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(
            f"the gateway at {url} did not answer its control API ({type(error).__name__}). Is it busy or stopping?"
        ) from None
    finally:
        connection.close()
    if status < 300 and isinstance(answer, dict):
        return answer
    said = ""
    if isinstance(answer, dict):  # the admin API's problems have `detail`
        said = answer.get("error", {}).get("message", "") or answer.get("detail", "")
    message = said or f"the gateway at {url} answered {status}"
    raise Unavailable(message) if status >= 500 else ConfigError(message)


def user() -> str:
    """Who runs this command, for the audit log; "" where the system does not tell."""
    import getpass

    try:
        return getpass.getuser().encode("ascii", "replace").decode()
    except (OSError, KeyError, ImportError):
        return ""


def ask_running(
    ledger: Path, method: str, path: str, fields: Mapping[str, object] | None = None, *, seconds: float = SECONDS
) -> dict[str, Any] | None:
    """As `ask`, of the gateway that writes this ledger file; None where none does."""
    from headgate.stores.lockfile import read_lock

    found = read_lock(ledger)
    if found is None or not found.url:
        return None
    return ask(found.url, found.token, method, path, fields, seconds=seconds)
