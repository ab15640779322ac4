"""Content codings (RFC 9110 section 8.4): reading what a client or a provider has compressed, within bounds.

gzip and deflate come with Python. br and zstd are read where their libraries are installed, as the `[gateway]` extra
does; zstd is in the standard library from Python 3.14 on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from headgate.core.errors import BadRequest

_SLICE = 1024 * 1024  # bytes decoded at a time, so that a small bomb never becomes a large string at once


class Undecodable(ValueError):
    """Bytes that are not in the coding they claim, end too early, or hold more than the limit."""


class Decoder(Protocol):
    """Takes a coded body in pieces."""

    def feed(self, piece: bytes) -> bytes:
        """What `piece` completes; may be empty.

        Raises:
            Undecodable: see there.
        """
        ...

    def finish(self) -> None:
        """The body ended.

        Raises:
            Undecodable: in the middle of the coding.
        """
        ...


class _Bounded:
    """What the decoders share: the limit on all that comes out."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._fed = False
        self._out: list[bytes] = []

    def feed(self, piece: bytes) -> bytes:
        out: list[bytes] = []
        self._out = out
        if piece:
            self._fed = True
            try:
                self._decode(piece)
            except Undecodable:
                raise
            except Exception as error:  # each library has an error class of its own
                raise Undecodable(f"the bytes are not in the coding they claim: {type(error).__name__}") from None
        return b"".join(out)

    def finish(self) -> None:
        if self._fed and not self._ended():
            raise Undecodable("the coded body ends too early")

    def _decode(self, piece: bytes) -> None:
        raise NotImplementedError

    def _ended(self) -> bool:
        raise NotImplementedError

    def _put(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise Undecodable("the decoded body is larger than allowed")
        self._out.append(data)


class _Zlib(_Bounded):
    """gzip, of one member or several, and deflate, which some senders write without its zlib wrapper."""

    def __init__(self, limit: int, *, gzip: bool) -> None:
        super().__init__(limit)
        self._gzip = gzip
        self._bits = 31 if gzip else 15
        self._z: Any = None

    def _decode(self, piece: bytes) -> None:
        if self._z is None:
            if not self._gzip and (piece[0] & 0x0F) != 8:  # RFC 1950: method 8, else there is no wrapper
                self._bits = -15
            self._z = zlib.decompressobj(self._bits)
        while piece:
            if self._z.eof:
                if not self._gzip:
                    raise Undecodable("bytes follow the end of the coded body")
                self._z = zlib.decompressobj(self._bits)
            self._put(self._z.decompress(piece, _SLICE))
            piece = self._z.unconsumed_tail or self._z.unused_data
        while not self._z.eof:
            more = self._z.decompress(b"", _SLICE)
            if not more:
                break
            self._put(more)

    def _ended(self) -> bool:
        return self._z is not None and bool(self._z.eof)


class _Brotli(_Bounded):
    def __init__(self, limit: int, module: Any) -> None:
        super().__init__(limit)
        self._b = module.Decompressor()

    def _decode(self, piece: bytes) -> None:
        self._put(self._b.process(piece, output_buffer_limit=_SLICE))
        while not self._b.can_accept_more_data():
            self._put(self._b.process(b"", output_buffer_limit=_SLICE))

    def _ended(self) -> bool:
        return bool(self._b.is_finished())


class _Zstd(_Bounded):
    """One frame or several, one behind the other (RFC 8878 section 3.1)."""

    def __init__(self, limit: int, module: Any) -> None:
        super().__init__(limit)
        self._new: Callable[[], Any] = module.ZstdDecompressor
        self._z = self._new()

    def _decode(self, piece: bytes) -> None:
        while True:
            if self._z.eof:
                if not piece:
                    return
                self._z = self._new()
            self._put(self._z.decompress(piece, _SLICE))
            piece = self._z.unused_data if self._z.eof else b""
            if self._z.needs_input and not self._z.eof:
                return

    def _ended(self) -> bool:
        return bool(self._z.eof)


@cache
def _module(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def _brotli() -> Any:
    return _module("brotli")


def _zstd() -> Any:
    return _module("compression.zstd", "backports.zstd")


def readable() -> tuple[bytes, ...]:
    """The codings that can be read here, best first."""
    return (*((b"zstd",) if _zstd() else ()), *((b"br",) if _brotli() else ()), b"gzip", b"deflate")


def decoder(coding: bytes, limit: int) -> Decoder | None:
    """A decoder for a `content-encoding`; None for one that cannot be read here.

    Args:
        coding: one coding, in any case. Bodies coded twice are not read: no client or provider sends them.
        limit: bytes that may come out in all.
    """
    name = coding.strip().lower()
    if name in (b"gzip", b"x-gzip"):
        return _Zlib(limit, gzip=True)
    if name == b"deflate":
        return _Zlib(limit, gzip=False)
    if name == b"br" and _brotli():
        return _Brotli(limit, _brotli())
    if name == b"zstd" and _zstd():
        return _Zstd(limit, _zstd())
    return None


def decode(coding: bytes, body: bytes, limit: int) -> bytes:
    """A whole coded body.

    Raises:
        Undecodable: see there, or an unknown coding.
    """
    reader = decoder(coding, limit)
    if reader is None:
        raise Undecodable("the coding is not one that can be read here")
    decoded = reader.feed(body)
    reader.finish()
    return decoded


def decode_request(coding: bytes, body: bytes, limit: int) -> bytes:
    """A request's body, decoded.

    Raises:
        BadRequest: 415 for a coding that is not read here (with those that are), 413 for a body that is too large once
            decoded, 400 for a broken one.
    """
    reader = decoder(coding, limit)
    if reader is None:
        known = ", ".join(name.decode() for name in readable())
        raise BadRequest(
            f"content-encoding: this coding of request bodies is not read here; send {known}, or none",
            code="unsupported_encoding",
            status_hint=415,
        )
    try:
        decoded = reader.feed(body)
        reader.finish()
    except Undecodable as error:
        if "larger" in str(error):
            raise BadRequest(
                f"the request body is larger than the {limit} bytes allowed here, once decoded",
                code="request_too_large",
                status_hint=413,
            ) from None
        raise BadRequest(f"content-encoding: {error}") from None
    return decoded
