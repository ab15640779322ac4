"""Eval datasets: one JSON object per line, free of personal data and credentials.

    {"id", "input": {"dialect", "endpoint", "system", "messages", "tools", ...}, "output", "metadata", "label": null}

`input` is the request's body without its model, where the log keeps requests (`log: {requests: on}`); else a body with
the user's message alone, and `metadata.partial` is true.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from headgate.core.errors import ConfigError
from headgate.core.money import usd_text
from headgate.policy.guards.placeholders import scrub
from headgate.stores.log_line import LONG_NUMBER
from headgate.stores.logs.query import LogRow

ENDPOINTS = {"messages": "anthropic", "chat": "openai", "responses": "openai"}
"""Of exchanges that can be asked again, and their dialects."""
MAX_LINE = 32 * 1024 * 1024
PLACEHOLDER_TOKENS = 1_024
"""The output cap of a request that is not kept, where the dialect needs one."""

_OURS = frozenset({"dialect", "endpoint"})
_WHO = frozenset({"user", "safety_identifier", "metadata", "prompt_cache_key", "stream_options", "stream", "model"})
"""Fields of a body that name people, or that a replay decides about itself."""


@dataclass(frozen=True, slots=True)
class Case:
    """One exchange to be asked again.

    Attributes:
        body: of the request, without its model.
        metadata: how it went: model, task, stop_reason, verdict, cost_usd, latency_ms, tokens; "partial" where `body`
            is made from the user's message alone.
        label: what the answer should be, in the terms of `judging`; None = nobody said.
        expect: conditions in place of a label.
    """

    id: str
    dialect: str
    endpoint: str
    body: Mapping[str, Any]
    output: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    label: Any = None
    expect: Any = None

    def as_json(self) -> dict[str, Any]:
        """A line of a dataset."""
        told = {"dialect": self.dialect, "endpoint": self.endpoint, **self.body}
        found = {"id": self.id, "input": told, "output": self.output, "metadata": dict(self.metadata)}
        return {**found, "label": self.label, **({} if self.expect is None else {"expect": self.expect})}


def case_of(row: LogRow) -> Case | None:
    """A logged exchange as a case; None where it cannot be asked again: of another endpoint, or without any text."""
    if row.endpoint not in ENDPOINTS:
        return None
    body = _kept(row)
    partial = body is None
    if body is None:
        if not row.user_message:
            return None
        turn = {"role": "user", "content": row.user_message}
        body = {"input": row.user_message} if row.endpoint == "responses" else {"messages": [turn]}
        if row.endpoint == "messages":
            body["max_tokens"] = PLACEHOLDER_TOKENS
    told: dict[str, Any] = {
        "model": row.model_served or row.model_asked,
        "task": row.task,
        "stop_reason": row.stop_reason,
        "verdict": row.verdict,
        "cost_usd": usd_text(row.cost_nano),
        "latency_ms": row.latency_ms,
        "input_tokens": row.input_tokens + row.cache_read_tokens + row.cache_write_tokens,
        "output_tokens": row.output_tokens,
        "system_prompt_hash": row.system_prompt_hash,
    }
    if partial:
        told["partial"] = True
    return Case(row.exchange_id, ENDPOINTS[row.endpoint], row.endpoint, body, row.response_text, told)


def _kept(row: LogRow) -> dict[str, Any] | None:
    """The request's body, where the log has it."""
    try:
        body = json.loads(row.request) if row.request else None
    except (ValueError, RecursionError):
        return None
    return {k: v for k, v in body.items() if k not in _WHO} if isinstance(body, dict) else None


def fit(row: LogRow) -> bool:
    """Whether an exchange belongs in a dataset without being asked for: complete, and no guard has flagged it."""
    return row.ending == "complete" and row.verdict in ("", "allow") and row.status_code in (0, 200)


def cleaned(case: Case) -> Case:
    """Without personal data and credentials, whatever the log's mode was."""
    told = _each(dict(case.metadata), scrub)
    return Case(
        case.id, case.dialect, case.endpoint, _each(dict(case.body), scrub), scrub(case.output), told, case.label,
        case.expect,
    )  # fmt: skip


def _each(value: Any, clean: Callable[[str], str], depth: int = 0) -> Any:
    """Every text in a JSON value, every name of a field, and every number as long as a card's, cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int) and abs(value) >= LONG_NUMBER:
        told = str(value)
        said = clean(told)
        return value if said == told else said
    if depth > 200:
        return None
    if isinstance(value, list):
        return [_each(each, clean, depth + 1) for each in value]
    if isinstance(value, dict):
        return {clean(k): _each(v, clean, depth + 1) for k, v in value.items()}
    return value


def sampled(rows: Iterable[LogRow], size: int, seed: int) -> list[LogRow]:
    """So many of them, each with the same chance, in the order they came in; the same seed picks the same."""
    draw = Random(seed)  # noqa: S311 -- a sample that can be drawn again, not a secret
    kept: list[tuple[int, LogRow]] = []
    for place, row in enumerate(rows):
        if len(kept) < size:
            kept.append((place, row))
        elif (at := draw.randrange(place + 1)) < size:
            kept[at] = (place, row)
    return [row for _, row in sorted(kept, key=lambda each: each[0])]


def read_cases(lines: Iterable[bytes], name: str) -> Iterator[Case]:
    """The cases of a dataset's file.

    Raises:
        ConfigError: a line is no case: which, and why.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _case(line, f"{name}:{number}")


def _case(line: bytes, where: str) -> Case:
    if len(line) > MAX_LINE:
        raise ConfigError(f"{where}: the line is longer than {MAX_LINE // 1024**2} MiB")
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: no JSON: {error}") from None
    asked = told.get("input") if isinstance(told, dict) else None
    if isinstance(asked, str):
        asked = {"messages": [{"role": "user", "content": asked}]}
    if not isinstance(asked, dict):
        raise ConfigError(f'{where}: expected {{"id", "input", ...}}; `input` is a text, or a request\'s body')
    endpoint = asked.get("endpoint") or ("responses" if "input" in asked else "chat")
    if "endpoint" not in asked and ("system" in asked or asked.get("dialect") == "anthropic"):
        endpoint = "messages"
    if endpoint not in ENDPOINTS:
        raise ConfigError(f"{where}: input.endpoint: expected one of {', '.join(ENDPOINTS)}")
    body = {key: value for key, value in asked.items() if key not in _OURS}
    if endpoint == "messages":
        body.setdefault("max_tokens", PLACEHOLDER_TOKENS)
    metadata = told.get("metadata")
    output = told.get("output")
    return Case(
        str(told.get("id") or where),
        ENDPOINTS[endpoint],
        endpoint,
        body,
        output if isinstance(output, str) else "",
        metadata if isinstance(metadata, dict) else {},
        told.get("label"),
        told.get("expect"),
    )
