"""Who asks, and what a role may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from headgate.core.actors import Actor
from headgate.core.errors import Denied

Role = Literal["admin", "operator", "viewer", "tenant-admin"]
ROLES: tuple[Role, ...] = get_args(Role)


class Right(StrEnum):
    """What can be allowed. Whoever has none of a route's right gets 403."""

    READ = "read"
    """Exchanges, usage, budgets, limits, keys, approvals, jobs, prices: a tenant-admin's are its tenant's."""
    READ_ALL = "read-all"
    """What belongs to no tenant: configuration, providers, alerts, incidents, the audit log."""
    KEYS = "keys"
    """Make, rotate and revoke virtual keys."""
    CAPS = "caps"
    """Change budgets' caps."""
    APPROVE = "approve"
    """Decide about tool calls that wait for a person."""
    JOBS = "jobs"
    """Cancel and retry batches and deferred jobs; run the demonstration."""
    ALERTS = "alerts"
    """Acknowledge alerts."""
    INCIDENTS = "incidents"
    """Stop, slow or degrade traffic; lift breakers."""
    CACHE = "cache"
    """Forget kept answers."""
    ERASE = "erase"
    """Erase what the log keeps of a user or session."""
    PEOPLE = "people"
    """People, their passwords, sessions and API tokens."""
    SELF = "self"
    """One's own name, password and sessions."""


_OPERATES = {Right.CAPS, Right.APPROVE, Right.JOBS, Right.ALERTS, Right.INCIDENTS, Right.CACHE}
RIGHTS: dict[Role, frozenset[Right]] = {
    "admin": frozenset(Right),
    "operator": frozenset({Right.READ, Right.READ_ALL, Right.SELF, *_OPERATES}),
    "viewer": frozenset({Right.READ, Right.READ_ALL, Right.SELF}),
    "tenant-admin": frozenset({Right.READ, Right.KEYS, Right.CAPS, Right.ERASE, Right.SELF}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody, or a program, whose identity is established.

    Attributes:
        name: a person's, or ``token:<name>``, or "owner" (the machine's, on loopback without people), or "cli".
        tenant: of a tenant-admin; "" else.
        way: how it comes: "dashboard" (a browser's session), "api" (a token), "cli" (the control token), "owner".
        address: where from; "" = not known.
    """

    name: str
    role: Role
    tenant: str = ""
    way: str = "api"
    address: str = ""

    def tenant_scope(self) -> str | None:
        """The one tenant that it may see and touch; None: all of them.

        Raises:
            Denied: a tenant-admin without a tenant, which nobody can make, sees nothing.
        """
        if self.role != "tenant-admin":
            return None
        if not self.tenant:
            raise Denied("A tenant-admin needs a tenant.", code="forbidden", status_hint=403)
        return self.tenant

    @property
    def actor(self) -> Actor:
        """For the audit log: ``with acting(who.actor):``."""
        return Actor(self.name, self.role, self.way, self.address)

    def may(self, right: Right) -> bool:
        """Whether its role has a right."""
        return right in RIGHTS[self.role]

    def need(self, right: Right) -> None:
        """Raises Denied (403) where it has not the right."""
        if not self.may(right):
            raise Denied(f"The role {self.role} may not do this: it needs {right}.", code="forbidden", status_hint=403)
