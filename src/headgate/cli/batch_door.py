"""Batches of a ledger that a running gateway writes: handed to it, and watched."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headgate.core.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from headgate.jobs.batch import BatchStatus
    from headgate.jobs.submitting import Submitted
    from headgate.settings.model import Settings

LOOK = 0.5
"""Seconds between two looks at how far a batch is."""
READ_SECONDS = 3600.0
"""How long the gateway may take to read a file."""


class RunningGateway:
    """The gateway that writes the ledger's file.

    Every method raises ConfigError where the gateway says no, Unavailable where it does not answer.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def submit(self, file: str, terms: dict[str, Any]) -> tuple[Submitted, BatchStatus]:
        """Have a file read; nothing is sent."""
        from headgate.jobs.submitting import Submitted

        path = Path(file).absolute()
        if path.exists() and not path.is_file():
            raise ConfigError(f"{file}: the running gateway reads it, and it is no plain file that it could read")
        told = self._ask("POST", "", {"file": str(path), **terms}, seconds=READ_SECONDS)
        submitted = told["submitted"]
        broken = [(int(line), str(why)) for line, why in submitted["broken"]]
        return Submitted(**{**submitted, "broken": broken}), _status(told["batch"])

    def run(self, batch_id: str, *, retry_failed: bool, concurrency: int) -> BatchStatus:
        """Have it worked at."""
        fields: dict[str, Any] = {"retry_failed": retry_failed, "concurrency": concurrency}
        return _status(self._ask("POST", f"/{quote(batch_id, safe='')}/run", fields)["batch"])

    def cancel(self, batch_id: str) -> BatchStatus:
        """Have nothing more of it begun."""
        return _status(self._ask("POST", f"/{quote(batch_id, safe='')}/cancel", {})["batch"])

    def remove(self, batch_id: str) -> None:
        """Have it forgotten. It is over."""
        self._ask("DELETE", f"/{quote(batch_id, safe='')}", None)

    def watch(self, batch_id: str, on_progress: Callable[[BatchStatus], object]) -> BatchStatus:
        """Return when the gateway does not work at it any more."""
        while True:
            told = self._ask("GET", f"/{quote(batch_id, safe='')}", None)
            status = _status(told["batch"])
            on_progress(status)
            if not told["working"]:
                return status
            time.sleep(LOOK)

    def _ask(self, method: str, path: str, fields: dict[str, Any] | None, *, seconds: float = 60.0) -> dict[str, Any]:
        from headgate.cli.control import ask_running

        found = ask_running(self._file, method, f"/batches{path}", fields, seconds=seconds)
        if found is None:
            raise Unavailable("the gateway has stopped; what it had begun goes on with the next `headgate serve`")
        return found


def gateway_of(settings: Settings) -> RunningGateway | None:
    """The gateway that writes this ledger's file; None where there is none, or the ledger is in no file."""
    from headgate.cli.control import ask_running
    from headgate.stores.lockfile import read_lock
    from headgate.stores.opening import sqlite_file

    file = sqlite_file(settings.storage)
    lock = None if file is None else read_lock(file)
    if file is None or lock is None or not lock.url or ask_running(file, "GET", "/cache") is None:
        return None  # a lock file may outlive its gateway
    return RunningGateway(file)


def _status(told: dict[str, Any]) -> BatchStatus:
    from headgate.jobs.batch import BatchStatus

    return BatchStatus(**{**told, "cost_usd": Decimal(told["cost_usd"])})
