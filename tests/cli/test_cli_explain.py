"""`headgate explain`: the engine's own decisions, each with its origin, and nothing sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_commands import Run

from headgate.core.money import usd_text
from headgate.core.ports import Timeouts
from headgate.engine.plan import make_plan

CONFIG = """\
providers:
  acme: {dialect: anthropic, base_url: https://llm.acme.example, api_key: env:ACME_KEY, price: {input: 3, output: 15}}
  local: {dialect: openai, base_url: http://127.0.0.1:9/v1, price: free}
models:
  fast: [anthropic/claude-haiku-4-5, acme/claude-haiku-4-5]
tasks:
  classify: {timeout: 20s, retry: {attempts: 2}, timeouts: {first_byte: 7s}, guards: {pii: block}}
retry: {deadline: 90s}
budgets:
  - {per: user, usd: 10, every: day}
keys:
  - {name: dev, key: env:HG, tenant: acme}
"""
SECRET = "canary-" + "value"
ENV = {"ANTHROPIC_API_KEY": SECRET, "ACME_KEY": SECRET, "HG": SECRET}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "headgate.yaml"
    file.write_text(CONFIG)
    return file


def _told(run: Run, *arguments: str, code: int = 0, **env: str) -> dict[str, Any]:
    result = run("explain", *arguments, "--json", **env)
    assert result.returncode == code, result.stdout + result.stderr
    assert SECRET not in result.stdout + result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def _of(told: dict[str, Any], step: str, name: str) -> tuple[str, str]:
    found = next(d for d in told["decisions"] if (d["step"], d["name"]) == (step, name))
    return found["value"], found["from"]


def _at(text: str) -> str:
    before = CONFIG[: CONFIG.index(text)]
    return f"headgate.yaml:{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}"


@pytest.mark.usefixtures("config")
def test_every_decision_names_the_line_it_comes_from(run: Run) -> None:
    told = _told(run, "--model", "fast", "--task", "classify", "--key", "dev", "--user", "ada", **ENV)
    assert told["sent"] is False
    assert _of(told, "caller", "key") == ("dev", "headgate.yaml:12:5")
    assert _of(told, "caller", "tenant") == ("acme", "headgate.yaml:12:5")
    assert _of(told, "caller", "user") == ("ada", "the request")
    assert _of(told, "routes", "2") == ("acme/claude-haiku-4-5", "headgate.yaml:5:38")
    assert _of(told, "retry", "attempts")[1] == _at("attempts: 2")
    assert _of(told, "timeouts", "first_byte") == ("7s", _at("first_byte: 7s"))
    assert _of(told, "timeouts", "total") == ("20s", _at("timeout: 20s"))
    assert _of(told, "timeouts", "connect") == ("5s", "default")
    assert _of(told, "price", "2")[1] == _at("price: {input")
    assert _of(told, "price", "1")[1] == "the price file"


@pytest.mark.usefixtures("config")
def test_routes_are_told_with_their_references_and_never_a_value(run: Run) -> None:
    routes = _told(run, "--model", "fast", "--key", "dev", **ENV)["routes"]
    assert [(r["provider"], r["base_url"], r["credential"], r["skipped"]) for r in routes] == [
        ("anthropic", "https://api.anthropic.com", "env:ANTHROPIC_API_KEY", None),
        ("acme", "https://llm.acme.example", "env:ACME_KEY", None),
    ]


@pytest.mark.usefixtures("config")
def test_a_route_without_its_key_is_skipped_and_says_why(run: Run) -> None:
    routes = _told(run, "--model", "fast", ACME_KEY=SECRET)["routes"]
    assert "ANTHROPIC_API_KEY is not set" in routes[0]["skipped"]
    assert routes[1]["skipped"] is None


@pytest.mark.usefixtures("config")
def test_it_says_what_the_engines_own_plan_and_charges_say(run: Run, tmp_path: Path) -> None:
    from headgate.build import policies_of
    from headgate.core.caller import Caller
    from headgate.core.exchange import Request
    from headgate.settings import load
    from headgate.wire import DIALECTS

    body = json.dumps({"model": "fast", "max_tokens": 77, "messages": [{"role": "user", "content": "é" * 50}]}).encode()
    (tmp_path / "call.json").write_bytes(body)
    told = _told(run, "call.json", "--task", "classify", **ENV)
    policies = policies_of(load(tmp_path / "headgate.yaml", env=ENV), ENV)
    facts = DIALECTS["anthropic"].read_request("messages", body)
    request = Request(
        "anthropic", "messages", "POST", "/v1/messages", [], body, facts, Caller(task="classify"), "gateway"
    )
    plan = make_plan(request, policies, 1.8e9)
    bounds = [policies.charges.bound(route, facts, len(body), 1.8e9) for route in plan.routes]
    assert [r["bound_usd"] for r in told["routes"]] == [usd_text(b.nano if b else 0) for b in bounds]
    assert [(r["provider"], r["model"]) for r in told["routes"]] == [(r.provider, r.model) for r in plan.routes]
    assert _of(told, "retry", "attempts")[0].startswith(f"{plan.recovery.attempts} ")
    assert plan.timeouts == Timeouts(first_byte=7.0, total=20.0)


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    ("arguments", "step", "code"),
    [
        (("--model", "claude-99-none"), "price", "unknown_price"),
        (("--model", "openai/gpt-6-luna"), "routes", "provider_not_configured"),
        (("--model", "fast", "--path", "/p/nobody/v1/messages"), "way in", "no_provider"),
        (("--model", "fast", "--path", "/nowhere"), "way in", "not_found"),
        (("--model", "fast", "--key", "dev", "--tenant", "other"), "way in", "tenant_not_allowed"),
        (("broken.json", "--dialect", "anthropic"), "way in", "invalid_request"),
    ],
)
def test_a_refusal_is_explained_with_its_code(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], step: str, code: str
) -> None:
    (tmp_path / "broken.json").write_text('{"model": "fast", "messages": [')
    refusal = _told(run, *arguments, code=1, **ENV)["refusal"]
    assert (refusal["step"], refusal["code"]) == (step, code)
    assert refusal["message"]
    assert refusal["status"] >= 400


@pytest.mark.usefixtures("config")
def test_an_unknown_task_is_found_with_what_may_be_meant(run: Run) -> None:
    told = _told(run, "--model", "fast", "--task", "clasify", code=1, **ENV)
    assert told["refusal"] is None
    assert "'classify'" in told["findings"][0]
    assert _of(told, "timeouts", "total") == ("10m", "default")


@pytest.mark.usefixtures("config")
def test_what_is_not_enforced_is_marked(run: Run) -> None:
    told = _told(run, "--model", "fast", "--task", "classify", **ENV)
    unenforced = {(d["step"], d["name"]) for d in told["decisions"] if not d["enforced"]}
    assert ("guards", "pii") in unenforced or not told["not_enforced"]


def test_budgets_are_shown_where_they_count_for_the_caller_and_why_where_they_do_not(run: Run, tmp_path: Path) -> None:
    text = "max_usd_per_call: 2\ntasks: {big: {max_usd_per_call: 9}}\nbudgets:\n"
    text += "  - {per: [tenant, user], usd: 4, soft_usd: 3, every: day, zone: Europe/Berlin}\n"
    text += "  - {only: {tenant: acme}, tokens: 5000}\n  - {only: {tenant: globex}, usd: 1}\n"
    (tmp_path / "headgate.yaml").write_text(text)
    told = _told(run, "--model", "claude-haiku-4-5", "--tenant", "acme", "--task", "big", "--in-process", **ENV)
    found = [(d["name"], d["value"], d["from"]) for d in told["decisions"] if d["step"] == "budgets"]
    lacks = "(does not apply: the call names no user)"
    assert found == [
        ("per tenant and user", f"$4 a day (Europe/Berlin) {lacks}", "headgate.yaml:4:5"),
        ("per tenant and user", f"$3 a day (Europe/Berlin), only warns {lacks}", "headgate.yaml:4:5"),
        ("all together, tenant acme", "5,000 tokens for good", "headgate.yaml:5:5"),
        ("one call", "at most $9", "headgate.yaml:2:15"),
    ]


def test_the_ladder_of_the_calls_task_is_shown_with_where_each_step_is_written(run: Run, tmp_path: Path) -> None:
    text = "degrade: [{say: sorry}]\ntasks:\n  t:\n    degrade:\n      - {on: [timeout, money], model: gpt-6-luna}\n"
    text += "      - {on: budget, say: enough}\n    on_cut: buffer\n"
    (tmp_path / "headgate.yaml").write_text(text)
    told = _told(run, "--model", "claude-haiku-4-5", "--task", "t", "--in-process", **ENV)
    assert [(d["name"], d["value"], d["from"]) for d in told["decisions"] if d["step"] == "degrade"] == [
        ("1", "on timeout, money: try gpt-6-luna", "headgate.yaml:5:9"),
        ("2", 'on budget: say "enough"', "headgate.yaml:6:9"),
    ]
    assert _of(told, "task", "on_cut") == ("buffer", "headgate.yaml:7:5")
    others = _told(run, "--model", "claude-haiku-4-5", "--in-process", **ENV)
    assert _of(others, "degrade", "1") == (
        'on overload, timeout, server, auth, money: say "sorry"',
        "headgate.yaml:1:11",
    )


def test_what_is_measured_on_its_calls_is_shown(run: Run, tmp_path: Path) -> None:
    text = "similar: {embedder: openai/text-embedding-3-small}\ntasks: {t: {shadow: {model: claude-haiku-4-5}}}\n"
    (tmp_path / "headgate.yaml").write_text(text)
    told = _told(run, "--model", "claude-opus-4-5", "--task", "t", "--in-process", **ENV)
    assert _of(told, "economy", "shadow claude-haiku-4-5") == (
        "5% of calls, by exact; a person switches (see headgate shadow)",
        "headgate.yaml:2:13",
    )
    assert _of(told, "cache", "similar questions")[1] == "headgate.yaml:1:1"


def test_the_requests_own_timeout_bounds_the_exchange_and_says_so(run: Run) -> None:
    told = _told(run, "--model", "claude-haiku-4-5", "--timeout", "9s", "--in-process")
    assert _of(told, "timeouts", "total") == ("9s", "the request's own")
    assert _of(told, "timeouts", "first content") == ("no attempt begins after 9s", "the request's own")


def test_in_process_the_sdk_s_own_key_is_used(run: Run) -> None:
    told = _told(run, "--model", "gpt-6-luna", "--max-tokens", "10", "--in-process")
    assert told["routes"][0]["credential"] == "the SDK's own key"
    assert told["refusal"] is None


@pytest.mark.parametrize(
    ("body", "dialect"),
    [
        ({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": []}, "anthropic"),
        ({"model": "anything", "system": "x", "max_tokens": 9, "messages": []}, "anthropic"),
        ({"model": "gpt-6-luna", "messages": []}, "openai"),
        ({"model": "anything", "max_completion_tokens": 9, "messages": []}, "openai"),
        ({"model": "anything", "messages": []}, "openai"),
    ],
)
def test_the_dialect_is_guessed_from_the_body(run: Run, tmp_path: Path, body: dict[str, Any], dialect: str) -> None:
    (tmp_path / "call.json").write_text(json.dumps(body))
    result = run("explain", "call.json", "--json", "--in-process")
    assert json.loads(result.stdout)["request"]["dialect"] == dialect


def test_what_cannot_be_bounded_says_why(run: Run, tmp_path: Path) -> None:
    tool = {"type": "web_search_20250305", "name": "web_search"}
    body = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [], "tools": [tool]}
    (tmp_path / "call.json").write_text(json.dumps(body))
    told = _told(run, "call.json", "--in-process")
    assert "server-side" in _of(told, "bound", "1")[0]
    assert told["routes"][0]["bound_usd"] is None


def test_nothing_is_written(run: Run, tmp_path: Path) -> None:
    assert run("explain", "--model", "claude-haiku-4-5", "--in-process").returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nowhere.json",),
        ("call.json", "--model", "x"),
        ("--model", "x", "--key", "nobody"),
        ("--model", "x", "--prompt", "many"),
        ("--model", "x", "--in-process", "--key", "dev"),
    ],
)
def test_misuse_is_exit_code_2(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "call.json").write_text("{}")
    result = run("explain", *arguments)
    assert result.returncode == 2
    assert "Error:" in result.stderr


@pytest.mark.usefixtures("config")
def test_people_read_a_line_for_each_decision(run: Run) -> None:
    result = run("explain", "--model", "fast", "--task", "classify", "--key", "dev", **ENV)
    assert "Nothing was sent." in result.stdout
    assert "anthropic/claude-haiku-4-5  [headgate.yaml:5:10]" in result.stdout
    assert result.stdout.rstrip().endswith("The call would go to anthropic/claude-haiku-4-5, then 1 more.")
    assert max(map(len, result.stdout.splitlines())) < 200


MIXED = CONFIG.replace("  fast: [", "  mixed: [anthropic/claude-haiku-4-5, openai/gpt-6-luna]\n  fast: [")
MIXED += "lossy: {top_k: drop, cache_control: refuse}\n"
BOTH = {**ENV, "OPENAI_API_KEY": SECRET}


def _asks(tmp_path: Path, **more: object) -> str:
    (tmp_path / "headgate.yaml").write_text(MIXED)
    turns = [{"role": "user", "content": "hello"}]
    body = {"model": "mixed", "max_tokens": 100, "messages": turns, **more}
    (tmp_path / "call.json").write_text(json.dumps(body))
    return "call.json"


def test_a_route_of_the_other_dialect_is_said_to_be_translated_and_what_that_loses(run: Run, tmp_path: Path) -> None:
    told = _told(run, _asks(tmp_path, top_k=3), "--dialect", "anthropic", **BOTH)
    value, origin = _of(told, "translation", "openai/gpt-6-luna")
    assert value == "from anthropic to openai, loses top_k"
    assert origin == f"headgate.yaml:{MIXED.count(chr(10))}:1"
    first, second = told["routes"]
    assert (first["translated"], second["translated"]) == (None, {"dialect": "openai", "lost": ["top_k"]})
    assert second["bound_usd"] != first["bound_usd"]
    assert told["refusal"] is None


def test_a_route_that_cannot_be_told_the_request_is_said_to_be_skipped(run: Run, tmp_path: Path) -> None:
    cached = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    told = _told(run, _asks(tmp_path, system=cached), "--dialect", "anthropic", **BOTH)
    assert "`system.0.cache_control` cannot be translated" in _of(told, "translation", "openai/gpt-6-luna")[0]
    assert [bool(route["skipped"]) for route in told["routes"]] == [False, True]
    alone = _asks(tmp_path, system=cached, model="openai/gpt-6-luna")
    refusal = _told(run, alone, "--dialect", "anthropic", code=1, **BOTH)["refusal"]
    assert (refusal["step"], refusal["code"], refusal["status"]) == ("translation", "not_translatable", 400)


ROUTED = """\
providers: {acme: {dialect: anthropic, base_url: https://llm.acme.example, price: {input: 3, output: 15}}}
models:
  spread: {routes: [{to: acme/small}, {to: anthropic/claude-haiku-4-5, weight: 3}]}
  cheap:
    prefer: cost
    routes: [acme/big, anthropic/claude-haiku-4-5]
  best: {prefer: quality, routes: [{to: acme/small, quality: 10}, {to: acme/big, quality: 90}]}
  auto:
    rules:
      - {when: {task: [classify, extract]}, use: cheap}
      - {when: {max_input_tokens: 500, tools: false}, use: spread}
    use: best
    fallback: {overload: [best], refusal: acme/big}
tasks:
  classify: {model: auto, max_tokens: 50, thinking: drop}
fallback: [acme/big]
"""


@pytest.fixture
def routed(tmp_path: Path) -> Path:
    file = tmp_path / "headgate.yaml"
    file.write_text(ROUTED)
    return file


def _all_of(told: dict[str, Any], step: str) -> list[tuple[str, str, str]]:
    return [(d["name"], d["value"], d["from"]) for d in told["decisions"] if d["step"] == step]


@pytest.mark.usefixtures("routed")
def test_the_rule_that_chose_the_model_is_told_with_its_line(run: Run) -> None:
    told = _told(run, "--model", "whatever", "--task", "classify", "--dialect", "anthropic", **ENV)
    assert _of(told, "task", "model") == ("auto", "headgate.yaml:15:14")
    assert _of(told, "task", "max_tokens") == ("50", "headgate.yaml:15:27")
    assert _of(told, "routes", "rule") == ("auto: task classify: cheap", "headgate.yaml:10:9")
    value, origin = _of(told, "routes", "prefer")
    assert (value[:42], origin) == ("cost, as expected: acme/big $0.001566, anthropic"[:42], "headgate.yaml:5:5")
    assert [(route["provider"], route["model"]) for route in told["routes"]] == [
        ("anthropic", "claude-haiku-4-5"),
        ("acme", "big"),
    ]
    assert _of(told, "routes", "1") == ("anthropic/claude-haiku-4-5", "headgate.yaml:6:24")
    told = _told(run, "--model", "auto", "--prompt", "9KB", "--dialect", "anthropic", **ENV)
    assert _of(told, "routes", "rule") == ("auto: no rule holds: best", "headgate.yaml:12:5")
    assert _of(told, "routes", "prefer") == ("quality: acme/big 90, acme/small 10", "headgate.yaml:7:10")


@pytest.mark.usefixtures("routed")
def test_weights_are_told_as_shares_and_the_heaviest_is_the_first(run: Run) -> None:
    for _ in range(2):
        told = _told(run, "--model", "auto", "--dialect", "anthropic", **ENV)
        assert _of(told, "routes", "rule")[0].startswith("auto: about 27")
        assert _of(told, "routes", "prefer") == (
            "drawn by weight: acme/small 25%, anthropic/claude-haiku-4-5 75%",
            "headgate.yaml:3:12",
        )
        assert told["routes"][0]["model"] == "claude-haiku-4-5"


@pytest.mark.usefixtures("routed")
def test_what_follows_a_failure_is_told_by_its_class_with_its_line(run: Run) -> None:
    told = _told(run, "--model", "auto", "--dialect", "anthropic", **ENV)
    own, default = "headgate.yaml:13:", "headgate.yaml:16:1"
    found = {name: (value, origin) for name, value, origin in _all_of(told, "fallback")}
    assert found == {
        "overload": ("best", f"{own}16"),
        "refusal": ("acme/big", f"{own}34"),
        **dict.fromkeys(("timeout", "server", "auth", "money"), ("acme/big", default)),
    }
    assert _all_of(_told(run, "--model", "x", "--path", "/p/acme/v1/messages", **ENV), "fallback") == [
        ("none", "the path names a provider: no other may serve", "the request")
    ]


@pytest.mark.usefixtures("routed")
def test_what_ties_a_call_to_a_model_is_told_with_the_routes_that_are_skipped(run: Run, tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1"}]},
    ]
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"model": "spread", "max_tokens": 9, "messages": turns}))
    told = _told(run, str(file), "--dialect", "anthropic", **ENV)
    assert _of(told, "routes", "tied") == ("a tool turn in progress: other models are skipped", "built in")
    assert [route["skipped"] for route in told["routes"]] == ["a tool turn in progress", None]


GUARDED = """\
guards:
  profile: standard
  unread: block
  isolate: xml
  moderation: {mode: block}
  tools: {allow: [search], approve: ["send_*"]}
  for:
    - {tenant: acme, profile: strict, pii: off}
tasks:
  draft: {guards: {profile: observe, leaks: block}}
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            [],
            {
                "profile": ("standard", "headgate.yaml:2:3"),
                "pii": ("redact-logs", "headgate.yaml:2:3"),
                "unread": ("block", "headgate.yaml:3:3"),
                "isolate": ("xml", "headgate.yaml:4:3"),
                "moderation": ("block", "headgate.yaml:5:3"),
                "tools": ("block (approve send_*; allow search)", "headgate.yaml:6:3"),
            },
        ),
        (
            ["--tenant", "acme"],
            {
                "profile": ("strict", "headgate.yaml:8:22"),
                "secrets": ("block", "headgate.yaml:8:22"),
                "pii": ("off", "headgate.yaml:8:39"),
            },
        ),
        (
            ["--task", "draft"],
            {
                "profile": ("observe", "headgate.yaml:10:20"),
                "unread": ("flag", "headgate.yaml:10:20"),
                "leaks": ("block", "headgate.yaml:10:38"),
            },
        ),
    ],
)
def test_the_guards_that_hold_for_a_caller_are_shown_with_the_line_that_decides(
    run: Run, tmp_path: Path, arguments: list[str], expected: dict[str, tuple[str, str]]
) -> None:
    (tmp_path / "headgate.yaml").write_text(GUARDED)
    told = _told(run, "--model", "claude-haiku-4-5", *arguments, **ENV)
    assert {name: _of(told, "guards", name) for name in expected} == expected


def test_guards_that_are_off_are_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text("guards: off\n")
    told = _told(run, "--model", "claude-haiku-4-5", **ENV)
    shown = [(d["name"], d["value"], d["from"]) for d in told["decisions"] if d["step"] == "guards"]
    assert shown == [("profile", "off", "headgate.yaml:1:1")]
