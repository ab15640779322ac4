"""The dashboard's pages that change something: journeys with a real SDK, roles, barriers, strangers' texts."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import fields
from html import unescape
from typing import Any

import anthropic
import pytest
from pages_people import Visitor, add_people
from pages_stories import HOSTILE, Teller
from pages_walk import visiting, walk
from pages_world import World, world
from playwright.sync_api import expect
from sqlalchemy import insert

from headgate.core.alerts import Alert
from headgate.core.approvals import Parked
from headgate.core.caller import Caller
from headgate.core.guards import ToolCall
from headgate.stores.batch_items import Batch, BatchStore
from headgate.stores.job_rows import Job, JobStore
from headgate.stores.schema import alerts
from headgate.testing.server import SimulatorServer

TOLD = {
    "budgets": [
        {"per": "key", "usd": 50, "every": "month"},
        {"per": "tenant", "usd": 20, "every": "month"},
        {"per": ["tenant", "user"], "usd": 5, "every": "day"},
    ],
    "limits": [{"per": "user", "requests_per_minute": 600}],
    "tasks": {"report": {"degrade": [{"on": "any", "use": "defer"}]}},
    "guards": {"profile": "standard", "tools": {"approve": ["send_email"]}},
}
SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
PATHS = (
    *("/ui/guards", "/ui/keys", "/ui/keys/cap?budget=key/month&scope=someone", "/ui/jobs", "/ui/billing?tenant=globex"),
    *("/ui/models", "/ui/alerts", "/ui/audit?verify=1", "/ui/checklist"),
)
NOT_A_TENANTS = ("/ui/models", "/ui/alerts", "/ui/audit?verify=1", "/ui/checklist")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("control")
    with SimulatorServer() as simulator, world(folder, TOLD, simulator=simulator) as made:
        add_people(made)
        happen(made)
        yield made


def happen(gate: World) -> None:
    """An incident and an alert, and of two tenants an exchange, a deferred call and a batch each."""
    now, teller = time.time(), Teller(time.time(), random.Random(8))
    gate.record([teller.exchange(now - 60, "acme", "of_acme", "chat"), teller.exchange(now, "globex", "eve", "chat")])
    gate.record([teller.blocked(now, "acme", "of_acme"), teller.blocked(now, "globex", "eve")])
    gate.built.incidents.set("slow", "tenant", "of-acme", rate=10, why=printable(HOSTILE[0])[:200])
    put_alert(gate, "al_aaaaaaaa", "provider_errors")
    jobs, batches = JobStore(gate.built.jobs), BatchStore(gate.built.jobs)
    for tenant, user in (("of-acme", "of_acme"), ("globex", "eve")):
        caller = {"tenant": tenant, "user": user}
        ids = (f"job_{tenant}", tenant, "", "d", "failed", now, now + 600, now)
        jobs.add(Job(*ids, "anthropic", "messages", "/v1/messages", "", "[]", json.dumps(caller), b"{}"))
        batches.create(
            Batch(f"batch_{tenant}", f"night {HOSTILE[1]}", "anthropic", "paced", "ended", now, caller=caller)
        )


def put_alert(gate: World, alert_id: str, rule: str, *, resolved: float | None = None) -> None:
    now = time.time()
    figures = (now - 900, now - 5, 0.5, 0.01)
    alert = Alert(alert_id, rule, "anthropic", "warning", *figures, "Half of them fail.", "/ui/exchanges?errors=true")
    row = {each.name: getattr(alert, each.name) for each in fields(alert)} | {"told": 1.0, "resolved": resolved}
    gate.built.ledger.call(lambda sql: sql.execute(insert(alerts).values(row)))


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


def textarea(page: str, approval: str) -> str:
    """What a browser sends of it: the line feed behind its tag is not part of it."""
    found = re.search(f'<textarea[^>]* id="arguments-{approval}"[^>]*>\n([^<]*)</textarea>', page)
    assert found
    return unescape(found[1])


def park(gate: World, tool: str, arguments: dict[str, Any], *, tenant: str = "acme", user: str = "ada") -> str:
    return park_text(gate, tool, json.dumps(arguments), tenant=tenant, user=user)


def park_text(gate: World, tool: str, arguments: str, *, tenant: str = "acme", user: str = "ada") -> str:
    now = time.time()
    approval = f"ap_{abs(hash((tool, now))):x}"
    call = ToolCall("call-1", tool, arguments)
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


def test_a_call_with_arguments_of_any_length_is_approved_changed_and_denied_on_the_page(gate: World) -> None:
    oli, long = Visitor(gate, "oli"), {"body": "長い\U000e0041" * 5_000, "deep": [[[[1]]]] * 9}
    for decision, edit, done in (("deny", {}, "denied"), ("approve", {}, "approved"), ("approve", {"b": 1}, "edited")):
        approval = park_text(gate, "send_letter", json.dumps(long, ensure_ascii=False))
        shown = textarea(oli.ask("/ui/guards")[2], approval)
        told = {"id": approval, "decision": decision, "csrf": oli.csrf(), "arguments": shown.replace("\n", "\r\n")}
        if edit:
            told["arguments"] = json.dumps({"body": long["body"], **edit}, ensure_ascii=False)
        status, headers, _ = oli.ask("/ui/guards/decide", told)
        assert (status, headers["location"]) == (303, f"/ui/guards?done={done}")
    (parked,) = [each for each in gate.built.approvals.list(limit=50) if each.id == approval]
    assert json.loads(parked.edited or "") == {"body": long["body"], "b": 1}


def test_emptied_arguments_decide_nothing_and_no_arguments_are_written_as_such(gate: World) -> None:
    approval, oli = park(gate, "wire_gold", {"grams": True}), Visitor(gate, "oli")
    told = {"id": approval, "decision": "approve", "arguments": " \r\n", "csrf": oli.csrf()}
    status, _, body = oli.ask("/ui/guards/decide", told)
    assert (status, "empty; nothing was decided" in body) == (400, True)
    oli.ask("/ui/guards/decide", {**told, "arguments": '{"grams": 1}'})
    (decided,) = [each for each in gate.built.approvals.list(limit=50) if each.id == approval]
    assert (decided.state, decided.edited) == ("approved", '{"grams": 1}')  # to Python, true is 1
    none = park(gate, "wire_gold", {"grams": 5})
    assert oli.ask("/ui/guards/decide", {**told, "id": none, "arguments": "{}"})[1]["location"].endswith("done=edited")


def test_what_not_every_program_reads_alike_is_approved_as_it_is_or_denied(gate: World) -> None:
    oli, text = Visitor(gate, "oli"), '{"body": "hi \\ud83d"}'  # as an earlier Headgate parked it
    approval = park_text(gate, "send_half", text)
    shown = textarea(oli.ask("/ui/guards")[2], approval)
    told = {"id": approval, "decision": "approve", "arguments": shown, "csrf": oli.csrf()}
    status, _, body = oli.ask("/ui/guards/decide", {**told, "arguments": text})
    assert (status, "read alike" in body) == (400, True)
    assert oli.ask("/ui/guards/decide", told)[1]["location"].endswith("done=approved")


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
        "/ui/models/breakers": {"provider": "anthropic"},
        "/ui/models/incidents": {"kind": "stop", "scope": "task", "value": "chat", "lasts": "3600"},
        "/ui/jobs": {"do": "retried", "id": "job_of-acme"},
        "/ui/alerts": {"id": "al_aaaaaaaa"},
    }


def test_a_viewer_is_offered_no_button_and_a_forged_form_is_refused(gate: World) -> None:
    vic = Visitor(gate, "vic")
    approval, key_id = park(gate, "wire_money", {"usd": 5}), new_key(gate, name="theirs").split("-")[1]
    assert vic.ask(PATHS[2])[0] == 403
    for path in (*PATHS[:2], *PATHS[3:], f"/ui/keys/{key_id}"):
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
        assert status == (403 if path in NOT_A_TENANTS else 200), path
        assert not [word for word in ("of_acme", "of-acme", ">ada<", ">search-team<") if word in body], path
    assert "tool_of_globex" in tia.ask("/ui/guards")[2]
    assert [path for path in NOT_A_TENANTS if f'href="{path.partition("?")[0]}"' in tia.ask("/ui/keys")[2]] == []
    assert tia.ask("/ui/billing?tenant=acme")[0] == tia.ask("/ui/billing/invoice?tenant=acme&month=2026-11")[0] == 404
    assert tia.ask(f"/ui/keys/{key_id}")[0] == 404
    every = forms(approval, key_id)
    mine_to_try = {"/ui/keys/create": 200, f"/ui/keys/{key_id}/rotate": 404, f"/ui/keys/{key_id}/revoke": 404}
    expected = dict.fromkeys(every, 403) | mine_to_try | {"/ui/keys/cap": 404}
    for path, form in every.items():
        assert tia.ask(path, {**form, "csrf": tia.csrf()})[0] == expected[path], path
    assert tia.ask("/ui/guards/decide", {"id": mine, "decision": "deny", "csrf": tia.csrf()})[0] == 403
    (made,) = [each for each in gate.built.ledger.keys.list() if each.name == "mine"]
    assert made.tenant == "globex"
    status, _, body = tia.ask("/ui/keys/create", {"name": "x", "tenant": "acme", "csrf": tia.csrf()})
    assert status == 400


def test_traffic_is_stopped_by_a_switch_that_says_why_and_is_lifted(browser: Any, gate: World, key: str) -> None:
    with visiting(browser, gate.url) as page:
        logged_in(gate, page, "oli")
        page.goto("/ui/models")
        form = page.get_by_role("form", name="A new switch")
        form.get_by_label("Name").fill("anthropic")
        form.get_by_label("Why").fill("wrong answers since noon")
        form.get_by_role("button", name="Switch it on").click()
        expect(page.get_by_role("region", name="by hand")).to_contain_text("wrong answers since noon")
        with pytest.raises(anthropic.APIStatusError):
            ask_for_an_email(gate, key, "stopped")
        page.get_by_role("button", name="Lift provider anthropic").click()
        expect(page.get_by_role("status").first).to_have_text("It is lifted.")
    assert ask_for_an_email(gate, key, "stopped")[0].content
    oli = Visitor(gate, "oli")
    told = {"kind": "slow", "scope": "task", "value": "chat", "lasts": "3600", "csrf": oli.csrf()}
    status, _, body = oli.ask("/ui/models/incidents", told)
    assert (status, "Slow needs a number" in body) == (400, True)


def test_a_failed_call_is_done_again_and_a_batch_says_why_it_cannot(gate: World) -> None:
    oli = Visitor(gate, "oli")
    assert oli.ask("/ui/jobs", {"do": "retried", "id": "job_globex", "csrf": oli.csrf()})[0] == 303
    assert oli.ask("/ui/jobs", {"do": "retried", "id": "job_none", "csrf": oli.csrf()})[0] == 404
    assert oli.ask("/ui/jobs", {"do": "batch-cancelled", "id": "batch_globex", "csrf": oli.csrf()})[0] == 409
    assert oli.ask("/ui/jobs", {"do": "batch-retried", "id": "batch_none", "csrf": oli.csrf()})[0] == 404
    assert oli.ask("/ui/jobs", {"do": "batch-retried", "id": "batch_globex", "csrf": oli.csrf()})[0] == 303
    assert "batch.retry" in [each.action for each in gate.built.ledger.audit.rows()]


def test_an_alert_is_acknowledged_by_whoever_looks_after_it(gate: World) -> None:
    put_alert(gate, "al_bbbbbbbb", "latency_p95")
    oli = Visitor(gate, "oli")
    assert oli.ask("/ui/alerts", {"id": "al_bbbbbbbb", "csrf": oli.csrf()})[0] == 303
    assert "by <bdi>oli</bdi>" in oli.ask("/ui/alerts")[2]
    assert oli.ask("/ui/alerts", {"id": "al_none", "csrf": oli.csrf()})[0] == 404
    assert 'href="/ui/runbooks/latency_p95"' in oli.ask("/ui/alerts")[2]
    status, _, body = oli.ask("/ui/runbooks/latency_p95")
    assert (status, "<h1>Answers are slow</h1>" in body, "<h2>Symptom</h2>" in body) == (200, True, True)
    for path in ("/ui/runbooks/nothing", "/ui/runbooks/..%2f..%2fREADME"):
        assert oli.ask(path)[0] == 404


def test_the_audit_page_verifies_the_chain_and_finds_a_row_that_was_changed(gate: World) -> None:
    root = Visitor(gate, "root")
    status, _, body = root.ask("/ui/audit?verify=1&actor=root")
    assert (status, "all as they were written" in body) == (200, True)
    status, _, body = root.ask("/ui/audit?verify=1&noted=1:" + "0" * 64)
    assert (status, "is not as it was written" in body) == (200, True)
    assert root.ask("/ui/audit?verify=1&noted=nonsense")[0] == 400


def test_an_invoice_is_what_the_command_line_makes_and_brings_its_own_style_only(browser: Any, gate: World) -> None:
    root, month = Visitor(gate, "root"), time.strftime("%Y-%m", time.gmtime())
    path = f"/ui/billing/invoice?tenant=globex&month={month}"
    status, headers, body = root.ask(f"{path}&form=csv")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert f'filename="invoice-{month}-globex.csv"' in headers["content-disposition"]
    invoice = json.loads(root.ask(f"{path}&form=json")[2])
    assert f",{invoice['total_usd']}" in body.splitlines()[-1]
    assert root.ask(f"{path}&form=pdf")[0] == 404
    assert root.ask("/ui/billing?month=never")[0] == 400
    with visiting(browser, gate.url) as page:
        logged_in(gate, page, "root")
        page.goto(f"{path}&form=view")
        expect(page.get_by_role("heading", name="Invoice")).to_be_visible()
        assert page.evaluate("getComputedStyle(document.querySelector('main')).borderTopWidth") == "6px"


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
