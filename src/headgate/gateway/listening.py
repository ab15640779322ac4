"""The gateway's listening socket: where it may be, and whether the system allows enough of its children."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys

from headgate.core.errors import ConfigError


def listen(host: str, port: int, *, keys_configured: bool) -> socket.socket:
    """A bound TCP socket, not yet accepting.

    Raises:
        ConfigError: the address cannot be bound, or is not loopback and no key is configured.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"server.host: {host!r} is not an address of this machine ({error.strerror})") from None
    family, kind, proto, _, address = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)[0]
    if not keys_configured and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise ConfigError(
            f"server.host: {host or 'every address'} can be reached from other machines, and no key is configured. "
            "Make one with `headgate keys create` or under `keys:`, or listen on 127.0.0.1."
        )
    listener = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":  # elsewhere the option would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Only a second listener on the port makes listen() itself fail: find out now, not behind the banner.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"server.port: cannot listen on {host}:{port} ({error.strerror}). "
            "Is another gateway running? `--port` or `server: {port: …}` picks another port."
        ) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The http URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_file_limit() -> None:
    """A gateway holds two sockets per exchange, and the usual soft limit is 1024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):  # macOS refuses its own "unlimited"
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
