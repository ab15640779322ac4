"""What guards found over a time, counted by their words and by verdict, in PostgreSQL: in windows of numbers."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headgate.stores.logs.guard_counts import Counted, shapes_by_verdict
from headgate.stores.logs.postgres_link import Link
from headgate.stores.logs.query import GuardCounts
from headgate.stores.logs.rows import Shapes

_WINDOW = 200_000

# As json, and not as jsonb, which takes no NUL in anybody's tags.
_ASKED = """SELECT shape, (more::json -> 'guards')::text, count(*), max(n) FROM log_rows
WHERE n BETWEEN ? AND ? AND at >= ? AND at < ? AND keys && ?::bigint[] AND more LIKE '%"guards"%' GROUP BY 1, 2"""


def guard_counts(
    link: Link, shapes: Shapes, since: float, until: float, tenant: str | None, more_time: Callable[[], bool]
) -> GuardCounts:
    """As `guard_counts.guard_counts`."""
    verdicts = {each: verdict for verdict, some in shapes_by_verdict(shapes, tenant).items() for each in some}
    counted = Counted()
    # Not min(n): that one is looked for from the oldest row on.
    low, high = link.execute(
        "SELECT min(n + 0), max(n + 0) FROM log_rows WHERE at >= ? AND at < ?", (since, until)
    ).fetchone()
    while verdicts and low is not None and low <= high:
        first = max(low, high - _WINDOW + 1)
        found = link.execute(_ASKED, (first, high, since, until, sorted(verdicts))).fetchall()
        for shape_id, words, number, newest in found:
            for word in dict.fromkeys(msgspec.json.decode(words or "[]")):
                counted.add(word, verdicts[shape_id], number, newest)
        high = first - 1
        if low <= high and not more_time():
            (oldest,) = link.execute("SELECT at FROM log_rows WHERE n >= ? ORDER BY n LIMIT 1", (first,)).fetchone()
            return counted.made(link, oldest)
    return counted.made(link, None)
