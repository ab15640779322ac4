"""The rooms, their order, and what must not be imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "headgate"

# Imports point upward in this list only: from a room to rooms of earlier lines, or within the room.
ORDER = [
    {"core"},
    {"policy"},
    {"wire"},
    {"engine"},
    {"testing"},
    {"stores"},
    {"upstream"},
    {"settings"},
    {
        "alerting",
        "approval_hooks",
        "beside",
        "build",
        "background",
        "budget_left",
        "cache_report",
        "clocks",
        "draining",
        "estimating",
        "guards",
        "offloading",
        "shadowing",
        "similar",
        "stats",
        "substituting",
        "telemetry",
        "traffic_report",
        "watch",
    },
    {"transport"},
    {"checklist", "erasing", "gate", "invoices", "jobs", "logbook", "many", "refusals"},
    {"gateway"},
    {"control"},
    {"pages"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
STRANGERS = [("upstream", "stores"), ("gateway", "transport")]
EVERYWHERE = {"_version"}  # a constant without imports
LAZY_DOOR = "__init__"  # headgate/__init__.py: names what it re-exports, imports it on first use
PROVIDER_SDKS = {"anthropic", "openai", "google", "mistralai", "cohere", "litellm", "genai_prices"}
SIMULATOR_APART = {"policy", "wire", "engine", "stores", "settings", "build"}

MODULES = sorted(SRC.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts)


def room_of(path: Path) -> str:
    return path.relative_to(SRC).with_suffix("").parts[0]


@cache
def imports(path: Path) -> list[tuple[str, int]]:
    """Every absolute module name that is imported anywhere in a file, lazily or for types too, with its line."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            module = node.module or ""
            if module == "headgate":
                yield from ((f"headgate.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def rooms_imported(path: Path) -> Iterator[tuple[str, int]]:
    for module, line in imports(path):
        top, _, rest = module.partition(".")
        if top == "headgate" and rest:
            yield rest.split(".")[0], line


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {room_of(path) for path in MODULES} - EVERYWHERE - {LAZY_DOOR, "__main__"}
    assert rooms <= set(LEVEL)


@pytest.mark.parametrize("here", sorted({room_of(path) for path in MODULES} - EVERYWHERE - {LAZY_DOOR}))
def test_imports_point_upward_only(here: str) -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {there}"
        for path in MODULES
        if room_of(path) == here
        for there, line in rooms_imported(path)
        if there not in EVERYWHERE
        and there != here
        and (LEVEL.get(there, 99) >= LEVEL.get(here, -1) and there not in ORDER[LEVEL[here]])
    ]
    assert wrong == []


@pytest.mark.parametrize(("one", "other"), STRANGERS)
def test_rooms_at_the_same_depth_do_not_know_each_other(one: str, other: str) -> None:
    met = [
        f"{name_of(path)}:{line}"
        for path in MODULES
        for there, line in rooms_imported(path)
        if {room_of(path), there} == {one, other}
    ]
    assert met == []


def test_only_what_is_served_beside_it_and_the_command_line_see_the_gateway() -> None:
    seen = {room_of(path) for path in MODULES for there, _ in rooms_imported(path) if there == "gateway"}
    assert seen <= {"gateway", "control", "pages", "cli"}


def test_core_imports_nothing_but_the_standard_library() -> None:
    foreign = [
        f"{name_of(path)}:{line} imports {module}"
        for path in MODULES
        if room_of(path) == "core"
        for module, line in imports(path)
        if module.split(".")[0] not in sys.stdlib_module_names and not module.startswith("headgate.core")
    ]
    assert foreign == []


@pytest.mark.parametrize("room", ["core", "policy", "wire", "engine"])
def test_decisions_and_the_engine_know_no_event_loop_no_network_and_no_clock(room: str) -> None:
    banned = {"asyncio", "anyio", "socket", "ssl", "http", "httpx", "httpx2", "httptools", "sqlalchemy", "time"}
    found = [
        f"{name_of(path)}:{line} imports {module}"
        for path in MODULES
        if room_of(path) == room
        for module, line in imports(path)
        if module.split(".")[0] in banned
    ]
    assert found == []


def test_no_provider_sdk_is_imported_but_by_the_demonstration() -> None:
    found = [
        f"{name_of(path)}:{line} imports {module}"
        for path in MODULES
        for module, line in imports(path)
        if module.split(".")[0] in PROVIDER_SDKS and not name_of(path).startswith("cli.demo")
    ]
    assert found == []


def test_the_simulator_and_its_invoice_share_nothing_with_what_they_check() -> None:
    found = [
        f"{name_of(path)}:{line} imports {there}"
        for path in MODULES
        if name_of(path).startswith(("testing.simulator", "testing.server"))
        for there, line in rooms_imported(path)
        if there in SIMULATOR_APART
    ]
    assert found == []


def test_settlement_cannot_stop_half_way_because_the_books_never_wait() -> None:
    tree = ast.parse((SRC / "engine" / "books.py").read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.FunctionDef) and node.name == "settle" for node in ast.walk(tree))
    waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Yield, ast.YieldFrom)
    assert [node for node in ast.walk(tree) if isinstance(node, waits)] == []


@pytest.mark.parametrize("name", ["close", "leave", "_settle", "_end", "_finished", "_cut"])
def test_ending_a_reply_never_waits(name: str) -> None:
    tree = ast.parse((SRC / "engine" / "relay.py").read_text(encoding="utf-8"))
    named = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == name]
    assert named
    assert all(isinstance(n, ast.FunctionDef) for n in named)


def loaded_by(code: str, *names: str) -> list[str]:
    asked = f"import sys; {code}; print([m for m in {names!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout)


HEAVY = ("anthropic", "openai", "sqlalchemy", "alembic", "structlog", "yaml", "httpx2", "httpx", "tenacity", "uvicorn")
HEAVY += ("rich", "click", "msgspec", "asyncio", "pydantic")


def test_importing_headgate_loads_nothing_heavy_and_no_sdk() -> None:
    assert loaded_by("import headgate", *HEAVY) == []


def test_importing_headgates_testing_loads_nothing_heavy() -> None:
    assert loaded_by("import headgate.testing", *HEAVY) == []


def test_making_a_gate_loads_no_sdk_no_server_and_no_retry_library() -> None:
    made = "import headgate; headgate.Gate.load(env={}, storage='sqlite:///never-opened.db')"
    assert loaded_by(made, "anthropic", "openai", "uvicorn", "tenacity", "rich", "click", "httpx2", "alembic") == []


@pytest.mark.parametrize("name", ["headgate", "headgate.testing"])
def test_every_name_that_is_offered_can_be_had(name: str) -> None:
    import importlib

    module = importlib.import_module(name)
    assert set(dir(module)) >= set(module.__all__)
    for each in module.__all__:
        assert getattr(module, each) is not None
    with pytest.raises(AttributeError):
        module.no_such_name  # noqa: B018 -- reading it is the test
