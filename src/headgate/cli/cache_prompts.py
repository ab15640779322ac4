"""`headgate cache prompts`: what providers' prompt caches did for each prefix, from the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.money import NANO_PER_USD, usd_text

if TYPE_CHECKING:
    from pathlib import Path

    from headgate.settings.model import Settings

_PAGE = 1000
_MARK = b'"prompt_prefix":'


class _Line(msgspec.Struct):
    """Of a line of the log, what is asked here."""

    timestamp: str = ""
    prompt_prefix: str = ""
    tenant: str = ""
    task: str = ""
    model_served: str = ""
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    prompt_cache_saved_usd: Decimal = Decimal(0)


@dataclass(slots=True)
class PromptRow:
    """One prefix, of one tenant, on one model. `saved_nano`: nano-dollars by the price book, negative = lost."""

    prefix: str
    tenant: str
    model: str
    tasks: set[str]
    calls: int = 0
    hits: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
    uncached_tokens: int = 0
    saved_nano: int = 0

    @property
    def hit_rate(self) -> float:
        """Of its calls, those of which the provider had read something from its cache."""
        return self.hits / self.calls if self.calls else 0.0

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "prefix": self.prefix,
            "tenant": self.tenant,
            "model": self.model,
            "tasks": sorted(self.tasks),
            "calls": self.calls,
            "hits": self.hits,
            "hit_rate": round(self.hit_rate, 4),
            "read_tokens": self.read_tokens,
            "written_tokens": self.written_tokens,
            "uncached_tokens": self.uncached_tokens,
            "saved_usd": usd_text(self.saved_nano),
        }


def prompt_rows(settings: Settings, since: float) -> list[PromptRow]:
    """What the log says since then, those that have saved or lost most first.

    Args:
        since: seconds since the epoch.
    """
    found: dict[tuple[str, str, str], PromptRow] = {}
    for line in _lines(settings, since):
        key = (line.tenant, line.model_served, line.prompt_prefix)
        row = found.get(key)
        if row is None:
            row = found[key] = PromptRow(line.prompt_prefix, line.tenant, line.model_served, set())
        if line.task:
            row.tasks.add(line.task)
        row.calls += 1
        row.hits += line.cache_read_tokens > 0
        row.read_tokens += line.cache_read_tokens
        row.written_tokens += line.cache_write_tokens
        row.uncached_tokens += line.input_tokens
        row.saved_nano += int(line.prompt_cache_saved_usd * NANO_PER_USD)
    return sorted(found.values(), key=lambda row: (-abs(row.saved_nano), -row.read_tokens, row.prefix))


def _lines(settings: Settings, since: float) -> Iterator[_Line]:
    from headgate.settings.log import log_place_of
    from headgate.stores.logs.place import Logs
    from headgate.stores.opening import log_file

    place = log_place_of(settings)
    if place.why_not:
        yield from _of_file(log_file(settings.storage), since)
        return
    logs = Logs(place)
    try:
        yield from _of_store(logs, since)
    finally:
        logs.close()


def _of_store(logs: Any, since: float) -> Iterator[_Line]:
    from headgate.stores.logs.query import LogQuery

    reader, before = logs.fresh(), ""
    while True:
        page = reader.search(LogQuery(since=since, before=before, limit=_PAGE))
        for row in page.rows:
            if row.more.get("prompt_prefix"):
                saved = Decimal(str(row.more.get("prompt_cache_saved_usd", 0)))
                yield _Line(
                    "",
                    row.more["prompt_prefix"],
                    row.tenant,
                    row.task,
                    row.model_served,
                    row.input_tokens,
                    row.cache_read_tokens,
                    row.cache_write_tokens,
                    saved,
                )
        before = page.next
        if not before:
            return


def _of_file(path: Path, since: float) -> Iterator[_Line]:
    from headgate.stores.log_line import timestamp

    decoder, first = msgspec.json.Decoder(_Line), timestamp(since)
    try:
        with path.open("rb") as file:
            for raw in file:
                if _MARK not in raw:
                    continue
                try:
                    line = decoder.decode(raw)
                except msgspec.MsgspecError:
                    continue  # cut short by a kill: it says nothing
                if line.timestamp >= first and line.prompt_prefix:
                    yield line
    except FileNotFoundError:
        return
