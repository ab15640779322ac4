"""The admin API: what each role may do, what each tenant sees, and that changes are made and on record."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from control_gateway import CHEAP, TOKEN, Answer, Running, running
from ledger_maker import EPOCH, Maker
from sqlalchemy import insert

from headgate.control.api.base import RIGHT
from headgate.control.identity import csrf_of
from headgate.control.people import RIGHTS, ROLES, Right
from headgate.core.alerts import Alert
from headgate.core.approvals import Parked
from headgate.core.cache import Stored, sealed
from headgate.core.caller import Caller
from headgate.core.errors import Unavailable
from headgate.core.guards import ToolCall
from headgate.engine.blocking import run_blocking
from headgate.policy.caching import partition
from headgate.stores.batch_items import Batch, BatchStore
from headgate.stores.job_rows import Job, JobStore
from headgate.stores.schema import alerts

API = "/admin/api/v1"
TOLD = {
    "degrade": [{"use": "defer"}],
    "budgets": [
        {"per": "tenant", "usd": 10, "every": "day"},
        {"per": ["tenant", "user"], "usd": 2, "every": "day"},
        {"usd": 100, "every": "month"},
    ],
    "limits": [
        {"per": "user", "requests_per_minute": 60},
        {"only": {"tenant": "globex"}, "requests_per_minute": 5},
        {"only": {"user": "of-globex"}, "requests_per_minute": 5},
        {"only": {"tag:team": "of-globex"}, "requests_per_minute": 5},
        {"only": {"tenant": "acme", "user": "bob"}, "requests_per_minute": 5},
    ],
}
MONTH = datetime.fromtimestamp(EPOCH, UTC).strftime("%Y-%m")
READ = (
    *("/keys", "/budgets", "/limits", "/approvals", "/jobs", "/batches", "/usage?by=tenant", "/prices"),
    f"/invoices?month={MONTH}",
    *("/logs", "/logs?where=user=bob", "/logs/sessions", "/logs/conversation?session=s-17"),
    f"/logs/rollup?since={EPOCH - 9000}&until={EPOCH + 9000}&by=tenant",
)


class Api:
    def __init__(self, gate: Running) -> None:
        self.gate = gate
        self.tokens: dict[str, str] = {}
        tokens = gate.built.ledger.api_tokens
        for role in ROLES:
            tenant = "acme" if role == "tenant-admin" else ""
            self.tokens[role] = tokens.make(role, role, tenant=tenant)[1].reveal()
        self.tokens["globex"] = tokens.make("globex", "tenant-admin", tenant="globex")[1].reveal()

    def ask(self, role: str, path: str, method: str = "GET", body: Any = b"") -> Answer:
        return self.gate.ask(API + path, method, body, authorization=f"Bearer {self.tokens[role]}")

    def last(self) -> Any:
        return self.gate.built.ledger.audit.rows(limit=1)[0]

    def operations(self) -> Iterator[tuple[str, str, str]]:
        document = self.gate.ask("/admin/api/openapi.json", authorization=f"Bearer {self.tokens['viewer']}").json
        for path, methods in document["paths"].items():
            for method, said in methods.items():
                yield method.upper(), path.removeprefix("/v1"), said[RIGHT]


def park(gate: Running, name: str, tenant: str, arguments: str = '{"to": "ada@mail.example"}') -> str:
    now = time.time()
    call = ToolCall("t1", "send_email", arguments, "messages")
    parked = Parked(f"ap_{name * 26}", now, now + 600, Caller(tenant=tenant, user="bob"), call, f"x-{tenant}", "d")
    gate.built.approvals.keep(parked)
    gate.built.ledger.flush()
    return parked.id


def exchange_of(tenant: str) -> str:
    return Maker().exchange().id + tenant


def work_of(gate: Running, tenant: str) -> None:
    """An exchange, a deferred call and a batch of a tenant's."""
    maker, caller = Maker(), Caller(tenant=tenant, user="bob", session="s-17")
    exchange = maker.exchange(caller=caller)
    exchange.id += tenant
    attempt = maker.attempt(exchange)
    run_blocking(gate.built.ledger.blocking().intend(exchange, attempt))
    gate.built.ledger.blocking().settle(maker.answered(exchange))
    gate.built.log.write(exchange)
    told, now = {"tenant": tenant, "user": "bob"}, time.time()
    ids = (f"job_{tenant}", tenant, "", "d", "failed", now, now + 600, now)
    what = ("anthropic", "messages", "/v1/messages", "", "[]", json.dumps(told), b"{}")
    JobStore(gate.built.jobs).add(Job(*ids, *what))
    batch = Batch(f"batch_{tenant}", "night", "anthropic", "paced", "ended", now, caller=told)
    BatchStore(gate.built.jobs).create(batch)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running(tmp_path_factory.mktemp("api"), TOLD) as gate:
        gate.built.ledger.people.add("ada", "admin", password=CHEAP.hash("correct horse battery"))
        made = Api(gate)
        for tenant in ("acme", "globex"):
            gate.built.ledger.keys.create(f"of-{tenant}", tenant=tenant)
            made.ask("admin", f"/budgets/cap?budget=tenant/day&scope={tenant}", "PUT", {"usd": "7"})
            cap = f"/budgets/cap?budget=tenant%2Buser/day&scope=tenant={tenant},user=bob"
            made.ask("admin", cap, "PUT", {"usd": 1})
            work_of(gate, tenant)
        park(gate, "a", "acme")
        park(gate, "g", "globex")
        gate.built.log.flush()
        yield made


