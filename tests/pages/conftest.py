"""The helpers that lie beside these tests, and one Chromium for all of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def _install(folder: Path) -> None:
    """On CI only, where a skip would be a test that nobody runs. Workers wait for each other."""
    folder.mkdir(exist_ok=True)
    with (folder / "chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _chromium() is None:
            subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=300)
            told = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
            subprocess.run(told, check=False, timeout=600, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")  # no longer: while it is there, playwright's event loop runs in this thread
def browser(pytestconfig: pytest.Config) -> Iterator[Any]:
    """The system's Chromium; playwright's own download is not needed."""
    from playwright import sync_api

    found = _chromium()
    if found is None and os.environ.get("CI") == "true":
        _install(pytestconfig.rootpath / ".pytest_cache")
        found = _chromium()
        assert found, "Chromium cannot be installed here"
    if found is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    sync_api.expect.set_options(timeout=60_000)  # five seconds are not enough on a busy machine
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield chromium
        chromium.close()
