"""The bridge from blocking keys to the control API."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.core.secret import Secret
from headgate.gateway.keys import ThreadedKeys


@dataclass(frozen=True)
class Stored:
    id: str = "id1"
    name: str = "dev"
    tenant: str = ""
    environment: str = ""
    may_speak_for_tenants: bool = False
    created: float = 1.0
    revoked: float | None = None


@dataclass(frozen=True)
class Made:
    key: Stored
    secret: Secret


class Blocking:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.threads: set[int] = set()

    def _do(self, result: Any) -> Any:
        self.threads.add(threading.get_ident())
        if self.error is not None:
            raise self.error
        return result

    def create(self, name: str, *, tenant: str = "", environment: str = "", may_speak_for_tenants: bool = False) -> Any:
        return self._do(Made(Stored("id1", name, tenant, environment, may_speak_for_tenants), Secret("made-1")))

    def list(self) -> Any:
        return self._do([Stored()])

    def rotate(self, id_or_name: str) -> Any:
        return self._do(Made(Stored(id_or_name), Secret("made-2")))

    def revoke(self, id_or_name: str) -> Any:
        return self._do(Stored(id_or_name, revoked=2.0))


def test_every_call_runs_off_the_event_loops_thread_and_returns_what_the_store_said() -> None:
    store = Blocking()
    keys = ThreadedKeys(store)

    async def use() -> None:
        assert await keys.create("dev", "acme", "test", True) == (Stored("id1", "dev", "acme", "test", True), "made-1")
        assert await keys.list() == [Stored()]
        assert await keys.rotate("id7") == (Stored("id7"), "made-2")
        assert (await keys.revoke("id7")).revoked == 2.0

    asyncio.run(use())
    assert threading.get_ident() not in store.threads


def test_a_wrong_name_is_a_400_and_an_unknown_id_a_404_in_the_stores_words() -> None:
    keys = ThreadedKeys(Blocking(ConfigError("there is no such thing")))
    with pytest.raises(BadRequest, match="no such thing"):
        asyncio.run(keys.create("dev", "", "", False))
    with pytest.raises(NotServed, match="no such thing"):
        asyncio.run(keys.rotate("id1"))
    with pytest.raises(NotServed, match="no such thing"):
        asyncio.run(keys.revoke("id1"))
