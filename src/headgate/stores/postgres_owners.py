"""Who writes a ledger in PostgreSQL: heartbeats by the database's clock, and the end of those without one.

Any number of processes write. Each has a row in `owners`; one whose heartbeat is old is dead, and whoever notices
charges what it left open. A process that was only stopped for a while finds its row gone, and enters itself anew.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sqlalchemy import Connection, text

from headgate.stores.dialects import SESSION_BITS
from headgate.stores.intents import intents_in, read_intents
from headgate.stores.sweep import Tell, charge_accounts, charge_lost

HEARTBEAT_SECONDS = 10.0
SWEEP_SECONDS = 30.0
DEAD_SECONDS = 60.0
"""Of an owner's silence, after which what it left open is charged."""

_SWEEP_LOCK = 0x68656164_67617402
"""As `dialects._MIGRATION_LOCK`: "headgat", 2."""

_NOW = "extract(epoch from clock_timestamp())::float8"
_ENTER = text(
    f"INSERT INTO owners (id, pid, started, heartbeat, session) "  # noqa: S608
    f"VALUES (:id, :pid, {_NOW}, {_NOW}, nextval('session_numbers')) ON CONFLICT (id) DO UPDATE SET "
    "heartbeat = excluded.heartbeat, session = excluded.session RETURNING session"
)
_DOUBTFUL = text("DELETE FROM intents WHERE owner = :id AND id = ANY(:doubtful) RETURNING intents")
_BEAT = text(f"UPDATE owners SET heartbeat = {_NOW} WHERE id = :id AND session = :session")  # noqa: S608
# While the database itself was down, nobody could tell it that he was alive.
_BURY = text(
    "DELETE FROM owners "  # noqa: S608
    f"WHERE greatest(heartbeat, extract(epoch from pg_postmaster_start_time())::float8) < {_NOW} - :seconds"
)
_LOST = text(
    "SELECT DISTINCT owner FROM intents WHERE NOT EXISTS (SELECT 1 FROM owners WHERE owners.id = intents.owner)"
)
_FORGET = text("DELETE FROM intents WHERE owner = ANY(:owners)")


def enter(connection: Connection, owner: str, doubtful: Sequence[int]) -> int:
    """Enter this process among the writers, in place of any earlier connection of its own.

    It waits until a transaction of that connection which is still under way has ended; what comes of it later is not
    taken. So nothing can become of `doubtful` any more, after they are removed here.

    Args:
        connection: outside a transaction.
        doubtful: rows of `intents` of which we were never told whether they are durable. Nobody was let through on
            them, so what they hold is given back.

    Returns:
        The session's number: see `dialects.SESSION_BITS`.
    """
    with connection.begin():
        session = int(connection.execute(_ENTER, {"id": owner, "pid": os.getpid()}).scalar_one())
        if doubtful:
            rows = connection.execute(_DOUBTFUL, {"id": owner, "doubtful": list(doubtful)})
            intents = [intent for (row,) in rows for intent in intents_in(owner, row)]
            charge_accounts(connection, intents, spent=False)
    return session


def first_number(session: int) -> int:
    """What a session's row numbers come after."""
    return session << SESSION_BITS


def beat(connection: Connection, owner: str, session: int) -> bool:
    """Tell that we live. False: we were taken for dead, or another connection of ours has taken over."""
    with connection.begin():
        return connection.execute(_BEAT, {"id": owner, "session": session}).rowcount == 1


def leave(connection: Connection, owner: str) -> None:
    """We write no more. What is still open is charged by the next sweep."""
    with connection.begin():
        connection.execute(text("DELETE FROM owners WHERE id = :id"), {"id": owner})


def sweep_dead(connection: Connection, tell: Tell) -> int:
    """Charge what owners left open who are gone, or silent for :data:`DEAD_SECONDS`. One process at a time.

    Args:
        connection: outside a transaction.
        tell: as for `sweep.charge_lost`.

    Returns:
        The number of exchanges that were closed; 0 where another process is at it.
    """
    with connection.begin():
        if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _SWEEP_LOCK}).scalar():
            return 0
        # Waits for a commit of theirs that is under way: then they are alive, or it is charged, too.
        connection.execute(_BURY, {"seconds": DEAD_SECONDS})
        owners = [owner for (owner,) in connection.execute(_LOST)]
        if not owners:
            return 0
        gone = set(owners)
        lost = [intent for intent in read_intents(connection) if intent.owner in gone]
        now = float(connection.execute(text(f"SELECT {_NOW}")).scalar_one())
        count = charge_lost(connection, lost, now, tell)
        connection.execute(_FORGET, {"owners": owners})
        return count
