"""The SDKs that run on httpx, in a folder of their own: they cannot be installed beside today's."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LOCK = Path(__file__).parents[2] / "requirements" / "legacy.lock"
_INSTALL_SECONDS = 300


def installed(cache: Path) -> Path:
    """The folder, to put first on PYTHONPATH. Installed once per lock file and Python; workers wait for each other.

    Skips where it cannot be installed (no network), with the reason; on CI that is a failure.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    name = hashlib.sha256(LOCK.read_bytes() + version.encode()).hexdigest()[:16]
    there = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not there.exists():
            _install(there)
    return there


def _install(there: Path) -> None:
    half = there.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)
    uv = [sys.executable, "-m", "uv", "--no-config", "--quiet", "pip", "install", "--python", sys.executable]
    told = [*uv, "--no-deps", "--require-hashes", "--target", str(half), "-r", str(LOCK)]
    try:
        done = subprocess.run(told, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
        said = done.stderr.strip()[-600:] if done.returncode else ""
    except subprocess.TimeoutExpired:
        said = f"not installed after {_INSTALL_SECONDS} s"
    if not said:
        half.rename(there)
    elif os.environ.get("CI") == "true":
        pytest.fail(f"the older SDKs cannot be installed: {said}")
    else:
        pytest.skip(f"the older SDKs cannot be installed: {said}")
