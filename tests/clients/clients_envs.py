"""Environments of their own for clients that cannot live in ours: pinned, hash-locked, made once per lock file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from clients_run import PROGRAMS, Client, NotHere

_HERE = Path(__file__).parent
REQUIREMENTS = _HERE.parents[1] / "requirements"
_SECONDS = 400


def python(lock: str) -> Callable[[Path], Path]:
    """The interpreter of an environment made from `requirements/<lock>`; "" is our own."""

    def interpreter(cache: Path) -> Path:
        if not lock:
            return Path(sys.executable)
        pinned = REQUIREMENTS / lock
        version = ".".join(map(str, sys.version_info[:3]))
        there = _once(cache, lock.removesuffix(".lock"), pinned.read_bytes() + version.encode(), _python)
        return there / "bin" / "python"

    def _python(half: Path) -> None:
        uv = [sys.executable, "-m", "uv", "--no-config", "--quiet"]
        _do([*uv, "venv", "--python", sys.executable, str(half)])
        told = ["--python", str(half / "bin" / "python"), "--require-hashes", "-r", str(REQUIREMENTS / lock)]
        _do([*uv, "pip", "install", "--no-deps", "--link-mode", "hardlink", *told])

    return interpreter


def python_client(name: str, lock: str, program: str, dialect: str, env: Mapping[str, str] | None = None) -> Client:
    """A program in Python, in the environment of `requirements/<lock>`."""
    return Client(name, program, lambda cache: [str(python(lock)(cache)), str(PROGRAMS / program)], dialect, env or {})


def node_client(name: str, program: str, dialect: str, env: Mapping[str, str] | None = None) -> Client:
    """A program in JavaScript."""
    return Client(name, program, lambda cache: [str(node(cache)), str(_beside(cache, program))], dialect, env or {})


def _beside(cache: Path, program: str) -> Path:
    """The program beside the packages it imports: Node.js looks for them from its folder upwards."""
    there = node_modules(cache).parent
    for file in PROGRAMS.glob("*.mjs"):
        shutil.copy(file, there)
    return there / program


def node_modules(cache: Path) -> Path:
    """The folder of everything in package-lock.json. Needs npm; the Node.js that runs it is in there too."""
    files = [_HERE / name for name in ("package.json", "package-lock.json")]

    def install(half: Path) -> None:
        if shutil.which("npm") is None:
            _system_node()
        half.mkdir()
        for file in files:
            shutil.copy(file, half)
        _do(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], half)

    return _once(cache, "npm", b"".join(file.read_bytes() for file in files), install) / "node_modules"


def node(cache: Path) -> Path:
    """Node.js, as pinned in package-lock.json: the newest clients need a newer one than systems have."""
    found = next((node_modules(cache)).glob("node-*/bin/node"), None)
    if found is None:
        raise NotHere("package-lock.json has no Node.js for this platform")
    return found


def binary(cache: Path, pattern: str) -> Path:
    """An executable that a package ships for this platform."""
    found = sorted(path for path in node_modules(cache).glob(pattern) if "musl" not in path.parts[-2])
    if not found:
        raise NotHere(f"package-lock.json has no {pattern} for this platform")
    return found[0]


def _system_node() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NotHere("npm is not on the PATH. Install it (Debian: apt-get install npm)")
    _do(["apt-get", "update", "-qq"])
    _do(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "nodejs", "npm"])


def _once(cache: Path, name: str, pinned: bytes, make: Callable[[Path], None]) -> Path:
    """`cache/<name>-<digest>`, made by whoever comes first; the others wait."""
    there = cache / f"{name}-{hashlib.sha256(pinned).hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.making").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (there / ".whole").exists():
            for older in cache.glob(f"{name}-*"):
                shutil.rmtree(older, ignore_errors=True)
            make(there)
            (there / ".whole").touch()
    return there


def _do(command: list[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotHere(f"{command[0]}: not done after {_SECONDS} s") from error
    if done.returncode:
        raise NotHere(f"{' '.join(command[:5])} failed: {done.stderr.strip()[-600:]}")
