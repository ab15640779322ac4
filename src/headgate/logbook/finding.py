"""All pages of a search, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from headgate.stores.logs.query import LogQuery, LogRow
from headgate.stores.logs.reader import LogReader

_PAGE = 500


def found(reader: LogReader, query: LogQuery, most: int | None = None) -> Iterator[LogRow]:
    """Every exchange that fits, the newest first, however long that takes.

    Args:
        most: stop after so many; None: all.
    """
    left = most
    query = replace(query, limit=_PAGE)
    while True:
        page = reader.search(query)
        for row in page.rows:
            if left is not None:
                if left <= 0:
                    return
                left -= 1
            yield row
        if not page.next:
            return
        query = replace(query, before=page.next)


def whole(reader: LogReader, row: LogRow) -> LogRow:
    """With its request, which a search does not bring."""
    return reader.show(row.exchange_id) or row
