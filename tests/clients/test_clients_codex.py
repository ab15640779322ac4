"""Codex in print mode, through the gateway."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import clients_expected  # it lies beside this file
import pytest
from clients_envs import binary
from clients_expected import ASKED, TEXT, counted
from clients_run import PROGRAMS, Client, Run, cases


def _command(cache: Path) -> list[str]:
    found = binary(cache, "@openai/codex-*/vendor/*/bin/codex")
    return ["env", f"HG_BINARY={found}", sys.executable, str(PROGRAMS / "client_codex.py")]


CLIENT = Client("codex", "client_codex.py", _command, "openai")


@pytest.mark.slow
@pytest.mark.parametrize(("client", "check"), cases([CLIENT]))
def test_codex_sees_what_the_provider_said(client: Client, check: str, seen: Callable[[Client], Run]) -> None:
    expected = _EXPECTED.get(check) or getattr(clients_expected, check)
    expected(seen(client), client.dialect)


@pytest.mark.slow
def test_its_own_fields_arrive_as_it_sent_them(seen: Callable[[Client], Run]) -> None:
    call = seen(CLIENT).upstream("text_and_usage")[-1]
    assert call["path"] == "/v1/responses"
    assert '"client_metadata"' in call["body"]
    assert '"prompt_cache_key"' in call["body"]


def _text_and_usage(run: Run, dialect: str) -> None:
    saw, usage = run.of("text_and_usage"), counted(run, "text_and_usage")
    assert (saw["text"], saw["exit"]) == (TEXT, 0)
    prompt = usage["input_tokens"] + usage["cache_read_tokens"] + usage["cache_write_tokens"]
    told = saw["counted"]
    assert (told["input_tokens"], told["output_tokens"]) == (prompt, usage["output_tokens"])
    assert told["cached_input_tokens"] == usage["cache_read_tokens"]
    assert told["reasoning_output_tokens"] == usage["reasoning_tokens"] > 0


def _command_run(run: Run, dialect: str) -> None:
    saw = run.of("command")
    assert len(saw["commands"]) == 1
    assert saw["commands"][0].endswith("sample")
    assert saw["text"]
    assert "function_call_output" in run.upstream("command")[-1]["body"]


def _image(run: Run, dialect: str) -> None:
    assert run.of("image")["exit"] == 0
    assert ASKED["png"][:40] in run.upstream("image")[-1]["body"]


def _one_owner(run: Run, dialect: str) -> None:
    assert run.of("one_owner")["exit"] != 0
    assert len(run.upstream("one_owner")) == 4


def _refused_request(run: Run, dialect: str) -> None:
    saw = run.of("refused_request")
    assert saw["exit"] != 0
    assert "prompt is too long" in str(saw["wrong_items"])
    assert len(run.upstream("refused_request")) == 1


def _wrong_key(run: Run, dialect: str) -> None:
    assert "401" in str(run.of("wrong_key")["wrong_items"])
    assert not run.upstream("wrong_key")


_EXPECTED: dict[str, Callable[[Run, str], None]] = {
    "text_and_usage": _text_and_usage,
    "command": _command_run,
    "image": _image,
    "one_owner": _one_owner,
    "refused_request": _refused_request,
    "wrong_key": _wrong_key,
}
