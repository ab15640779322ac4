"""Rows of the log store as its tables have them, and what exchanges have in common beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headgate.stores.logs.lines import Shape, shared_values
from headgate.stores.logs.sql import Sql

COLUMNS = (
    'n, at, shape, exchange_id, request_id, correlation_id, session, "user", input_tokens, output_tokens, '
    "cache_read_tokens, cache_write_tokens, latency_ms, ttft_ms, cost_nano, saved_nano, more"
)
MORE = 16
"""Where `more` is among them."""

Row = tuple[Any, ...]


class Shapes:
    """The shapes of a store, as far as they were read; they never change."""

    def __init__(self) -> None:
        self.by_id: dict[int, Shape] = {}
        self._last = 0

    def refresh(self, sql: Sql) -> None:
        """Read those that are new."""
        found = sql.execute("SELECT id, tail FROM log_shapes WHERE id > ? ORDER BY id", (self._last,))
        for shape_id, tail in found.fetchall():
            self.by_id[shape_id] = Shape(shape_id, bytes(tail), shared_values(bytes(tail)))
            self._last = shape_id

    def matching(self, wanted: Callable[[Shape], bool]) -> frozenset[int]:
        """The ids of those that will do."""
        return frozenset(shape_id for shape_id, shape in self.by_id.items() if wanted(shape))
