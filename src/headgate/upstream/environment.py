"""Which proxy the environment asks for, by the rules of httpx2: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY.

Our own reading of them, because importing httpx2 to learn that there is no proxy costs more than a hundred
milliseconds. A test compares the two.
"""

from __future__ import annotations

import ipaddress
from urllib.request import getproxies

from headgate.upstream.http1 import Origin


def proxy_for(origin: Origin) -> str | None:
    """The proxy's URL for an origin, or None. On macOS and Windows the system's settings count too."""
    told = getproxies()
    exempt = [entry.strip().lower() for entry in told.get("no", "").split(",")]
    if "*" in exempt or any(_matches(entry, origin) for entry in exempt if entry):
        return None
    proxy = told.get(origin.scheme) or told.get("all")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _matches(entry: str, origin: Origin) -> bool:
    scheme, separator, rest = entry.partition("://")
    if separator:
        if scheme not in ("all", origin.scheme):
            return False
        return not rest or _matches_exactly(rest, origin)
    network = _network(entry)
    if network is not None:
        address = _address(origin.host)
        return address is not None and address in network
    host, port = _split_port(entry)
    if "/" in host or (port is not None and port != origin.port):
        return False
    if host.startswith("*."):
        host = host[1:]
    if host.startswith("."):
        return origin.host.endswith(host)
    if host == "localhost":
        return origin.host == host
    return origin.host == host or origin.host.endswith("." + host)


def _matches_exactly(entry: str, origin: Origin) -> bool:
    host, port = _split_port(entry)
    return host == origin.host and port in (None, origin.port)


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _split_port(entry: str) -> tuple[str, int | None]:
    """ "host:8080" -> ("host", 8080); an IPv6 address may stand in brackets."""
    host, colon, port = entry.rpartition(":")
    if colon and port.isdigit():
        return host.strip("[]"), int(port)
    return entry.strip("[]"), None
