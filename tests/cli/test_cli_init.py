"""`headgate init`."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_commands import Run

from headgate.cli.init import OTHERS, template
from headgate.settings import load
from headgate.settings.loader import TOP_KEYS

KEY = "not-a-key"
SOME = [{}, {"ANTHROPIC_API_KEY": KEY}, {name: KEY for name, *_ in OTHERS} | {"OPENAI_API_KEY": KEY}]


def _load(tmp_path: Path, text: str, env: dict[str, str]):
    file = tmp_path / "written.yaml"
    file.write_text(text)
    return load(file, env=env)


@pytest.mark.parametrize("env", SOME, ids=["no key", "one key", "many keys"])
def test_what_it_writes_is_valid_without_a_warning(tmp_path: Path, env: dict[str, str]) -> None:
    settings = _load(tmp_path, template(env), env)
    assert settings.warnings == ()


@pytest.mark.parametrize("env", SOME, ids=["no key", "one key", "many keys"])
def test_it_is_valid_with_every_example_switched_on(tmp_path: Path, env: dict[str, str]) -> None:
    lines = [line.removeprefix("#: ") for line in template(env).splitlines()]
    settings = _load(tmp_path, "\n".join(lines), env)
    assert settings.budgets
    assert "acme" in settings.providers
    assert not [w for w in settings.warnings if "not enforced yet" not in w]


def test_every_section_of_the_configuration_is_in_it() -> None:
    lines = [line.removeprefix("#: ") for line in template({}).splitlines()]
    found = {line.partition(":")[0] for line in lines if line[:1].isalpha()}
    assert found == set(TOP_KEYS)


def test_as_written_it_changes_no_default(tmp_path: Path) -> None:
    written, none = _load(tmp_path, template({}), {}), load(env={})
    for name in ("providers", "retry", "timeouts", "storage", "server", "unknown_price", "shared", "keys"):
        assert getattr(written, name) == getattr(none, name), name


def test_it_switches_on_the_providers_whose_keys_are_there_and_writes_no_key(run: Run, tmp_path: Path) -> None:
    result = run("init", OPENAI_API_KEY=KEY, GROQ_API_KEY=KEY)
    assert result.returncode == 0
    text = (tmp_path / "headgate.yaml").read_text()
    assert KEY not in text + result.stdout
    assert "\n  openai: {api_key: env:OPENAI_API_KEY}" in text
    assert "\n#:   anthropic: {api_key: env:ANTHROPIC_API_KEY}" in text
    assert "\n  groq: {dialect: openai" in text
    assert "openai, groq" in result.stdout
    assert "headgate doctor" in result.stdout


def test_without_a_key_it_says_that_the_simulator_answers(run: Run) -> None:
    assert "simulator" in run("init").stdout


def test_it_does_not_overwrite_a_file_unless_forced(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "headgate.yaml"
    file.write_text("mine\n")
    refused = run("init")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert file.read_text() == "mine\n"
    assert run("init", "--force").returncode == 0
    assert "providers" in file.read_text()


def test_it_writes_where_it_is_told_and_says_so_in_the_next_steps(run: Run, tmp_path: Path) -> None:
    result = run("init", "--config", "other.yaml")
    assert (tmp_path / "other.yaml").is_file()
    assert "doctor --config other.yaml" in result.stdout
    assert run("explain", "--config", "other.yaml", "--model", "claude-haiku-4-5", "--in-process").returncode == 0


def test_a_folder_that_is_not_there_is_misuse(run: Run) -> None:
    result = run("init", "--config", "nowhere/headgate.yaml")
    assert result.returncode == 2
    assert "cannot be written" in result.stderr
