"""The dashboard's pages that change something: journeys with a real SDK, roles, barriers, strangers' texts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from html import unescape
from typing import Any

import anthropic
import pytest
from pages_people import Visitor, add_people
from pages_stories import HOSTILE
from pages_walk import visiting, walk
from pages_world import World, world
from playwright.sync_api import expect

from headgate.core.approvals import Parked
from headgate.core.caller import Caller
from headgate.core.guards import ToolCall
from headgate.testing.server import SimulatorServer

TOLD = {
    "budgets": [
        {"per": "key", "usd": 50, "every": "month"},
        {"per": "tenant", "usd": 20, "every": "month"},
        {"per": ["tenant", "user"], "usd": 5, "every": "day"},
    ],
    "limits": [{"per": "user", "requests_per_minute": 600}],
    "guards": {"profile": "standard", "tools": {"approve": ["send_email"]}},
}
SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
PATHS = ("/ui/guards", "/ui/keys", "/ui/keys/cap?budget=key/month&scope=someone")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("control")
    with SimulatorServer() as simulator, world(folder, TOLD, simulator=simulator) as made:
        add_people(made)
        yield made


@pytest.fixture(scope="module")
def key(gate: World) -> str:
    return new_key(gate, name="everybody")


def new_key(gate: World, **fields: str) -> str:
    root = Visitor(gate, "root")
    _, _, body = root.ask("/ui/keys/create", {**fields, "csrf": root.csrf()})
    found = re.search(r'id="secret" class="said">(hg-[^<]+)<', body)
    assert found
    return found[1]


def client(gate: World, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=key, base_url=gate.url, max_retries=0)


def ask_for_an_email(gate: World, key: str, marker: str, approval: str = "") -> tuple[Any, str]:
    """(The message, the approval's token), as the official SDK has them."""
    answer = client(gate, key).messages.with_raw_response.create(
        model="claude-haiku-4-5",
        max_tokens=300,
        messages=[{"role": "user", "content": f"write to her ({marker})"}],
        tools=[{"name": "send_email", "input_schema": SCHEMA}],
        tool_choice={"type": "tool", "name": "send_email"},
        extra_headers={"x-headgate-approval": approval} if approval else {},
    )
    return answer.parse(), answer.headers.get("x-headgate-approval", "")


def logged_in(gate: World, page: Any, name: str) -> None:
    cookie, _, value = Visitor(gate, name).cookie.partition("=")
    page.context.add_cookies([{"name": cookie, "value": value, "url": gate.url}])


def park(gate: World, tool: str, arguments: dict[str, Any], *, tenant: str = "acme", user: str = "ada") -> str:
    now = time.time()
    approval = f"ap_{abs(hash((tool, now))):x}"
    call = ToolCall("call-1", tool, json.dumps(arguments))
    gate.built.approvals.keep(
        Parked(approval, now, now + 3600, Caller(tenant=tenant, user=user, session="talk"), call, "ex_none", "digest")
    )
    gate.built.ledger.flush()
    return approval


def test_approve_this_tool_call(browser: Any, gate: World, key: str) -> None:
    first, token = ask_for_an_email(gate, key, "journey")
    assert [block.type for block in first.content] == ["text"]  # it waits for a person
    with visiting(browser, gate.url) as page:
        logged_in(gate, page, "oli")
        page.goto("/")
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Guards 1 waiting").click()
        card = page.get_by_role("article", name="send_email")
        card.get_by_label("Arguments").fill('{"to": "her@example.com"}')
        card.get_by_label("Note").fill("the address was wrong")
        card.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("status").first).to_have_text("Approved with the arguments that you wrote.")
        expect(page.get_by_role("region", name="Decided last").get_by_role("row").nth(1)).to_contain_text("edited")
    again, _ = ask_for_an_email(gate, key, "journey", token)
    (call,) = [each for each in again.content if each.type == "tool_use"]
    assert call.input == {"to": "her@example.com"}
    (row,) = [each for each in gate.built.ledger.audit.rows() if each.action.startswith("approval.")]
    assert row.actor == "oli"


