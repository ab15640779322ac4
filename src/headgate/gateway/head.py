"""A request's head: is it acceptable, and what does the app see of it. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import httptools

from headgate.gateway import limits as problems
from headgate.gateway.limits import Limits, Problem, body_too_large

Fields = Sequence[tuple[bytes, bytes]]

_SPECIAL = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


_REPEATED_BYTES = 8 * 1024  # a longer head is not worth keeping for as long as its connection is open
_DIGITS = 9  # of a content-length that a repeated head may have; no body comes whole in one read above that
END = b"\r\n\r\n"
_LENGTH_LINE = b"\r\ncontent-length:"
_ZERO = 48


class Refused(Exception):
    """Stops the parser from inside one of its callbacks. Never leaves the connection."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def check_head(headers: Fields, version: str, limits: Limits, largest: int) -> tuple[bool, bool]:
    """Refuse a head that is not served, or that two parsers could read in two ways.

    RFC 9112 sections 3.2 (Host), 6.1 and 6.3 (framing), 7 (transfer codings). httptools has already refused
    obs-fold, bare CR and NUL, Content-Length together with Transfer-Encoding, and more than one of either.

    Args:
        largest: bytes of the body.

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
            if int(value) > largest:
                raise Refused(body_too_large(largest))
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


class Repeated:
    """A head that was parsed and accepted, to know it again by its bytes, whatever its content-length says.

    What a parser makes of bytes depends on nothing else, so what it made of the last request's head holds for the same
    bytes. Only the content-length may differ, and only in digits that no two parsers read differently: no sign, no
    leading zero, no space, no list. Anything else is for the parser.

    Attributes:
        lines: what comes before the empty line, as it has to be; a format for the content-length.
        limit: bytes of the longest body.
        headers: as the app sees them: one list for all requests with this head, its content-length renewed in place.
        scope: what the ASGI scope says of the request line.
        task: the last request's that has seen the list. Until it is done the list is still that request's own.
    """

    __slots__ = ("_after", "_before", "_place", "headers", "limit", "lines", "scope", "task")

    def __init__(
        self,
        before: bytes,
        after: bytes,
        limit: int,
        headers: list[tuple[bytes, bytes]],
        scope: dict[str, Any],
        task: asyncio.Task[None],
    ) -> None:
        self._before = before
        self._after = after
        self.lines = b"%b%%d%b" % (before.replace(b"%", b"%%"), after.removesuffix(END).replace(b"%", b"%%"))
        self.limit = limit
        self._place = [name for name, _ in headers].index(b"content-length")
        self.headers = headers
        self.scope = scope
        self.task = task

    def announced(self, data: bytes) -> int:
        """The length of the body that is to come, where a read is this head alone; else 0."""
        if not data.startswith(self._before) or not data.endswith(self._after):
            return 0
        digits = data[len(self._before) : -len(self._after)]
        if len(digits) > _DIGITS or not digits.isdigit() or digits[0] == _ZERO:
            return 0
        length = int(digits)
        return length if length <= self.limit else 0

    def renew(self, length: int) -> list[tuple[bytes, bytes]]:
        """The headers, of a request with a body of this length."""
        if not self.task.done():
            self.headers = self.headers.copy()
        self.headers[self._place] = (b"content-length", b"%d" % length)
        return self.headers


def repeated(
    data: bytes,
    url: bytes,
    headers: list[tuple[bytes, bytes]],
    scope: dict[str, Any],
    task: asyncio.Task[None],
    limits: Limits,
    largest: int,
) -> Repeated | None:
    """What is needed to know the head of this read again; None for one that is better parsed each time.

    Args:
        data: a read that was one request, whole, from its first byte to its last, or its head alone; that was accepted.
        largest: bytes of the largest body that is taken without the parser.
    """
    end = data.find(END) + len(END)
    if not len(END) <= end <= _REPEATED_BYTES or head_size(url, headers) + _DIGITS > limits.header_bytes:
        return None
    head = data[:end]
    before, line, after = head.lower().partition(_LENGTH_LINE)
    if not line or _LENGTH_LINE in after:
        return None
    start = len(before) + len(line)
    if head[start : start + 1] == b" ":
        start += 1
    stop = head.find(b"\r", start)
    known = Repeated(head[:start], head[stop:], min(limits.body_bytes, largest), headers, scope, task)
    body = len(data) - end
    whole = head.removesuffix(END) == known.lines % body and body <= known.limit if body else known.announced(head)
    return known if whole else None


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


def new_parser(callbacks: object) -> Any:
    """A parser of requests."""
    parser = httptools.HttpRequestParser(callbacks)
    # Bytes behind a `connection: close` request are ignored instead of spoiling its answer.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
