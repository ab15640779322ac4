"""All pages, in the order of the navigation."""

from __future__ import annotations

from headgate.pages import conversations, exchanges, guards, keys, overview, spend

PAGES = (overview.PAGE, exchanges.PAGE, conversations.PAGE, spend.PAGE, guards.PAGE, keys.PAGE)

COUNTS = {"guards": guards.count}
"""Numbers beside entries of the navigation, by the page's name."""
