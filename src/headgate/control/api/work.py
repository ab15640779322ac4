"""Routes about what goes on: approvals, jobs, batches, providers, the cache, incidents."""

from __future__ import annotations

from headgate.control.api import models as m
from headgate.control.api.base import Id, Limit, Routes, Text, Who
from headgate.control.context import Control
from headgate.control.people import Right
from headgate.core.text import sendable_json


def add(routes: Routes, control: Control) -> None:
    """Declare them."""
    approvals, jobs, incidents = control.approvals, control.jobs, control.incidents

    @routes.get("/approvals", Right.READ, "approvals")
    def list_approvals(who: Who, state: Text | None = None, limit: Limit = 50) -> m.Approvals:
        """Tool calls that wait for a person, and what became of others."""
        return m.Approvals.model_validate({"approvals": approvals.list(who, state=state, limit=limit)})

    @routes.get("/approvals/{approval}", Right.READ, "approvals")
    def show_approval(who: Who, approval: Id) -> m.Approval:
        """One tool call, with all of its arguments."""
        return m.Approval.model_validate(approvals.show(who, approval))

    @routes.post("/approvals/{approval}/decision", Right.APPROVE, "approvals")
    def decide(who: Who, approval: Id, body: m.Decision) -> m.Approval:
        """Approve or deny a call. The first decision counts."""
        approve = body.decision == "approve"
        return m.Approval.model_validate(
            approvals.decide(who, approval, approve=approve, arguments=body.arguments, reason=body.reason)
        )

    @routes.get("/jobs", Right.READ, "jobs")
    def list_jobs(who: Who, state: Text | None = None, limit: Limit = 50, after: Text = "") -> m.Jobs:
        """Deferred calls, the newest first. after: the id of the last one of the page before."""
        return m.Jobs.model_validate(jobs.list(who, state=state, limit=limit, after=after))

    @routes.get("/jobs/{job}", Right.READ, "jobs")
    def show_job(who: Who, job: Id) -> m.Job:
        """One deferred call."""
        return m.Job.model_validate(jobs.show(who, job))

    @routes.post("/jobs/{job}/cancel", Right.JOBS, "jobs")
    def cancel_job(who: Who, job: Id) -> m.Job:
        """Have a deferred call not done."""
        return m.Job.model_validate(jobs.cancel(who, job))

    @routes.post("/jobs/{job}/retry", Right.JOBS, "jobs")
    def retry_job(who: Who, job: Id) -> m.Job:
        """Have a deferred call done again that has failed, expired or been cancelled."""
        return m.Job.model_validate(jobs.retry(who, job))

    @routes.get("/batches", Right.READ, "jobs")
    def list_batches(who: Who, limit: Limit = 50) -> m.Batches:
        """Batches, the newest first."""
        return m.Batches.model_validate({"batches": jobs.batches(who, limit=limit)})

    @routes.post("/batches/{batch}/cancel", Right.JOBS, "jobs")
    def cancel_batch(who: Who, batch: Id) -> m.Batch:
        """Have nothing more of a batch begun; what a provider has of it is cancelled there."""
        return m.Batch.model_validate(jobs.cancel_batch(who, batch))

    @routes.post("/batches/{batch}/retry", Right.JOBS, "jobs")
    def retry_batch(who: Who, batch: Id) -> m.Batch:
        """Have the lines of a batch that failed or were cancelled done again, by this gateway."""
        return m.Batch.model_validate(jobs.retry_batch(who, batch))

    @routes.get("/providers", Right.READ_ALL, "providers")
    def list_providers(who: Who) -> m.Providers:
        """How traffic stands with each provider: breakers, rate limits, who waits."""
        return m.Providers.model_validate(control.providers.report(who))

    @routes.post("/providers/{provider}/lift", Right.INCIDENTS, "providers")
    def lift_breakers(who: Who, provider: Id) -> m.Lifted:
        """Close every breaker of a provider."""
        return m.Lifted.model_validate(control.providers.lift(who, provider))

    @routes.get("/cache", Right.READ_ALL, "cache")
    def show_cache(who: Who) -> dict[str, object]:
        """How the cache does."""
        told: dict[str, object] = sendable_json(control.cache.report(who))
        return told

    @routes.post("/cache/forget", Right.CACHE, "cache")
    def forget_answers(who: Who, body: m.Whose) -> m.Forgotten:
        """Forget kept answers: a tenant's, a key's, or all."""
        return m.Forgotten.model_validate(control.cache.forget(who, body.model_dump(exclude_none=True)))

    @routes.get("/incidents", Right.READ_ALL, "incidents")
    def list_incidents(who: Who, ended: bool = False) -> m.Incidents:
        """What is stopped, slowed or degraded."""
        return m.Incidents.model_validate({"incidents": incidents.list(who, ended=ended)})

    @routes.post("/incidents", Right.INCIDENTS, "incidents", status=201)
    def set_incident(who: Who, body: m.NewIncident) -> m.Incident:
        """Stop, slow or degrade traffic now, for a while."""
        return m.Incident.model_validate(incidents.set(who, **body.model_dump()))

    @routes.delete("/incidents/{incident}", Right.INCIDENTS, "incidents")
    def lift_incident(who: Who, incident: Id) -> m.Incident:
        """End an incident now."""
        return m.Incident.model_validate(incidents.lift(who, incident))

    @routes.get("/alerts", Right.READ_ALL, "alerts")
    def list_alerts(who: Who, ended: bool = False, limit: Limit = 100) -> m.Alerts:
        """Alerts that are on; with ended those of the last 90 days."""
        return m.Alerts.model_validate({"alerts": control.alerts.list(who, ended=ended, limit=limit)})

    @routes.post("/alerts/{alert}/acknowledge", Right.ALERTS, "alerts")
    def acknowledge_alert(who: Who, alert: Id) -> m.Alert:
        """Say that somebody looks after it. It is not told again until it ends."""
        return m.Alert.model_validate(control.alerts.acknowledge(who, alert))
