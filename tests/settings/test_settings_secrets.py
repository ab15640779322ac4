"""Secrets are references; no literal gets in, and no secret gets out through an error, a warning or a repr."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.settings import load
from headgate.settings.secrets import SecretRef, looks_live, parse_dotenv, parse_reference, scrub

# Shaped like live keys, and obviously none; built from pieces so that no scanner takes this file for a leak.
FAKE = "FAKE0fake1FAKE2fake3FAKE4"
LIVE = [
    "sk-" + "ant-api03-" + FAKE,
    "sk-" + "proj-" + FAKE,
    "sk-" + FAKE,
    "hg-" + "k1a2b3" + "-" + FAKE,
    "AK" + "IA" + "FAKE0FAKE1FAKE2F",
    "gh" + "p_" + FAKE,
    "AI" + "za" + FAKE,
]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("key", LIVE)
def test_a_live_key_where_a_reference_belongs_is_a_mistake_that_does_not_show_it(tmp_path: Path, key: str) -> None:
    path = write(tmp_path, f"providers:\n  anthropic: {{api_key: {key}}}\n")
    with pytest.raises(ConfigError, match="looks like a live key") as caught:
        load(path, env={})
    assert len(caught.value.mistakes) == 1
    assert ":2:24: providers.anthropic.api_key: " in str(caught.value)
    assert key not in str(caught.value)
    assert FAKE[:8] not in str(caught.value)


@pytest.mark.parametrize("key", LIVE)
@pytest.mark.parametrize(
    "template",
    [
        "tasks: {{x: {{model: {0}}}}}",
        "{0}: 1",
        "providers: {{{0}: {{}}}}",
        "keys: [{{name: {0}, key: env:K}}]",
        "storage: {0}",
        "models: {{fast: [{0}]}}",
        "retry: {{attempts: '{0}'}}",
        "shared: redis://:{0}@host",
        "nope: [{{deep: {0}}}]",
        "keys: [{{name: a, key: 'env:{0}'}}]",
    ],
)
def test_a_live_key_anywhere_in_the_file_is_a_mistake_that_does_not_show_it(
    tmp_path: Path, key: str, template: str
) -> None:
    with pytest.raises(ConfigError, match="live key") as caught:
        load(write(tmp_path, template.format(key)), env={})
    assert key not in str(caught.value)
    assert FAKE[:8] not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["hunter2-canary", "'hunter2-canary'", "[hunter2-canary]", "{hunter2-canary: 1}", "env:hunter2-canary"]
)
def test_a_literal_for_a_secret_is_a_mistake_that_does_not_show_it(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, f"keys: [{{name: dev, key: {value}}}]"), env={})
    assert "hunter2" not in str(caught.value)
    assert "keys[0].key" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("storage: postgresql://app:hunter2@db/headgate", "storage"),
        ("shared: redis://:hunter2@cache:6379/0", "shared"),
        ("shared: reddis://:hunter2@cache:6379/0", "shared"),
        ("providers: {anthropic: {base_url: 'https://app:hunter2@h'}}", "providers.anthropic.base_url"),
        ("alerts: [{to: 'ftp://hunter2.example'}]", "alerts[0].to"),
        ("providers: {anthropic: {proxy: 'socks5://app:hunter2@h'}}", "providers.anthropic.proxy"),
    ],
)
def test_a_password_in_a_url_of_the_file_is_a_mistake_that_does_not_show_it(
    tmp_path: Path, text: str, key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), env={})
    assert f": {key}: " in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_urls_with_passwords_come_from_the_environment_and_are_not_printed(tmp_path: Path) -> None:
    env = {
        "DATABASE": "postgresql://app:hunter2@db/headgate",
        "HEADGATE_SHARED": "redis://:hunter2@cache/0",
        "PROXY": "http://app:hunter2@proxy:3128",
    }
    text = "storage: env:DATABASE\nproviders: {anthropic: {proxy: env:PROXY}}\nalerts: [{to: 'https://h/hunter2'}]"
    settings = load(write(tmp_path, text), env=env)
    assert settings.storage == env["DATABASE"]
    assert settings.shared == env["HEADGATE_SHARED"]
    assert settings.providers["anthropic"].proxy == env["PROXY"]
    assert settings.alerts[0].to == "https://h/hunter2"
    assert "hunter2" not in repr(settings)
    assert not any("hunter2" in line for line in settings.warnings)


def test_resolved_secrets_appear_in_no_settings_repr_and_no_warning(tmp_path: Path) -> None:
    env = {"ANTHROPIC_API_KEY": LIVE[0], "K": LIVE[3], "HEADGATE_STRAY": LIVE[1]}
    settings = load(write(tmp_path, "keys: [{name: dev, key: env:K}]"), env=env)
    assert settings.keys[0].key.resolve(env).reveal() == LIVE[3]
    assert "FAKE" not in repr(settings)
    assert "FAKE" not in "".join(settings.warnings)
    assert any("HEADGATE_STRAY" in line for line in settings.warnings)


def test_a_literal_in_a_headgate_variable_becomes_a_reference_to_that_variable() -> None:
    env = {"HEADGATE_PROVIDERS__ANTHROPIC__API_KEY": LIVE[0]}
    settings = load(env=env)
    key = settings.providers["anthropic"].api_key
    assert key == SecretRef("env", "HEADGATE_PROVIDERS__ANTHROPIC__API_KEY")
    assert key.resolve(env).reveal() == LIVE[0]
    assert "FAKE" not in repr(settings)


def test_a_literal_in_an_override_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"override: providers\.anthropic\.api_key: ") as caught:
        load(env={}, overrides={"providers.anthropic.api_key": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_env_resolves_and_an_unset_one_says_where_it_is_wanted_and_what_to_do(tmp_path: Path) -> None:
    path = write(
        tmp_path, "providers:\n  acme: {dialect: openai, base_url: http://127.0.0.1/v1, api_key: env:ACME_KEY}"
    )
    reference = load(path, env={}).providers["acme"].api_key
    assert reference is not None
    assert reference.resolve({"ACME_KEY": " abc \n"}).reveal() == "abc"
    assert reference.is_set({"ACME_KEY": "abc"})
    assert not reference.is_set({})
    with pytest.raises(
        ConfigError, match=r":2:67: providers\.acme\.api_key: env:ACME_KEY is not set .* set the environ"
    ):
        reference.resolve({"ACME_KEY": "  "})


def test_file_is_read_beside_headgate_yaml_and_loses_its_newline(tmp_path: Path) -> None:
    (tmp_path / "dev.key").write_text("abc\n", encoding="utf-8")
    settings = load(write(tmp_path, "keys: [{name: dev, key: file:dev.key}]"), env={})
    assert settings.keys[0].key.resolve({}).reveal() == "abc"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file"), (b"", "empty"), (b"a\nb", "one line"), (b"\xff", "UTF-8")],
)
def test_a_bad_secret_file_says_what_is_wrong_without_its_content(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "k").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        SecretRef("file", "k", base=str(tmp_path)).resolve({})


def test_a_secret_file_has_a_limit(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"a" * 100_000)
    with pytest.raises(ConfigError, match="larger than"):
        SecretRef("file", "k", base=str(tmp_path)).resolve({})


def test_dotenv_reads_the_file_beside_or_the_one_it_names(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("K=beside\n", encoding="utf-8")
    (tmp_path / "prod.env").write_text("K=named\n", encoding="utf-8")
    assert SecretRef("dotenv", "K", base=str(tmp_path)).resolve({}).reveal() == "beside"
    assert SecretRef("dotenv", "prod.env#K", base=str(tmp_path)).resolve({}).reveal() == "named"
    with pytest.raises(ConfigError, match=r"put NOPE=\.\.\. in \.env"):
        SecretRef("dotenv", "NOPE", base=str(tmp_path)).resolve({})


def test_dotenv_lines_are_read_as_people_write_them() -> None:
    text = "# c\nA=1\nexport B = two \nC='x # y'\nD=\"q\" # c\nE=a#b # c\nbad line\n1F=x\nG=\n"
    assert parse_dotenv(text) == {"A": "1", "B": "two", "C": "x # y", "D": "q", "E": "a#b", "G": ""}


@pytest.mark.parametrize("scheme", ["vault", "aws-sm", "gcp-sm", "keyring"])
def test_a_stores_reference_of_the_wrong_form_is_a_mistake_that_shows_the_right_one(
    tmp_path: Path, scheme: str
) -> None:
    with pytest.raises(ConfigError, match=rf"keys\[0\]\.key: {scheme}: expected a reference like {scheme}:") as caught:
        load(write(tmp_path, f"keys: [{{name: dev, key: '{scheme}:hunter2!'}}]"), env={})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["env:", "env:a b", "env:A-B", "file:", "vlt:x", "x", "", "ENV:X", "dotenv:a#b-c"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_reference(text)


@pytest.mark.parametrize(
    "text", ["task-force-2024-classification", "claude-haiku-4-5-20251001", "gpt-6.1-sol", "risk-x9"]
)
def test_ordinary_names_are_not_taken_for_live_keys(text: str) -> None:
    assert not looks_live(text)


def test_scrub_leaves_the_rest_of_the_text() -> None:
    assert scrub(f"a {LIVE[0]} b") == "a *** b"
