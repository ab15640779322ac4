"""HTTP/1.1 without I/O, for both colours: a request's bytes out, a response's bytes in (RFC 9110, RFC 9112).

The parser is llhttp (httptools), strict: no line folding, no duplicate Content-Length, no Content-Length beside
Transfer-Encoding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import httptools

from headgate.core.exchange import Headers
from headgate.upstream import faults

HEADER_LIMIT = 64 * 1024
"""Bytes of a response's header block, interim (1xx) responses included."""

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"proxy-connection",
     b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info")
)  # fmt: skip
# Recomputed here, or meaningless once the body follows at once (expect).
_OURS = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWER_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_COLON = b": "
_LINE = b"\r\n"
_END = b"\r\n\r\n"
_BEGIN_AND_END = (None, None)
_TOO_LONG = f"response headers above {HEADER_LIMIT // 1024} KiB"
ACCEPT = b"accept-encoding"
_ACCEPT_LINE = b"accept-encoding: "
_PLAIN = b"accept-encoding: identity\r\n"
_CR, _LF = 13, 10  # one byte is looked for several times faster as a number than as bytes
_METHODS = 16  # first lines kept per URL
_NAMES = 1024  # beginnings of lines kept, each of a name of up to _NAME_BYTES
_NAME_BYTES = 64
_HEADS = 128  # lists of headers a pool knows again, each of up to _HEAD_BYTES
_HEAD_BYTES = 8 * 1024
_SHAPES = 128  # of responses' heads, each of up to _HEAD_BYTES
_WITH_BODY = ("POST", "PUT", "PATCH")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """What a connection belongs to. `host` is lower-case ASCII, an IPv6 address without brackets."""

    scheme: str  # "http" | "https"
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Target(NamedTuple):
    """A parsed URL: where to connect, and the first lines of the request."""

    origin: Origin
    path: str  # with the query
    host: bytes  # the Host field's value
    starts: dict[str, bytes]  # by method: the first lines, as `request_head` has made them


@lru_cache(maxsize=1024)
def parse_url(url: str) -> Target:
    """Split an absolute http(s) URL. A fragment is dropped; spaces and non-ASCII are percent-encoded as UTF-8.

    Raises:
        UpstreamRejected: kind "config": another scheme, no host, a bad port, credentials in the URL, or a control
            character (RFC 9112, section 3.2: it would end the request line). The message never repeats the URL.
    """
    if any(c < " " or c == "\x7f" for c in url):
        raise faults.config("the URL holds a control character; nothing was sent")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("ascii" if ":" in (parts.hostname or "") else "idna").decode("ascii")
    except ValueError:  # UnicodeError is one
        raise faults.config("the URL has a malformed host or port; nothing was sent") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise faults.config("the URL must begin with http:// or https://; nothing was sent")
    if not host or " " in host or port == 0:
        raise faults.config("the URL has no usable host or port; nothing was sent")
    if parts.username is not None or parts.password is not None:
        raise faults.config("the URL holds credentials; give the provider an api_key instead; nothing was sent")
    default = _DEFAULT_PORTS[parts.scheme]
    origin = Origin(parts.scheme, host.lower(), port or default)
    shown = f"[{origin.host}]" if ":" in host else origin.host
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        origin,
        quote(path, safe="/:?#[]@!$&'()*+,;=%~-._|\\^`{}\"<>"),
        shown.encode() if origin.port == default else f"{shown}:{origin.port}".encode(),
        {},
    )


def _start(method: str, target: Target) -> bytes:
    if not method or method.encode("utf-8", "replace").translate(None, _TOKEN):
        raise faults.config("the request's method is not an HTTP token; nothing was sent")
    start = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (
        method.encode(),
        target.path.encode(),
        target.host,
    )
    if len(target.starts) < _METHODS:
        target.starts[method] = start
    return start


# By name: how its line begins; b"" for a field that is ours to say. Names only, never a value: values are secrets.
_beginnings: dict[bytes, bytes] = dict.fromkeys(_OURS, b"")