def test_every_route_declares_a_right_and_every_role_gets_what_its_right_says(api: Api) -> None:
    wrong = []
    seen: set[str] = set()
    for method, path, right in api.operations():
        seen.add(right)
        where = re.sub(r"\{[a-z_]+\}", "nothing-of-this-name", path)
        for role in ROLES:
            may = Right(right) in RIGHTS[role]
            answer = api.ask(role, where, method, {} if method in ("POST", "PUT") else b"")
            if (answer.status == 403) == may and not (path == "/people/{name}/logout" and role != "admin"):
                wrong.append((role, method, path, answer.status))
            if answer.status >= 500:
                wrong.append((role, method, path, answer.body))
    assert wrong == []
    assert seen == {each.value for each in Right}


def test_nobody_comes_in_without_a_credential_on_any_route(api: Api) -> None:
    for method, path, _ in api.operations():
        assert api.gate.ask(API + path, method).status == 401, path


@pytest.mark.parametrize("path", READ)
def test_a_tenant_admin_reads_nothing_of_another_tenant(api: Api, path: str) -> None:
    for tenant, role, other in (("acme", "tenant-admin", "globex"), ("globex", "globex", "acme")):
        answer = api.ask(role, path)
        assert answer.status == 200
        assert other.encode() not in answer.body
        if path not in ("/limits", "/prices"):
            assert tenant.encode() in answer.body
            assert other.encode() in api.ask("viewer", path).body


def test_a_conversation_is_one_tenants_where_that_is_asked_for_and_a_tenant_admins_is_its_own(api: Api) -> None:
    def tenants(role: str, tenant: str = "") -> set[str]:
        answer = api.ask(role, f"/logs/conversation?session=s-17{tenant}")
        return {each["tenant"] for each in answer.json["exchanges"]}

    assert tenants("viewer") == {"acme", "globex"}
    assert (tenants("viewer", "&tenant=globex"), tenants("viewer", "&tenant=")) == ({"globex"}, set())
    assert tenants("tenant-admin", "&tenant=globex") == {"acme"}


def test_every_route_that_a_tenant_admin_may_read_is_looked_at_above(api: Api) -> None:
    looked = {path.partition("?")[0] for path in READ} | {"/me"}
    looked.add("/logs/guards")  # counts, and ids of exchanges: by tenant in tests of the log store
    one = {"/approvals/{approval}", "/jobs/{job}", "/logs/exchanges/{exchange}", "/invoice"}
    for method, path, right in api.operations():
        if method == "GET" and Right(right) in RIGHTS["tenant-admin"]:
            assert path in looked | one, f"{path}: add it to the test of tenant isolation"


