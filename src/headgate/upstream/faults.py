"""What can go wrong between us and a provider, in words for people, classified as wire-formats section 6.

Every message names the origin (host:port) and, for a timer, which one. None holds a header, a path or a body.
"""

from __future__ import annotations

import socket
import ssl

from headgate.core.errors import UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRejected, UpstreamTimeout


def config(message: str) -> UpstreamRejected:
    """A fault that another attempt there cannot mend: a bad URL, a certificate that does not verify. Another route has
    others."""
    return UpstreamRejected(message, kind="config", elsewhere=True)


def saturated(where: str, seconds: float, limit: int) -> UpstreamBusy:
    """Our own pool is full. Nothing was sent, and the provider is not to blame."""
    return UpstreamBusy(
        f"all {limit} connections to {where} were in use for {seconds:g} s (timeouts.pool)", kind="saturated"
    )


def connect_timeout(where: str, seconds: float) -> UpstreamTimeout:
    """No connection within `timeouts.connect`. Nothing was sent."""
    return UpstreamTimeout(
        f"no connection to {where} within {seconds:g} s (timeouts.connect)", kind="connect", retryable=True
    )


def write_timeout(where: str, seconds: float) -> UpstreamTimeout:
    """The provider took no bytes of the request for `timeouts.write`."""
    return _late(f"{where} took no bytes of the request for {seconds:g} s (timeouts.write)")


def first_byte_timeout(where: str, seconds: float) -> UpstreamTimeout:
    """No response headers within `timeouts.first_byte` of the request."""
    return _late(f"{where} did not begin to answer within {seconds:g} s (timeouts.first_byte, or the caller's own)")


def idle_timeout(where: str, seconds: float) -> UpstreamTimeout:
    """The answer stalled for `timeouts.idle`."""
    return _late(
        f"{where} sent nothing for {seconds:g} s in the middle of its answer (timeouts.idle, or the caller's own)"
    )


def out_of_time(where: str) -> UpstreamTimeout:
    """All of the exchange's time is used up, whatever the attempt was waiting for."""
    return _late(f"{where} was still busy with the call when its time was up (timeouts.total, or the caller's own)")


def broken(where: str, reason: str, *, maybe_billed: bool = True) -> UpstreamBroken:
    """The connection was lost, or what came is not HTTP/1.1."""
    return UpstreamBroken(
        f"the connection to {where} broke: {reason}", kind="broken", retryable=True, maybe_billed=maybe_billed
    )


def truncated(where: str) -> UpstreamBroken:
    """The body ended before its declared length, or before its last chunk."""
    return UpstreamBroken(
        f"{where} closed the connection before the end of its answer",
        kind="truncated",
        retryable=True,
        maybe_billed=True,
    )


def not_connected(where: str, error: BaseException) -> UpstreamError:
    """A failure to connect: DNS, refused, unreachable, TLS. Nothing of the request was sent.

    Only a certificate that does not verify is a fault of configuration; other TLS failures may pass.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or "certificate verify failed"
        return config(f"the TLS certificate of {where} was not accepted: {reason}")
    return UpstreamBroken(f"cannot connect to {where}: {reason_of(error)}", kind="connect", retryable=True)


def reason_of(error: BaseException | None) -> str:
    """An operating system's error in a few words, without addresses or data."""
    if error is None:
        return "closed by the other side"
    if isinstance(error, socket.gaierror):
        return f"the name does not resolve ({error.strerror or 'DNS failure'})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failure ({error.reason or 'unknown'})"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return type(error).__name__


def _late(message: str) -> UpstreamTimeout:
    return UpstreamTimeout(message, kind="timeout", retryable=True, maybe_billed=True)
