"""All pages, in the order of the navigation."""

from __future__ import annotations

from headgate.pages import (
    alerts,
    audit,
    billing,
    checks,
    conversations,
    exchanges,
    guards,
    jobs,
    keys,
    models,
    overview,
    spend,
)

PAGES = (
    *(overview.PAGE, exchanges.PAGE, conversations.PAGE, alerts.PAGE),
    *(spend.PAGE, billing.PAGE),
    *(models.PAGE, guards.PAGE, keys.PAGE, jobs.PAGE),
    *(checks.PAGE, audit.PAGE),
)

COUNTS = {"alerts": alerts.count, "guards": guards.count}
"""Numbers beside entries of the navigation, by the page's name."""
