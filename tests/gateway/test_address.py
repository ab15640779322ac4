"""Whose address a request counts for: the peer's, unless a proxy that is trusted says otherwise."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.gateway.address import Addresses

PROXIES = ["10.0.0.0/8", "::1"]
IPV4 = st.ip_addresses(v=4).map(str)


def of(peer: str, *forwarded: str, trusted: list[str] = PROXIES) -> str:
    return Addresses(trusted).of(peer, [(b"host", b"x"), *((b"x-forwarded-for", each.encode()) for each in forwarded)])


@given(peer=IPV4, forwarded=st.lists(st.text(max_size=40), max_size=4))
def test_without_trusted_proxies_no_header_changes_whose_address_it_is(peer: str, forwarded: list[str]) -> None:
    headers = [(b"x-forwarded-for", each.encode("utf-8", "replace")) for each in forwarded]
    assert Addresses().of(peer, headers) == peer


@given(peer=IPV4.filter(lambda ip: not ip.startswith("10.")), forwarded=IPV4)
def test_a_peer_that_is_no_trusted_proxy_speaks_for_nobody(peer: str, forwarded: str) -> None:
    assert of(peer, forwarded) == peer


@given(
    written=st.text(alphabet="0123456789.,: x", max_size=60), caller=IPV4.filter(lambda ip: not ip.startswith("10."))
)
def test_what_a_caller_writes_itself_never_counts_behind_a_trusted_proxy(written: str, caller: str) -> None:
    assert of("10.0.0.1", f"{written}, {caller}") == caller
    assert of("10.0.0.1", written, f"{caller}, 10.0.0.2") == caller


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
        (["6.6.6.6, 203.0.113.7, 10.1.1.1"], "203.0.113.7"),
        (["10.3.3.3, 10.1.1.1"], "10.3.3.3"),  # the caller is within the trusted network itself
        (["203.0.113.7:51234"], "203.0.113.7"),
        (["[2001:db8:1:2::7]:443"], "2001:db8:1:2::/64"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["unknown"], "10.0.0.1"),
        (["6.6.6.6, _hidden, 10.1.1.1"], "10.1.1.1"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_names_whom_it_has_heard(forwarded: list[str], address: str) -> None:
    assert of("10.0.0.1", *forwarded) == address


def test_addresses_of_one_ipv6_site_are_one_caller(tmp_path: object) -> None:
    assert of("2001:db8:1:2::1") == of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert of("2001:db8:1:3::1") != of("2001:db8:1:2::1")
    assert of("fe80::1%eth0") == "fe80::/64"
    assert of("::ffff:198.51.100.1") == "198.51.100.1"


@pytest.mark.parametrize("peer", ["", "unix", "/run/headgate.sock"])
def test_a_peer_without_an_address_has_none(peer: str) -> None:
    assert of(peer, "203.0.113.7") == ""


@given(chain=st.binary(max_size=200))
def test_whatever_a_proxy_hands_on_the_answer_is_an_address(chain: bytes) -> None:
    found = Addresses(PROXIES).of("10.0.0.1", [(b"x-forwarded-for", chain)])
    assert ipaddress.ip_network(found)
