"""The pre-launch checklist, executed: each item with its state and the evidence for it (docs/checklist.md).

    items = checklist.run(settings, built, reader, log_reader)

`headgate check` and the dashboard's *Checklist* show the same items.
"""

from __future__ import annotations

from headgate.checklist.items import STATES, Item, State
from headgate.checklist.running import run, sources_of

__all__ = ["STATES", "Item", "State", "run", "sources_of"]
