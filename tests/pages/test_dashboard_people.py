"""Who may see and do what on the pages; logging in; the first visit."""

from __future__ import annotations

import http.client
import json
import random
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import pytest
from pages_people import PASSWORD, Visitor, add_people, addresses, rows_at
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
        made.built.ledger.keys.create("of-acme", tenant="acme")
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


def asked_from_elsewhere(gate: World, root: Visitor, method: str, path: str, origin: str, csrf: str = "") -> int:
    """The status of what another site has this browser send."""
    where = urlsplit(gate.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    headers = {"cookie": root.cookie, "origin": origin, "x-headgate-csrf": csrf, "sec-fetch-site": "cross-site"}
    connection.request(method, path, b"{}", {name: value for name, value in headers.items() if value})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def served(gate: World) -> set[tuple[str, str]]:
    """(Method, path) of every page and every operation of the admin API, with ids that there are where a page has
    them."""
    control = gate.gateway.aside._app._control  # type: ignore[union-attr]
    ids = {"/ui/exchanges/": exchange_of(gate, "acme"), "/ui/keys/": gate.built.ledger.keys.list()[0].id}
    found = {("POST", "/logout")}
    for route in control.pages.routes:
        known = next((each for start, each in ids.items() if route.path.startswith(start)), "acme-talk")
        found |= {(method, re.sub(r"\{[^}]+\}", known, route.path)) for method in route.methods}
    document = json.loads(Visitor(gate, "root").ask("/admin/api/openapi.json")[2])
    for path, methods in document["paths"].items():
        found |= {(method.upper(), "/admin/api" + re.sub(r"\{[^}]+\}", "acme-talk", path)) for method in methods}
    return found


def everything(gate: World) -> dict[str, list[Any]]:
    """What the ledger has, but for who was seen when; and how many exchanges the log finds."""
    apart = ("sessions", "owners", "meta", "sqlite_sequence")
    tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
    with closing(sqlite3.connect(gate.folder / "headgate.db")) as sql:
        names = [name for (name,) in sql.execute(tables) if name not in apart]
        found = {name: sql.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    return found | {"log": re.findall("/ui/exchanges/ex_[0-9a-f]+", Visitor(gate, "root").ask("/ui/exchanges")[2])}


def test_every_change_out_of_a_browser_needs_our_origin_and_the_sessions_token(gate: World) -> None:
    root = Visitor(gate, "root")
    changes = {each for each in served(gate) if each[0] not in ("GET", "HEAD")}
    assert len(changes) > 30
    for method, path in sorted(changes):
        assert asked_from_elsewhere(gate, root, method, path, gate.url) == 403, (method, path)
        assert asked_from_elsewhere(gate, root, method, path, "https://elsewhere.example", root.csrf()) == 403, path
        assert asked_from_elsewhere(gate, root, method, path, "null", root.csrf()) == 403, path


def test_no_link_from_another_site_changes_anything(gate: World) -> None:
    """Which is why the session's cookie may come with one (SameSite=Lax)."""
    root = Visitor(gate, "root")
    told = "kind=user&value=ada@acme.example&sure=yes&by=user&budget=user/day&scope=ada&usd=9&name=x&id=1&approval=a"
    looked = {path for method, path in served(gate) if method in ("GET", "HEAD")}
    before = everything(gate)
    statuses = [asked_from_elsewhere(gate, root, "GET", f"{path}?{told}", "") for path in sorted(looked)]
    assert statuses.count(200) > 15
    after = everything(gate)
    for told_by in (before, after):  # looking on logs in
        told_by["audit_log"] = [each for each in told_by["audit_log"] if "session.begin" not in each]
    assert after == before


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
    row, _ = [each for each in gate.built.ledger.audit.rows() if each.action == "log.erase"]
    assert (row.actor, row.tenant, "kim" in row.subject) == ("tia", "globex", False)


def hidden(body: str, name: str) -> str:
    found = re.search(rf'type="hidden" name="{name}" value="([^"]*)"', body)
    return found[1] if found else ""


def test_erasing_from_a_search_for_one_tenants_user_erases_that_tenants_alone(gate: World) -> None:
    teller = Teller(time.time(), random.Random(7))
    for tenant in ("globex", "acme", ""):
        each = teller.exchange(time.time() - 9, tenant or "none", "lee", "chat")
        each.request.caller.user, each.request.caller.tenant = "lee", tenant
        gate.record([each])
    root = Visitor(gate, "root")
    (offered,) = addresses(root.ask("/ui/exchanges?q=user:lee+tenant:acme")[2], "/ui/exchanges/erase?")
    _, _, asked = root.ask(offered)
    assert ("1 exchange," in asked, "tenant <bdi>acme</bdi>" in asked) == (True, True)
    assert "in every tenant" not in asked
    told = {name: hidden(asked, name) for name in ("kind", "value", "tenant", "csrf")}
    assert "is gone" in root.ask("/ui/exchanges/erase", {**told, "sure": "yes"})[2]
    found = root.ask("/ui/exchanges?q=user:lee")[2]
    assert ("globex" in found, "acme" in found, len(re.findall('<tr class="link', found))) == (True, False, 2)
    (offered,) = addresses(found, "/ui/exchanges/erase?")
    everywhere = root.ask(offered)[2]
    assert "in every tenant" in everywhere
    without, only = addresses(everywhere, "/ui/exchanges/erase?")
    assert (only.endswith("tenant=globex"), hidden(root.ask(without)[2], "no_tenant")) == (True, "yes")
    asked = root.ask(without)[2]
    assert ("1 exchange," in asked, "without a tenant" in asked) == (True, True)


def test_a_tenant_admin_is_not_offered_to_erase_by_a_search_for_another_tenant(gate: World) -> None:
    assert "Erase it" in Visitor(gate, "tia").ask("/ui/exchanges?q=user:nobody")[2]
    assert "Erase it" not in Visitor(gate, "tia").ask("/ui/exchanges?q=user:nobody+tenant:acme")[2]


def test_a_conversation_is_one_tenants_where_several_have_a_session_of_its_name(gate: World) -> None:
    teller, at = Teller(time.time(), random.Random(11)), time.time() - 5
    for tenant, said in (("acme", "the red one"), ("globex", "the green one"), ("", "the blue one")):
        each = teller.exchange(at, tenant or "none", "pat", "chat", session="s-1", words=(said, said))
        each.request.caller.tenant = tenant
        gate.record([each])
    root = Visitor(gate, "root")

    def shown(path: str) -> list[str]:
        status, _, body = root.ask(path)
        assert (status, "<h1><bdi>s-1</bdi></h1>" in body) == (200, True)
        return re.findall("the (red|green|blue) one", body)[::2]

    listed = addresses(root.ask("/ui/conversations?q=session:s-1")[2], "/ui/conversations/s-1")
    assert [shown(each) for each in listed] == [["blue"], ["green"], ["red"]]
    asked = root.ask("/ui/conversations/s-1")[2]
    assert ("choose one" in asked, addresses(asked, "/ui/conversations/s-1")) == (True, listed)
    _, _, body = root.ask(listed[2])
    exchanges = addresses(body, "/ui/exchanges?q=")
    assert [rows_at(root, each) for each in exchanges] == [1, 1]  # the user, and the session
    (exchange,) = addresses(body, "/ui/exchanges/ex_")
    assert set(addresses(root.ask(exchange)[2], "/ui/conversations/")) == {listed[2]}
    tia = Visitor(gate, "tia")
    theirs = [tia.ask(each)[2] for each in ("/ui/conversations/s-1", "/ui/conversations/s-1?tenant=acme")]
    assert [("green" in each, "red" in each) for each in theirs] == [(True, False)] * 2


def test_the_live_tail_has_a_match_at_once_however_much_else_came_since(gate: World) -> None:
    teller, at = Teller(time.time(), random.Random(12)), time.time() - 5
    gate.record([teller.exchange(at, "acme", "amy", "chat", words=("a zebra", "a zebra"))])
    root = Visitor(gate, "root")

    def next_of(body: str) -> str:
        found = re.search('hx-get="([^"]+)"', body)
        assert found
        return unescape(found[1])

    searches = ("user:amy@acme.example", "horse -zebra")
    tails = {words: next_of(root.ask(f"/ui/exchanges?live=1&q={quote(words)}")[2]) for words in searches}
    gate.record(
        [
            *(teller.exchange(at, "acme", "ned", "classify") for _ in range(110)),
            teller.exchange(at, "acme", "amy", "chat", words=("a horse", "a horse")),
            teller.exchange(at, "acme", "ned", "chat", words=("a horse", "a horse and a zebra")),
        ]
    )
    for words in searches:
        body = root.ask(tails[words])[2]
        assert (len(re.findall('<tr class="link', body)), "amy@" in body) == (1, True), words
        assert rows_at(root, next_of(body)) == 0, words
    everything = next_of(root.ask("/ui/exchanges?live=1")[2])
    gate.record([teller.exchange(at, "acme", "ned", "classify") for _ in range(101)])
    body = root.ask(everything)[2]
    assert "100 new exchanges, and more that are not shown" in body
    assert rows_at(root, next_of(body)) == 0


ODD = ('ro"b', "rob", "Ann Lee", "Ann")


def test_every_link_of_an_exchange_and_its_conversation_finds_exactly_what_it_names(gate: World) -> None:
    teller, at = Teller(time.time(), random.Random(9)), time.time() - 5
    for name in ODD:
        each = teller.exchange(at, "odd", name, "chat", session=f"talk of {name}", correlation=f"{name}: 1")
        each.request.caller.user, each.request.caller.tags = name, {"te am": f"of {name}", "team": "odd"}
        gate.record([each])
    root = Visitor(gate, "root")
    for name in ('ro"b', "Ann Lee"):
        _, _, body = root.ask(f"/ui/conversations/{quote(f'talk of {name}')}")
        found = addresses(body, "/ui/exchanges?q=")
        assert ([rows_at(root, each) for each in found], len(found)) == ([1, 1], 2)
        assert f"kind=user&value={quote_plus(name)}" in "".join(
            addresses(root.ask(found[0])[2], "/ui/exchanges/erase?")
        )
        (exchange,) = addresses(body, "/ui/exchanges/ex_")
        shown = root.ask(exchange)[2]
        one = [each for each in addresses(shown, "/ui/exchanges?q=") if quote_plus(name.replace('"', '""')) in each]
        assert [rows_at(root, each) for each in one] == [1, 1, 1], one  # user, tag, correlation id
        (team,) = [each for each in addresses(shown, "/ui/exchanges?q=") if "tag%3Ateam" in each]
        assert rows_at(root, team) == len(ODD)


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


@pytest.mark.parametrize(("name", "status"), [("vic", 403), ("tia", 403), ("oli", 400)])
def test_who_may_have_no_work_done_cannot_run_the_demonstration(gate: World, name: str, status: int) -> None:
    visitor = Visitor(gate, name)
    assert visitor.ask("/ui/demo", {"csrf": visitor.csrf()})[0] == status  # 400: real providers would answer here


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