def test_a_call_that_is_denied_never_reaches_who_asked(gate: World, key: str) -> None:
    _, token = ask_for_an_email(gate, key, "denied")
    oli = Visitor(gate, "oli")
    (waiting,) = gate.built.approvals.list(state=None, limit=1)
    told = {"id": waiting.id, "decision": "deny", "note": "not today", "csrf": oli.csrf()}
    assert oli.ask("/ui/guards/decide", told)[0] == 303
    (block,) = ask_for_an_email(gate, key, "denied", token)[0].content
    assert (block.type, "not today" in block.text) == ("text", True)
    status, _, body = oli.ask("/ui/guards/decide", told)  # a decision counts once
    assert (status, "decided before" in body) == (409, True)


def test_arguments_that_are_no_object_decide_nothing(gate: World) -> None:
    approval = park(gate, "wire_money", {"usd": 5})
    oli = Visitor(gate, "oli")
    told = {"id": approval, "decision": "approve", "arguments": "[1", "csrf": oli.csrf()}
    status, _, body = oli.ask("/ui/guards/decide", told)
    assert (status, "nothing was decided" in body) == (400, True)
    (shown,) = [each for each in gate.built.approvals.list(limit=50) if each.id == approval]
    assert shown.state == "pending"


def test_give_a_new_team_a_key_with_a_budget(browser: Any, gate: World) -> None:
    with visiting(browser, gate.url) as page:
        logged_in(gate, page, "root")
        page.goto("/ui/keys")
        form = page.get_by_role("region", name="New key")
        form.get_by_label("Name").fill("search-team")
        form.get_by_label("Tenant (if any)").fill("search")
        form.get_by_label("Cap in USD each month").fill("0.01")
        form.get_by_role("button", name="Make the key").click()
        expect(page.get_by_role("heading", name="The key is made")).to_be_visible()
        expect(page.get_by_role("status").first).to_have_text("Its cap of key/month is set.")
        secret = page.locator("#secret").inner_text()
        page.get_by_role("link", name="Keys and budgets").first.click()
        expect(page.get_by_role("table", name="Keys that work")).to_contain_text("search-team")
        assert secret not in page.content()
        with pytest.raises(anthropic.RateLimitError) as refused:
            spend_up_to_the_cap(gate, secret)
        assert refused.value.body["error"]["type"] == "budget_exceeded" or "budget_exceeded" in str(refused.value.body)
        page.reload()
        budgets = page.get_by_role("region", name="Budgets")
        expect(budgets).to_contain_text("cap set by hand")
        expect(budgets).to_contain_text("$0.01")


def spend_up_to_the_cap(gate: World, secret: str) -> None:
    for _ in range(20):
        client(gate, secret).messages.create(
            model="claude-haiku-4-5", max_tokens=1_500, messages=[{"role": "user", "content": "hello"}]
        )


def test_a_rotated_key_stops_and_a_revoked_one_too(gate: World) -> None:
    old = new_key(gate, name="turning")
    root = Visitor(gate, "root")
    key_id = old.split("-")[1]
    assert root.ask(f"/ui/keys/{key_id}/rotate", {"csrf": root.csrf()})[0] == 400  # not without the box
    _, _, body = root.ask(f"/ui/keys/{key_id}/rotate", {"sure": "yes", "csrf": root.csrf()})
    found = re.search(r'class="said">(hg-[^<]+)<', body)
    assert found
    with pytest.raises(anthropic.AuthenticationError):
        client(gate, old).models.list()
    assert client(gate, found[1]).models.list()
    assert root.ask(f"/ui/keys/{key_id}/revoke", {"sure": "yes", "csrf": root.csrf()})[0] == 303
    with pytest.raises(anthropic.AuthenticationError):
        client(gate, found[1]).models.list()


