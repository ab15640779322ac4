"""How thoroughly Hypothesis looks: `make test` briefly, `make test-long` at length. Never with a clock beside it."""

from __future__ import annotations

from hypothesis import settings

# No deadline: on a busy machine an example takes as long as it takes. What asks for a number of examples of its own
# has a reason to, and keeps it.
settings.register_profile("brief", parent=settings.default, max_examples=50, deadline=None)
settings.register_profile("long", parent=settings.default, max_examples=1000, deadline=None)
settings.load_profile("brief")
