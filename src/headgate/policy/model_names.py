"""Names that one model goes by: dated snapshots, revisions and paths of the same name."""

from __future__ import annotations

import re

_MOST = 256  # characters that are looked at: names come from outside

# A date as vendors write it (-20251001, -2025-10-01, @20251001, -0613, -2411), a revision (-001, -v2), -latest. One or
# two digits are none of these: claude-haiku-4-5 is no snapshot of claude-haiku-4.
_SNAPSHOT = re.compile(r"(?:[-@](?:20\d{6}|20\d\d-\d\d-\d\d|\d{4}|0\d\d))?(?:[-:](?:v\d{1,3}(?::\d+)?|latest))?$")


def same_model(one: str, other: str) -> bool:
    """Whether two names are one model's: alike but for their date or revision, and for the path before the name."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return _SNAPSHOT.sub("", name[:_MOST].lower().rsplit("/", 1)[-1], count=1)
