"""What `import headgate` costs, and what installing the core brings along (promise 10)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import CannotRun
from benchmarks.report import ROOT, Number, median

TIMES = 11
_SDKS = ("anthropic", "openai", "google.genai", "mistralai", "cohere", "boto3", "litellm")
_LATER = ("sqlalchemy", "alembic", "structlog", "yaml", "tenacity", "uvicorn", "rich", "click", "httpx2")
"""Ours, but imported only when used."""

_PLAIN = "import headgate"
_USED = "import headgate; headgate.Gate.load(env={}).client()"

_PROGRAM = """
import json, sys, time
wall, cpu, before = time.perf_counter(), time.process_time(), set(sys.modules)
STATEMENT
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([wall, cpu, sorted(set(sys.modules) - before)]))
"""


def measure(*, quick: bool) -> Iterator[Number]:
    """Time to import; providers' SDKs and late modules among what was imported; packages of a fresh installation.

    Args:
        quick: fewer imports, and no fresh installation (it asks the package registry).
    """
    walls: list[float] = []
    cpus: list[float] = []
    modules: list[str] = []
    gates: list[float] = []
    _import(_USED)  # compiles to bytecode
    for _ in range(3 if quick else TIMES):
        wall, cpu, modules = _import(_PLAIN)
        walls.append(wall * 1000)
        cpus.append(cpu * 1000)
        gates.append(_import(_USED)[0] * 1000)
    yield Number("imports", "import headgate, wall time", median(walls), "ms", 150, spread=(min(walls), max(walls)))
    yield Number("imports", "import headgate, CPU time", median(cpus), "ms", spread=(min(cpus), max(cpus)))
    note = "the same, a gate loaded and its HTTP client made: httpx2 and all that is not lazy"
    yield Number("imports", "until the first client", median(gates), "ms", spread=(min(gates), max(gates)), note=note)
    found = [name for name in _SDKS if name in modules]
    yield Number("imports", "providers' SDKs imported by it", len(found), "", 0, note=", ".join(found))
    late = [name for name in _LATER if name in modules]
    yield Number("imports", "of the core's own packages, imported before use", len(late), "", 0, note=", ".join(late))
    if not quick:
        packages = installed()
        yield Number("imports", "packages installed by the core", len(packages), "", 20, note=" ".join(packages))


def _import(statement: str, python: str = sys.executable) -> tuple[float, float, list[str]]:
    program = _PROGRAM.replace("STATEMENT", statement)
    ended = subprocess.run([python, "-c", program], cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        raise CannotRun(f"`{statement}` fails: {ended.stderr[-1000:]}")
    wall, cpu, modules = json.loads(ended.stdout)
    return wall, cpu, modules


def installed() -> list[str]:
    """The packages of a fresh virtual environment after `pip install .`, Headgate itself among them, pip not.

    Raises:
        CannotRun: the installation failed, as it does without a package registry; or the core needs more than it.
    """
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as directory:
        venv.create(directory, with_pip=True)
        python = str(Path(directory) / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        ended = subprocess.run([*pip, "install", "-q", str(ROOT)], capture_output=True, text=True)
        if ended.returncode:
            raise CannotRun(f"pip install . fails: {ended.stderr[-1000:]}")
        listed = subprocess.run([*pip, "list", "--format", "json"], capture_output=True, text=True, check=True)
        _import(_USED, python)  # the core works with nothing else
    return sorted(entry["name"] for entry in json.loads(listed.stdout) if entry["name"] not in ("pip", "setuptools"))
