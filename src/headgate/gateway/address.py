"""Whose network address a request counts for: the connection's peer, or whom a trusted proxy names.

`X-Forwarded-For` is a header like any other: whoever may write it chooses whose limit is used up. So it is read only
from peers in `server.trusted_proxies`, and from its end, as each proxy appends whom it has heard: what stands before
the last address that is not a trusted proxy's own was written by the caller.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from headgate.core.exchange import Headers

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_FORWARDED = b"x-forwarded-for"
_MOST_HOPS = 32  # of proxies in a row; more is no chain of ours
_CALLERS_BITS = 64  # RFC 6177: an IPv6 site has that much to itself, and can change address with every call


class Addresses:
    """Tells addresses.

    Args:
        trusted: addresses and networks in CIDR notation, of proxies.
    """

    __slots__ = ("_trusted",)

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._trusted = tuple(ipaddress.ip_network(each) for each in trusted)

    def of(self, peer: str, headers: Headers) -> str:
        """The caller's, for IPv6 its /64 network; "" where there is none, as on a Unix socket.

        Args:
            peer: the connection's address.
            headers: names in lower case.
        """
        found = _parse(peer)
        if found is None:
            return ""
        if self._trusted and self._trusts(found):
            found = self._told(found, headers)
        if isinstance(found, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((found, _CALLERS_BITS), strict=False))
        return str(found)

    def _told(self, proxy: Address, headers: Headers) -> Address:
        """Whom the chain of trusted proxies that ends in `proxy` has heard."""
        chain = b",".join([value for name, value in headers if name == _FORWARDED])
        found = proxy
        for hop in reversed(chain.split(b",")[-_MOST_HOPS:]):
            named = _parse(hop.strip().decode("ascii", "replace"))
            if named is None:
                break  # a proxy does not write that: its caller has
            found = named
            if not self._trusts(named):
                break
        return found

    def _trusts(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)


def _parse(text: str) -> Address | None:
    """An address, with or without a port; IPv4 within IPv6 is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return found if mapped is None else mapped
