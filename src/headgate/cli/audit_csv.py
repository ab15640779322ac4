"""Somebody's log as CSV: which column is what is told by its name, and mistakes by their line."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from headgate.core.errors import ConfigError
from headgate.core.usage import Usage
from headgate.policy.audit.calls import Call

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "model_name", "model_id", "model_served", "engine", "deployment"),
    "provider": ("provider", "vendor", "custom_llm_provider"),
    "time": (
        "time",
        "timestamp",
        "at",
        "date",
        "datetime",
        "started",
        "created",
        "created_at",
        "starttime",
        "start_time",
    ),
    "input": ("input_tokens", "prompt_tokens", "tokens_in", "tokens_prompt", "context_tokens", "usage_input_tokens"),
    "output": ("output_tokens", "completion_tokens", "tokens_out", "tokens_completion", "usage_output_tokens"),
    "read": ("cache_read_tokens", "cached_tokens", "cached_input_tokens", "cache_read_input_tokens", "cached"),
    "write": ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"),
    "long": ("cache_write_long_tokens", "cache_write_1h_tokens", "ephemeral_1h_input_tokens"),
    "reasoning": ("reasoning_tokens", "thinking_tokens"),
    "cost": ("cost_usd", "cost", "total_cost", "spend", "usd", "price"),
    "task": ("task", "task_name", "operation", "prompt_name", "route"),
    "feature": ("feature", "application", "app", "service"),
    "tenant": ("tenant", "team", "team_id", "customer", "organization", "project"),
    "user": ("user", "user_id", "end_user"),
    "session": ("session", "session_id", "conversation_id", "thread_id", "trace_id"),
    "digest": ("request_hash", "prompt_hash", "request_digest", "input_hash", "digest"),
    "system": ("system_prompt_hash", "system_hash"),
    "system_tokens": ("system_prompt_tokens", "system_tokens"),
    "cap": ("max_tokens", "max_output_tokens", "max_completion_tokens"),
    "batch": ("batch", "is_batch", "priority"),
    "stream": ("stream", "streamed", "is_stream"),
}
"""By what it is: the names of columns, lower case, other signs as "_". The first that is there counts."""

MOST_MISTAKES = 20
"""That are told one by one."""

_MOST_TOKENS = 10**12
_MILLISECONDS = 10**11  # seconds since the epoch are fewer for 3,000 years
T = TypeVar("T")
_TRUE = frozenset({"1", "true", "yes", "y", "batch", "on"})
_VENDORS = (
    (re.compile(r"claude"), "anthropic"),
    (re.compile(r"gpt-|o[134](-|$)|chatgpt|text-embedding|davinci|babbage"), "openai"),
    (re.compile(r"gemini"), "google"),
    (re.compile(r"(mistral|ministral|codestral|magistral)"), "mistral"),
    (re.compile(r"deepseek"), "deepseek"),
    (re.compile(r"grok"), "x-ai"),
)


@dataclass(slots=True)
class Log:
    """What was read.

    Attributes:
        left_out: how many lines had a mistake.
        mistakes: the first of them, in words: "line 7: ...".
        columns: of `COLUMNS`, what was found under which name.
    """

    calls: list[Call] = field(default_factory=list)
    left_out: int = 0
    mistakes: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)


def read_log(path: Path, now: float) -> Log:
    """Read a file; lines with mistakes are left out and told.

    Args:
        now: seconds since the epoch; stands for the times of a log without any.

    Raises:
        ConfigError: it cannot be read, is not UTF-8, or has no column for the model or the tokens.
    """
    log = Log()
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            head = lines.readline()
            if not head.strip():
                raise ConfigError(f"--csv: {path} is empty: its first line has to name the columns")
            mark = max(",;\t", key=head.count)
            names = next(csv.reader([head], delimiter=mark))
            places = _places(names, log, path)
            rows = csv.reader(lines, delimiter=mark)
            while True:
                try:
                    row = next(rows)
                except StopIteration:
                    break
                except csv.Error as error:
                    _wrong(log, rows.line_num + 1, str(error))
                    continue
                if any(cell.strip() for cell in row):
                    _take(log, row, places, rows.line_num + 1, now)
    except OSError as error:
        raise ConfigError(f"--csv: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--csv: {path} is not UTF-8 (byte {error.start})") from None
    return log


def _places(names: list[str], log: Log, path: Path) -> dict[str, int]:
    plain = [re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_") for name in names]
    found: dict[str, int] = {}
    for what, known in COLUMNS.items():
        name = next((name for name in known if name in plain), "")
        if name:
            found[what] = plain.index(name)
            log.columns[what] = name
    missing = [what for what in ("model", "input", "output") if what not in found]
    if missing:
        wanted = "; ".join(" or ".join(COLUMNS[what][:3]) for what in missing)
        raise ConfigError(f"--csv: {path}:1: no column is called {wanted}")
    return found


def _wrong(log: Log, line: int, what: str) -> None:
    log.left_out += 1
    if len(log.mistakes) < MOST_MISTAKES:
        log.mistakes.append(f"line {line}: {what}")


class _Unfit(Exception):
    """What is wrong with a line."""


def _take(log: Log, row: list[str], places: Mapping[str, int], line: int, now: float) -> None:
    def cell(what: str) -> str:
        place = places.get(what)
        return row[place].strip() if place is not None and place < len(row) else ""

    def tokens(what: str) -> int:
        return _read(log.columns.get(what, what), cell(what), _whole)

    try:
        provider, model = _model(cell("provider"), cell("model"))
        timed = "time" in places
        at = _read(log.columns.get("time", "time"), cell("time"), _moment) if timed else now
        usage = _usage(tokens, total=log.columns["input"] == "prompt_tokens" or provider != "anthropic")
        cost = _read(log.columns.get("cost", "cost"), cell("cost"), _nano) if cell("cost") else None
        call = Call(
            at=at,
            provider=provider,
            model=model,
            usage=usage,
            charged_nano=cost,
            ready=at,
            task=cell("task"),
            feature=cell("feature"),
            tenant=cell("tenant"),
            user=cell("user"),
            session=cell("session"),
            owner=cell("tenant"),
            digest=cell("digest") if timed else "",
            system=cell("system") if timed else "",
            system_tokens=min(tokens("system_tokens"), usage.prompt_tokens),
            cap=tokens("cap"),
            batch=cell("batch").lower() in _TRUE,
            streamed=cell("stream").lower() in _TRUE if "stream" in places else None,
        )
    except _Unfit as error:
        _wrong(log, line, str(error))
        return
    log.calls.append(call)


def _usage(tokens: Callable[[str], int], *, total: bool) -> Usage:
    plain, read, write, long, output = map(tokens, ("input", "read", "write", "long", "output"))
    if total:  # OpenAI's counts hold what was cached, Anthropic's do not (wire-formats 1.4, 2.5)
        if read + write + long > plain:
            raise _Unfit(f"{read + write + long:,} cached tokens of {plain:,} in all")
        plain -= read + write + long
    reasoning = tokens("reasoning")
    if reasoning > output:
        raise _Unfit(f"{reasoning:,} reasoning tokens of {output:,} output tokens")
    return Usage(plain, read, write, long, output, reasoning)


def _read(name: str, text: str, how: Callable[[str], T]) -> T:
    try:
        return how(text)
    except (ValueError, InvalidOperation, OverflowError):
        raise _Unfit(f"{name}: {text[:40]!r} cannot be read") from None


def _whole(text: str) -> int:
    number = Decimal(text.replace(",", "").replace("_", "") or "0")
    if number != number.to_integral_value() or not 0 <= number <= _MOST_TOKENS:
        raise ValueError(text)
    return int(number)


def _nano(text: str) -> int:
    dollars = Decimal(text.lstrip("$").replace(",", ""))
    if not dollars.is_finite() or not 0 <= dollars <= 10**9:
        raise ValueError(text)
    return int((dollars * 10**9).to_integral_value())


def _moment(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        told = datetime.fromisoformat(text)
        seconds = (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    if seconds > _MILLISECONDS:
        seconds /= 1000.0
    if not 0 <= seconds < _MILLISECONDS:
        raise ValueError(text)
    return seconds


def _model(provider: str, model: str) -> tuple[str, str]:
    if not model:
        raise _Unfit("no model is named")
    vendor, slash, name = model.partition("/")
    if not provider and slash:
        return vendor.lower(), name
    if not provider:
        provider = next((vendor for pattern, vendor in _VENDORS if pattern.match(model.lower())), "")
    return provider.lower(), model
