"""Tool calls that wait for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.control.people import Principal, Right
from headgate.control.problems import Conflict
from headgate.control.services import Rows
from headgate.core.actors import acting
from headgate.core.approvals import Parked, State
from headgate.core.errors import BadRequest, NotServed
from headgate.policy.guards.decisions import read_decision
from headgate.stores.approval_json import approval_json

if TYPE_CHECKING:
    from headgate.control.context import Control

MOST = 1_000


class Approvals:
    """A tenant-admin sees its tenant's, and decides none: what needs a person's approval is the owner's rule."""

    def __init__(self, control: Control) -> None:
        self._store = control.built.approvals
        self._now = control.now

    def list(self, who: Principal, *, state: str | None = None, limit: int = 50) -> Rows:
        """The newest first.

        Args:
            state: pending, approved, denied, used or expired; None: all.
            limit: 1 to 1,000.

        Raises:
            BadRequest: there is no such state, or the limit is out of range.
        """
        who.need(Right.READ)
        if state is not None and state not in tuple(State):
            raise BadRequest(f"state is one of {', '.join(State)}.")
        if not 1 <= limit <= MOST:
            raise BadRequest(f"limit is from 1 to {MOST}.")
        tenant = who.tenant_scope()
        found = self._store.list(state=None if state is None else State(state), limit=limit if tenant is None else MOST)
        mine = [parked for parked in found if tenant is None or parked.caller.tenant == tenant]
        return [self._shown(parked) for parked in mine[:limit]]

    def show(self, who: Principal, approval: str) -> dict[str, Any]:
        """One, with all of its arguments. Raises NotServed."""
        who.need(Right.READ)
        return self._shown(self._own(who, approval))

    def decide(
        self,
        who: Principal,
        approval: str,
        *,
        approve: bool,
        arguments: dict[str, Any] | None = None,
        reason: str = "",
    ) -> dict[str, Any]:
        """Approve or deny a call that waits; the first decision counts.

        Args:
            arguments: in place of the model's; only with `approve`.
            reason: for the record; of a denial, whoever asked is told.

        Raises:
            BadRequest: the arguments or the reason cannot be used.
            NotServed: there is none with that id.
            Conflict: it was decided before, or has expired.
        """
        who.need(Right.APPROVE)
        self._own(who, approval)
        word = "deny" if not approve else "approve" if arguments is None else "edit"
        told: dict[str, Any] = {"decision": word, "reason": reason}
        if arguments is not None:
            told["arguments"] = arguments
        try:
            decision = read_decision(told, who.name)
        except ValueError as error:
            raise BadRequest(f"{str(error).capitalize()}.") from None
        if decision is None:
            raise BadRequest("This is no decision.")
        with acting(who.actor):
            decided = self._store.decide(approval, decision)
        if decided.parked is None:
            raise _unknown()
        shown = self._shown(decided.parked)
        if not decided.made:
            raise Conflict(f"The call is {shown['state']}: it was decided before, or has expired.", code="decided")
        return shown

    def _own(self, who: Principal, approval: str) -> Parked:
        parked, tenant = self._store.get(approval), who.tenant_scope()
        if parked is None or (tenant is not None and parked.caller.tenant != tenant):
            raise _unknown()
        return parked

    def _shown(self, parked: Parked) -> dict[str, Any]:
        return approval_json(parked, self._now())


def _unknown() -> NotServed:
    return NotServed("There is no approval with this id.", code="no_approval")
