"""The first use of a ledger by several threads at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from headgate.stores.sqlite import SqliteLedger

FIRST = 4


def test_threads_that_use_a_ledger_first_at_the_same_moment_count_as_one_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = SqliteLedger(f"sqlite:///{tmp_path / 'h.db'}")
    source, at_once = ledger._source, threading.Barrier(FIRST)

    def slow() -> Any:
        at_once.wait(10)  # all have seen that there is no writer yet
        return source()

    monkeypatch.setattr(ledger, "_source", slow)
    threads = [threading.Thread(target=ledger.shared) for _ in range(FIRST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    shared = ledger.shared()
    assert shared.users == 1
    ledger.close()  # else what is queued would be written some time later, and the file kept from the next
    assert shared.stopped.is_set()
