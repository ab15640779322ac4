"""Who is let in, by key and without."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import Denied
from headgate.gateway.auth import LOCAL, NEVER_FORWARDED, KeyRecord, KeyRing, digest, is_local_host

ONE = KeyRecord(id="one", name="dev", tenant="acme", environment="development")
TWO = KeyRecord(id="two", name="ci")
KEY_ONE = "hg-" + "one-" + "x" * 32
KEY_TWO = "any string may be a key"
HOST = (b"host", b"localhost:8484")


@pytest.fixture
def ring() -> KeyRing:
    ring = KeyRing()
    ring.add(digest(KEY_ONE), ONE)
    ring.add(digest(KEY_TWO), TWO)
    return ring


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-goog-api-key"])
def test_a_key_is_taken_from_each_credential_header(ring: KeyRing, name: str) -> None:
    value = f"Bearer {KEY_ONE}" if name == "authorization" else KEY_ONE
    assert ring.admit([HOST, (name.encode(), value.encode())]) is ONE


@pytest.mark.parametrize("scheme", [b"bearer ", b"BEARER ", b"Bearer  "])
def test_the_scheme_is_read_in_any_case(ring: KeyRing, scheme: bytes) -> None:
    assert ring.admit([(b"authorization", scheme + KEY_TWO.encode())]) is TWO


def test_of_two_valid_keys_x_api_key_counts(ring: KeyRing) -> None:
    headers = [(b"authorization", b"Bearer " + KEY_ONE.encode()), (b"x-api-key", KEY_TWO.encode())]
    assert ring.admit(headers) is TWO
    assert ring.admit(headers[::-1]) is TWO


def test_a_providers_key_beside_a_valid_key_does_no_harm(ring: KeyRing) -> None:
    headers = [(b"x-api-key", b"sk-" + b"ant-test"), (b"authorization", b"Bearer " + KEY_ONE.encode())]
    assert ring.admit(headers) is ONE


@pytest.mark.parametrize(
    "headers", [[], [HOST], [(b"x-api-key", b"")], [(b"authorization", b"Basic abc")], [(b"authorization", b"Bearer ")]]
)
def test_no_key_is_told_apart_from_a_wrong_one(ring: KeyRing, headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Denied, match="No key in the request") as denied:
        ring.admit(headers)
    assert (denied.value.code, denied.value.status_hint) == ("missing_api_key", 401)


def test_a_revoked_key_gets_the_same_answer_as_an_unknown_one(ring: KeyRing) -> None:
    ring.revoke("one")
    answers = []
    for key in (KEY_ONE, "hg-never-was"):
        with pytest.raises(Denied) as denied:
            ring.admit([(b"x-api-key", key.encode())])
        assert key not in denied.value.message
        answers.append((denied.value.message, denied.value.code, denied.value.status_hint))
    assert answers[0] == answers[1]
    assert answers[0][1:] == ("invalid_api_key", 401)
    assert ring.admit([(b"x-api-key", KEY_TWO.encode())]) is TWO


def test_a_providers_key_is_recognised_in_the_message(ring: KeyRing) -> None:
    with pytest.raises(Denied, match="provider's own"):
        ring.admit([(b"x-api-key", b"sk-" + b"ant-test")])


def test_a_rotated_key_is_valid_only_in_its_new_form(ring: KeyRing) -> None:
    ring.replace(digest("new"), ONE)
    assert ring.admit([(b"x-api-key", b"new")]) is ONE
    with pytest.raises(Denied):
        ring.admit([(b"x-api-key", KEY_ONE.encode())])


def test_the_ring_holds_no_key(ring: KeyRing) -> None:
    ring.admit([(b"x-api-key", KEY_ONE.encode())])
    held = repr([(slot, getattr(ring, slot)) for slot in KeyRing.__slots__])
    assert KEY_ONE not in held
    assert KEY_TWO not in held


@given(
    st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"x-goog-api-key"]), st.binary()), max_size=4)
)
def test_no_value_but_a_key_opens_the_gate(headers: list[tuple[bytes, bytes]]) -> None:
    ring = KeyRing(loopback=True)
    ring.add(digest(KEY_ONE), ONE)
    with pytest.raises(Denied):
        ring.admit([HOST, *headers])


def test_without_keys_a_gateway_off_loopback_lets_nobody_in() -> None:
    with pytest.raises(Denied):
        KeyRing().admit([HOST])


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:1", b"127.0.0.1", b"127.0.0.1:8484", b"[::1]", b"[::1]:8484", b"localhost:80"]
)
def test_without_keys_this_machine_is_let_in(host: bytes) -> None:
    assert KeyRing(loopback=True).admit([(b"host", host), (b"x-api-key", b"anything")]) is LOCAL


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"evil.example",
        b"localhost.evil.example",
        b"127.0.0.1.evil.example:80",
        b"evil.example:127",
        b"localhost:",
        b"localhost:a",
        b"user@localhost",
        b"[::2]",
        b"::1",
        b"127.0.0.2",
        b"localhost:80:80",
    ],
)
def test_without_keys_a_foreign_host_is_refused(host: bytes) -> None:
    assert not is_local_host(host)
    with pytest.raises(Denied) as denied:
        KeyRing(loopback=True).admit([(b"host", host)])
    assert (denied.value.code, denied.value.status_hint) == ("foreign_host", 403)


@pytest.mark.parametrize("origin", [b"https://evil.example", b"http://localhost:8484", b"null", b""])
def test_without_keys_any_origin_is_refused(origin: bytes) -> None:
    with pytest.raises(Denied) as denied:
        KeyRing(loopback=True).admit([HOST, (b"origin", origin)])
    assert (denied.value.code, denied.value.status_hint) == ("foreign_origin", 403)


@pytest.mark.parametrize("revoked", [False, True])
def test_the_first_key_closes_an_open_gateway_for_good(revoked: bool) -> None:
    ring = KeyRing(loopback=True)
    assert not ring.configured
    ring.add(digest(KEY_ONE), ONE, revoked=revoked)
    ring.revoke("one")
    assert ring.configured
    with pytest.raises(Denied):
        ring.admit([HOST])
    with pytest.raises(Denied):
        ring.admit([HOST, (b"x-api-key", KEY_ONE.encode())])


def test_every_header_a_key_is_read_from_is_never_forwarded() -> None:
    assert {b"authorization", b"x-api-key", b"x-goog-api-key", b"cookie"} <= NEVER_FORWARDED
