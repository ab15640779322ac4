"""Logged exchanges for programs and spreadsheets."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from headgate.core.money import usd_text
from headgate.stores.logs.query import LogRow, LogSession

COLUMNS = (
    *("at", "exchange_id", "tenant", "user", "session", "task", "feature", "key", "environment", "model_asked"),
    *("model_served", "provider", "ending", "status_code", "error_type", "stop_reason", "verdict", "guards", "cache"),
    *("attempts", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "cost_usd", "estimated"),
    *("latency_ms", "ttft_ms", "correlation_id", "request_id", "system_prompt_hash", "user_message", "response_text"),
)
"""Of CSV."""

_APART = ("id", "cost_nano", "more", "request")


def as_json(row: LogRow) -> dict[str, Any]:
    """One exchange: money as a decimal string of USD, times in seconds since the epoch."""
    told = {each.name: getattr(row, each.name) for each in fields(row) if each.name not in _APART}
    return {**told, "cost_usd": usd_text(row.cost_nano), "more": dict(row.more)}


def session_json(session: LogSession) -> dict[str, Any]:
    """One session, likewise."""
    told = {each.name: getattr(session, each.name) for each in fields(session) if each.name != "cost_nano"}
    return {**told, "cost_usd": usd_text(session.cost_nano), "models": list(session.models)}


def as_cells(row: LogRow) -> list[object]:
    """One exchange as `COLUMNS`, for `csv_line`."""
    told = {**as_json(row), "guards": " ".join(row.guards)}
    return [told[name] for name in COLUMNS]
