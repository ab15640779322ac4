"""The official SDKs for Python, today's and yesterday's, through the gateway."""

from __future__ import annotations

from collections.abc import Callable

import clients_expected  # it lies beside this file
import pytest
from clients_envs import python_client
from clients_run import Client, Run, cases

CLIENTS = [
    python_client("anthropic-2", "", "client_anthropic.py", "anthropic"),
    python_client("anthropic-0", "legacy.lock", "client_anthropic.py", "anthropic"),
    python_client("openai-3", "", "client_openai.py", "openai"),
    python_client("openai-2", "legacy.lock", "client_openai.py", "openai"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("client", "check"), cases(CLIENTS))
def test_a_python_sdk_sees_what_the_provider_said(client: Client, check: str, seen: Callable[[Client], Run]) -> None:
    getattr(clients_expected, check)(seen(client), client.dialect)
