"""What doors to the ledger share: this process as its writer, where no gateway is, and as a writer of its log."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.settings.model import Settings
    from headgate.stores.ledger import WrittenLedger
    from headgate.stores.log import LineLog


def as_command_line() -> AbstractContextManager[None]:
    """Inside, this process changes things as whoever runs the command."""
    from headgate.cli.control import user
    from headgate.core.actors import Actor, acting

    return acting(Actor(user(), "admin", "cli"))


class LedgerDoor:
    """A context manager; closes the ledger, where it was opened."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger: WrittenLedger | None = None
        self._acting = as_command_line()

    def __enter__(self) -> Self:
        self._acting.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._acting.__exit__(None, None, None)
        if self._ledger is not None:
            self._ledger.close()

    def _own(self, hint: str = "") -> WrittenLedger:
        """The ledger with this process as a writer of it.

        Args:
            hint: what else can be done where another program writes it; "" = nothing.

        Raises:
            ConfigError: another process writes it, and it takes one only.
        """
        from headgate.stores.lockfile import read_lock
        from headgate.stores.opening import open_beside, sqlite_file

        self._ledger = open_beside(self._settings.storage)
        self._ledger.on_killed(self._tell_killed)
        try:
            self._ledger.open()
        except ConfigError as error:
            file = sqlite_file(self._settings.storage)
            if not hint or file is None or read_lock(file) is None:
                raise
            raise ConfigError([*error.mistakes, hint]) from None
        return self._ledger

    def _tell_killed(self, lines: Sequence[dict[str, Any]]) -> None:
        """Exchanges that were found dead when the ledger was opened have lines, as if a gateway had found them."""
        log = self._log()
        log.killed(lines)
        log.close()

    def _log(self) -> LineLog:
        """What is changed is on record in the log, as the gateway would put it."""
        from headgate.stores.log import LineLog
        from headgate.stores.opening import log_file, log_key_file

        storage = self._settings.storage
        return LineLog(log_file(storage), key_file=log_key_file(storage))
