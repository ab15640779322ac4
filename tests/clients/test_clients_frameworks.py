"""LangChain, pydantic-ai, instructor and llm, through the gateway."""

from __future__ import annotations

from collections.abc import Callable

import clients_expected  # it lies beside this file
import pytest
from clients_envs import python_client
from clients_expected import ASKED, counted
from clients_run import Client, Run, cases

_LOCKS = {
    "langchain": "clients-frameworks.lock",
    "pydantic_ai": "clients-frameworks.lock",
    "llm": "clients-frameworks.lock",
    "instructor": "clients-instructor.lock",
}
CLIENTS = [
    python_client(f"{name}-{dialect}", lock, f"client_{name}.py", dialect, {"HG_DIALECT": dialect})
    for name, lock in _LOCKS.items()
    for dialect in ("anthropic", "openai")
]
CASES = [case for case in cases(CLIENTS) if case.values[1] != "responses" or case.values[0].dialect == "openai"]


@pytest.mark.slow
@pytest.mark.parametrize(("client", "check"), CASES)
def test_a_framework_sees_what_the_provider_said(client: Client, check: str, seen: Callable[[Client], Run]) -> None:
    expected = _EXPECTED.get(check) or getattr(clients_expected, check)
    expected(seen(client), client.dialect)


def _http_errors(run: Run, dialect: str) -> None:
    assert run.of("http_errors") == {word: int(word) for word in ("400", "401", "403", "404")}


def _structured_usage(run: Run, dialect: str) -> None:
    saw, usage = run.of("structured_usage"), counted(run, "structured_usage")
    assert saw["value"] == ASKED["arguments"]
    assert (saw["input"], saw["output"]) == (usage["input_tokens"], usage["output_tokens"])


def _structured_stream(run: Run, dialect: str) -> None:
    assert run.of("structured_stream")["value"] == ASKED["arguments"]


def _wrong_request(run: Run, dialect: str) -> None:
    assert run.of("wrong_request")["message"]
    assert "prompt is too long" in run.of("wrong_request")["message"]


def _refused(run: Run, dialect: str) -> None:
    assert "prompt is too long" in run.of("refused")["error"]
    assert len(run.upstream("refused")) == 1


_EXPECTED: dict[str, Callable[[Run, str], None]] = {
    "http_errors": _http_errors,
    "structured_usage": _structured_usage,
    "structured_stream": _structured_stream,
    "wrong_request": _wrong_request,
    "refused": _refused,
}
