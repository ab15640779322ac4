"""The official SDKs for TypeScript, and the Vercel AI SDK, through the gateway."""

from __future__ import annotations

from collections.abc import Callable

import clients_expected  # it lies beside this file
import pytest
from clients_envs import node_client
from clients_run import Client, Run, cases

CLIENTS = [
    node_client("npm-anthropic", "client_anthropic.mjs", "anthropic"),
    node_client("npm-openai", "client_openai.mjs", "openai"),
    node_client("vercel-anthropic", "client_vercel.mjs", "anthropic", {"HG_DIALECT": "anthropic"}),
    node_client("vercel-openai-chat", "client_vercel.mjs", "openai", {"HG_DIALECT": "openai", "HG_API": "chat"}),
    node_client("vercel-openai", "client_vercel.mjs", "openai", {"HG_DIALECT": "openai", "HG_API": "responses"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("client", "check"), cases(CLIENTS))
def test_an_npm_sdk_sees_what_the_provider_said(client: Client, check: str, seen: Callable[[Client], Run]) -> None:
    getattr(clients_expected, check)(seen(client), client.dialect)