def forwarded(headers: Headers) -> Headers:
    """The caller's fields that go to the provider: none that is ours to say, hop-by-hop (RFC 9110, section 7.6.1), or
    named by `connection`.

    Raises:
        UpstreamRejected: kind "config": a name that is no token.
    """
    kept = [field for field in headers if field[0] not in _OURS]
    if any(not name or name.translate(None, _LOWER_TOKEN) for name, _ in kept):
        return _forwarded_any_case(headers)
    if len(kept) < len(headers):
        for name, value in headers:
            if name == b"connection" and value != b"keep-alive":
                return _without_named(kept, headers)
    return kept


def _forwarded_any_case(headers: Headers) -> Headers:
    lower = [(name.lower(), value) for name, value in headers]
    if any(not name or name.translate(None, _LOWER_TOKEN) for name, _ in lower):
        raise faults.config("a request header's name is not an HTTP token; nothing was sent")
    return forwarded(lower)


def _without_named(kept: Headers, headers: Headers) -> Headers:
    named = {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}
    return [field for field in kept if field[0] not in named]


def _lines(headers: Headers) -> list[bytes]:
    """The long way: for a name that is new or no lower-case token, and for fields that `connection` names."""
    kept = forwarded(headers)
    for name, _ in kept:
        if len(_beginnings) >= _NAMES:
            _beginnings.clear()
            _beginnings.update(dict.fromkeys(_OURS, b""))
        if len(name) <= _NAME_BYTES:
            _beginnings[name] = name + _COLON
    return list(map(_COLON.join, kept))


def request_head(method: str, target: Target, headers: Headers, length: int | None) -> bytes:
    """The request's first bytes, up to and with the empty line. `length` is the body's; None = it comes in chunks.

    Without `accept-encoding` among the headers it asks for a plain body: the absence would allow any coding.

    Raises:
        UpstreamRejected: kind "config": a name that is no token, or a value with CR, LF or NUL (RFC 9110, 5.5).
    """
    return _whole_head(method, target, _field_lines(headers), length)


