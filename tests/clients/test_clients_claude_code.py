"""Claude Code in print mode, through the gateway."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import clients_expected  # it lies beside this file
import pytest
from clients_envs import binary
from clients_run import PROGRAMS, Client, Run, cases


def _command(cache: Path) -> list[str]:
    found = binary(cache, "@anthropic-ai/claude-code-*/claude")
    return ["env", f"HG_BINARY={found}", sys.executable, str(PROGRAMS / "client_claude.py")]


CLIENT = Client("claude-code", "client_claude.py", _command, "anthropic")


@pytest.mark.slow
@pytest.mark.parametrize(("client", "check"), cases([CLIENT]))
def test_claude_code_sees_what_the_provider_said(client: Client, check: str, seen: Callable[[Client], Run]) -> None:
    expected = _EXPECTED.get(check) or getattr(clients_expected, check)
    expected(seen(client), client.dialect)


@pytest.mark.slow
def test_its_beta_headers_and_query_arrive_as_it_sent_them(seen: Callable[[Client], Run]) -> None:
    call = seen(CLIENT).upstream("text")[-1]
    assert (call["path"], call["query"]) == ("/v1/messages", "beta=true")
    assert "claude-code-20250219" in call["headers"]["anthropic-beta"].split(",")
    assert "context_management" in call["body"]


def _tool_call(run: Run, dialect: str) -> None:
    saw = run.of("tool_call")
    assert (saw["name"], saw["arguments"], saw["failed"]) == ("Read", {"file_path": "sample"}, False)
    assert saw["text"]
    assert "tool_result" in run.upstream("tool_call")[-1]["body"]


def _thinking_shown(run: Run, dialect: str) -> None:
    saw = run.of("thinking_shown")
    assert saw["kinds"] == ["thinking_delta", "signature_delta", "text_delta"]
    assert saw["thinking"]
    assert saw["text"] == "think about it"


def _cache(run: Run, dialect: str) -> None:
    saw = run.of("cache")
    for at, name in enumerate(("first", "second")):
        usage = clients_expected.counted(run, "cache", at)
        assert (saw[name]["read"], saw[name]["written"]) == (usage["cache_read_tokens"], usage["cache_write_tokens"])
    assert saw["second"]["read"] == saw["first"]["read"] + saw["first"]["written"] > 500


def _one_owner(run: Run, dialect: str) -> None:
    assert run.of("one_owner")["failed"]
    assert len(run.upstream("one_owner")) == 4  # the gateway's attempts: Claude Code adds none of its own ten


def _refused_request(run: Run, dialect: str) -> None:
    saw = run.of("refused_request")
    assert saw["failed"]
    assert "rompt is too long" in saw["text"]
    assert len(run.upstream("refused_request")) == 1


_EXPECTED: dict[str, Callable[[Run, str], None]] = {
    "cache": _cache,
    "tool_call": _tool_call,
    "thinking_shown": _thinking_shown,
    "one_owner": _one_owner,
    "refused_request": _refused_request,
}
