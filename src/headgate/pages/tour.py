"""All pages, in the order of the navigation."""

from __future__ import annotations

from headgate.pages import conversations, exchanges, overview, spend

PAGES = (overview.PAGE, exchanges.PAGE, conversations.PAGE, spend.PAGE)
