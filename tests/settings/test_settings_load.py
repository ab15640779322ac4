"""The file, the environment and flags become one Settings that says where each value came from."""

from __future__ import annotations

import re
import string
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.core.errors import ConfigError
from headgate.core.ports import Timeouts
from headgate.policy import overrides as price_overrides
from headgate.policy.error_classes import ANY, FAILURES
from headgate.policy.guards.input_limits import LIMIT_KEYS as INPUT_LIMIT_KEYS
from headgate.settings import Settings, load
from headgate.settings.accounting import ANOMALY_KEYS, INVOICE_KEYS
from headgate.settings.budgets import BUDGET_KEYS
from headgate.settings.guard_answers import ANSWER_KEYS
from headgate.settings.guard_network import NETWORK_KEYS
from headgate.settings.guard_output import LINK_KEYS
from headgate.settings.guard_tools import (
    GLOBAL_TOOL_KEYS,
    LOOP_KEYS,
    RULE_KEYS,
    TEST_KEYS,
    TOOL_KEYS,
    WEBHOOK_KEYS,
)
from headgate.settings.guards import GLOBAL_KEYS, GUARD_KEYS
from headgate.settings.jobs import JOBS_KEYS
from headgate.settings.last_good import LAST_GOOD_KEYS
from headgate.settings.limits import LIMIT_KEYS
from headgate.settings.loader import TOP_KEYS
from headgate.settings.log import KEYS as LOG_KEYS
from headgate.settings.model import (
    RATE_KEYS,
    AnomalySettings,
    BudgetSettings,
    InvoiceTerms,
    LimitSettings,
    RetrySettings,
    RouteName,
    ServerSettings,
)
from headgate.settings.operations import KEY_KEYS, SERVER_KEYS
from headgate.settings.policies import TASK_KEYS, TIMEOUT_KEYS
from headgate.settings.providers import PROVIDER_KEYS
from headgate.settings.secrets import SecretRef
from headgate.settings.shadow import KEYS as SHADOW_KEYS
from headgate.settings.similar import SIMILAR_KEYS
from headgate.settings.telemetry import METRICS_KEYS, TRACES_KEYS
from headgate.settings.traffic import FAIRNESS_KEYS, RETRY_KEYS
from headgate.settings.virtual_models import MODEL_KEYS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "headgate.yaml"
DOCS = ROOT / "docs" / "configuration.md"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No headgate.yaml in the working directory unless a test writes one."""
    monkeypatch.chdir(tmp_path)


def test_nothing_at_all_is_the_defaults() -> None:
    found = load(env={})
    assert found == Settings(origins=found.origins)
    assert found.source == ""
    assert found.warnings == ()
    assert set(found.origins.values()) == {"default"}
    assert found.providers["anthropic"].base_url == "https://api.anthropic.com"
    assert found.providers["openai"].base_url == "https://api.openai.com/v1"
    assert found.providers["openai"].api_key == SecretRef("env", "OPENAI_API_KEY")
    assert found.retry == RetrySettings(attempts=4, deadline_seconds=120.0)
    assert found.timeouts == Timeouts(5.0, 5.0, 10.0, 60.0, 60.0, 600.0)
    assert found.server == ServerSettings(host="127.0.0.1", port=8484)


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "---\n", "~", "\ufeff", "providers:\nbudgets:\nretry:\nlog:\n"]
)
def test_an_empty_file_or_an_empty_section_is_the_defaults(tmp_path: Path, text: str) -> None:
    found = load(write(tmp_path, text), env={})
    assert found == Settings(source=found.source, origins=found.origins)


def test_the_file_in_the_working_directory_is_found_and_named_in_origins(tmp_path: Path) -> None:
    write(tmp_path, "retry:\n  attempts: 2\n")
    found = load(env={})
    assert found.source == "headgate.yaml"
    assert found.retry == RetrySettings(attempts=2)
    assert found.origins["retry.attempts"] == "headgate.yaml:2:3"
    assert found.origins["retry.deadline"] == "default"


def test_headgate_config_names_the_file_and_a_given_path_wins(tmp_path: Path) -> None:
    for name, attempts in (("headgate.yaml", 1), ("a.yaml", 2), ("b.yaml", 3)):
        (tmp_path / name).write_text(f"retry: {{attempts: {attempts}}}", encoding="utf-8")
    env = {"HEADGATE_CONFIG": "a.yaml"}
    assert load(env=env).retry.attempts == 2
    assert load("b.yaml", env=env).retry.attempts == 3
    assert load(env=env).warnings == ()


def test_a_misnamed_file_is_pointed_at_instead_of_ignored(tmp_path: Path) -> None:
    (tmp_path / "headgate.yml").write_text("retry: {attempts: 1}", encoding="utf-8")
    found = load(env={})
    assert found.retry.attempts == 4
    assert found.warnings == ("headgate.yml is not read: rename it to headgate.yaml, or give its path",)


def test_the_example_has_no_mistake_and_means_what_it_says() -> None:
    found = load(EXAMPLE, env={"ACME_KEY": "x", "HEADGATE_KEY": "y"})
    assert found.models["fast"] == (
        RouteName("anthropic", "claude-haiku-4-5"),
        RouteName("acme", "claude-haiku-4-5"),
    )
    assert found.providers["local"].price == "free"
    assert found.providers["local"].api_key is None
    assert found.providers["acme"].price == {"input": 3, "output": 15, "cache_read": Decimal("0.3")}
    assert found.tasks["classify"].max_tokens == 50
    assert found.tasks["classify"].cache_seconds == 3600
    assert found.tasks["classify"].timeouts == Timeouts(total=20.0)
    assert found.tasks["classify"].retry == found.retry
    assert found.tasks["summarise"].retry == RetrySettings(attempts=2)
    assert found.budgets == (
        BudgetSettings(("user",), 10 * 10**9, every="day"),
        BudgetSettings(("session",), 10**9),
        BudgetSettings(("tenant",), 500 * 10**9, every="month", alert_at_basis_points=(8000, 9500, 10_000)),
        BudgetSettings((), 200 * 10**9, every="day", degrade_to="fast"),
        BudgetSettings(("tenant", "user"), 40 * 10**9, every="week", soft_usd_nano=30 * 10**9, zone="Europe/Berlin"),
        BudgetSettings((), 5 * 10**9, every="day", only=(("environment", "development"), ("tenant", "acme"))),
    )
    assert (found.zone, found.max_usd_per_call_nano, found.unbounded) == ("UTC", 5 * 10**9, "refuse")
    assert found.refusal_status == {"budget": 429}
    assert found.providers["anthropic"].discount_basis_points == 1250
    drained = found.providers["acme"]
    assert (drained.on_disconnect, drained.drain_seconds, drained.drain_usd_nano) == ("drain", 30.0, 10**8)
    assert found.invoices.for_tenant("acme") == InvoiceTerms(1000, 0)
    assert found.invoices.for_tenant("other") == InvoiceTerms(2000, 5 * 10**9)
    assert found.anomalies == AnomalySettings()
    assert found.limits == (LimitSettings(("tenant", "user"), 60, 100_000), LimitSettings(("address",), 300))
    assert found.guards.tool_rules is not None
    assert [(rule.tool, rule.then) for rule in found.guards.tool_rules.rules] == [
        ("send_email", "approve"),
        ("search_docs", "allow"),
    ]
    assert found.cache.default_seconds == 0
    assert found.keys[0].key.resolve({"HEADGATE_KEY": "y"}).reveal() == "y"
    assert found.log.keep_seconds == 30 * 86_400


# product.md's page, as it is printed there: its two virtual models cross dialects.
PRODUCT = (Path(__file__).parent / "product_page.yaml").read_text(encoding="utf-8")


def test_the_product_page_is_read_whole_its_models_of_two_dialects_too(tmp_path: Path) -> None:
    found = load(write(tmp_path, PRODUCT), env={})
    assert [str(route) for route in found.models["fast"]] == ["anthropic/claude-haiku-4-5", "openai/gpt-6-luna"]
    defaults = Settings()
    assert (found.retry, found.timeouts, found.log) == (defaults.retry, defaults.timeouts, defaults.log)


def test_everything_on_the_product_page_is_enforced(tmp_path: Path) -> None:
    write(tmp_path, PRODUCT)
    assert load(env={"HEADGATE_KEY": "x"}).warnings == ()


def test_asking_for_what_happens_anyway_is_no_warning(tmp_path: Path) -> None:
    text = "guards: off\ncache: off\nbudgets: []\ntasks: {t: {guards: {pii: off}, cache: off, on_cut: error}}\n"
    assert load(write(tmp_path, text), env={}).warnings == ()


def test_stores_for_many_replicas_are_read_without_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "storage: postgresql://db/headgate\nshared: redis://cache:6379/0\n")
    found = load(env={})
    assert (found.storage, found.shared) == ("postgresql://db/headgate", "redis://cache:6379/0")
    assert found.warnings == ()


def test_a_ledger_in_memory_is_read_with_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "storage: memory\n")
    found = load(env={})
    assert found.storage == "memory"
    (warning,) = found.warnings
    assert "storage (headgate.yaml:1:1) is memory" in warning
    assert "lost when this process ends" in warning


@pytest.mark.parametrize("url", ["postgresql://db1:5432,db2:5432/headgate", "postgresql:///headgate?host=/run/pg"])
def test_a_url_of_postgresql_is_whatever_libpq_takes(tmp_path: Path, url: str) -> None:
    assert load(write(tmp_path, f"storage: {url}\n"), env={}).storage == url


@pytest.mark.parametrize("told", ["ada:{}@db/headgate", "db/headgate?user=ada&password={}", "db/x?sslpassword={}"])
def test_a_password_of_the_database_is_in_the_environment_and_never_in_the_file(tmp_path: Path, told: str) -> None:
    url = "postgresql://" + told.format("hunter" + "2")
    with pytest.raises(ConfigError, match=r"a password in the file.*env:NAME") as caught:
        load(write(tmp_path, f"storage: {url}\n"), env={})
    assert "hunter2" not in str(caught.value)
    found = load(write(tmp_path, "storage: env:DATABASE_URL\n"), env={"DATABASE_URL": url})
    assert found.storage == url
    assert "hunter2" not in repr(found)


def test_modes_mean_what_they_say_in_yaml_1_1(tmp_path: Path) -> None:
    text = "guards: {injection: off, pii: no, secrets: on, tools: off}\nlog: {bodies: off}\ncache: on\n"
    found = load(write(tmp_path, text), env={})
    guards = found.guards
    assert (guards.injection, guards.pii, guards.secrets, guards.tools) == ("off", "off", "on", "off")
    assert found.log.bodies == "off"
    assert found.cache.default_seconds == 3600


def test_a_task_inherits_what_it_does_not_say(tmp_path: Path) -> None:
    text = "timeouts: {idle: 7s}\nretry: {attempts: 3, deadline: 9s}\ncache: {default: 2h}\n"
    text += "tasks: {t: {timeouts: {connect: 1s}, retry: {attempts: 1}, cache: on}, u: {cache: off}}\n"
    found = load(write(tmp_path, text), env={})
    assert found.tasks["t"].timeouts == Timeouts(connect=1.0, idle=7.0)
    assert found.tasks["t"].retry == RetrySettings(attempts=1, deadline_seconds=9.0)
    assert found.tasks["t"].cache_seconds == 7200
    assert found.tasks["u"].cache_seconds == 0


def test_an_alias_is_read_in_both_places_and_an_override_changes_one(tmp_path: Path) -> None:
    text = "tasks:\n  a: &t {timeout: 5s}\n  b: *t\n"
    found = load(write(tmp_path, text), env={"HEADGATE_TASKS__B__TIMEOUT": "9s"})
    assert (found.tasks["a"].timeouts.total, found.tasks["b"].timeouts.total) == (5.0, 9.0)


def test_the_environment_wins_over_the_file_and_flags_over_both(tmp_path: Path) -> None:
    write(tmp_path, "retry: {attempts: 2, deadline: 60s}\nserver: {port: 1000}\n")
    env = {"HEADGATE_RETRY__ATTEMPTS": "3", "HEADGATE_SERVER__PORT": "2000", "HEADGATE_STORAGE": "sqlite:///e.db"}
    found = load(env=env, overrides={"server.port": 3000, "server.host": None, "log": {"bodies": "full"}})
    assert (found.retry.attempts, found.retry.deadline_seconds) == (3, 60.0)
    assert (found.server.port, found.server.host) == (3000, "127.0.0.1")
    assert found.storage == "sqlite:///e.db"
    assert found.log.bodies == "full"
    origins = {key: found.origins[key] for key in ("retry.attempts", "retry.deadline", "server.port", "storage")}
    assert origins == {
        "retry.attempts": "HEADGATE_RETRY__ATTEMPTS",
        "retry.deadline": "headgate.yaml:1:22",
        "server.port": "override",
        "storage": "HEADGATE_STORAGE",
    }
    assert found.warnings == ()


def test_a_variable_may_hold_yaml_and_reach_names_with_hyphens(tmp_path: Path) -> None:
    write(tmp_path, "providers: {my-llm: {dialect: openai, base_url: 'http://127.0.0.1:1/v1'}}\n")
    env = {
        "HEADGATE_PROVIDERS__MY_LLM__BASE_URL": "http://127.0.0.1:2/v1",
        "HEADGATE_MODELS": "{fast: [my-llm/m]}",
        "HEADGATE_BUDGETS": "[{per: user, usd: 0.5}]",
        "HEADGATE_RETRY": "  ",
    }
    found = load(env=env)
    assert found.providers["my-llm"].base_url == "http://127.0.0.1:2/v1"
    assert found.models == {"fast": (RouteName("my-llm", "m"),)}
    assert found.budgets[0].usd_nano == 5 * 10**8
    assert found.origins["budgets[0]"] == "HEADGATE_BUDGETS"


def test_mistakes_in_variables_and_flags_name_them() -> None:
    env = {
        "HEADGATE_RETRY__ATTEMPTS": "many",
        "HEADGATE_LOG": "debug",
        "HEADGATE_SERVER__PROT": "1",
        "HEADGATE_KEYS": "[{name: a",
        "HEADGATE_STORAGE__PATH": "x",
    }
    with pytest.raises(ConfigError) as caught:
        load(env=env, overrides={"server.port": "http", "nope": 1})
    assert sorted(line.partition(", not")[0] for line in caught.value.mistakes) == sorted(
        [
            "HEADGATE_RETRY__ATTEMPTS: retry.attempts: expected a whole number from 1 to 20",
            "HEADGATE_LOG: log: expected a mapping ({key: value})",
            "HEADGATE_SERVER__PROT: server: unknown key 'prot'; did you mean 'port'?",
            "HEADGATE_KEYS: a bracket that is not closed, or a comma that is missing",
            "HEADGATE_STORAGE__PATH: storage: expected one value",
            "override: server.port: expected a whole number from 0 to 65_535",
            next(line for line in caught.value.mistakes if "'nope'" in line),
        ]
    )


def test_setting_something_inside_a_single_value_is_a_mistake(tmp_path: Path) -> None:
    write(tmp_path, "guards: off\n")
    with pytest.raises(
        ConfigError, match=r"HEADGATE_GUARDS__PII: guards: nothing can be set inside it: headgate.yaml:1:9"
    ):
        load(env={"HEADGATE_GUARDS__PII": "block"})


def test_a_stray_variable_is_a_warning_unless_a_reference_names_it(tmp_path: Path) -> None:
    write(tmp_path, "keys: [{name: dev, key: env:HEADGATE_KEY}]\n")
    env = {
        "HEADGATE_KEY": "canary",
        "HEADGATE_OTHER": "canary",
        "HEADGATE_RETRY_ATTEMPTS": "canary",
        "HEADGATE_STORGE": "canary",
        "PATH": "/bin",
    }
    assert load(env=env).warnings == (
        "HEADGATE_OTHER is not a setting, and no env: reference names it",
        "HEADGATE_RETRY_ATTEMPTS is not a setting, and no env: reference names it; did you mean "
        "HEADGATE_RETRY__ATTEMPTS?",
        "HEADGATE_STORGE is not a setting, and no env: reference names it; did you mean HEADGATE_STORAGE?",
    )


def test_the_sdks_base_url_variables_are_honoured_below_the_file(tmp_path: Path) -> None:
    env = {"ANTHROPIC_BASE_URL": "https://a.example/", "OPENAI_BASE_URL": "https://o.example/v1"}
    found = load(write(tmp_path, "providers: {openai: {base_url: 'https://file.example/v1'}}"), env=env)
    assert found.providers["anthropic"].base_url == "https://a.example"
    assert found.origins["providers.anthropic.base_url"] == "ANTHROPIC_BASE_URL"
    assert found.providers["openai"].base_url == "https://file.example/v1"
    with pytest.raises(ConfigError, match=r"^ANTHROPIC_BASE_URL: providers\.anthropic\.base_url: expected a URL"):
        load(env={"ANTHROPIC_BASE_URL": "a.example"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_base_url_variable_that_points_at_this_gateway_does_not_make_it_call_itself(host: str) -> None:
    found = load(env={"ANTHROPIC_BASE_URL": f"http://{host}:8484/anthropic"})
    assert found.providers["anthropic"].base_url == "https://api.anthropic.com"
    assert found.warnings == (
        "ANTHROPIC_BASE_URL points at this gateway itself and is not used for provider anthropic",
    )


def test_a_base_url_that_is_likely_wrong_or_unsafe_is_a_warning(tmp_path: Path) -> None:
    text = "providers: {anthropic: {base_url: 'http://llm.example/v1'}}"
    warnings = load(write(tmp_path, text), env={}).warnings
    assert len(warnings) == 2
    assert "ends in /v1, and the Anthropic dialect adds /v1 itself" in warnings[0]
    assert "its credential travels unencrypted" in warnings[1]
    (slip,) = load(write(tmp_path, "providers: {openai: {base_url: 'https://api.openai.com/'}}"), env={}).warnings
    assert "does not end in /v1, and OpenAI's dialect adds none: add it" in slip


@pytest.mark.parametrize(
    "model", ["fast", "anthropic/x", "openai:ft:gpt-6:acme", "claude-haiku-4-5", "gpt-6-luna", "o5"]
)
def test_a_task_may_name_a_virtual_model_a_route_or_a_vendors_model(tmp_path: Path, model: str) -> None:
    text = f"models: {{fast: [anthropic/x]}}\ntasks: {{t: {{model: '{model}'}}}}"
    found = load(write(tmp_path, text), env={}).tasks["t"].model
    assert found == model.replace("openai:", "openai/")


def test_a_routes_model_keeps_its_own_slashes_and_colons(tmp_path: Path) -> None:
    text = "providers: {l: {dialect: openai, base_url: 'http://127.0.0.1/v1'}}\nmodels: {m: [l/meta/llama:8b, 'l:x/y']}"
    found = load(write(tmp_path, text), env={})
    assert found.models["m"] == (RouteName("l", "meta/llama:8b"), RouteName("l", "x/y"))


def test_prices_are_what_the_price_book_takes(tmp_path: Path) -> None:
    text = "providers: {l: {dialect: openai, base_url: 'http://127.0.0.1/v1', price: free}}\n"
    text += "prices: {openai/gpt-6: {input: 0.1, output: 1.000001, web_search: 12.5}}\n"
    text += "unknown_price: {ceiling_usd_per_mtok: 100}"
    found = load(write(tmp_path, text), env={})
    parsed = price_overrides.parse(dict(found.price_overrides))
    assert parsed["l", ""].rates == {}
    assert parsed["openai", "gpt-6"].rates == {"i": 100_000, "o": 1_000_001, "s": 12_500_000_000}
    assert found.unknown_price.ceiling_pico_per_token == 10**8
    assert set(RATE_KEYS) == price_overrides.KEYS


def test_the_settings_cannot_be_changed() -> None:
    found = load(env={})
    with pytest.raises(AttributeError):
        found.storage = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.providers["x"] = found.providers["openai"]  # type: ignore[index]


def documented() -> dict[str, str]:
    """The documentation's sections, by the top-level key they are about."""
    parts = re.split(r"^## `(\w+)`.*$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_documentation_names_every_key() -> None:
    sections = documented()
    assert set(sections) == set(TOP_KEYS)
    for section, keys in {
        "providers": (*PROVIDER_KEYS, *RATE_KEYS),
        "tasks": (*TASK_KEYS, *ANSWER_KEYS, *SHADOW_KEYS),
        "last_good": LAST_GOOD_KEYS,
        "jobs": JOBS_KEYS,
        "metrics": METRICS_KEYS,
        "traces": TRACES_KEYS,
        "similar": SIMILAR_KEYS,
        "models": (*MODEL_KEYS, "tools", "media", "stream"),
        "fallback": (*FAILURES, ANY),
        "timeouts": TIMEOUT_KEYS,
        "guards": (
            *(*GUARD_KEYS, *GLOBAL_KEYS, *INPUT_LIMIT_KEYS, *LINK_KEYS, *NETWORK_KEYS),
            *(*TOOL_KEYS, *GLOBAL_TOOL_KEYS, *RULE_KEYS, *TEST_KEYS, *WEBHOOK_KEYS, *LOOP_KEYS),
        ),
        "budgets": BUDGET_KEYS,
        "invoices": INVOICE_KEYS,
        "anomalies": ANOMALY_KEYS,
        "limits": LIMIT_KEYS,
        "keys": KEY_KEYS,
        "log": LOG_KEYS,
        "retry": RETRY_KEYS,
        "fairness": FAIRNESS_KEYS,
        "server": SERVER_KEYS,
    }.items():
        rows = set(re.findall(r"^\| `([\w]+)` \|", sections[section], re.MULTILINE))
        assert rows == set(keys), section


@pytest.mark.parametrize("section", ["retry", "fairness", "timeouts", "log", "server", "anomalies"])
def test_the_documented_defaults_are_the_defaults(tmp_path: Path, section: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", documented()[section], re.MULTILINE)
    text = f"{section}:\n" + "".join(f"  {key}: {value}\n" for key, value in rows)
    found = load(write(tmp_path, text), env={})
    assert getattr(found, section) == getattr(Settings(), section)
    assert all(found.origins[f"{section}.{key}"] != "default" for key, _ in rows)


PAGES = ("configuration", "budgets", "jobs", "routing", "guards-answers", "guards-network", "shadow", "similar")


@pytest.mark.parametrize("page", PAGES)
def test_every_piece_of_yaml_in_the_documentation_is_valid(tmp_path: Path, page: str) -> None:
    text = DOCS.with_name(f"{page}.md").read_text(encoding="utf-8")
    pieces = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert pieces
    for piece in pieces:
        found = load(
            write(tmp_path, piece), env={"DATABASE_URL": "postgresql://db/headgate", "REDIS_URL": "redis://cache"}
        )
        assert not any("never be reached" in line for line in found.warnings)


def test_yaml_is_not_imported_with_the_settings_module() -> None:
    code = "import sys, headgate.settings; print('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


WORDS = [*TOP_KEYS, "per", "usd", "user", "env:K", "anthropic", "openai/x", "off", "1h", "80%", "10", "&a", "*a", "!!x"]
YAMLISH = st.one_of(
    st.text(alphabet=string.printable, max_size=200),
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            [*WORDS, ": ", "\n", "\n  ", "\n- ", "[", "]", "{", "}", ", ", "'", '"', "|", ">", "? ", "#", "<<"]
        ),
        max_size=40,
    ).map("".join),
)


def mistakes(path: Path | None, env: dict[str, str]) -> tuple[str, ...] | None:
    """What is wrong, or None if nothing is. Anything but a ConfigError escapes."""
    try:
        load(path, env=env)
    except ConfigError as error:
        return error.mistakes
    return None


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=YAMLISH)
def test_no_text_makes_the_loader_raise_anything_but_config_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = mistakes(path, {})
    assert found != ()
    assert all(line.startswith(f"{path}") for line in found or ())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=80), where=st.integers(0, 2000))
def test_no_damage_to_the_example_makes_the_loader_raise_anything_but_config_error(
    tmp_path: Path, data: bytes, where: int
) -> None:
    whole = EXAMPLE.read_bytes()
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(whole[:where] + data + whole[where + len(data) :])
    assert mistakes(path, {}) != ()


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([f"HEADGATE_{w.upper()}" for w in TOP_KEYS]), YAMLISH, max_size=4))
def test_no_environment_makes_the_loader_raise_anything_but_config_error(env: dict[str, str]) -> None:
    assert mistakes(None, env) != ()