def test_what_is_another_tenants_is_as_if_it_were_not_there(api: Api) -> None:
    key = next(key for key in api.ask("viewer", "/keys").json["keys"] if key["tenant"] == "globex")
    for path, method in (
        (f"/keys/{key['id']}/rotate", "POST"),
        (f"/keys/{key['id']}", "DELETE"),
        ("/approvals/ap_" + "g" * 26, "GET"),
        ("/jobs/job_globex", "GET"),
        (f"/logs/exchanges/{exchange_of('globex')}", "GET"),
        (f"/invoice?month={MONTH}&tenant=globex", "GET"),
    ):
        assert api.ask("tenant-admin", path, method).status == 404, path
    assert api.ask("tenant-admin", "/usage?where=tenant%3Dglobex").status == 403
    cap = "/budgets/cap?budget=tenant%2Buser/day&scope=tenant=globex,user=bob"
    assert api.ask("tenant-admin", cap, "PUT", {"usd": "1"}).status == 404


def test_a_limit_that_names_a_caller_is_shown_to_its_own_tenant_only(api: Api) -> None:
    shown = [each["only"] for each in api.ask("tenant-admin", "/limits").json["limits"]]
    assert shown == [{}, {"tenant": "acme", "user": "bob"}]
    assert len(api.ask("viewer", "/limits").json["limits"]) == len(TOLD["limits"])


def test_a_tenant_admin_changes_caps_within_its_tenant_but_not_the_tenants_own(api: Api) -> None:
    own = api.ask("tenant-admin", "/budgets/cap?budget=tenant/day&scope=acme", "PUT", {"usd": "1000"})
    assert (own.status, own.json["code"]) == (403, "forbidden")
    whole = api.ask("tenant-admin", "/budgets/cap?budget=all/month", "PUT", {"usd": "1000"})
    assert whole.status == 404
    within = "/budgets/cap?budget=tenant%2Buser/day&scope=tenant=acme,user=eve"
    assert api.ask("tenant-admin", within, "PUT", {"usd": "1.5"}).json["after"]["cap_usd"] == "1.5"
    assert api.ask("tenant-admin", within, "DELETE").json["after"]["cap_usd"] == "2"


def test_a_tenant_admins_key_is_of_its_tenant_and_speaks_for_no_other(api: Api) -> None:
    made = api.ask("tenant-admin", "/keys", "POST", {"name": "mine"})
    assert (made.status, made.json["tenant"]) == (201, "acme")
    for body in ({"name": "x", "tenant": "globex"}, {"name": "x", "may_speak_for_tenants": True}):
        assert api.ask("tenant-admin", "/keys", "POST", body).status == 400


def test_a_tenant_admin_cannot_take_or_end_a_key_of_its_tenant_that_speaks_for_all(api: Api) -> None:
    body = {"name": "wide", "tenant": "acme", "may_speak_for_tenants": True}
    made = api.ask("admin", "/keys", "POST", body).json
    for path, method in ((f"/keys/{made['id']}/rotate", "POST"), (f"/keys/{made['id']}", "DELETE")):
        refused = api.ask("tenant-admin", path, method)
        assert (refused.status, refused.json["code"]) == (403, "forbidden"), path
    models = {"path": "/v1/models/nothing", "anthropic_version": "2023-06-01"}
    assert api.gate.ask(x_api_key=made["key"], **models).status != 401
    assert api.ask("admin", f"/keys/{made['id']}", "DELETE").status == 200


def test_a_key_made_here_opens_the_data_plane_at_once_and_a_revoked_one_does_not(api: Api) -> None:
    made = api.ask("admin", "/keys", "POST", {"name": "team", "tenant": "acme"}).json
    assert made["key"].startswith("hg-")
    assert made["key"] not in api.ask("admin", "/keys").body.decode()
    models = {"path": "/v1/models/nothing", "anthropic_version": "2023-06-01"}
    assert api.gate.ask(x_api_key=made["key"], **models).status != 401
    rotated = api.ask("admin", f"/keys/{made['id']}/rotate", "POST").json
    assert api.gate.ask(x_api_key=made["key"], **models).status == 401
    assert api.gate.ask(x_api_key=rotated["key"], **models).status != 401
    assert api.ask("admin", f"/keys/{made['id']}", "DELETE").json["revoked"] is not None
    assert api.gate.ask(x_api_key=rotated["key"], **models).status == 401
    taken = api.ask("admin", "/keys", "POST", {"name": "of-acme"})
    assert (taken.status, taken.json["code"]) == (409, "conflict")


