"""`jobs:`: how long deferred jobs wait and are kept, and who may be told of their answers (docs/jobs.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headgate.settings.fields import Section
from headgate.settings.secrets import SecretRef
from headgate.settings.units import plain_url, seconds, whole

DAY = 86_400.0
JOBS_KEYS = ("wait", "keep", "most", "webhooks")
WEBHOOK_KEYS = ("to", "secret")


@dataclass(frozen=True, slots=True)
class JobWebhookSettings:
    """Who can be told of answers, by a name that callers give. The URL may be a credential, so it is not printed."""

    url: str = field(repr=False)
    secret: SecretRef


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Deferred jobs."""

    wait_seconds: float = DAY  # 1 s..400 days: a job that has found no room by then has expired
    keep_seconds: float = DAY  # 1 s..400 days: how long its answer can be fetched
    most: int = 10_000  # 1..10,000,000 of one tenant (or key) that wait; more are not deferred
    webhooks: Mapping[str, JobWebhookSettings] = field(default_factory=lambda: MappingProxyType({}))


def read_jobs(root: Section) -> JobSettings:
    """`jobs:`."""
    section = root.section("jobs", JOBS_KEYS)
    told = JobSettings()
    found: dict[str, JobWebhookSettings] = {}
    for name, node, path in section.named("webhooks"):
        each = Section(section.context, node, path, WEBHOOK_KEYS)
        url, secret = each.take_url("to", plain_url, ""), each.secret("secret")
        if "to" not in each.table.entries:
            each.context.wrong(path, "to is missing, like to: https://hooks.acme.example/jobs")
        if "secret" not in each.table.entries:
            each.context.wrong(path, "secret is missing: it signs what is sent, like secret: env:JOBS_SECRET")
        if not name.isascii() or not name.isprintable() or len(name) > 64:
            each.context.wrong(path, "a webhook's name goes into a header: up to 64 printable ASCII characters")
        if url and secret is not None:
            found[name] = JobWebhookSettings(url, secret)
    return JobSettings(
        section.take("wait", seconds(1, 400 * DAY), told.wait_seconds),
        section.take("keep", seconds(1, 400 * DAY), told.keep_seconds),
        section.take("most", whole(1, 10_000_000), told.most),
        MappingProxyType(found),
    )
