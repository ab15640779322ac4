"""The control API: who may call it, and that what it does reaches the ring."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from headgate.core.errors import Denied, NotServed, Unavailable
from headgate.core.secret import Secret
from headgate.gateway.admin import AdminApi
from headgate.gateway.auth import KeyRing

TOKEN = "control-" + "t" * 32
HOST = (b"host", b"127.0.0.1:8484")
BEARER = (b"authorization", b"Bearer " + TOKEN.encode())


@dataclass(frozen=True)
class Stored:
    id: str
    name: str
    tenant: str
    environment: str
    may_speak_for_tenants: bool
    created: float = 1.0
    revoked: float | None = None


class FakeStore:
    def __init__(self) -> None:
        self.keys: dict[str, Stored] = {}
        self.numbers = itertools.count(1)
        self.error: Exception | None = None

    async def create(self, name: str, tenant: str, environment: str, speaks: bool) -> tuple[Stored, str]:
        if self.error is not None:
            raise self.error
        key = Stored(f"id{next(self.numbers)}", name, tenant, environment, speaks)
        self.keys[key.id] = key
        return key, f"made-{key.id}-1"

    async def list(self) -> list[Stored]:
        return list(self.keys.values())

    def _known(self, key_id: str) -> Stored:
        if key_id not in self.keys:
            raise NotServed("no such key")
        return self.keys[key_id]

    async def rotate(self, key_id: str) -> tuple[Stored, str]:
        return self._known(key_id), f"made-{key_id}-2"

    async def revoke(self, key_id: str) -> Stored:
        self.keys[key_id] = replace(self._known(key_id), revoked=2.0)
        return self.keys[key_id]


class Api:
    def __init__(self) -> None:
        self.store = FakeStore()
        self.ring = KeyRing(loopback=True)
        self.app = AdminApi(Secret(TOKEN), self.store, self.ring)
        self.headers: dict[bytes, bytes] = {}

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Any = (HOST, BEARER),
        client: Any = ("127.0.0.1", 5),
    ) -> tuple[int, Any]:
        sent: list[Any] = []
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        pieces = [{"type": "http.request", "body": data[:7], "more_body": True}]
        pieces.append({"type": "http.request", "body": data[7:], "more_body": False})

        async def receive() -> Any:
            return pieces.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": list(headers), "client": client}
        asyncio.run(self.app(scope, receive, send))
        self.headers = dict(sent[0]["headers"])
        assert self.headers[b"content-type"] == b"application/json"
        assert int(self.headers[b"content-length"]) == len(sent[1]["body"])
        assert self.headers[b"cache-control"] == b"no-store"
        return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture
def api() -> Api:
    return Api()


def test_a_made_key_is_told_once_and_valid_at_once(api: Api) -> None:
    wanted = {"name": "dev", "tenant": "acme", "environment": "test", "may_speak_for_tenants": True}
    status, made = api.call("POST", "/admin/api/keys", wanted)
    assert status == 201
    record = api.ring.admit([(b"x-api-key", made["key"].encode())])
    told = (record.id, record.name, record.tenant, record.environment, record.may_speak_for_tenants)
    assert told == (made["id"], "dev", "acme", "test", True)
    status, listed = api.call("GET", "/admin/api/keys")
    assert status == 200
    assert [key["id"] for key in listed["keys"]] == [made["id"]]
    assert made["key"] not in json.dumps(listed)


def test_a_rotated_key_is_valid_only_in_its_new_form(api: Api) -> None:
    _, made = api.call("POST", "/admin/api/keys", {"name": "dev"})
    status, turned = api.call("POST", f"/admin/api/keys/{made['id']}/rotate")
    assert status == 200
    assert api.ring.admit([(b"x-api-key", turned["key"].encode())]).id == made["id"]
    with pytest.raises(Denied):
        api.ring.admit([(b"x-api-key", made["key"].encode())])


def test_a_revoked_key_is_refused_from_then_on(api: Api) -> None:
    _, made = api.call("POST", "/admin/api/keys", {"name": "dev"})
    status, gone = api.call("DELETE", f"/admin/api/keys/{made['id']}")
    assert (status, gone["revoked"]) == (200, 2.0)
    assert "key" not in gone
    with pytest.raises(Denied):
        api.ring.admit([(b"x-api-key", made["key"].encode())])


@pytest.mark.parametrize(
    "headers",
    [
        [HOST],
        [HOST, (b"authorization", b"Bearer wrong")],
        [HOST, (b"authorization", TOKEN.encode())],
        [HOST, (b"x-api-key", TOKEN.encode())],
    ],
)
def test_without_the_token_nothing_is_done(api: Api, headers: list[tuple[bytes, bytes]]) -> None:
    status, error = api.call("POST", "/admin/api/keys", {"name": "dev"}, headers=headers)
    assert (status, error["error"]["type"]) == (401, "authentication_error")
    assert api.headers[b"x-should-retry"] == b"false"
    assert api.store.keys == {}
    assert TOKEN not in json.dumps(error)


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([HOST, BEARER], ("10.0.0.7", 5)),
        ([HOST, BEARER], ("::ffff:10.0.0.7", 5)),
        ([HOST, BEARER], None),
        ([(b"host", b"evil.example"), BEARER], ("127.0.0.1", 5)),
        ([BEARER], ("127.0.0.1", 5)),
        ([HOST, BEARER, (b"origin", b"http://127.0.0.1:8484")], ("127.0.0.1", 5)),
        ([HOST, BEARER, (b"x-forwarded-for", b"127.0.0.1")], ("127.0.0.1", 5)),
    ],
)
def test_the_token_helps_nobody_from_elsewhere(api: Api, headers: Any, client: Any) -> None:
    status, error = api.call("POST", "/admin/api/keys", {"name": "dev"}, headers=headers, client=client)
    assert (status, error["error"]["code"]) == (403, "forbidden")
    assert api.store.keys == {}


@pytest.mark.parametrize("client", [("127.0.0.1", 5), ("::1", 5), ("::ffff:127.0.0.1", 5)])
def test_each_way_to_write_loopback_is_loopback(api: Api, client: Any) -> None:
    assert api.call("GET", "/admin/api/keys", client=client)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 5000,
        b"[]",
        {},
        {"name": ""},
        {"name": "  "},
        {"name": 1},
        {"name": "a" * 201},
        {"name": "\x1b[31mred"},
        {"name": "a", "tenant": None},
        {"name": "a", "may_speak_for_tenants": "yes"},
        {"name": "a", "unknown": 1},
    ],
)
def test_a_body_that_is_not_a_key_is_a_400_that_says_why(api: Api, body: Any) -> None:
    status, error = api.call("POST", "/admin/api/keys", body)
    assert (status, error["error"]["code"]) == (400, "invalid_request")
    assert api.store.keys == {}


def test_a_large_body_is_a_413(api: Api) -> None:
    assert api.call("POST", "/admin/api/keys", b" " * 20_000)[0] == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/admin/api/keys"),
        ("GET", "/admin/api/keys/id1"),
        ("DELETE", "/admin/api/keys/"),
        ("DELETE", "/admin/api/keys/id1/rotate"),
        ("POST", "/admin/api/keys//rotate"),
        ("DELETE", "/admin/api/keys/unknown"),
        ("GET", "/admin/api/other"),
    ],
)
def test_an_unknown_path_method_or_id_is_a_404(api: Api, method: str, path: str) -> None:
    assert api.call(method, path)[0] == 404


def test_a_database_that_cannot_be_written_is_a_503(api: Api) -> None:
    api.store.error = Unavailable("the ledger's disk is full")
    assert api.call("POST", "/admin/api/keys", {"name": "a"})[0] == 503


def test_a_failure_is_a_500_that_tells_nothing(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.store.error = ValueError("secret")
    status, error = api.call("POST", "/admin/api/keys", {"name": "a"})
    assert (status, error["error"]["code"]) == (500, "internal_error")
    assert "secret" not in json.dumps(error) + caplog.text


def test_a_short_token_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        AdminApi(Secret("short"), FakeStore(), KeyRing())
