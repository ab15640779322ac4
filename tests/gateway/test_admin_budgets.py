"""The control API's budgets: who may change a cap, what it takes, and that it is on record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from headgate.core.budget import Budget
from headgate.core.errors import Unavailable
from headgate.core.secret import Secret
from headgate.gateway.admin import AdminApi
from headgate.gateway.admin_budgets import BudgetsApi
from headgate.gateway.auth import KeyRing
from headgate.stores.sqlite import SqliteLedger

TOKEN = "control-" + "t" * 32
HEADERS = [(b"host", b"127.0.0.1:8484"), (b"authorization", b"Bearer " + TOKEN.encode())]
NOW = 1_800_000_000.0
BUDGETS = (
    Budget("user/day", ("user",), cap_nano=10 * 10**9, every="day", source="headgate.yaml:2:5"),
    Budget("tenant+user/total", ("tenant", "user"), cap_nano=10**9, cap_tokens=500),
    Budget("all/total", cap_nano=10**9),
)


class Api:
    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger = ledger
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.app = self.made(BUDGETS)

    def made(self, budgets: Any) -> AdminApi:
        def tell(name: str, **fields: Any) -> None:
            self.events.append((name, json.loads(json.dumps(fields))))

        budgets_api = BudgetsApi(budgets, self.ledger, now=lambda: NOW, tell=tell)
        return AdminApi(Secret(TOKEN), cast("Any", None), KeyRing(), budgets_api)  # no key is asked for

    def call(
        self, method: str, query: dict[str, str] | bytes = b"", body: Any = None, *, headers: Any = HEADERS
    ) -> tuple[int, Any]:
        sent: list[Any] = []
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""

        async def receive() -> Any:
            return {"type": "http.request", "body": data}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": "/admin/api/budgets",
            "query_string": query if isinstance(query, bytes) else urlencode(query).encode(),
            "headers": headers,
            "client": ("127.0.0.1", 5),
        }
        asyncio.run(self.app(scope, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    ledger = SqliteLedger(f"sqlite:///{tmp_path / 'headgate.db'}", now=lambda: NOW)
    ledger.open()
    yield Api(ledger)
    ledger.close()


ADA = {"budget": "user/day", "scope": "ada"}


def test_a_cap_is_set_listed_and_taken_back_and_each_change_is_on_record(api: Api) -> None:
    status, changed = api.call("PUT", ADA, {"usd": "20.5"})
    assert status == 200
    assert (changed["before"]["cap_usd"], changed["after"]["cap_usd"]) == ("10", "20.5")
    assert (changed["after"]["overridden"], changed["source"]) == (True, "headgate.yaml:2:5")
    status, listed = api.call("GET", ADA)
    assert status == 200
    assert [(row["scope"], row["cap_usd"], row["configured_cap_usd"]) for row in listed["budgets"]] == [
        ("ada", "20.5", "10")
    ]
    status, changed = api.call("DELETE", ADA)
    assert (status, changed["after"]["cap_usd"], changed["after"]["overridden"]) == (200, "10", False)
    assert api.call("DELETE", ADA)[0] == 200  # said twice, and nothing changes
    assert [name for name, _ in api.events] == ["budget_changed"] * 2
    first = api.events[0][1]
    assert (first["budget"], first["scope"], first["by"]) == ("user/day", "ada", "gateway")
    assert (first["before_usd"], first["after_usd"], first["overridden"]) == ("10", "20.5", True)


def test_scopes_and_ids_are_any_text_once_they_are_encoded(api: Api) -> None:
    hostile = "\x1b]0;x\x07&scope=eve/..%2f 日本"
    for scope, stored in ((hostile, hostile), ("user=a", "a")):
        assert api.call("PUT", {"budget": "user/day", "scope": scope}, {"tokens": 5})[1]["scope"] == stored
    pair = {"budget": "tenant+user/total", "scope": "user=ada,tenant=a,b"}
    assert api.call("PUT", pair, {"usd": 3, "tokens": "7"})[1]["scope"] == '["a,b","ada"]'
    assert api.call("PUT", {"budget": "all/total"}, {"usd": "2"})[1]["scope"] == ""
    listed = api.call("GET")[1]["budgets"]
    assert {row["scope"] for row in listed if row["overridden"]} == {hostile, "a", '["a,b","ada"]', ""}


def test_filters_of_the_list_are_those_of_the_command_line(api: Api) -> None:
    api.call("PUT", {"budget": "all/total"}, {"usd": "0"})
    near = api.call("GET", {"near": "80%"})[1]["budgets"]
    assert [row["budget"] for row in near] == ["all/total"]
    assert len(api.call("GET", {"budget": "user/day", "all_periods": "true"})[1]["budgets"]) == 1


@pytest.mark.parametrize(
    ("query", "body"),
    [
        (ADA, b""),
        (ADA, b"{"),
        (ADA, b"[" * 5000),
        (ADA, {}),
        (ADA, []),
        (ADA, {"usd": None}),
        (ADA, {"usd": True}),
        (ADA, {"usd": 1.5}),
        (ADA, {"usd": "-1"}),
        (ADA, {"usd": "NaN"}),
        (ADA, {"usd": "1e3"}),
        (ADA, {"usd": "0.0000000001"}),
        (ADA, {"usd": "1000000001"}),
        (ADA, {"tokens": -1}),
        (ADA, {"tokens": 10**16}),
        (ADA, {"usd": "1", "cap": "2"}),
        ({"budget": "user/day"}, {"usd": "1"}),
        ({"budget": "tenant+user/total", "scope": "ada"}, {"usd": "1"}),
        ({"budget": "all/total", "scope": "ada"}, {"usd": "1"}),
        ({**ADA, "near": "80%"}, {"usd": "1"}),
        ({**ADA, "other": "1"}, {"usd": "1"}),
        (b"budget=user/day&scope=ada&scope=eve", {"usd": "1"}),
        (b"budget=user/day&scope=%ff", {"usd": "1"}),
        (b"budget=user/day&scope=\xff", {"usd": "1"}),
        (b"scope", {"usd": "1"}),
    ],
)
def test_what_is_no_cap_of_an_account_is_a_400_and_changes_nothing(api: Api, query: Any, body: Any) -> None:
    status, error = api.call("PUT", query, body)
    assert (status, error["error"]["code"]) == (400, "invalid_request")
    assert api.events == []
    assert not any(row["overridden"] for row in api.call("GET")[1]["budgets"])


@pytest.mark.parametrize("query", [{"near": "80"}, {"all_periods": "perhaps"}, {"budget": "user/dy"}, {"other": "1"}])
def test_a_filter_that_is_none_is_a_400(api: Api, query: dict[str, str]) -> None:
    assert api.call("GET", query)[0] == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_unknown_budget_is_a_404_that_lists_them(api: Api, method: str) -> None:
    status, error = api.call(method, {"budget": "user/dya", "scope": "ada"}, {"usd": "1"})
    assert status == 404
    assert "Did you mean user/day?" in error["error"]["message"]
    assert "tenant+user/total" in error["error"]["message"]


def test_an_override_whose_budget_is_gone_can_be_taken_back_and_not_set(api: Api) -> None:
    api.call("PUT", ADA, {"usd": "20"})
    api.app = api.made(BUDGETS[1:])
    assert api.call("PUT", ADA, {"usd": "30"})[0] == 404
    assert api.call("DELETE", ADA)[0] == 200
    assert api.call("DELETE", ADA)[0] == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_without_the_token_nothing_is_told_or_changed(api: Api, method: str) -> None:
    status, error = api.call(method, ADA, {"usd": "1"}, headers=HEADERS[:1])
    assert (status, error["error"]["type"]) == (401, "authentication_error")
    foreign = [*HEADERS, (b"origin", b"http://127.0.0.1:8484")]
    assert api.call(method, ADA, {"usd": "1"}, headers=foreign)[0] == 403
    assert api.events == []


def test_another_method_is_a_404(api: Api) -> None:
    assert api.call("POST", ADA, {"usd": "1"})[0] == 404


def test_a_ledger_that_cannot_be_written_is_a_503_and_nothing_is_on_record(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(api.ledger, "set_cap", full)
    status, error = api.call("PUT", ADA, {"usd": "1"})
    assert (status, error["error"]["message"]) == (503, "the disk is full")
    assert api.events == []


def test_changes_at_the_same_moment_are_made_one_after_the_other(api: Api) -> None:
    budgets = BudgetsApi(BUDGETS, api.ledger, now=lambda: NOW, tell=lambda name, **fields: None)
    pair = urlencode({"budget": "tenant+user/total", "scope": "tenant=a,user=b"}).encode()

    async def both() -> None:
        bodies = [json.dumps(each).encode() for each in ({"usd": "5"}, {"tokens": 9}) for _ in range(5)]
        await asyncio.gather(*(budgets.answer("PUT", pair, body) for body in bodies))

    asyncio.run(both())
    row = next(row for row in api.call("GET")[1]["budgets"] if row["overridden"])
    assert (row["cap_usd"], row["cap_tokens"]) == ("5", 9)
