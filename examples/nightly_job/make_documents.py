"""Write sample documents to try the job on: python make_documents.py 1000 > documents.jsonl"""

from __future__ import annotations

import json
import random
import sys

WORDS = ("canal", "water", "gate", "season", "field", "level", "flow", "repair", "keeper", "winter", "stone", "harvest")


def documents(count: int, seed: int = 7) -> list[dict[str, str]]:
    """`count` reports of 40 to 120 words, the same for the same seed."""
    draw = random.Random(seed)
    return [
        {"id": f"report-{number:04}", "text": " ".join(draw.choices(WORDS, k=draw.randint(40, 120))).capitalize() + "."}
        for number in range(1, count + 1)
    ]


if __name__ == "__main__":
    for document in documents(int(sys.argv[1]) if len(sys.argv) > 1 else 1000):
        sys.stdout.write(json.dumps(document) + "\n")
