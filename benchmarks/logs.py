"""The log store at size: how soon a search and the overview's sums answer, and what taking lines in costs.

`python -m benchmarks.logs --rows 5000000` needs 15 GB of disk and half an hour; the default is smaller.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import parts
from benchmarks.logs_lines import DAYS, START, USERS, Lines, days_back, queries
from benchmarks.report import Number, percentile
from headgate.stores.logs.place import LogPlace
from headgate.stores.logs.query import LogQuery
from headgate.stores.logs.reader import LogReader

PARTS = ("search", "overview", "pages", "ingest")
ROWS = 300_000
_AT_ONCE = 50_000
_ROUNDS = 8
_DEEP = 30
_SECOND = 1000.0


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.logs", description=__doc__)
    parser.add_argument("part", nargs="*", type=parts.part_of(PARTS), help=", ".join(PARTS))
    parser.add_argument("--rows", type=int, default=ROWS, help=f"exchanges in the store (default {ROWS:,})")
    parser.add_argument("--folder", type=Path, help="where the store is made and stays, and is found again")
    parts.add_outputs(parser)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = told.folder or Path(scratch)
        made: list[LogReader] = []

        def reader() -> LogReader:
            if not made:
                made.append(build(folder, told.rows))
            return made[0]

        return parts.run(
            told,
            {
                "search": lambda: searches(reader()),
                "overview": lambda: overview(reader()),
                "pages": lambda: pages(folder, reader()),
                "ingest": lambda: ingest(Path(scratch)),
            },
        )


def build(folder: Path, rows: int) -> LogReader:
    """A store of so many exchanges over a month; one that is there is taken."""
    folder.mkdir(parents=True, exist_ok=True)
    place = _place(folder)
    done = folder / f"built-{rows}"
    if not done.exists():
        lines = Lines(rows, bodies=True)
        keeper = place.keeper(now=lambda: clock[0])
        clock = [START]
        began, left = time.monotonic(), rows
        while left:
            some = min(left, _AT_ONCE)
            _append(place, lines.some(some))
            left -= some
            clock[0] = START + (rows - left) / rows * DAYS * 86_400
            while True:
                found = keeper.ingest_once(5.0)
                if found is not None and not found.behind:
                    break
            rate = (rows - left) / (time.monotonic() - began)
            print(f"\r{rows - left:,} of {rows:,}, {rate:,.0f} a second ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        clock[0] += 1000.0
        keeper.ingest_once(5.0)
        keeper.close()
        done.touch()
    else:
        keeper = place.keeper(now=lambda: START + DAYS * 86_400)
        keeper.ingest_once(5.0)  # nothing but its form, where an older Headgate has made it
        keeper.close()
    return place.reader()


def _place(folder: Path) -> LogPlace:
    # So large that nothing goes; the JSON lines are emptied as they are taken in.
    return LogPlace(
        f"sqlite:///{folder / 'h.db'}", folder / "h.jsonl", keep_seconds=30 * 86_400, keep_bytes=10**13, spool_bytes=1
    )


def _append(place: LogPlace, raw: bytes) -> None:
    assert place.spool is not None
    with place.spool.open("ab") as file:
        file.write(raw)


def _timed(work: Callable[[], object]) -> tuple[float, float, object]:
    """Milliseconds by the clock and of CPU, and what came of it."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000, found


def searches(reader: LogReader) -> Iterator[Number]:
    """First pages and deep ones, of each kind; the first round is with whatever the system has in memory."""
    walls: list[float] = []
    cpus: list[float] = []
    stopped: dict[str, int] = {}
    of_kind: dict[str, list[float]] = {}
    dice = random.Random(3)
    for _ in range(_ROUNDS):
        for kind, told in queries(dice):
            wall, cpu, page = _timed(lambda told=told: reader.search(LogQuery(**told)))  # type: ignore[misc]
            walls.append(wall)
            cpus.append(cpu)
            of_kind.setdefault(kind, []).append(wall)
            stopped[kind] = stopped.get(kind, 0) + (page.searched_to is not None)  # type: ignore[attr-defined]
    yield Number("logs", "search, p95", percentile(walls, 95), "ms", _SECOND, note=f"CPU {percentile(cpus, 95):.0f} ms")
    yield Number("logs", "search, longest", max(walls), "ms", note=f"CPU {max(cpus):.0f} ms")
    for kind, times in of_kind.items():
        late = f", {stopped[kind]} of {_ROUNDS} told how far they had looked" if stopped[kind] else ""
        yield Number("logs", f"search: {kind}", max(times), "ms", note=f"the slowest of {_ROUNDS}{late}")
    yield from _deep(reader)