def test_a_change_is_on_record_with_who_made_it_and_how(api: Api) -> None:
    api.ask("operator", "/budgets/cap?budget=all/month", "PUT", {"usd": "50"})
    row = api.last()
    assert (row.action, row.subject, row.actor, row.role, row.way) == (
        "budget.cap",
        "all/month",
        "token:operator",
        "operator",
        "api",
    )
    assert row.address == "127.0.0.1"
    api.gate.ask("/admin/api/keys", "POST", {"name": "by-cli"}, authorization=f"Bearer {TOKEN}", x_headgate_by="kim")
    row = api.last()
    assert (row.action, row.actor, row.way) == ("key.create", "kim", "cli")


def test_the_first_decision_counts_and_is_on_record(api: Api) -> None:
    approval = park(api.gate, "d", "acme")
    denied = api.ask("operator", f"/approvals/{approval}/decision", "POST", {"decision": "deny", "reason": "no"})
    assert (denied.status, denied.json["state"], denied.json["decided_by"]) == (200, "denied", "token:operator")
    again = api.ask("admin", f"/approvals/{approval}/decision", "POST", {"decision": "approve"})
    assert (again.status, again.json["code"]) == (409, "decided")
    assert (api.last().action, api.last().actor, api.last().subject) == ("approval.decide", "token:operator", approval)
    edited = park(api.gate, "e", "acme")
    body = {"decision": "approve", "arguments": {"to": "x@acme.example"}}
    assert api.ask("admin", f"/approvals/{edited}/decision", "POST", body).json["edited"] == {"to": "x@acme.example"}


def test_arguments_of_any_length_can_take_the_models_place_but_only_by_those_who_may_decide(api: Api) -> None:
    approval = park(api.gate, "l", "acme")
    long = {"decision": "approve", "arguments": {"body": "長" * 60_000}}  # as ASCII six bytes each
    path = f"/approvals/{approval}/decision"
    assert (api.ask("viewer", path, "POST", long).status, api.gate.ask(API + path, "POST", long).status) == (413, 413)
    assert api.ask("admin", "/keys", "POST", long).status == 413
    assert api.ask("operator", path, "POST", long).json["edited"] == long["arguments"]
    longer = park(api.gate, "m", "acme")
    body = {"arguments": {"body": "長" * 262_145}}
    answer = api.gate.ask(f"/admin/api/approvals/{longer}/approve", "POST", body, authorization=f"Bearer {TOKEN}")
    assert (answer.status, "262,144 characters" in answer.body.decode()) == (400, True)


def test_half_of_a_surrogate_pair_breaks_no_answer_and_is_in_no_decision(api: Api) -> None:
    text = '{"body": "hi \\ud83d", "\\ud83d": 1}'
    approval = park(api.gate, "h", "acme", text)  # as an earlier Headgate parked it
    assert api.ask("viewer", f"/approvals/{approval}").json["arguments"] == text
    assert text in [each["arguments"] for each in api.ask("viewer", "/approvals").json["approvals"]]
    body: dict[str, Any] = {"decision": "approve", "arguments": {"body": "\ud83d"}}
    assert api.ask("operator", f"/approvals/{approval}/decision", "POST", body).status == 400
    decided = api.ask("operator", f"/approvals/{approval}/decision", "POST", {"decision": "approve"})
    assert (decided.status, decided.json["state"]) == (200, "approved")
    now, caller = time.time(), json.dumps({"tenant": "halves", "user": "\ud83d", "\ud83d": "a"})
    ids = ("job_halves", "halves", "", "d", "failed", now, now + 600, now)
    JobStore(api.gate.built.jobs).add(Job(*ids, "anthropic", "messages", "/v1/messages", "", "[]", caller, b"{}"))
    assert api.ask("viewer", "/jobs/job_halves").json["caller"]["user"] == "?"
    assert api.ask("viewer", "/jobs").status == 200
    api.gate.built.ledger.audit.record("key.create", "x", after={"name": "\ud83d", "\ud83d": 1})
    assert api.ask("admin", "/audit?limit=1").json["rows"][0]["after"] == {"name": "?", "?": 1}


