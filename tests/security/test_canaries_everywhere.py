"""Credentials and personal data planted everywhere, with everything on; nothing of it in whatever comes out."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from canary_texts import KEYS, PERSONAL, TOLD  # they lie beside this file
from canary_world import Receiver, Served, ServedByCommand, Sinks, rows_of, serving, serving_process

from headgate.gateway.auth import KeyRecord
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario


def _own(name: str) -> str:
    """Of this installation; of a form that no guard knows."""
    return "-".join(("canary", name, "7d1e" * 5))


OURS = {
    name: _own(name)
    for name in (
        *(
            "anthropic-provider-key",
            "openai-provider-key",
            "virtual-key",
            "control-token",
            "password",
            "wrong-password",
        ),
        *(
            "alert-secret",
            "alert-url",
            "approval-secret",
            "jobs-secret",
            "jobs-url",
            "collector-header",
            "cache-secret",
        ),
        *("metrics-token", "query-key", "cookie", "azure-key", "google-key", "proxy-authorization", "strange-path"),
    )
}
SYSTEM = _own("system-prompt")
APPLICATION = _own("word-of-the-application")  # nothing personal: only the log may have it

CONFIG = """
providers:
  anthropic: {base_url: "%(sim)s", api_key: env:CANARY_ANTHROPIC, breaker: off}
  openai: {base_url: "%(sim_openai)s", api_key: env:CANARY_OPENAI, breaker: off}
storage: "sqlite:///%(folder)s/headgate.db"
models: {fast: [anthropic/claude-haiku-4-5, openai/gpt-6-luna]}
tasks:
  shadowed:
    shadow: {model: openai/gpt-6-luna, sample: 100%%, compare: exact, until: 200, agreement: 95%%, max_usd_per_day: 1}
budgets: [{per: tenant, usd: 1, every: year, alert_at: [1%%]}]
retry: {attempts: 2}
degrade: [{on: any, use: defer}]
guards:
  profile: standard
  tools: {approve: [send_email], webhook: {url: "%(hooks)s/approvals", secret: env:CANARY_APPROVAL_SECRET}}
