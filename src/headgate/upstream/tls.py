"""Whom we trust, decided once per pool and only when the first https connection is made."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

from headgate.upstream import faults

Verify = ssl.SSLContext | str | Path | None
"""None: the operating system's trust store. A path: a PEM file of CAs to trust instead. A context: used as it is."""


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
