"""What `headgate batch` shows: a batch in lines, in a table, and as a bar with what it costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from headgate.cli.text import count, moment
from headgate.stores.batch_items import Item

if TYPE_CHECKING:
    from rich.console import Console

    from headgate.jobs.batch import BatchStatus

_REFRESH = 4  # per second
_WORDS = ("succeeded", "failed", "broken", "cancelled", "waiting", "sent", "same", "maybe_twice")


def facts(status: BatchStatus) -> dict[str, Any]:
    """For `--json`."""
    return {
        "id": status.id,
        "name": status.name,
        "via": status.via,
        "state": status.state,
        "total": status.total,
        **{name: getattr(status, name) for name in _WORDS},
        "cost_usd": f"{status.cost_usd:f}",
        "created": moment(status.created),
        "ended": None if status.ended is None else moment(status.ended),
        "why": status.why,
    }


def status_lines(status: BatchStatus) -> Iterator[str]:
    """One batch."""
    yield f"{status.id}  {status.name}  via {status.via}  {status.state}  {_cost(status)}"
    told = [f"{count(getattr(status, name))} {name}" for name in _WORDS[:-1] if getattr(status, name)]
    yield f"  {count(status.total)} lines: {', '.join(told) or 'none'}"
    if status.maybe_twice:
        yield f"  {count(status.maybe_twice)} were under way at a kill, and may have been paid twice"
    if status.why:
        yield f"  {status.why}"


def failure_lines(found: Sequence[Item], status: BatchStatus) -> Iterator[str]:
    """The first that have failed."""
    for each in found:
        yield f"  line {each.line} ({each.custom_id}): {each.reason}"
    more = status.failed + status.broken - len(found)
    if more > 0:
        yield f"  … and {count(more)} more; all are in the results"


def table_rows(every: Sequence[BatchStatus]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of all batches."""
    heads = ["batch", "file", "via", "state", "lines", "done", "failed", "cost", "created"]
    rows = [
        [
            each.id,
            each.name,
            each.via,
            each.state,
            count(each.total),
            count(each.done),
            count(each.failed + each.broken),
            _cost(each),
            moment(each.created),
        ]
        for each in every
    ]
    return heads, rows


def _cost(status: BatchStatus) -> str:
    text = f"{status.cost_usd:f}"
    return f"${text.rstrip('0').rstrip('.') if '.' in text else text}"


class Bar:
    """A bar with the cost so far and the time left, on a terminal; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Any = None
        self._line: Any = None
        self._began = time.monotonic()
        self._first: int | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, status: BatchStatus) -> None:
        """How far it is now. Called from the thread that runs."""
        if not self._console.is_terminal:
            return
        if self._bar is None:
            from rich import progress

            columns = (
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[said]}"),
            )
            self._bar = progress.Progress(*columns, console=self._console, refresh_per_second=_REFRESH)
            self._line = self._bar.add_task("", total=status.total, said="")
            self._bar.start()
            self._first = status.done
        self._bar.update(self._line, completed=status.done, said=f"{_cost(status)}, {self._left(status)}")

    def _left(self, status: BatchStatus) -> str:
        """The time left, at the pace since this run began."""
        done = status.done - (self._first or 0)
        seconds = time.monotonic() - self._began
        if done <= 0 or seconds <= 0:
            return "…"
        left = int((status.total - status.done) * seconds / done)
        return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
