"""Routes about people: who asks, people, API tokens, the audit log; and the configuration."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from headgate.control.api import models as m
from headgate.control.api.base import Id, Limit, Routes, Text, Who
from headgate.control.context import Control
from headgate.control.people import Right


def add(routes: Routes, control: Control) -> None:
    """Declare them."""
    people, audit = control.people, control.audit

    @routes.get("/me", Right.SELF, "people")
    def me(who: Who) -> m.Me:
        """Who asks, and what may be done."""
        return m.Me.model_validate(people.me(who))

    @routes.post("/me/password", Right.SELF, "people")
    def change_own_password(who: Who, body: m.OwnPassword) -> m.Person:
        """Change one's own password. Every session ends, this one too."""
        return m.Person.model_validate(people.own_password(who, body.old, body.new))

    @routes.get("/people", Right.PEOPLE, "people")
    def list_people(who: Who) -> m.People:
        """People who may use the dashboard."""
        return m.People.model_validate({"people": people.list(who)})

    @routes.post("/people", Right.PEOPLE, "people", status=201)
    def add_person(who: Who, body: m.NewPerson) -> m.Person:
        """Make a person."""
        return m.Person.model_validate(
            people.add(who, body.name, body.role, tenant=body.tenant, password=body.password)
        )

    @routes.put("/people/{name}", Right.PEOPLE, "people")
    def change_person(who: Who, name: Id, body: m.NewRole) -> m.Person:
        """Give a person another role."""
        return m.Person.model_validate(people.change(who, name, body.role, tenant=body.tenant))

    @routes.put("/people/{name}/password", Right.PEOPLE, "people")
    def set_password(who: Who, name: Id, body: m.NewPassword) -> m.Person:
        """Give a person another password, and end its sessions."""
        return m.Person.model_validate(people.set_password(who, name, body.password))

    @routes.post("/people/{name}/logout", Right.SELF, "people")
    def log_out_everywhere(who: Who, name: Id) -> m.Ended:
        """End every session of a person: one's own, or, for an admin, anybody's."""
        return m.Ended.model_validate(people.log_out(who, name))

    @routes.delete("/people/{name}", Right.PEOPLE, "people")
    def remove_person(who: Who, name: Id) -> m.RemovedPerson:
        """Remove a person, end its sessions, and revoke the API tokens that it has made."""
        return m.RemovedPerson.model_validate(people.remove(who, name))

    @routes.get("/tokens", Right.PEOPLE, "tokens")
    def list_tokens(who: Who) -> m.Tokens:
        """API tokens, revoked ones too."""
        return m.Tokens.model_validate({"tokens": people.tokens(who)})

    @routes.post("/tokens", Right.PEOPLE, "tokens", status=201)
    def make_token(who: Who, body: m.NewToken) -> m.MadeToken:
        """Make an API token. Its text is told this once."""
        return m.MadeToken.model_validate(
            people.make_token(who, body.name, body.role, tenant=body.tenant, days=body.days)
        )

    @routes.delete("/tokens/{token}", Right.PEOPLE, "tokens")
    def revoke_token(who: Who, token: Id) -> m.Token:
        """End an API token for good."""
        return m.Token.model_validate(people.revoke_token(who, token))

    @routes.get("/audit", Right.READ_ALL, "audit")
    def list_audit(
        who: Who,
        below: Annotated[int | None, Query(ge=1, le=2**53)] = None,
        limit: Limit = 50,
        actor: Text = "",
        action: Text = "",
        subject: Text = "",
        tenant: Text | None = None,
    ) -> m.AuditRows:
        """Changes, the newest first. below: the number of the last row of the page before."""
        rows = audit.list(who, below=below, limit=limit, actor=actor, action=action, subject=subject, tenant=tenant)
        return m.AuditRows.model_validate({"rows": rows})

    @routes.get("/audit/verify", Right.READ_ALL, "audit")
    def verify_audit(
        who: Who,
        number: Annotated[int | None, Query(ge=1, le=2**53)] = None,
        digest: Annotated[str, Query(pattern=r"^([0-9a-f]{64})?$")] = "",
    ) -> m.Verified:
        """Look through the whole chain. number and digest: of a row, noted at an earlier time."""
        return m.Verified.model_validate(audit.verify(who, number=number, digest=digest))

    @routes.get("/config", Right.READ_ALL, "config")
    def show_config(who: Who) -> m.Config:
        """The configuration in force, and where each value comes from."""
        return m.Config.model_validate(control.config.show(who))