cache: {default: 1h, backend: sqlite}
log: {bodies: redacted, requests: on}
metrics: {token: env:CANARY_METRICS_TOKEN, tenants: 10}
traces: {to: "%(hooks)s", sample: 100%%, content: on, openinference: on, headers: {x-auth: env:CANARY_COLLECTOR}}
alerts: [{to: env:CANARY_ALERT_URL, secret: env:CANARY_ALERT_SECRET}]
alert_rules: {exchange_errors: {over: 1%%, minimum: 2, for: 0s}}
jobs: {webhooks: {reports: {to: env:CANARY_JOBS_URL, secret: env:CANARY_JOBS_SECRET}}}
"""

ECHOED = Scenario(
    name="echo",
    rules=(Rule(Fault("error", status=500, type=KEYS["aws"], message=TOLD), Match(prompt_contains="FAIL")),),
)


def _plant(served: Served | ServedByCommand, sinks: Sinks) -> None:
    """One call of each kind with everything in it, wherever a caller can put something."""
    stray = {
        "cookie": f"session={OURS['cookie']}",
        "api-key": OURS["azure-key"],
        "x-goog-api-key": OURS["google-key"],
        "proxy-authorization": f"Basic {OURS['proxy-authorization']}",
        "x-secret": KEYS["github"],
        "x-headgate-tags": f"team={KEYS['stripe']}",
        "x-headgate-session": f"{KEYS['gitlab']}",
        "x-headgate-feature": f"for {KEYS['slack']}",
        "x-headgate-correlation-id": KEYS["npm"],
        "baggage": f"user={PERSONAL['mail']}; key={KEYS['huggingface']}",
    }
    query = {"key": OURS["query-key"]}
    told: dict[str, Any] = {"max_retries": 0, "default_headers": stray, "default_query": query, "timeout": 30}
    claude = anthropic.Anthropic(api_key=OURS["virtual-key"], base_url=served.url, **told)
    gpt = openai.OpenAI(api_key=OURS["virtual-key"], base_url=f"{served.url}/v1", **told)
    said: Any = [{"role": "user", "content": f"say: {APPLICATION} {TOLD}"}]
    failing: Any = [{"role": "user", "content": f"FAIL {TOLD}"}]
    card = int(PERSONAL["card"].replace(" ", ""))
    written = {"note": TOLD, "card": card, KEYS["openai"]: {PERSONAL["mail"]: 1}}
    history: Any = [
        {"role": "user", "content": TOLD},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "pay",
                                           "input": written}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": TOLD}]},
    ]  # fmt: skip
    schema = {
        "type": "object",
        "properties": {"to": {"const": TOLD}, "card": {"const": card}},
        "required": ["to", "card"],
    }
    tool: Any = {"name": "send_email", "description": TOLD, "input_schema": schema}
    haiku: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 800}
    luna: dict[str, Any] = {"model": "gpt-6-luna", "messages": said}
    system = f"{SYSTEM} {TOLD}"
    shadowed = {"x-headgate-task": "shadowed"}
    line = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": luna})
    parked = {**haiku, "messages": said, "tools": [tool], "tool_choice": {"type": "tool", "name": "send_email"}}
    calls: list[Any] = [
        lambda: claude.messages.create(**haiku, system=system, messages=said, extra_headers=shadowed),
        lambda: claude.messages.create(**haiku, system=system, messages=said),  # kept, now
        lambda: list(claude.messages.create(**haiku, messages=said, stream=True, metadata={"user_id": KEYS["groq"]})),
        lambda: claude.messages.create(**haiku, messages=history, tools=[{"name": "pay", "input_schema": schema}]),
        lambda: claude.messages.create(**parked),
        lambda: claude.messages.create(**haiku, messages=failing),
        lambda: claude.messages.create(**{**haiku, "model": "claude-that-is-not-there"}, messages=said),
        lambda: claude.messages.create(**{**haiku, "max_tokens": -1}, messages=said),
        lambda: gpt.chat.completions.create(**luna),
        lambda: list(gpt.chat.completions.create(**luna, stream=True)),
        lambda: gpt.chat.completions.create(**{**luna, "messages": failing}),
        lambda: gpt.responses.create(model="gpt-6-luna", input=TOLD, instructions=system),
        lambda: gpt.embeddings.create(model="text-embedding-3-small", input=[TOLD]),
        lambda: gpt.moderations.create(input=TOLD),
        lambda: gpt.files.create(file=(f"{KEYS['google']}.jsonl", line.encode()), purpose="batch"),
        lambda: claude.messages.batches.create(requests=[{"custom_id": "a", "params": {**haiku, "messages": said}}]),  # type: ignore[list-item]
        lambda: claude.messages.create(**haiku, messages=said, extra_headers={"x-headgate-webhook": KEYS["sendgrid"]}),
    ]
    for call in calls:
        try:
            call()
        except (anthropic.APIError, openai.APIError) as error:
            sinks.add("errors to callers", f"{error!r} {error} {getattr(error, 'body', '')}\n")
    deferred = {**stray, "x-api-key": OURS["virtual-key"], "prefer": "respond-async", "x-headgate-webhook": "reports"}
    answer = httpx2.post(f"{served.url}/v1/messages", headers=deferred, json={**haiku, "messages": said})
    sinks.add("answer to a deferred call", answer.content + repr(answer.headers).encode())
    _strange(served, sinks)


def _strange(served: Served | ServedByCommand, sinks: Sinks) -> None:
    """What nobody should send."""
    for path in (f"/v1/{OURS['strange-path']}?key={OURS['query-key']}", f"/p/{KEYS['openai']}/v1/chat/completions"):
        for body in (b"{", json.dumps({"model": TOLD, "messages": TOLD}).encode(), TOLD.encode("utf-16")):
            answer = httpx2.post(f"{served.url}{path}", headers={"x-api-key": OURS["virtual-key"]}, content=body)
            sinks.add("errors to strangers", answer.content + repr(answer.headers).encode())
    bad = httpx2.post(f"{served.url}/v1/messages", headers={"x-api-key": KEYS["anthropic"]}, content=b"{}")
    sinks.add("errors to strangers", bad.content)
    got = httpx2.get(f"{served.url}/metrics", headers={"authorization": f"Bearer {OURS['metrics-token']}"})
    assert got.status_code == 200
    sinks.add("metrics", got.content)
    for path in ("/health/live", "/health/ready", "/health/providers"):
        sinks.add("health", httpx2.get(f"{served.url}{path}").content)


def _look(served: Served, sinks: Sinks) -> tuple[str, list[str]]:
    """The dashboard and the admin API, by somebody who has logged in; the session's cookie and the pages seen."""
    served.built.logs.fresh()
    with httpx2.Client(base_url=served.url, timeout=30) as client:
        person = {"name": "ada", "role": "admin", "password": OURS["password"]}
        origin = {"origin": served.url}
        made = client.post("/admin/api/v1/people", json=person)
        assert made.status_code < 300, made.text
        for password in (OURS["wrong-password"], OURS["password"]):
            told = client.post("/login", data={"name": "ada", "password": password}, headers=origin)
            sinks.add("page /login", told.content)
        cookie = told.headers["set-cookie"].partition(";")[0]
        who = {"cookie": cookie}
        document = client.get("/admin/api/openapi.json", headers=who).json()
        for below, methods in document["paths"].items():
            path = f"/admin/api{below}"
            if "get" in methods and "{" not in path:
                query = {"session": KEYS["gitlab"], "by": "user", "since": "0", "until": "4102444800", "step": "day"}
                known = {p["name"] for p in methods["get"].get("parameters", ())}
                told = client.get(path, params={k: v for k, v in query.items() if k in known}, headers=who)
                sinks.statuses[path] = told.status_code
                sinks.add(f"api {path}", told.content)
                for found in [row for row in _rows(told) if "id" in row][:20]:
                    for one in (f"{path}/{found['id']}", f"{path}/exchanges/{found['id']}"):
                        sinks.add(f"api {path}/…", client.get(one, headers=who).content)
        for bad in ({"text": TOLD}, {"where": TOLD}, {"before": KEYS["aws"]}):
            sinks.add("errors of the API", client.get("/admin/api/v1/logs", params=bad, headers=who).content)
    pages = served.crawl(sinks, PAGES, {"cookie": cookie})
    return cookie.partition("=")[2], pages


