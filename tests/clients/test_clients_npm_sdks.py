"""The official SDKs for TypeScript, through the gateway."""

from __future__ import annotations

from collections.abc import Callable

import clients_expected  # it lies beside this file
import pytest
from clients_envs import node_client
from clients_run import Client, Run, cases

CLIENTS = [
    node_client("npm-anthropic", "client_anthropic.mjs", "anthropic"),
    node_client("npm-openai", "client_openai.mjs", "openai"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("client", "check"), cases(CLIENTS))
def test_an_npm_sdk_sees_what_the_provider_said(client: Client, check: str, seen: Callable[[Client], Run]) -> None:
    getattr(clients_expected, check)(seen(client), client.dialect)
