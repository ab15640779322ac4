"""Mail sessions that end in time, whatever the server does: smtplib's time-out is for each read, and servers may drip.

Imported where a mail is sent, and not before: `smtplib` brings all of `email`.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from contextlib import suppress


class Patience:
    """Shuts a connection down once so many seconds are over. As a context manager: for as long as it is open."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Patience:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, sock: socket.socket | None) -> None:
        """This is the connection. Raises TimeoutError where the time is over."""
        with self._lock:
            self._sock = sock
            if self.over:
                raise TimeoutError

    def _end(self) -> None:
        with self._lock:
            self.over = True
            if self._sock is not None:
                with suppress(OSError):  # closed already
                    # Of the socket below TLS: whoever reads it gets its end, and its number stays taken until then.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


class _Watched:
    """Each reply is waited for under the eyes of a `Patience`; TLS handshakes and writes have an end of their own."""

    patience: Patience
    sock: socket.socket | None

    def getreply(self) -> tuple[int, bytes]:
        """See `smtplib.SMTP`."""
        self.patience.watch(self.sock)
        found: tuple[int, bytes] = super().getreply()  # type: ignore[misc]  # smtplib's, behind this in the order
        return found


class _Plain(_Watched, smtplib.SMTP):
    def __init__(self, host: str, port: int, seconds: float, patience: Patience) -> None:
        self.patience = patience
        super().__init__(host, port, timeout=seconds)


class _Tls(_Watched, smtplib.SMTP_SSL):
    def __init__(self, host: str, port: int, seconds: float, patience: Patience, context: ssl.SSLContext) -> None:
        self.patience = patience
        super().__init__(host, port, timeout=seconds, context=context)


def session(
    host: str, port: int, seconds: float, patience: Patience, *, over_tls: ssl.SSLContext | None
) -> smtplib.SMTP:
    """Connected. Raises OSError or SMTPException.

    Args:
        seconds: for each read and write.
        over_tls: TLS from the first byte on.
    """
    if over_tls is None:
        return _Plain(host, port, seconds, patience)
    return _Tls(host, port, seconds, patience, over_tls)