def _deep(reader: LogReader) -> Iterator[Number]:
    walls = []
    for told in ({"text": "w1"}, {"fields": {"model": "claude-haiku-4-5"}}, {"text": "w900", "tenant": "t3"}):
        before = ""
        for _ in range(_DEEP):
            wall, _, page = _timed(
                lambda told=told, before=before: reader.search(LogQuery(before=before, limit=100, **told))
            )  # type: ignore[misc, arg-type]
            walls.append(wall)
            before = page.next  # type: ignore[attr-defined]
    yield Number("logs", f"search, {_DEEP} pages deep, p95", percentile(walls, 95), "ms", _SECOND)


def overview(reader: LogReader) -> Iterator[Number]:
    """What the overview asks: sums over a day, a week, a month; who spent most; what has changed since yesterday."""
    end = START + DAYS * 86_400

    def since_yesterday() -> object:
        return [
            reader.rollup(days_back(back), days_back(back - 1), "hour", by)
            for back in (2, 1)
            for by in (None, "model", "task", "error")
        ]

    asked: dict[str, Callable[[], object]] = {
        "24 hours by minute": lambda: reader.rollup(days_back(1), end, "minute"),
        "24 hours by hour and model": lambda: reader.rollup(days_back(1), end, "hour", "model"),
        "7 days by hour": lambda: reader.rollup(days_back(7), end, "hour"),
        "7 days by hour, one tenant": lambda: reader.rollup(days_back(7), end, "hour", None, "t3"),
        "30 days by day and model": lambda: reader.rollup(days_back(30), end, "day", "model"),
        "top users, 24 hours": lambda: reader.top(days_back(1), end, "user"),
        "top users, 7 days": lambda: reader.top(days_back(7), end, "user"),
        "top users, 30 days": lambda: reader.top(days_back(30), end, "user"),
        "top users of a tenant, 30 days": lambda: reader.top(days_back(30), end, "user", "t3"),
        "what has changed since yesterday": since_yesterday,
    }
    for name, work in asked.items():
        times = [_timed(work) for _ in range(5)]
        cpu = max(each[1] for each in times)
        yield Number("logs", f"sums: {name}", max(each[0] for each in times), "ms", _SECOND, note=f"CPU {cpu:.0f} ms")


def pages(folder: Path, reader: LogReader) -> Iterator[Number]:
    """What a person waits for. The reader is there so that the store is."""
    from benchmarks.logs_pages import served

    assert reader.newest()
    yield from served(folder)


def ingest(folder: Path) -> Iterator[Number]:
    """CPU of taking a line in, as it comes: a few each half second, and then what is summed up behind them. With words
    it is mostly the full-text index."""
    for users, bodies in ((50, False), (1_000, False), (USERS, False), (USERS, True)):
        place = _place(folder / f"ingest-{users}-{bodies}")
        assert place.spool is not None
        place.spool.parent.mkdir(parents=True)
        clock = [START]
        keeper = place.keeper(now=lambda clock=clock: clock[0])  # type: ignore[misc]
        lines = Lines(DAYS * 86_400 * 400, bodies=bodies, users=users)  # 400 a second
        made = [lines.some(200) for _ in range(300)]
        keeper.ingest_once(5.0)
        spent = 0.0
        for some in made:
            _append(place, some)
            clock[0] += 0.5
            spent -= time.thread_time()
            found = keeper.ingest_once(5.0)
            spent += time.thread_time()
            assert found is not None
            assert found.exchanges == 200
        clock[0] += 1000.0
        spent -= time.thread_time()
        keeper.ingest_once(5.0)
        spent += time.thread_time()
        keeper.close()
        name = f"taking in a line, {users:,} users{', with words' if bodies else ''}"
        yield Number("logs", name, spent / 60_000 * 1e6, "us of CPU", note="200 each half second")


if __name__ == "__main__":
    raise SystemExit(main())