def _rows(answer: httpx2.Response) -> list[dict[str, Any]]:
    with suppress(ValueError):
        told = answer.json()
        lists = [told] if isinstance(told, list) else told.values()
        lists = [each for each in lists if isinstance(each, list)]
        return [row for each in lists for row in each if isinstance(row, dict)]
    return []


PAGES = (
    *("/", "/ui/exchanges", "/ui/conversations", "/ui/spend", "/ui/spend.csv?by=user", "/ui/billing", "/ui/models"),
    *("/ui/guards", "/ui/keys", "/ui/jobs", "/ui/audit", "/ui/alerts", "/ui/checklist", "/nowhere"),
)
COMMANDS = """
logs show --last
logs show --last --json
usage --by key,user,session,feature,model,tag:team
usage --by user --csv
usage --json
audit --json
explain --model fast
explain --model fast --json
doctor
budgets list
alerts list --json
approvals list
jobs list --json
providers --json
cache list
shadow --json
audit-log list --json
people list
invoice --tenant acme --month 2026-11 --json
check --json
logs search is:error
logs search canary
logs search canary --json
logs export
logs export --format csv
logs export --dataset --all
"""


def _run_serve(folder: Path, config: str, env: dict[str, str], sinks: Sinks) -> None:
    """The same calls through the command itself, whose log goes to its standard output."""
    keys = "keys: [{name: app, key: env:CANARY_VIRTUAL, tenant: acme}]\n"
    told = {**env, "CANARY_VIRTUAL": OURS["virtual-key"]}
    with serving_process(folder, config + keys, told) as process:
        seen = Sinks()
        try:
            _plant(process, seen)
        finally:
            out, err = process.stop()
    for where, what in seen.found.items():
        sinks.add(f"{where} of the command", what)
    sinks.add("stdout of headgate serve", out)
    sinks.add("stderr of headgate serve", err)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sinks, dict[str, Any]]:
    """What came out, and what it came from."""
    folder: Path = tmp_path_factory.mktemp("planted")
    sinks, hooks = Sinks(), Receiver()
    env = {
        "CANARY_ANTHROPIC": OURS["anthropic-provider-key"],
        "CANARY_OPENAI": OURS["openai-provider-key"],
        "CANARY_APPROVAL_SECRET": OURS["approval-secret"],
        "CANARY_METRICS_TOKEN": OURS["metrics-token"],
        "CANARY_COLLECTOR": OURS["collector-header"],
        "CANARY_ALERT_URL": f"{hooks.url}/alerts/{OURS['alert-url']}",
        "CANARY_ALERT_SECRET": OURS["alert-secret"],
        "CANARY_JOBS_URL": f"{hooks.url}/jobs/{OURS['jobs-url']}",
        "CANARY_JOBS_SECRET": OURS["jobs-secret"],
    }
    written = logging.Handler()
    written.emit = lambda record: sinks.add("Python's log", f"{record.getMessage()} {record.exc_info}\n")  # type: ignore[method-assign]
    ours = logging.getLogger("headgate")
    ours.addHandler(written)
    facts: dict[str, Any] = {}
    with SimulatorServer() as sim:
        sim.load(ECHOED)
        config = CONFIG % {"sim": sim.url, "sim_openai": sim.openai_url, "folder": folder, "hooks": hooks.url}
        keys = {OURS["virtual-key"]: KeyRecord("app", "app", tenant="acme")}
        with serving(folder, config, env, keys, OURS["control-token"]) as served:
            _plant(served, sinks)
            served.built.ledger.flush()
            served.built.log.flush()
            facts["alert"] = hooks.wait("/alerts")
            facts["spans"] = hooks.wait("/v1/traces")
            facts["approval"] = hooks.wait("/approvals")
            facts["cookie"], facts["pages"] = _look(served, sinks)
            for command in COMMANDS.strip().splitlines():
                sinks.add(f"headgate {command}", served.command(*command.split()))
            sinks.add("reprs", f"{served.built!r} {served.built.settings!r} {served.built.engine!r}")
            sinks.add("rows", rows_of(folder / "headgate.db", but={"approvals"}))
            sinks.files(folder)  # while the write-ahead logs are there
        sinks.files(folder)
        facts["upstream"] = sim.requests()
        own = tmp_path_factory.mktemp("served")
        config = CONFIG % {"sim": sim.url, "sim_openai": sim.openai_url, "folder": own, "hooks": hooks.url}
        _run_serve(own, config, env, sinks)
    ours.removeHandler(written)
    for path, body in hooks.got:
        sinks.add(f"sent to {path.split('/')[1]}", body)
    hooks.close()
    return sinks, facts