def test_an_incident_is_set_and_lifted(api: Api) -> None:
    body = {"kind": "stop", "scope": "provider", "value": "anthropic", "why": "down", "seconds": 60}
    made = api.ask("operator", "/incidents", "POST", body)
    assert made.status == 201
    assert api.last().action == "incident.set"
    assert [each["id"] for each in api.ask("viewer", "/incidents").json["incidents"]] == [made.json["id"]]
    assert api.ask("operator", f"/incidents/{made.json['id']}", "DELETE").json["on"] is False
    assert api.ask("viewer", "/incidents").json["incidents"] == []
    wrong = api.ask("operator", "/incidents", "POST", {**body, "kind": "degrade"})
    assert wrong.status == 400


def test_people_are_made_changed_and_removed_by_admins(api: Api) -> None:
    new = {"name": "kim", "role": "viewer", "password": "long enough password"}
    assert api.ask("admin", "/people", "POST", new).status == 201
    assert api.ask("admin", "/people", "POST", new).status == 409
    assert api.ask("admin", "/people/kim", "PUT", {"role": "tenant-admin"}).status == 400
    changed = api.ask("admin", "/people/kim", "PUT", {"role": "tenant-admin", "tenant": "acme"})
    assert changed.json["tenant"] == "acme"
    assert api.ask("admin", "/people/ada", "DELETE").status == 409  # the last admin
    cookie = api.gate.log_in("kim", "long enough password").cookie
    assert api.gate.ask(API + "/me", cookie=cookie).json["role"] == "tenant-admin"
    assert api.ask("admin", "/people/kim/logout", "POST").json == {"ended": 1}
    assert api.gate.ask(API + "/me", cookie=cookie).status == 401
    assert api.ask("admin", "/people/kim", "DELETE").json["tokens_revoked"] == []
    assert "kim" not in api.ask("admin", "/people").body.decode()
    assert b"$argon2" not in api.ask("admin", "/people").body


def test_a_removed_persons_tokens_end_with_it_and_others_tokens_stay(api: Api) -> None:
    password = "long enough password"
    api.ask("admin", "/people", "POST", {"name": "mal", "role": "admin", "password": password})
    cookie = api.gate.log_in("mal", password).cookie
    proof = {"origin": api.gate.url, "x_headgate_csrf": csrf_of(cookie.partition("=")[2])}

    def make(name: str, **headers: str) -> str:
        told = {"name": name, "role": "admin"}
        return str(api.gate.ask(f"{API}/tokens", "POST", told, **headers).json["token"])

    first = make("of-mal", cookie=cookie, **proof)
    second = make("of-mals-token", authorization=f"Bearer {first}")
    mine, of_first = first.split("-")[1], second.split("-")[1]
    assert api.ask("admin", f"/tokens/{mine}", "DELETE").status == 200
    other = make("of-mal", authorization=f"Bearer {api.tokens['admin']}")  # another one's, under the name that is free
    of_other = make("of-others", authorization=f"Bearer {other}")
    removed = api.ask("admin", "/people/mal", "DELETE")
    assert removed.json["tokens_revoked"] == ["of-mals-token"]
    row = api.last()
    assert (row.action, row.subject, row.actor) == ("token.revoke", of_first, "token:admin")
    works = [api.gate.ask(API + "/me", authorization=f"Bearer {each}").status for each in (second, other, of_other)]
    assert works == [401, 200, 200]


def test_one_changes_ones_own_password_with_the_old_one_and_every_session_ends(api: Api) -> None:
    new = {"name": "lea", "role": "viewer", "password": "long enough password"}
    api.ask("admin", "/people", "POST", new)
    cookie = api.gate.log_in("lea", new["password"]).cookie
    told = {"cookie": cookie, "origin": api.gate.url, "x_headgate_csrf": csrf_of(cookie.partition("=")[2])}
    body = {"old": "wrong wrong wrong", "new": "another long password"}
    assert api.gate.ask(API + "/me/password", "POST", body, **told).status == 403
    body["old"] = new["password"]
    assert api.gate.ask(API + "/me/password", "POST", body, **told).status == 200
    assert api.gate.ask(API + "/me", cookie=cookie).status == 401
    assert api.gate.log_in("lea", "another long password").status == 303


