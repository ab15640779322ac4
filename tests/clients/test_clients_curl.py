"""curl, through the gateway."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import clients_expected  # it lies beside this file
import pytest
from clients_run import PROGRAMS, Client, NotHere, Run, cases


def _command(cache: Path) -> list[str]:
    if shutil.which("curl") is None:
        raise NotHere("curl is not on the PATH. Install it (Debian: apt-get install curl)")
    return [sys.executable, str(PROGRAMS / "client_curl.py")]


CLIENTS = [
    Client(f"curl-{dialect}", "client_curl.py", _command, dialect, {"HG_DIALECT": dialect})
    for dialect in ("anthropic", "openai")
]


@pytest.mark.slow
@pytest.mark.parametrize(("client", "check"), cases(CLIENTS))
def test_curl_sees_what_the_provider_said(client: Client, check: str, seen: Callable[[Client], Run]) -> None:
    getattr(clients_expected, check)(seen(client), client.dialect)