def test_a_cap_is_changed_and_taken_back(gate: World) -> None:
    oli = Visitor(gate, "oli")
    told = {"budget": "tenant/month", "scope": "umbrella", "csrf": oli.csrf()}
    assert oli.ask("/ui/keys/cap", {**told, "usd": "3", "do": "set"})[0] == 303
    assert "set by hand" in oli.ask("/ui/keys/cap?budget=tenant/month&scope=umbrella")[2]
    assert oli.ask("/ui/keys/cap", {**told, "do": "restore"})[0] == 303
    assert "set by hand" not in oli.ask("/ui/keys/cap?budget=tenant/month&scope=umbrella")[2]
    status, _, body = oli.ask("/ui/keys/cap", {**told, "usd": "lots", "do": "set"})
    assert (status, 'class="note bad"' in body) == (400, True)


def forms(approval: str, key_id: str) -> dict[str, dict[str, str]]:
    """Every form of these pages, as somebody forges it."""
    return {
        "/ui/keys/create": {"name": "mine"},
        f"/ui/keys/{key_id}/rotate": {"sure": "yes"},
        f"/ui/keys/{key_id}/revoke": {"sure": "yes"},
        "/ui/keys/cap": {"budget": "tenant/month", "scope": "acme", "usd": "9", "do": "set"},
        "/ui/guards/decide": {"id": approval, "decision": "approve"},
    }


def test_a_viewer_is_offered_no_button_and_a_forged_form_is_refused(gate: World) -> None:
    vic = Visitor(gate, "vic")
    approval, key_id = park(gate, "wire_money", {"usd": 5}), new_key(gate, name="theirs").split("-")[1]
    for path in (*PATHS[:2], f"/ui/keys/{key_id}"):
        status, _, body = vic.ask(path)
        assert status == 200
        offered = re.findall(r'method="post" action="([^"]+)"', body)
        assert offered == ["/logout"], path
    for path, form in forms(approval, key_id).items():
        assert vic.ask(path, {**form, "csrf": vic.csrf()})[0] == 403, path


def test_a_tenant_admin_sees_and_touches_its_tenant_only(gate: World) -> None:
    approval = park(gate, "secret_tool_of_acme", {"usd": 5})
    mine = park(gate, "tool_of_globex", {"usd": 5}, tenant="globex", user="eve")
    key_id = new_key(gate, name="key-of-acme", tenant="acme").split("-")[1]
    tia = Visitor(gate, "tia")
    for path in PATHS:
        status, _, body = tia.ask(path)
        assert status == 200
        assert not [word for word in ("of_acme", "of-acme", ">ada<", ">search-team<") if word in body], path
    assert "tool_of_globex" in tia.ask("/ui/guards")[2]
    assert tia.ask(f"/ui/keys/{key_id}")[0] == 404
    expected = dict.fromkeys(forms(approval, key_id), 404) | {"/ui/guards/decide": 403, "/ui/keys/create": 200}
    for path, form in forms(approval, key_id).items():
        assert tia.ask(path, {**form, "csrf": tia.csrf()})[0] == expected[path], path
    assert tia.ask("/ui/guards/decide", {"id": mine, "decision": "deny", "csrf": tia.csrf()})[0] == 403
    (made,) = [each for each in gate.built.ledger.keys.list() if each.name == "mine"]
    assert made.tenant == "globex"
    status, _, body = tia.ask("/ui/keys/create", {"name": "x", "tenant": "acme", "csrf": tia.csrf()})
    assert status == 400


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_page_of_control_is_free_of_barriers_and_fits_a_phone_with_hostile_texts(
    browser: Any, gate: World, colours: str
) -> None:
    for place, text in enumerate(HOSTILE):
        park(gate, f"tool{place} {text}"[:80], {"to": text, text[:40]: [1, "grüße"]}, user=text[:200])
    new_key(gate, name=printable(HOSTILE[0]) + colours, tenant=printable(HOSTILE[0])[:100])
    with visiting(browser, gate.url, colours=colours) as page:
        logged_in(gate, page, "root")
        found = {}
        for path in PATHS:
            found[path] = walk(page, path, colours=colours)
            assert page.evaluate("window.hacked") is None
            assert not re.search("[\u202e\u2066\x1b\u200b]", page.content()), path
    assert {path: each for path, each in found.items() if each} == {}


def printable(text: str) -> str:
    return "".join(each for each in unescape(text) if each.isprintable())