AS_THEY_ARE = {
    "api /admin/api/v1/approvals",
    "api /admin/api/v1/approvals/…",
    "headgate approvals list",
    "page /ui/guards",  # its inbox
    "file headgate.db.jobs",
    "file headgate.db.jobs-wal",
    "sent to approvals",
    "file headgate.db",
    "file headgate.db-wal",
}
"""Deferred calls, which are still to be sent; and tool calls that wait, which a person has to read (their table is in
the ledger's file; all others are looked at as rows). docs/security.md says so."""
OWN_FILES = {"control-token": {"file headgate.db.lock"}, "query-key": AS_THEY_ARE}
"""How the command line reaches the gateway, mode 0600; and a deferred call's own address."""


@pytest.mark.parametrize("name", OURS)
def test_no_credential_of_the_installation_comes_out_anywhere(name: str, world: Any) -> None:
    found = set(world[0].holders(OURS[name])) - OWN_FILES.get(name, set())
    if name == "strange-path":
        found -= {
            "errors to strangers",
            "errors to strangers of the command",
        }  # the caller's own path, told to the caller
    assert found == set()


@pytest.mark.parametrize("name", KEYS)
def test_no_key_that_a_caller_planted_comes_out(name: str, world: Any) -> None:
    assert set(world[0].holders(KEYS[name])) - AS_THEY_ARE == set()


@pytest.mark.parametrize("name", PERSONAL)
def test_no_personal_data_comes_out(name: str, world: Any) -> None:
    assert set(world[0].holders(PERSONAL[name])) - AS_THEY_ARE == set()


def test_a_session_is_nowhere_but_in_its_cookie(world: Any) -> None:
    sinks, facts = world
    assert facts["cookie"]
    assert sinks.holders(facts["cookie"]) == []


def test_a_system_prompt_is_only_in_the_whole_requests_that_the_log_was_told_to_keep(world: Any) -> None:
    kept = {"file headgate.db.log.jsonl", "stdout of headgate serve", "headgate logs export --dataset --all"}
    assert set(world[0].holders(SYSTEM)) <= kept | AS_THEY_ARE


def test_the_search_would_find_what_it_looks_for(world: Any) -> None:
    sinks, facts = world
    assert (facts["alert"], facts["spans"], facts["approval"]) == (True, True, True)
    assert {"page /ui/exchanges", "file headgate.db.log.jsonl", "file headgate.db.log.db", "sent to v1"} <= set(
        sinks.holders(APPLICATION)
    )
    told = {"stdout of headgate serve", "headgate logs export", "headgate logs export --dataset --all"}
    assert told <= set(sinks.holders(APPLICATION))
    assert {
        "metrics",
        "health",
        "api /admin/api/v1/logs",
        "api /admin/api/v1/config",
        "page /ui/spend.csv",
        "sent to alerts",
        "rows",
    } <= set(sinks.found)
    assert (
        b"openai_key:" in sinks.found["rows"] or b"stripe_key:" in sinks.found["rows"]
    )  # a label was told by its kind
    assert sinks.statuses["/admin/api/v1/logs"] == sinks.statuses["/admin/api/v1/usage"] == 200
    assert sum(path.startswith("/ui/exchanges/ex_") for path in facts["pages"]) >= 10
    assert all(sinks.found[f"headgate {command}"] for command in COMMANDS.strip().splitlines())