def test_the_configuration_is_told_with_where_it_comes_from_and_without_secrets(tmp_path: Any) -> None:
    canary = "canary" + "0123456789abcdef"
    told = {
        "alerts": [{"to": f"https://hooks.example/{canary}"}],
        "providers": {"acme": {"dialect": "openai", "base_url": "https://llm.example/v1", "api_key": "env:ACME_KEY"}},
        "guards": {"tools": {"webhook": {"url": f"https://approve.example/{canary}", "secret": "env:SIGNS"}}},
        "retry": {"attempts": 3},
    }
    with running(tmp_path, told) as gate:
        answer = gate.ask(API + "/config")
        settings = {each["path"]: each for each in answer.json["settings"]}
        assert settings["retry.attempts"]["value"] == 3
        assert settings["retry.attempts"]["origin"] != "default"
        assert settings["timeouts.connect"]["origin"] == "default"
        assert settings["providers.acme.api_key"]["value"] == "env:ACME_KEY"
        assert canary.encode() not in answer.body


def test_prices_are_told_for_the_models_that_are_asked_for(api: Api) -> None:
    told = api.ask("viewer", "/prices?provider=anthropic&model=claude-haiku-4-5").json
    (model,) = told["models"]
    assert model["rates"][0]["usd_per_mtok"]["input"] == "1"
    assert api.ask("viewer", "/prices?provider=nobody").status == 400


def test_the_audit_log_is_read_in_pages_and_verified(api: Api) -> None:
    first = api.ask("viewer", "/audit?limit=2").json["rows"]
    more = api.ask("viewer", f"/audit?limit=2&below={first[-1]['number']}").json["rows"]
    numbers = [row["number"] for row in first + more]
    assert numbers == list(range(numbers[0], numbers[0] - 4, -1))
    found = api.ask("viewer", "/audit/verify").json
    assert (found["sound"], found["broken"]) == (True, None)
    row = more[0]
    assert api.ask("viewer", f"/audit/verify?number={row['number']}&digest={row['hash']}").json["sound"]
    assert not api.ask("viewer", f"/audit/verify?number={row['number']}&digest={'0' * 64}").json["sound"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/keys", b"{", 422),
        ("POST", "/keys", b"\xff\xfe", 422),
        ("POST", "/keys", {"name": "x", "more": 1}, 422),
        ("POST", "/keys", {"name": "canary\x1b[0m"}, 422),
        ("POST", "/keys", {"name": "x", "may_speak_for_tenants": "yes"}, 422),
        ("PATCH", "/keys", {}, 405),
        ("GET", "/approvals?state=canary", b"", 400),
        ("GET", "/approvals?limit=0", b"", 422),
        ("GET", "/usage?by=canary", b"", 400),
        ("GET", "/usage?zone=canary", b"", 400),
        ("GET", "/budgets?budget=nothing", b"", 400),
        ("PUT", "/budgets/cap?budget=all/month", {"usd": "lots"}, 400),
        ("PUT", "/budgets/cap?budget=all/month", {}, 400),
        ("POST", "/cache/forget", {}, 400),
        ("GET", "/nowhere", b"", 404),
    ],
)
def test_what_cannot_be_used_is_a_problem_in_one_shape(
    api: Api, method: str, path: str, body: Any, status: int
) -> None:
    answer = api.ask("admin", path, method, body)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["detail"]
    assert b"Traceback" not in answer.body


def test_a_deferred_call_is_tried_again_by_operators_and_it_is_on_record(api: Api) -> None:
    assert api.ask("tenant-admin", "/jobs/job_acme").json["state"] == "failed"
    assert api.ask("tenant-admin", "/jobs/job_acme/retry", "POST").status == 403
    assert api.ask("operator", "/jobs/job_acme/retry", "POST").json["state"] == "queued"
    row = api.last()
    assert (row.action, row.subject, row.tenant) == ("job.retry", "job_acme", "acme")
    assert api.ask("operator", "/jobs/job_acme/cancel", "POST").json["state"] == "cancelled"
    assert api.ask("operator", "/jobs/job_acme/cancel", "POST").status == 409
    assert api.ask("operator", "/batches/batch_acme/cancel", "POST").status == 409


