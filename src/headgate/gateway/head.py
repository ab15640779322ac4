"""A request's head: is it acceptable, and what does the app see of it. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import httptools

from headgate.gateway import limits as problems
from headgate.gateway.limits import Limits, Problem, body_too_large

Fields = Sequence[tuple[bytes, bytes]]

_SPECIAL = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


class Refused(Exception):
    """Stops the parser from inside one of its callbacks. Never leaves the connection."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def check_head(headers: Fields, version: str, limits: Limits) -> tuple[bool, bool]:
    """Refuse a head that is not served, or that two parsers could read in two ways.

    RFC 9112 sections 3.2 (Host), 6.1 and 6.3 (framing), 7 (transfer codings). httptools has already refused
    obs-fold, bare CR and NUL, Content-Length together with Transfer-Encoding, and more than one of either.

    Returns:
        Whether the body is chunked, and whether the caller waits for ``100 Continue``.

    Raises:
        Refused: with the problem to answer.
    """
    http11 = version == "1.1"
    if not http11 and version != "1.0":
        raise Refused(problems.NO_VERSION)
    if len(headers) > limits.header_count:
        raise Refused(problems.HEADERS_TOO_LARGE)
    hosts = 0
    chunked = expect_continue = False
    for name, value in headers:
        if name not in _SPECIAL:
            continue
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            if int(value) > limits.body_bytes:
                raise Refused(body_too_large(limits.body_bytes))
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise Refused(problems.NO_CODING)
            if not http11:
                raise Refused(problems.BAD_FRAMING)
            chunked = True
        else:
            expect_continue = http11 and value.lower() == b"100-continue"
    if hosts != 1 and (http11 or hosts):
        raise Refused(problems.BAD_HOST)
    return chunked, expect_continue


def head_size(url: bytes, headers: Fields) -> int:
    """Bytes of the header block, but for the method and the version."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def target(url: bytes) -> tuple[str, bytes, bytes]:
    """A request target as (path, raw path, query).

    Raises:
        httptools.HttpParserInvalidURLError: it is none.
    """
    if url.startswith(b"/"):
        raw_path, _, query = url.partition(b"#")[0].partition(b"?")
    else:  # absolute-form, "*"
        parsed = httptools.parse_url(url)
        raw_path, query = parsed.path or b"/", parsed.query or b""
    path = raw_path.decode("ascii")
    return (unquote(path) if "%" in path else path), raw_path, query


def scope(connection: dict[str, Any], method: bytes, version: str, url: bytes) -> dict[str, Any]:
    """What an ASGI scope says of a request line, to be copied and completed with `headers` and `extensions`.

    `connection` holds the entries that are the same for the whole connection.

    Raises:
        httptools.HttpParserInvalidURLError: the target is none.
    """
    path, raw_path, query = target(url)
    return {
        **connection,
        "http_version": version,
        "method": method.decode("ascii"),
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
    }


def connection_scope(
    server: tuple[str, int | None] | None, client: tuple[str, int] | None, scheme: str, state: dict[str, Any]
) -> dict[str, Any]:
    """What `scope` adds to. `state` is the lifespan's."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "server": server,
        "client": client,
        "scheme": scheme,
        "root_path": "",
        "state": state,
    }


def without_upgrade(method: bytes, url: bytes, version: str, headers: Fields) -> bytes:
    """The head again, without its offer to upgrade."""
    lines = [b"%b %b HTTP/%b\r\n" % (method, url, version.encode())]
    for name, value in headers:
        if name == b"connection":
            value = b",".join(token for token in value.split(b",") if token.strip().lower() != b"upgrade")
        if name != b"upgrade":
            lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(b"\r\n")
    return b"".join(lines)
