"""Several keys for a provider, caps of a virtual key, and how often stores are asked, as the configuration has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headgate.build import policies_of
from headgate.core.errors import ConfigError
from headgate.settings import load
from headgate.settings.enforced import unenforced
from headgate.settings.model import BudgetSettings, LimitSettings, Settings
from headgate.settings.secrets import SecretRef

DOCS = Path(__file__).parents[2] / "docs" / "secrets.md"


def loaded(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, env=env or {})


def test_a_provider_may_have_a_list_of_keys_each_with_its_place(tmp_path: Path) -> None:
    anthropic = loaded(tmp_path, "providers: {anthropic: {api_key: [env:A, 'file:b.key']}}").providers["anthropic"]
    assert anthropic.api_keys == (SecretRef("env", "A"), SecretRef("file", "b.key"))
    assert anthropic.api_keys[1].base == str(tmp_path)
    assert anthropic.api_keys[1].where.endswith("headgate.yaml:1:42: providers.anthropic.api_key[1]")
    assert anthropic.has_key({"A": "x"})
    assert not anthropic.has_key({})


def test_a_list_of_one_key_is_that_key(tmp_path: Path) -> None:
    found = loaded(tmp_path, "providers: {anthropic: {api_key: [env:A]}}").providers["anthropic"]
    assert found.api_key == SecretRef("env", "A")


def test_a_list_in_an_environment_variable_is_a_list_of_references() -> None:
    env = {"HEADGATE_PROVIDERS__ANTHROPIC__API_KEY": "[env:A, env:B]", "A": "x"}
    assert load(env=env).providers["anthropic"].api_keys == (SecretRef("env", "A"), SecretRef("env", "B"))
    with pytest.raises(ConfigError, match="expected a reference to a secret") as caught:
        load(env={"HEADGATE_PROVIDERS__ANTHROPIC__API_KEY": "[env:A, hunter2]"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("[]", "expected at least one reference"),
        ("[env:A, env:A]", r"api_key\[1\]: refers to the same secret as an earlier one"),
        ("[env:A, hunter2]", r"api_key\[1\]: expected a reference to a secret"),
        ("[env:A, [env:B]]", r"api_key\[1\]: expected a reference to a secret, like env:NAME, not a list"),
        ("[env:A, ]\n  openai: {api_key: {a: env:B}}", r"openai\.api_key: expected a reference"),
        ("[env:A, sk-" + "ant-FAKE0fake1FAKE2fake3]", "looks like a live key|live key"),
    ],
)
def test_a_wrong_list_of_keys_is_a_mistake_at_its_place_that_shows_no_secret(
    tmp_path: Path, keys: str, words: str
) -> None:
    text = f"providers:\n  anthropic: {{api_key: {keys}" + ("" if "openai" in keys else "}")
    text = text.replace("[env:A, ]\n", "[env:A, ]}\n")
    with pytest.raises(ConfigError, match=words) as caught:
        loaded(tmp_path, text)
    assert "hunter2" not in str(caught.value)
    assert "FAKE0" not in str(caught.value)


def test_a_virtual_key_has_budgets_and_limits_of_its_own_and_both_are_enforced(tmp_path: Path) -> None:
    text = "keys: [{name: ada, key: env:K, environment: development, budgets: [{usd: 5, every: day}], "
    text += "limits: [{requests_per_minute: 20}]}]"
    found = loaded(tmp_path, text)
    assert found.keys[0].budgets == (BudgetSettings(usd_nano=5 * 10**9, every="day"),)
    assert found.keys[0].limits == (LimitSettings(requests_per_minute=20),)
    assert unenforced(found) == set()
    assert found.warnings == ()


def test_mistakes_in_a_virtual_keys_budget_have_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"keys\[0\]\.budgets\[0\]: a budget needs a cap"):
        loaded(tmp_path, "keys: [{name: ada, key: env:K, budgets: [{per: user}]}]")


def test_how_often_stores_are_asked_is_five_minutes_unless_told(tmp_path: Path) -> None:
    assert load(env={}).secrets_refresh_seconds == 300.0
    assert loaded(tmp_path, "secrets: {refresh: 30s}").secrets_refresh_seconds == 30.0
    with pytest.raises(ConfigError, match=r"secrets\.refresh: expected a duration from 1s to 1d"):
        loaded(tmp_path, "secrets: {refresh: 10ms}")


def test_policies_without_a_keeper_ask_no_store_and_take_its_secrets_to_be_there(tmp_path: Path) -> None:
    text = "providers: {anthropic: {api_key: ['vault:kv/x', env:A]}, openai: {api_key: env:NONE}}"
    router = policies_of(loaded(tmp_path, text), {"A": "fake"}).router
    assert list(router.unready) == ["openai"]
    assert len(router.keys["anthropic"]) == 2


def test_every_piece_of_yaml_in_the_documentation_of_secrets_is_valid(tmp_path: Path) -> None:
    pieces = re.findall(r"^```yaml\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(pieces) == 2
    for piece in pieces:
        loaded(tmp_path, piece)
