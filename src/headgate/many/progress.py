"""How far a run is: counted for the caller's own callback, and for a bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

from headgate.many.outcomes import Outcome

OnProgress = Callable[[int, int | None, int, Decimal], object]
"""Called after each item with (done, total, failed, cost_usd): `done` counts failed ones too, `total` is None where the
input does not tell its length."""

_REFRESH = 5  # per second


class Progress:
    """Counts what has ended. One thread's, or one loop's.

    Args:
        total: items in all, or None.
        tell: called after each.
        bar: draw one, if rich is installed and stderr is a terminal.
    """

    def __init__(self, total: int | None, tell: OnProgress | None, *, bar: bool) -> None:
        self.total = total
        self.done = self.failed = 0
        self.cost_usd = Decimal(0)
        self._tell = tell
        self._wanted = bar
        self._bar: Any = None
        self._line: Any = None

    def begin(self) -> None:
        """Draw the bar, where one is to be drawn."""
        if self._wanted and sys.stderr.isatty() and find_spec("rich") is not None:
            from rich import progress
            from rich.console import Console

            columns = (
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[said]}"),
            )
            self._bar = progress.Progress(*columns, console=Console(stderr=True), refresh_per_second=_REFRESH)
            self._line = self._bar.add_task("", total=self.total, said="")
            self._bar.start()

    def ended(self, outcome: Outcome[Any]) -> None:
        """Count one. Raises what the callback raises."""
        self.done += 1
        self.failed += not outcome.ok
        self.cost_usd += outcome.cost_usd
        if self._bar is not None:
            self._bar.update(self._line, completed=self.done, said=f"{self.failed} failed, {self.cost_usd:.4f} USD")
        if self._tell is not None:
            self._tell(self.done, self.total, self.failed, self.cost_usd)

    def close(self) -> None:
        """Leave the bar as it is. Idempotent."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
