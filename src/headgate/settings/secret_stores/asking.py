"""What the stores share: an HTTP GET, optional packages, one field of many."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from headgate.settings.secret_stores import NotAsked, NotThere, Unfitting

CONNECT_SECONDS = 3.0
READ_SECONDS = 5.0
MAX_ANSWER = 1024 * 1024  # bytes; the largest secret of any of the stores is 1 MiB (Vault's default limit)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole. `data` is its JSON, None where it is none."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def need(module: str, extra: str, what: str) -> Any:
    """An optional package's module.

    Raises:
        Unfitting: it is not installed; names the extra.
    """
    try:
        return import_module(module)
    except ImportError:
        raise Unfitting(f"needs {what}, which is not installed: pip install 'headgate[{extra}]'") from None


def ask(
    url: str, *, headers: Mapping[str, str], method: str = "GET", body: bytes | None = None, ca_file: str = ""
) -> Answer:
    """One HTTP request; redirects are not followed, because they would take the credential along.

    Args:
        ca_file: a PEM bundle to trust in place of the machine's.

    Raises:
        NotAsked: no answer, with the reason in words.
        Unfitting: a URL or a CA file that cannot be used.
    """
    import ssl

    import httpx2

    timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    try:
        verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=ca_file) if ca_file else True
        with (
            httpx2.Client(timeout=timeout, verify=verify) as client,
            client.stream(method, url, headers=dict(headers), content=body) as response,
        ):
            pieces, size = [], 0
            for piece in response.iter_bytes():
                pieces.append(piece)
                size += len(piece)
                if size > MAX_ANSWER:
                    raise Unfitting(f"answered with more than {MAX_ANSWER} bytes")
            return Answer(response.status_code, dict(response.headers), b"".join(pieces))
    except httpx2.TimeoutException:
        raise NotAsked("did not answer in time") from None
    except httpx2.InvalidURL:
        raise Unfitting("its address is no URL") from None
    except (httpx2.HTTPError, OSError, ValueError) as error:
        # Only what kind of failure it was: a message may repeat an address with a credential in it.
        raise NotAsked(f"cannot be reached ({_kind(error)})") from None


def _kind(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def status_error(status: int) -> Exception:
    """What a status that is neither success nor "not there" means."""
    if status in (401, 403):
        return NotAsked(f"refused us ({status}): check the access that this process was given")
    return NotAsked(f"answered {status}")


def pick(fields: Mapping[str, Any], name: str) -> str:
    """The text of one field, or of the only one.

    Raises:
        NotThere: no such field.
        Unfitting: several and none was named, or it holds no text.
    """
    if not name:
        if len(fields) != 1:
            raise Unfitting(f"holds {len(fields)} fields: say which one, with #field at the end of the reference")
        name = next(iter(fields))
    if name not in fields:
        raise NotThere(f"has no field {name[:64]!r}")
    value = fields[name]
    if not isinstance(value, str):
        raise Unfitting(f"field {name[:64]!r} holds no text")
    return value


def pick_json(text: str, name: str) -> str:
    """`text` itself, or one field of it where it is a JSON object and a field is named. Raises as `pick`."""
    if not name:
        return text
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise Unfitting("is no JSON object, so it has no fields: remove the #field")
    return pick(fields, name)