class Heads:
    """`request_head` for one pool: a list of headers that it has seen lately is not written out again.

    An exchange's headers are one list object each time its caller repeats its head. That a list is unchanged is not
    taken on trust: its fields are compared, by identity first. Values are secrets, so what is kept is bounded.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # By the ids of headers and target, and the method: the fields; the target, so that its id stays its own; and
        # the head, but for its end.
        self._known: dict[tuple[int, int, str], tuple[Headers, Target, bytes]] = {}

    def head(self, method: str, target: Target, headers: Headers, length: int | None) -> bytes:
        """As `request_head`."""
        place = id(headers), id(target), method
        known = self._known.get(place)
        if known is not None and length and known[0] == headers:
            return b"%bcontent-length: %d\r\n\r\n" % (known[2], length)
        lines = _field_lines(headers)
        if len(self._known) >= _HEADS:
            self._known.clear()
        if len(lines) <= _HEAD_BYTES:
            self._known[place] = list(headers), target, (target.starts.get(method) or _start(method, target)) + lines
        return _whole_head(method, target, lines, length)


def _whole_head(method: str, target: Target, lines: bytes, length: int | None) -> bytes:
    start = target.starts.get(method) or _start(method, target)
    if length is None:
        return b"%b%btransfer-encoding: chunked\r\n\r\n" % (start, lines)
    if length or method in _WITH_BODY:
        return b"%b%bcontent-length: %d\r\n\r\n" % (start, lines, length)
    return start + lines + _LINE


def _field_lines(headers: Headers) -> bytes:
    lines: list[bytes] = []
    for name, value in headers:
        beginning = _beginnings.get(name)
        if beginning:
            lines.append(beginning + value)
        elif beginning is None or (name == b"connection" and value != b"keep-alive"):
            lines = _lines(headers)
            break
    fields = b"".join(lines)
    if _CR in fields or _LF in fields or 0 in fields:
        raise faults.config("a request header's value holds a line break or NUL; nothing was sent")
    lines.append(b"")
    block = _LINE.join(lines)
    return block if block.startswith(_ACCEPT_LINE) or _LINE + _ACCEPT_LINE in block else _PLAIN + block


class _Shape(NamedTuple):
    """How the fields of a response's head go: a provider's are the same from answer to answer, but for their values.

    To match them all at once costs a fraction of what it costs to look at them one by one.
    """

    match: Callable[[bytes], re.Match[bytes] | None]  # of a whole head; its groups are the values
    names: tuple[bytes, ...]  # lower-case, of those that are kept
    framed: bool  # the body's end is told, by a length or by chunks


# By their names as they come, and their transfer codings. Names only, never a value.
_shapes: dict[tuple[tuple[bytes, ...], tuple[bytes, ...]], _Shape] = {}
# Of an answer that counts, from the first byte on: an interim one, or an empty line before, is for the long way.
_STATUS_LINE = rb"HTTP/[^ ]++ [2-9][^\r]*+\r\n"
_NO_SHAPE = _Shape(re.compile(rb"(?!)").match, (), framed=False)
_FIELD = re.compile(rb"([^:\r\n]+):[ \t]*([^\r]*)\r\n")


def _shape_of(names: tuple[bytes, ...], codings: tuple[bytes, ...]) -> _Shape:
    lines, kept, framed = [], [], False
    left = list(codings)
    for raw in names:
        name = raw.lower()
        value = rb"[^\r]*+"
        if name == b"transfer-encoding":
            coding = left.pop(0)
            value = re.escape(coding)
            framed = framed or _is_chunked(coding)
        elif name not in HOP_BY_HOP:
            framed = framed or name == b"content-length"
            kept.append(name)
            value = rb"([^\r]*+)"
        lines.append(re.escape(raw) + rb":[ \t]*+" + value + rb"\r\n")
    return _Shape(re.compile(_STATUS_LINE + b"".join(lines) + rb"\r\n").match, tuple(kept), framed)


def _is_chunked(coding: bytes) -> bool:
    return coding.rpartition(b",")[2].strip().lower() == b"chunked"


class ResponseReader:
    """Reads the responses of one connection, one after another. `begin` before each, then `feed` until `done`.

    The parser says whether the bytes are a response, and where its head and its body end; the fields are taken out of
    a head that it has found good. What it calls are functions in C where that will do: streams have hundreds of pieces.

    Attributes:
        status: 0 until the head is here, all of it.
        headers: final then; names lower-case, hop-by-hop fields left out.
        pieces: the body's bytes so far, for the owner to take; a fresh list for each response.
        done: the body's end was seen. `reusable` then says whether the connection may carry another request.
        failure: "" or why the bytes are not a response; what came before it in `pieces` is good. It is the last one.
    """

    __slots__ = (
        "_body",
        "_due",
        "_framed",
        "_interim",
        "_parser",
        "_raw",
        "_shape",
        "_spoiled",
        "_unknown",
        "done",
        "failure",
        "headers",
        "on_body",
        "on_message_begin",
        "on_message_complete",
        "pieces",
        "reusable",
        "status",
    )

    def __init__(self) -> None:
        self._body: list[bytes] = []
        self.on_body = self._body.append
        # One for a response's begin and one for its end, each taken away by the parser: none is left at the end, and a
        # second response, which nobody has asked for, makes the parser fail.
        self._due: list[None] = []
        self.on_message_begin = self.on_message_complete = self._due.pop
        self._parser: httptools.HttpResponseParser | None = None
        self._spoiled = True  # the parser can take no response after this one
        self._raw = b""  # the head, as far as it has come
        self._interim = 0  # responses in it before the one that counts
        self._shape = _NO_SHAPE  # of the last head
        self._unknown: object = None  # what the last head was like, where it had no shape
        self._framed = False  # the body's end is told
        self.headers: list[tuple[bytes, bytes]] = []
        self.failure = ""
        self.reusable = False
        self.begin("GET")

    def begin(self, method: str) -> None:
        """Forget the last response, and expect one to a request with this method."""
        if self._spoiled or method == "HEAD":
            self._parser = httptools.HttpResponseParser(self)
            self._spoiled = method == "HEAD"  # the parser cannot be told that no body follows, so it waits for one
        self._due[:] = _BEGIN_AND_END
        self.pieces: list[bytes] = []
        self.status = 0
        self.done = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes. After `done` or a `failure`, more bytes only make the connection unfit for reuse."""
        parser = self._parser
        if self.done or parser is None:
            self.reusable = False
            return
        problem = None
        head = b"" if self.status else self._raw + data
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            problem = "it switched protocols"
        except httptools.HttpParserError as error:
            problem = f"not HTTP/1.1 ({error})"
        if head:
            if self.status:
                self._raw = b""
                match, names, self._framed = self._shape
                found = match(head)
                if found is None or len(head) > HEADER_LIMIT:
                    problem = self._take_unknown(head) or problem
                else:
                    self.headers = list(zip(names, found.groups()))  # noqa: B905 - hot, and a shape has as many
            else:
                self._raw = head
                if len(head) > HEADER_LIMIT:
                    problem = _TOO_LONG
        body = self._body
        if body:
            if self._spoiled:  # of an answer to HEAD, which has none
                self.reusable = False
            else:
                self.pieces += body
            body.clear()
        if not self._due:
            self.done = True
        if problem is not None:
            self._fail(problem)

    def eof(self) -> bool:
        """The other side will send no more. True where that ends the response rightly (RFC 9112, section 6.3)."""
        self.reusable = False
        if self.status and not self._framed and not self.failure:
            self.done = True
        return self.done

    def release(self) -> None:
        """The connection is gone: undo the cycle between this reader and its parser."""
        self._parser = None

    def _fail(self, reason: str) -> None:
        self.reusable = False
        if reason is _TOO_LONG:
            self.done = False
        if not self.done:
            self.failure = reason
            self._parser = None

    def _without_interim(self, raw: bytes) -> bytes:
        """From the status line on that counts. The parser lets empty lines go before one."""
        while self._interim:
            self._interim -= 1
            raw = raw.lstrip(_LINE).partition(_END)[2]
        return raw.lstrip(_LINE)

    def _take_unknown(self, raw: bytes) -> str:
        """Take the fields of a head that is not like the last one; returns what is wrong with it, or "". Those that
        come twice running get a shape: what a provider never sends again would only fill the memory."""
        if self._interim or raw[0] in _LINE:
            raw = self._without_interim(raw)
        start = raw.find(_LINE) + len(_LINE)
        end = raw.find(_END, start - len(_LINE)) + len(_END)
        fields = _FIELD.findall(raw, start, end)
        names = tuple([name for name, _ in fields])
        codings = tuple([value for name, value in fields if name.lower() == b"transfer-encoding"])
        kept = [(name.lower(), value) for name, value in fields]
        self.headers = [field for field in kept if field[0] not in HOP_BY_HOP]
        self._framed = any(map(_is_chunked, codings)) or any(name == b"content-length" for name, _ in kept)
        like = names, codings
        shape = _shapes.get(like)
        if shape is None and self._unknown == like and end <= _HEAD_BYTES:
            if len(_shapes) >= _SHAPES:
                _shapes.clear()
            shape = _shapes[like] = _shape_of(names, codings)
        self._unknown = like if shape is None else None
        self._shape = shape or _NO_SHAPE
        return _TOO_LONG if end > HEADER_LIMIT else ""

    # Called by the parser.

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < 200:  # interim (RFC 9110, section 15.2): the answer is still to come
            self._due += _BEGIN_AND_END
            self._interim += 1
            return
        self.status = status
        self.reusable = parser.should_keep_alive()
        if self._spoiled:
            self.done = True
