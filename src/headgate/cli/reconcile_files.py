"""A provider's report as a file: CSV, rows as JSON, or answers of the vendors' own APIs as they were saved."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from headgate.core.errors import ConfigError
from headgate.policy.reconciling import CLASSES, Told, ToldCost
from headgate.upstream.usage_reports import (
    Report,
    ReportError,
    read_anthropic_costs,
    read_anthropic_usage,
    read_openai_costs,
    read_openai_usage,
)

COLUMNS = ("date", "model", "key", *CLASSES, "requests", "cost_usd")
"""What a CSV may have, in any order and case; `date`, `model`, and a count or `cost_usd` it has to have."""

_OTHER_NAMES = {
    "day": "date",
    "api_key": "key",
    "api_key_id": "key",
    "uncached_input_tokens": "input_tokens",
    "cached_tokens": "cache_read_tokens",
    "cached_input_tokens": "cache_read_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_write_5m_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_long_tokens",
    "web_search_requests": "web_searches",
    "num_model_requests": "requests",
    "cost": "cost_usd",
    "amount_usd": "cost_usd",
}
MOST_BYTES = 256 * 1024 * 1024
_MOST_MISTAKES = 20
_MOST_COUNT = 10**15
_NANO_PER_USD = 10**9
_MOST_USD = Decimal(10**9)
_GROUPED = re.compile(r"\d{1,3}(,\d{3})+")


def read_file(path: Path) -> Report:
    """The report in a file that ends in .csv or .json.

    Raises:
        ConfigError: it cannot be read; every mistake has its line, or its place.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} has more than {MOST_BYTES // 2**20} MiB: cut it into files of fewer days")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from None
    return read_json(text, path.name) if path.suffix.lower() == ".json" else read_csv(text, path.name)


def read_csv(text: str, name: str) -> Report:
    """Rows of :data:`COLUMNS`. Columns of other names are left alone; an empty field is not told."""
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        try:
            heads = [_column(head) for head in next(reader, [])]
            twice = {head for head in heads if head in COLUMNS and heads.count(head) > 1}
            if twice:
                raise ConfigError(f"{name}:1: two columns are {', '.join(sorted(twice))}")
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    told = dict(zip(heads, cells, strict=False))
                    yield f"{name}:{reader.line_num}", {"": str(len(cells) - len(heads)), **told}
        except csv.Error as error:
            raise ConfigError(f"{name}:{reader.line_num}: not CSV: {error}") from None

    return _report(rows(), name)


def read_json(text: str, name: str) -> Report:
    """A list of rows, or ``{"rows": [...]}``; or one or a list of answers of the vendors' usage and cost endpoints."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not JSON: {str(error)[:200]}") from None
    several = found if isinstance(found, list) else found.get("rows", [found]) if isinstance(found, dict) else [found]
    if several and isinstance(several, list) and all(isinstance(e, dict) and "data" in e for e in several):
        return _pages(several, name)
    if not isinstance(several, list) or not all(isinstance(each, dict) for each in several):
        raise ConfigError(f"{name}: expected a list of rows, or the provider's own answers (objects with `data`)")
    named = ((f"{name}: row {place}", each) for place, each in enumerate(several, 1))
    return _report(((at, {_column(k): _plain(v) for k, v in row.items()}) for at, row in named), name)


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _column(head: str) -> str:
    plain = re.sub(r"[\s-]+", "_", head.strip().lower())
    return _OTHER_NAMES.get(plain, plain)


def _report(rows: Iterable[tuple[str, Mapping[str, str]]], name: str) -> Report:
    found, mistakes = Report(), list[str]()
    costs: list[ToldCost] = []
    priced, some = False, False
    for at, row in rows:
        some = True
        missing = [column for column in ("date", "model") if column not in row]
        if missing or not any(column in row for column in (*CLASSES, "cost_usd")):
            needed = " and ".join(missing) or "a count or cost_usd"
            raise ConfigError(f"{at}: no column for {needed}; the columns are {', '.join(COLUMNS)}")
        try:
            told, nano = _row(row)
        except ValueError as error:
            mistakes.append(f"{at}: {error}")
            if len(mistakes) >= _MOST_MISTAKES:
                mistakes.append(f"{name}: and perhaps more")
                break
            continue
        found.usage.append(told)
        if nano is not None:
            priced = True
            costs.append(ToldCost(told.day, told.model, nano, told.key))
    if mistakes:
        raise ConfigError(mistakes)
    if not some:
        raise ConfigError(f"{name}: no rows; the columns are {', '.join(COLUMNS)}")
    found.costs = costs if priced else None
    return found


def _row(row: Mapping[str, str]) -> tuple[Told, int | None]:
    if int(row.get("", "0") or "0") > 0:
        raise ValueError("more fields than there are columns; is there a comma in a number without quotes?")
    day = _date(row["date"])
    model = row["model"].strip()
    if not model:
        raise ValueError("model: empty")
    counts = {name: _count(name, row[name]) for name in CLASSES if row.get(name, "").strip()}
    requests = _count("requests", row["requests"]) if row.get("requests", "").strip() else None
    cost = row.get("cost_usd", "").strip()
    return Told(day, model, row.get("key", "").strip(), counts, requests), _nano(cost) if cost else None


def _date(text: str) -> str:
    try:
        told = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"date: expected 2026-11-20, not {text.strip()[:40]!r}") from None
    return (told if told.tzinfo is None else told.astimezone(UTC)).date().isoformat()


def _count(name: str, text: str) -> int:
    plain = text.strip()
    if _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "")
    plain = plain.removesuffix(".0")
    if not (plain.isascii() and plain.isdecimal()) or len(plain) > 16 or int(plain) > _MOST_COUNT:
        raise ValueError(f"{name}: expected a whole number, not {text.strip()[:40]!r}")
    return int(plain)


def _nano(text: str) -> int:
    plain = text.removeprefix("$").strip()
    plain = plain.replace(",", "") if _GROUPED.fullmatch(plain.partition(".")[0]) else plain
    try:
        usd = Decimal(plain)
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite() or abs(usd) > _MOST_USD:
        raise ValueError(f"cost_usd: expected an amount like 12.34, not {text[:40]!r}")
    return int((usd * _NANO_PER_USD).to_integral_value())


_Bucket = Mapping[str, Any]
_USAGE: Mapping[str, Callable[[_Bucket], Iterator[Told]]] = {
    "uncached_input_tokens": read_anthropic_usage,
    "num_model_requests": read_openai_usage,
}


def _pages(pages: Iterable[Mapping[str, Any]], name: str) -> Report:
    """Saved answers of the vendors' endpoints, told apart by what their results hold."""
    found = Report()
    for page in pages:
        data = page["data"]
        for bucket in data if isinstance(data, list) else []:
            results = bucket.get("results") if isinstance(bucket, dict) else None
            first = results[0] if isinstance(results, list) and results and isinstance(results[0], dict) else {}
            reader = next((read for mark, read in _USAGE.items() if mark in first), None)
            try:
                if reader is not None:
                    found.usage += reader(bucket)
                elif "amount" in first:
                    cents = isinstance(first["amount"], str)
                    read = read_anthropic_costs if cents else read_openai_costs
                    found.costs = [*(found.costs or ()), *read(bucket)]
                elif first:
                    raise ConfigError(f"{name}: results of a kind that is not read: {', '.join(sorted(first))[:200]}")
            except ReportError as error:
                raise ConfigError(f"{name}: {error.message}") from None
    return found
