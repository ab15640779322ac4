"""Whom we trust, decided once per pool and only when the first https connection is made."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

from headgate.upstream import faults

Verify = ssl.SSLContext | str | Path | None
"""None: the operating system's trust store. A path: a PEM file of CAs to trust instead. A context: used as it is."""

_RECORDS = 256 * 1024  # bytes read at once: many records


class Trust:
    """Makes the SSL context on first use. The context always verifies the certificate and the server's name."""

    def __init__(self, verify: Verify = None) -> None:
        self._verify = verify
        self._lock = threading.Lock()
        self._context = verify if isinstance(verify, ssl.SSLContext) else None

    def context(self) -> ssl.SSLContext:
        """The context, the same each time.

        Raises:
            UpstreamRejected: kind "config": the CA file cannot be read.
        """
        context = self._context
        if context is None:
            with self._lock:
                context = self._context = self._context or self._make()
        return context

    def renew_lock(self) -> None:
        """After a fork: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def _make(self) -> ssl.SSLContext:
        context: ssl.SSLContext
        if self._verify is None:
            import truststore

            context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        else:
            try:
                context = ssl.create_default_context(cafile=str(self._verify))
            except OSError as error:  # SSLError is one
                raise faults.config(f"the CA file {self._verify} cannot be used: {faults.reason_of(error)}") from error
        context.set_alpn_protocols(["http/1.1"])
        return context


class TlsLayer:
    """TLS without I/O, inside a connection of ours.

    The event loops' own is not used: uvloop's throws away what it has decrypted and not yet delivered when the other
    side closes while reading is paused, so that a slow reader would see a whole answer truncated.
    """

    __slots__ = ("_incoming", "_object", "closed", "outgoing")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()  # `to_send`, where something is pending in it
        self._object = context.wrap_bio(self._incoming, self.outgoing, server_hostname=host)
        self.closed = False  # the other side said that it will send no more (close_notify)

    def handshake(self, data: bytes = b"") -> bool:
        """Take the next bytes of the handshake; True once it is done. `to_send` may have bytes either way.

        Raises:
            ssl.SSLError: it failed; ssl.SSLCertVerificationError: they are not who they should be.
        """
        self._incoming.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def to_send(self) -> bytes:
        """Bytes for the wire: of the handshake, or of TLS's own."""
        return self.outgoing.read() if self.outgoing.pending else b""

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """Bytes for the wire that carry `data`, which is not empty."""
        sent = self._object.write(data)
        while sent < len(data):
            sent += self._object.write(memoryview(data)[sent:])
        return self.outgoing.read()

    def decrypt(self, data: bytes = b"") -> bytes:
        """What the next bytes from the wire carry; b"" if that is nothing yet.

        Raises:
            ssl.SSLError: they are not TLS, or were tampered with.
        """
        incoming, read = self._incoming, self._object.read
        if data:
            incoming.write(data)
        pieces = []
        try:
            while piece := read(_RECORDS):
                pieces.append(piece)
                if not incoming.pending and len(piece) < _RECORDS:
                    break  # nothing is left: to be told so would cost an exception for each piece of a stream
            else:
                self.closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
