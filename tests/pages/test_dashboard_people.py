"""Who may see and do what on the pages; logging in; the first visit."""

from __future__ import annotations

import http.client
import random
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from pages_people import PASSWORD, Visitor, add_people
from pages_stories import Teller
from pages_walk import barriers, visiting
from pages_world import World, world
from playwright.sync_api import expect

from headgate.core.alerts import Alert
from headgate.testing.server import SimulatorServer

THEIRS = ("acme", "ada@")  # what the tenant-admin of globex must not find anywhere


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("people")) as made:
        teller = Teller(time.time(), random.Random(2))
        at = time.time() - 120
        made.record(
            [
                teller.exchange(at, "acme", "ada", "chat", session="acme-talk", correlation="both"),
                teller.exchange(at + 1, "globex", "eve", "chat", session="globex-talk", correlation="both"),
            ],
            budgeted=0,
        )
        made.built.incidents.set("slow", "tenant", "acme", rate=10, why="acme has a party")
        add_people(made)
        yield made


def exchange_of(gate: World, tenant: str) -> str:
    _, _, body = Visitor(gate, "root").ask(f"/ui/exchanges?q=tenant:{tenant}")
    found = re.search(r"/ui/exchanges/(ex_[0-9a-f]+)", body)
    assert found
    return found[1]


SEEN = (
    "/",
    "/?period=7d",
    "/ui/exchanges",
    "/ui/exchanges?q=tenant:acme",
    "/ui/exchanges?q=parcel",
    "/ui/exchanges?q=correlation_id:both",
    "/ui/exchanges/tail?after=0",
    "/ui/exchanges/erase?kind=user&value=someone",
    "/ui/conversations",
    "/ui/spend?by=user",
    "/ui/spend?by=tenant",
    "/ui/spend?by=tenant&tenant=acme",
    "/ui/spend.csv?by=user&tenant=acme",
)


@pytest.mark.parametrize("path", SEEN)
def test_a_tenant_admin_finds_nothing_of_another_tenant(gate: World, path: str) -> None:
    status, _, body = Visitor(gate, "tia").ask(path)
    assert status == 200
    shown = body.replace("tenant:acme", "").replace("tenant=acme", "").replace("tenant%3Aacme", "")
    assert not [word for word in THEIRS if word in shown]
    status, _, body = Visitor(gate, "root").ask(path)
    assert status == 200


def test_another_tenants_exchange_and_conversation_are_not_there(gate: World) -> None:
    tia = Visitor(gate, "tia")
    for path in (f"/ui/exchanges/{exchange_of(gate, 'acme')}", "/ui/conversations/acme-talk", "/ui/exchanges/ex_none"):
        assert tia.ask(path)[0] == 404
    status, _, body = tia.ask(f"/ui/exchanges/{exchange_of(gate, 'globex')}")
    assert (status, "With the same correlation id" in body) == (200, False)
    assert tia.ask("/ui/conversations/globex-talk")[0] == 200


@pytest.mark.parametrize("name", ["vic", "oli"])
def test_who_may_not_erase_is_not_offered_it_and_a_forged_form_is_refused(gate: World, name: str) -> None:
    visitor = Visitor(gate, name)
    assert "Erase it" not in visitor.ask(f"/ui/exchanges?q={quote('user:ada@acme.example')}")[2]
    told = {"kind": "user", "value": "ada@acme.example", "sure": "yes", "csrf": visitor.csrf()}
    assert visitor.ask("/ui/exchanges/erase", told)[0] == 403
    assert visitor.ask("/ui/exchanges/erase?kind=user&value=ada")[0] == 403


def test_a_form_without_its_token_changes_nothing(gate: World) -> None:
    root = Visitor(gate, "root")
    assert root.ask("/ui/exchanges/erase", {"kind": "user", "value": "ada@acme.example", "sure": "yes"})[0] == 403
    assert "ada@acme.example" in root.ask("/ui/exchanges")[2]


def test_what_is_erased_for_one_tenant_stays_of_another_and_is_on_record(gate: World) -> None:
    teller = Teller(time.time(), random.Random(6))
    mine, theirs = (teller.exchange(time.time() - 9, tenant, "kim", "chat") for tenant in ("globex", "acme"))
    mine.request.caller.user = theirs.request.caller.user = "kim"
    gate.record([mine, theirs])
    tia = Visitor(gate, "tia")
    told = {"kind": "user", "value": "kim", "sure": "yes", "csrf": tia.csrf()}
    status, _, body = tia.ask("/ui/exchanges/erase", told)
    assert (status, "is gone" in body) == (200, True)
    assert tia.ask("/ui/exchanges?q=user:kim")[2].count("/ui/exchanges/ex_") == 0
    assert Visitor(gate, "root").ask("/ui/exchanges?q=user:kim")[2].count("/ui/exchanges/ex_") >= 1
    (row,) = [each for each in gate.built.ledger.audit.rows() if each.action == "log.erase"]
    assert (row.actor, row.tenant, "kim" in row.subject) == ("tia", "globex", False)


