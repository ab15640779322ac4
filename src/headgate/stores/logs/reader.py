"""Reading the log store, whatever database it is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headgate.stores.logs.query import GuardCounts, LogEvent, LogPage, LogQuery, LogRow, RollupRow, SessionPage


class LogReader(Protocol):
    """Searches, shows and sums what is in the log store. Every method blocks; any thread may call them.

    Every method raises `sqlite_reader.NoLogStore` (a ConfigError) where nothing was stored yet, Unavailable where the
    store cannot be read, and `query.BadQuery` (a ValueError) where the question makes no sense.
    """

    def search(self, query: LogQuery) -> LogPage:
        """The exchanges that fit, the newest first. It takes a second at most: see `LogPage.searched_to`."""
        ...

    def show(self, exchange_id: str, tenant: str | None = None) -> LogRow | None:
        """One exchange with everything that is kept of it; None where there is none of this id."""
        ...

    def conversation(self, session: str, tenant: str | None = None, limit: int = 50, after: str = "") -> LogPage:
        """The exchanges of a session, the oldest first."""
        ...

    def sessions(self, query: LogQuery) -> SessionPage:
        """Sessions with an exchange that fits, the one whose newest such exchange is newest first.

        A session is on one page only, whatever is logged meanwhile. It takes a second at most, as `search`.

        Args:
            query: `limit` is sessions of a page, `before` is `SessionPage.next`.
        """
        ...

    def correlated(self, correlation_id: str, tenant: str | None = None, limit: int = 50, after: str = "") -> LogPage:
        """The exchanges of one correlation id, the oldest first."""
        ...

    def since_id(self, after_id: str, query: LogQuery) -> LogPage:
        """Of what was stored behind a row (`LogRow.id`, or `newest`), the newest that fits, the newest first.

        Nothing older is on a page after it: whoever follows what comes in faster than it is asked for sees the newest.

        Args:
            after_id: "": all that is stored.
            query: its `before` is not looked at.

        Returns:
            `next`: where to ask on from, always. `searched_to`: not None: there may be more between, older than this.
        """
        ...

    def newest(self) -> str:
        """The place of the row that was stored last, for `since_id`; "" where there is none."""
        ...

    def events(
        self,
        names: Sequence[str] = (),
        since: float | None = None,
        until: float | None = None,
        before: str = "",
        limit: int = 50,
    ) -> tuple[LogEvent, ...]:
        """Lines that are not about an exchange, the newest first; `before` is the `id` of the last of a page before."""
        ...

    def rollup(
        self,
        since: float,
        until: float,
        step: str = "hour",
        by: str | None = None,
        tenant: str | None = None,
        values: Sequence[str] = (),
    ) -> list[RollupRow]:
        """Sums by step of time and, if told, by a dimension: the oldest first, then the dearest.

        Args:
            since, until: seconds since the epoch; the steps that begin in there, and the one that `since` is in.
            step: "minute" (3 days are kept), "hour" (62 days; by user 8) or "day" (400 days, UTC's).
            by: one of `query.DIMENSIONS`; None: nothing. There are minutes by `rollups.BY_MINUTE` only.
            tenant: only this one's; None: all.
            values: of the dimension, told apart; all others are "" together. None of them: every value is told apart,
                which by user are very many rows.
        """
        ...

    def top(
        self,
        since: float,
        until: float,
        by: str,
        tenant: str | None = None,
        limit: int = 10,
        order: str = "cost_nano",
    ) -> list[RollupRow]:
        """The values of a dimension that have most over a time, the greatest first; without histograms.

        Args:
            since, until: seconds since the epoch; by whole hours up to two days, else by whole days (UTC's).
            by: one of `query.DIMENSIONS`. tenant: only this one's; None: all.
            order: one of `rollups.COUNTS`.
        """
        ...

    def guards(self, since: float, until: float, tenant: str | None = None) -> GuardCounts:
        """What guards found in exchanges that ended in between, by word and verdict: all of it, by the index.

        Args:
            since, until: seconds since the epoch; `until` is not included.
            tenant: only this one's; None: all.
        """
        ...

    def span(self) -> tuple[float, float] | None:
        """The times of the exchanges that were stored first and last, of those that are kept; None: there is none."""
        ...

    def behind(self, spool: str) -> int:
        """Bytes of a file of JSON lines that are not in the store yet."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
