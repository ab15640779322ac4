"""`headgate demo`: short, but whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_commands import Run, clean_env


@pytest.mark.slow
def test_its_numbers_agree_with_each_other_and_with_the_invoice(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--seconds", "1", "--rate", "48", "--json", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["agrees"] is True
    assert found["reported_difference_usd"] == "0"
    assert found["calls"] == 48
    assert {row["way_in"] for row in found["rows"]} == {"in-process", "gateway"}
    assert len({row["model"] for row in found["rows"]}) == 4
    assert sum(row["exchanges"] for row in found["rows"]) == 48
    assert sum(row["attempts"] for row in found["rows"]) == found["upstream_requests"]
    assert sum(row["errors"] for row in found["rows"]) == found["errors"]
    assert 1 <= len(found["users"]) <= 5
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_plain_text_and_the_ledger_stays_where_it_says(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--seconds", "1", "--rate", "6", "--scenario", "healthy", "--keep", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "6 calls" in done.stdout
    folder = Path(done.stdout.splitlines()[-1].rpartition(" ")[2])
    assert (folder / "demo.db").exists()


def test_without_the_sdks_it_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys, importlib.util as util\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name in ('anthropic', 'openai') else real(name, *rest)\n"
        "from headgate.cli.group import cli\n"
        "from headgate.cli.main import run\n"
        "sys.exit(run(cli, ['demo']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=clean_env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install anthropic openai" in done.stderr
