"""The helpers of other tests that these use."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("e2e", "stores", "telemetry"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