def test_a_batch_that_nobody_works_at_is_cancelled_and_done_again_and_it_is_on_record(api: Api) -> None:
    batches = BatchStore(api.gate.built.jobs)
    batches.create(Batch("batch_idle", "night", "anthropic", "paced", "ready", time.time(), caller={"tenant": "acme"}))
    batches.create(Batch("batch_own", "theirs", "anthropic", "passed", "running", time.time()))
    assert api.ask("tenant-admin", "/batches/batch_idle/cancel", "POST").status == 403
    assert api.ask("operator", "/batches/batch_own/cancel", "POST").json["code"] == "callers_own"
    assert api.ask("operator", "/batches/batch_idle/retry", "POST").status == 409
    assert api.ask("operator", "/batches/batch_idle/cancel", "POST").json["state"] in ("cancelling", "cancelled")
    assert (api.last().action, api.last().subject, api.last().tenant) == ("batch.cancel", "batch_idle", "acme")
    while batches.batch("batch_idle").state == "cancelling":  # type: ignore[union-attr]  # it is there
        time.sleep(0.01)
    assert api.ask("operator", "/batches/batch_idle/retry", "POST").status == 200
    assert (api.last().action, api.last().subject) == ("batch.retry", "batch_idle")
    assert api.ask("operator", "/batches/batch_none/retry", "POST").status == 404
    batches.remove("batch_own")


def test_an_invoice_is_told_as_the_command_makes_it_and_to_its_own_tenant_only(api: Api) -> None:
    assert set(api.ask("viewer", f"/invoices?month={MONTH}").json["tenants"]) >= {"acme", "globex"}
    assert api.ask("tenant-admin", f"/invoices?month={MONTH}").json["tenants"] == ["acme"]
    told = api.ask("tenant-admin", f"/invoice?month={MONTH}&tenant=acme&by=user").json
    assert (told["tenant"], told["from"][:7], [line["user"] for line in told["lines"]]) == ("acme", MONTH, ["bob"])
    assert told["lines"][0]["cost_usd"] == told["total_usd"] == "0.000001234"
    assert api.ask("viewer", "/invoice?month=2026-13").status == 400
    assert api.ask("viewer", f"/invoice?month={MONTH}&by=nothing").status == 400


def test_an_exchange_is_found_and_shown_with_its_attempts(api: Api) -> None:
    (found,) = api.ask("tenant-admin", "/logs?where=user=bob").json["exchanges"]
    shown = api.ask("tenant-admin", f"/logs/exchanges/{found['exchange_id']}").json
    assert (shown["tenant"], shown["cost_usd"], len(shown["attempts_made"])) == ("acme", "0.000001234", 1)
    assert api.ask("viewer", "/logs?where=nothing=x").status == 400
    assert api.ask("viewer", "/logs?min_cost_usd=1").json["exchanges"] == []
    assert api.ask("viewer", "/logs/events?name=nothing").json["events"] == []


def test_a_user_is_erased_in_ones_own_tenant_only_and_the_record_of_it_does_not_name_him(api: Api) -> None:
    body = {"kind": "user", "value": "bob", "tenant": "globex"}
    assert api.ask("operator", "/logs/erase", "POST", body).status == 403
    assert api.ask("tenant-admin", "/logs/erase", "POST", body).json["exchanges"] == 1  # of its own, whatever it says
    assert api.ask("viewer", "/logs?where=user=bob").json["exchanges"][0]["tenant"] == "globex"
    row = api.last()
    assert (row.action, row.tenant, "bob" in repr(row)) == ("log.erase", "acme", False)
    begun = api.gate.built.ledger.audit.rows(limit=2)[1]
    assert (begun.action, begun.subject, begun.after) == ("log.erase", "user", '{"begun":true}')


