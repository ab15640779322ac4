"""The last SDKs that run on httpx, over a gate, in front of the simulator. The cases are in `legacy_cases.py`."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec as real_find_spec
from pathlib import Path
from typing import Any

import pytest

import headgate
from headgate import Gate

sys.path.insert(0, str(Path(__file__).parent))
from legacy_sdks import installed

CASES = Path(__file__).with_name("legacy_cases.py")
NAMES = [
    node.name
    for node in ast.parse(CASES.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]


@pytest.fixture(scope="module")
def results(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """Of each case in the other process: (its parameters, "" or what went wrong)."""
    folder = pytestconfig.rootpath / ".pytest_cache" / "d" / "legacy-sdks"
    site = installed(folder)
    report = tmp_path_factory.mktemp("legacy") / "report.xml"
    told = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", str(CASES)]
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        told, cwd=pytestconfig.rootpath, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name, _, parameters = case.get("name", "").partition("[")
        wrong = next((child.text or child.get("message", "") for child in case), "")
        found.setdefault(name, []).append((parameters.rstrip("]"), wrong))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_on_httpx(name: str, results: dict[str, list[tuple[str, str]]]) -> None:
    assert results[name]
    wrong = [f"[{parameters}] {said}" for parameters, said in results[name] if said]
    assert not wrong, "\n".join(wrong)


def test_without_httpx_a_legacy_client_is_a_clear_error(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> Any:
        return None if name == "httpx" else real_find_spec(name)

    monkeypatch.setattr("headgate.gate.find_spec", without)
    for make in (gate.legacy_client, gate.legacy_async_client):
        with pytest.raises(headgate.ConfigError, match=r"headgate\[legacy-httpx\]"):
            make()


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_each_librarys_file_says_no_more_than_which_library_it_is(name: str) -> None:
    folder = Path(headgate.__file__).parent / "transport"
    ours, theirs = ((folder / f"{each}.py").read_text(encoding="utf-8") for each in (name, "httpx2"))
    below = "from __future__"
    told = ours[ours.index(below) :].replace(f"{name}.", "httpx2.").replace(f" {name}\n", " httpx2\n")
    assert told.replace("legacy_", "") == theirs[theirs.index(below) :]
