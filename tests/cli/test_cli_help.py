"""What the commands say of themselves, and how they end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_commands import Run, clean_env
from click.testing import CliRunner

from headgate.cli.group import COMMANDS, LazyGroup, cli
from headgate.cli.usage import FILTERS

GROUPS = (
    *(("alerts",), ("approvals",), ("batch",), ("cache",), ("incident",), ("jobs",), ("keys",), ("lab",), ("logs",)),
    *(("prices",), ("people",), ("audit-log",)),
)
"""Commands that only hold others."""


def _paths() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = LazyGroup("all").get_command(click.Context(cli), name)
        assert command is not None
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


@pytest.mark.parametrize("path", _paths(), ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert f"headgate {path[0]}" in result.output


@pytest.mark.parametrize("path", [p for p in _paths() if p not in GROUPS], ids=" ".join)
def test_every_command_takes_a_configuration_file(path: tuple[str, ...]) -> None:
    assert "--config FILE" in CliRunner().invoke(cli, [*path, "--help"]).output


def test_the_summaries_of_the_group_name_every_command() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert all(f"  {name} " in result.output for name in COMMANDS)


def test_the_filters_of_usage_are_those_of_the_store() -> None:
    from headgate.stores import reader

    assert reader.FILTERS == FILTERS


def test_help_imports_neither_a_database_nor_a_server() -> None:
    script = (
        "import sys\n"
        "from headgate.cli.main import run\n"
        "from headgate.cli.group import cli\n"
        "run(cli, ['--help'])\n"
        "heavy = {'sqlalchemy', 'uvicorn', 'rich', 'httpx2', 'yaml', 'anthropic', 'msgspec'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=clean_env(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_option_is_misuse(run: Run) -> None:
    done = run("usage", "--nonsense")
    assert done.returncode == 2
    assert "--nonsense" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_mistake_in_the_configuration_has_its_own_line_and_no_traceback(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text("retry: {attempts: zero}\nnonsense: 1\n")
    done = run("usage")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line for line in lines if "headgate.yaml:1:" in line and "retry.attempts" in line]
    assert [line for line in lines if "headgate.yaml:2:" in line and "nonsense" in line]
    assert "Traceback" not in done.stderr


def test_the_configuration_is_taken_before_and_behind_the_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("nonsense: 1\n")
    for arguments in (("--config", "other.yaml", "usage"), ("usage", "--config", "other.yaml")):
        done = run(*arguments)
        assert done.returncode == 2
        assert "other.yaml:1:1" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes end in other ways elsewhere")
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    line = f"{sys.executable} -m headgate.cli.main keys list --json | true"
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=clean_env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