def test_an_erasure_that_fails_half_way_and_whose_it_is_are_on_record(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> None:
        raise Unavailable("the disk said no")

    monkeypatch.setattr(api.gate.built.logs, "erase", away)
    body = {"kind": "tenant", "value": "initech"}
    token = api.gate.built.ledger.api_tokens.make("initech", "tenant-admin", tenant="initech")[1].reveal()
    assert api.gate.ask(API + "/logs/erase", "POST", body, authorization=f"Bearer {token}").status == 503
    row = api.last()
    assert (row.action, row.subject, row.tenant, row.after) == ("log.erase", "tenant", "", '{"begun":true}')
    wrong = api.ask("tenant-admin", "/logs/erase", "POST", {"kind": "tenant", "value": "globex"})
    assert wrong.status == 400


def test_erasing_a_tenants_session_reaches_answers_jobs_batches_and_approvals_and_nobody_elses(api: Api) -> None:
    built, now = api.gate.built, time.time()
    cache, jobs, batches = built.caching.port(blocking=True), JobStore(built.jobs), BatchStore(built.jobs)
    answers = {name: f"{partition(tenant=name)}:one" for name in ("initech", "globex")}
    for tenant, key in answers.items():
        cache.put(key, sealed(key, Stored("whole", 200, (), b"kept words", now, now + 600)))
        told = {"tenant": tenant, "session": "s-9", "user": "eve"}
        what = ("anthropic", "messages", "/v1/messages", "", "[]", json.dumps(told), b"waiting words")
        jobs.add(Job(f"job_{tenant}9", tenant, "", "d", "queued", now, now + 600, now + 600, *what))
        for name, state in (("over", "ended"), ("open", "ready")):
            batches.create(Batch(f"batch_{tenant}_{name}", "night", "anthropic", "paced", state, now, caller=told))
        call = ToolCall("t1", "send_email", '{"to": "eve@mail.example"}', "messages")
        caller = Caller(tenant=tenant, user="eve", session="s-9")
        built.approvals.keep(Parked(f"ap_{tenant[0] * 25}9", now, now + 600, caller, call, "x-9", "d"))
    built.ledger.flush()
    body = {"kind": "session", "value": "s-9", "tenant": "initech"}
    answer = api.ask("admin", "/logs/erase", "POST", body)
    assert answer.status == 200, answer.body
    told = answer.json
    where = ("answers", "jobs", "batches", "batches_left", "approvals")
    assert {name: told[name] for name in where} == dict.fromkeys(where, 1)
    assert api.last().after is not None
    assert "s-9" not in repr(api.last())
    assert run_blocking(cache.get(answers["initech"])) is None
    assert run_blocking(cache.get(answers["globex"])) is not None
    assert (jobs.get("job_initech9"), batches.batch("batch_initech_over")) == (None, None)
    assert jobs.get("job_globex9") is not None
    while batches.batch("batch_initech_open").state == "cancelling":  # type: ignore[union-attr]  # it is there
        time.sleep(0.01)
    again = api.ask("admin", "/logs/erase", "POST", body).json
    assert [again[name] for name in where] == [0, 0, 1, 0, 0]
    left = [each.caller.tenant for each in built.approvals.list() if each.caller.session == "s-9"]
    assert left == ["globex"]
    assert batches.batch("batch_globex_open").state == "ready"  # type: ignore[union-attr]  # it is there


def test_an_alert_is_acknowledged_by_name_and_on_record(api: Api) -> None:
    figures = (1.0, 2.0, 0.5, 0.01)
    alert = Alert("al_aaaaaaaa", "error_rate", "anthropic", "warning", *figures, "Half fail.", "/ui/exchanges")
    row = {each.name: getattr(alert, each.name) for each in fields(alert)} | {"told": 1.0}
    api.gate.built.ledger.call(lambda sql: sql.execute(insert(alerts).values(row)))
    assert [each["id"] for each in api.ask("viewer", "/alerts").json["alerts"]] == [alert.id]
    told = api.ask("operator", f"/alerts/{alert.id}/acknowledge", "POST").json
    assert (told["state"], told["acknowledged_by"]) == ("acknowledged", "token:operator")
    assert (api.last().action, api.last().subject) == ("alert.acknowledge", alert.id)


def test_a_method_that_a_path_does_not_take_is_told_with_those_that_it_takes(api: Api) -> None:
    answer = api.ask("admin", "/keys", "PATCH")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
