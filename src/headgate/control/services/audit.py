"""The audit log: read, and looked through for what is not as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from headgate.control.people import Principal, Right
from headgate.control.services import Rows
from headgate.core.errors import BadRequest
from headgate.stores.audit_log import FIRST, MOST, AuditRow, Verified, read_audit, read_rows, verify
from headgate.stores.reader import Reader

if TYPE_CHECKING:
    from headgate.control.context import Control


class Audit:
    """Not for a tenant-admin: who does what is everybody's."""

    def __init__(self, control: Control) -> None:
        self._ledger = control.built.ledger

    def list(
        self,
        who: Principal,
        *,
        below: int | None = None,
        limit: int = 50,
        actor: str = "",
        action: str = "",
        subject: str = "",
        tenant: str | None = None,
    ) -> Rows:
        """The newest first.

        Args:
            below: only rows with a smaller number: the last one of the page before.
            limit: 1 to 1,000.
            actor, action, subject: only rows with this value; "" = all.
            tenant: only rows of this tenant; None = all.

        Raises:
            BadRequest: the limit is out of range.
        """
        who.need(Right.READ_ALL)
        if not 1 <= limit <= MOST:
            raise BadRequest(f"limit is from 1 to {MOST}.")
        told = {name: value for name, value in (("actor", actor), ("action", action), ("subject", subject)) if value}

        def ask(sql: Connection) -> list[AuditRow]:
            return read_rows(sql, below=below, limit=limit, tenant=tenant, **told)

        none: list[AuditRow] = []
        return [row.as_json() for row in read_audit(self._reader(), ask, empty=none)]

    def verify(self, who: Principal, *, number: int | None = None, digest: str = "") -> dict[str, Any]:
        """Read the whole chain: ``{"sound", "rows", "head", "broken", "why"}``.

        Args:
            number, digest: of a row, noted at an earlier time.
        """
        who.need(Right.READ_ALL)
        noted = (number, digest) if number is not None and digest else None
        found = read_audit(self._reader(), lambda sql: verify(sql, noted), empty=Verified(0, FIRST))
        return {
            "sound": found.broken is None,
            "rows": found.rows,
            "head": found.head,
            "broken": found.broken,
            "why": found.why,
        }

    def _reader(self) -> Reader:
        """Beside the writer, which has money to decide about."""
        self._ledger.flush()
        return self._ledger.reader()
