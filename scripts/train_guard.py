#!/usr/bin/env python3
"""Learn the weights and thresholds of the injection guard, and write `src/headgate/data/injection.json`.

    .venv/bin/python scripts/train_guard.py --date 2026-11-21            # --data: default ../shared/guard-data
    .venv/bin/python scripts/train_guard.py --date 2026-11-21 --check    # exit 1 if the file would change

Weights are taught only rows whose licence is MIT, Apache-2.0, BSD, CC0 or CC-BY. Thresholds are chosen on rows scored
by weights that have not seen their source.

The output depends on nothing but the data, the rules and the date, which is
passed and never taken from a clock; nothing is drawn at random. Needs numpy (development dependencies).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks import guards_learning as learning  # noqa: E402
from headgate.policy.guards.injection_model import FILE  # noqa: E402

LICENCES = ("MIT", "Apache-2.0", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0")


def train(data: Path, date: str) -> dict[str, Any]:
    """The data file's content."""
    rows = learning.load(data)
    taught, everything = rows.shippable, np.ones(len(rows), dtype=bool)
    weights = learning.learn(rows, taught)
    unseen = learning.left_out(rows, taught, everything, count=None)
    flag = learning.choose(rows, unseen, everything, learning.FLAGGED)
    block = learning.block_at(rows, unseen, everything, flag)
    made = learning.as_model(weights, flag, block)
    made["provenance"] = {
        "date": date,
        "made_by": "scripts/train_guard.py",
        "data_sha256": {name: _sha256(data / name) for name in ("attacks.jsonl", "benign.jsonl")},
        "licences": list(LICENCES),
        "rows_taught": {str(kind): int((taught & (rows.kind == kind)).sum()) for kind in np.unique(rows.kind)},
        "sources_taught": sorted({str(name) for name in rows.source[taught]}),
        "thresholds": "on all rows, each scored by weights that have not seen its source",
        "seed": None,
    }
    return made


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    """0; 1 with --check if the file is not what would be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "guard-data")
    parser.add_argument("--date", required=True, help="of the weights, as YYYY-MM-DD")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file would change")
    told = parser.parse_args()
    text = json.dumps(train(told.data, told.date), indent=1, ensure_ascii=False) + "\n"
    if told.check:
        return 0 if FILE.read_text(encoding="utf-8") == text else 1
    FILE.write_text(text, encoding="utf-8")
    print(f"{FILE.relative_to(ROOT)}: {len(text)} bytes, sha256 {hashlib.sha256(text.encode()).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