def test_people_log_in_read_a_plain_word_where_it_fails_and_log_out(browser: Any, gate: World) -> None:
    with visiting(browser, gate.url) as page:
        page.goto("/ui/spend?by=model")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert barriers(page) == []
        page.get_by_label("Name").fill("vic")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Spend", level=1)).to_be_visible()
        expect(page.get_by_label("By", exact=True)).to_have_value("model")  # where they wanted to go
        expect(page.get_by_role("banner")).to_contain_text("vic viewer")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    status, _, body = Visitor(gate).ask("/login", {"name": "vic", "password": "wrong"})
    assert status == 401
    assert 'role="alert"' in body


def test_an_incident_is_seen_by_all_but_other_tenants(gate: World) -> None:
    assert "acme has a party" in Visitor(gate, "vic").ask("/")[2]
    assert "acme has a party" not in Visitor(gate, "tia").ask("/")[2]


def test_a_page_that_is_not_there_and_one_that_fails_are_pages(gate: World) -> None:
    root = Visitor(gate, "root")
    status, headers, body = root.ask("/ui/nowhere")
    assert (status, headers["content-type"].partition(";")[0], "Not found" in body) == (404, "text/html", True)
    assert root.ask("/ui/exchanges?before=not-a-cursor")[0] == 200
    assert root.ask("/ui/exchanges?" + "&".join(f"x{number}=1" for number in range(100)))[0] == 400
    assert root.ask("/static/../site.py")[0] == 404
    assert root.ask("/static/%2e%2e/site.py")[0] == 404


def test_static_files_are_kept_by_browsers_until_they_change(gate: World) -> None:
    _, headers, body = Visitor(gate, "root").ask("/")
    found = re.search(r'"(/static/app\.css\?v=[0-9a-f]+)"', body)
    assert found
    status, headers, _ = Visitor(gate).ask(found[1])
    assert (status, "max-age=31536000" in headers["cache-control"]) == (200, True)


def test_the_first_visit_offers_a_demonstration_that_fills_the_pages(
    browser: Any, tmp_path: Any, headgate_simulator: SimulatorServer
) -> None:
    with world(tmp_path, simulator=headgate_simulator) as gate, visiting(browser, gate.url) as page:
        page.goto("/")
        expect(page.get_by_role("heading", name="Welcome to Headgate")).to_be_visible()
        assert barriers(page) == []
        expect(page.locator("#first-call")).to_contain_text(gate.url)
        page.get_by_role("button", name="Run the demonstration").click()
        expect(page.get_by_role("heading", name="Overview")).to_be_visible(timeout=60_000)
        page.goto("/ui/conversations")
        expect(page.get_by_role("table", name="Sessions, newest first").locator("tbody tr")).not_to_have_count(0)
        page.goto("/ui/exchanges?q=verdict:block")
        expect(page.locator("#rows tr").first).to_contain_text("refused")


def test_the_demonstration_never_calls_a_real_provider(tmp_path: Any) -> None:
    with world(tmp_path) as gate:
        _, _, body = Visitor(gate).ask("/")
        assert "headgate demo" in body
        assert "Run the demonstration" not in body
        where = urlsplit(gate.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port)
        connection.request("POST", "/ui/demo")
        assert connection.getresponse().status == 400
        connection.close()


def test_an_alert_that_is_on_is_told_with_its_evidence_but_not_to_one_tenant(gate: World) -> None:
    said = "3 of 20 exchanges failed"
    alert = Alert(
        "al_1", "error_rate", "openai", "critical", time.time() - 60, time.time(), 0.15, 0.01, said, "/ui/spend?by=task"
    )
    board = gate.built.alerting.board
    found, board.active = board.active, lambda: (alert,)  # type: ignore[method-assign]
    try:
        body = Visitor(gate, "vic").ask("/")[2]
        assert said in body
        assert 'href="/ui/spend?by=task"' in body
        assert said not in Visitor(gate, "tia").ask("/")[2]
    finally:
        board.active = found  # type: ignore[method-assign]
