"""A simulator, and a gateway in a thread in front of it; what both of them wrote down."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

from headgate.build import Built, build
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.gateway.limits import Limits
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.settings import load

PROVIDER_KEYS = {"ANTHROPIC_API_KEY": "provider-key-of-anthropic", "OPENAI_API_KEY": "provider-key-of-openai"}


class Gateway:
    """A gateway on a free loopback port, with its own ledger; a context manager.

    Args:
        folder: where the ledger and the log go.
        anthropic_url, openai_url: the providers.
        keys: virtual keys, by the key itself.
        limits: of the connections.
        env: more settings, as HEADGATE_* variables.
        overrides: top-level keys of headgate.yaml.
    """

    def __init__(
        self,
        folder: Path,
        anthropic_url: str,
        openai_url: str,
        *,
        keys: Mapping[str, KeyRecord] | None = None,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = folder
        told = {
            "ANTHROPIC_BASE_URL": anthropic_url,
            "OPENAI_BASE_URL": openai_url,
            "HEADGATE_STORAGE": f"sqlite:///{folder / 'gateway.db'}",
            **PROVIDER_KEYS,
            **(env or {}),
        }
        self.built: Built = build(load(env=told, overrides=overrides or {}), env=told, wait=lambda state: 0.0)
        self.built.ledger.open()
        self.ring = KeyRing(loopback=True)
        for key, record in (keys or {}).items():
            self.ring.add(digest(key), record)
        app = create(self.built, ring=self.ring, admin_token=Secret("t" * 40))
        self.refused: dict[str, int] = {}

        def refused(counts: dict[str, int]) -> None:
            for code, count in counts.items():
                self.refused[code] = self.refused.get(code, 0) + count

        options = ServerOptions(on_refused=refused, port=0, drain_seconds=5.0, tune_gc=False, limits=limits or Limits())
        self._server = BackgroundServer(app, options)
        self.url = self._server.url

    def __enter__(self) -> Gateway:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self.built.close()

    def exchange(self, exchange_id: str) -> dict[str, Any]:
        """One exchange's row."""
        return next(row for row in self.rows("exchanges") if row["id"] == exchange_id)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What the ledger holds."""
        self.built.ledger.flush()
        return rows(self.folder / "gateway.db", table)

    def lines(self) -> list[dict[str, Any]]:
        """What the log holds."""
        self.built.log.flush()
        return lines(self.folder / "gateway.db.log.jsonl")


def rows(ledger: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table, by column."""
    with closing(sqlite3.connect(ledger)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]


def lines(log: Path) -> list[dict[str, Any]]:
    """All records of a log; [] where there is none yet."""
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().splitlines()]


def only(found: Sequence[Any]) -> Any:
    """The one there is."""
    assert len(found) == 1, found
    return found[0]
