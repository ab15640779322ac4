"""`jobs:` and `then: queue`: how they are read, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.settings import load
from headgate.settings.budgets import budgets_of
from headgate.settings.limits import limits_of
from headgate.settings.model import Settings


def read(folder: Path, text: str) -> Settings:
    path = folder / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, env={})


def test_jobs_and_their_webhooks_are_read_and_no_url_is_printed(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "jobs: {wait: 7d, keep: 1h, most: 5, webhooks: {reports: {to: https://a.example/hook, secret: env:S}}}",
    )
    assert (found.jobs.wait_seconds, found.jobs.keep_seconds, found.jobs.most) == (7 * 86_400, 3600, 5)
    assert found.jobs.webhooks["reports"].url == "https://a.example/hook"
    assert "a.example" not in repr(found.jobs)


def test_budgets_and_limits_may_queue(tmp_path: Path) -> None:
    found = read(tmp_path, "budgets: [{usd: 1, then: queue}]\nlimits: [{requests_per_minute: 1, then: queue}]")
    assert [(each.queues, each.degrade_to) for each in budgets_of(found)] == [(True, "")]
    assert [each.queues for each in limits_of(found)] == [True]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("jobs: {webhooks: {a: {to: https://a.example}}}", "secret is missing"),
        ("jobs: {webhooks: {a: {secret: env:S}}}", "to is missing"),
        ("jobs: {webhooks: {a: {to: ftp://a.example, secret: env:S}}}", "http://"),
        ("jobs: {webhooks: {ä: {to: https://a.example, secret: env:S}}}", "goes into a header"),
        ("jobs: {wait: 0s}", "jobs.wait"),
        ("limits: [{requests_per_minute: 1, then: degrade}]", "limits[0].then"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert wrong in str(caught.value)
