"""A log's lines, the store they go into, and a clock. On the path by `conftest.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ledger_maker import EPOCH

from headgate.core.caller import Caller
from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Request, Route
from headgate.core.usage import Usage
from headgate.stores.log_line import LineMaker
from headgate.stores.logs.keeper import Ingested, LogKeeper
from headgate.stores.logs.place import LogPlace
from headgate.stores.logs.query import LogQuery
from headgate.stores.logs.reader import LogReader

ROUTE = Route("anthropic", "", "anthropic", "https://api.anthropic.example")


def log_exchange(
    number: int,
    *,
    at: float | None = None,
    message: str = "",
    answer: str = "",
    user: str = "ada",
    session: str = "s-1",
    tenant: str = "acme",
    model: str = "claude-haiku-4-5",
    ending: Ending = Ending.COMPLETE,
    cost: int = 1_000,
    seconds: float = 0.5,
    correlation: str = "",
    tags: dict[str, str] | None = None,
    task: str = "",
) -> Exchange:
    """An exchange that has ended `seconds` after it began; `at` is when."""
    ended = EPOCH + number if at is None else at
    started = ended - seconds
    caller = Caller("k1", tenant, user, session, task, tags=tags or {})
    facts = Facts(model=model, user_message=message)
    request = Request(
        "anthropic", "messages", "POST", "/v1/messages", (), b"{}", facts, caller, "gateway", correlation_id=correlation
    )
    attempt = Attempt(1, ROUTE, started, sent=True, first_content=started + seconds / 2, ended=ended)
    attempt.usage, attempt.cost_nano, attempt.model_served = Usage(10, 1, 2, 0, 5), cost, model
    attempt.request_id = f"req_{number}"
    name = f"ex_{int(started * 1000):012x}{number:016x}"
    status = 200 if ending is Ending.COMPLETE else 502
    return Exchange(name, request, started, [attempt], ending, None, ended, status, answer)


class LogWorld:
    """The lines in a file, as a gateway writes them, and one who takes them in."""

    def __init__(self, folder: Path, storage: str = "", **place: Any) -> None:
        self.now = EPOCH + 10_000
        self.size = 0
        self.folder = folder
        self.spool = folder / "headgate.db.log.jsonl"
        self.place = LogPlace(storage or f"sqlite:///{folder / 'headgate.db'}", self.spool, **place)
        self.store = folder / "headgate.db.log.db"
        self._maker = LineMaker(b"k" * 32, with_bodies=True)
        self._keepers: list[LogKeeper] = []
        self._readers: list[LogReader] = []
        self.keeper = self.another_keeper()

    def another_keeper(self) -> LogKeeper:
        keeper = self.place.keeper(now=lambda: self.now)
        self._keepers.append(keeper)
        return keeper

    @property
    def reader(self) -> LogReader:
        if not self._readers:
            self._readers.append(self.place.reader())
        return self._readers[0]

    def line(self, exchange: Exchange) -> bytes:
        return self._maker.line(exchange, self.now)

    def write(self, *exchanges: Exchange) -> None:
        self.write_raw(b"".join(self.line(each) + b"\n" for each in exchanges))

    def event(self, name: str, at: str = "2027-01-15T08:00:00.000Z", **fields: Any) -> None:
        self.write_raw(json.dumps({"timestamp": at, "event": name, **fields}).encode() + b"\n")

    def write_raw(self, raw: bytes) -> None:
        with self.spool.open("ab") as file:
            file.write(raw)

    def ingest(self) -> Ingested:
        found = self.keeper.ingest_once(5.0)
        assert found is not None
        return found

    def stored(self, *exchanges: Exchange) -> None:
        """Write, and take in."""
        self.write(*exchanges)
        assert self.keeper.catch_up()

    def found(self, **query: Any) -> list[str]:
        """The users' messages of what a search finds."""
        return [row.user_message for row in self.reader.search(LogQuery(**query)).rows]

    def ids(self, **query: Any) -> list[str]:
        return [row.exchange_id for row in self.reader.search(LogQuery(**query)).rows]

    def close(self) -> None:
        for each in (*self._keepers, *self._readers):
            each.close()
