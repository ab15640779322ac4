"""`python -m benchmarks.guards injection`: what the injection guard sees of public attacks, and what it takes for one.

*Unseen sources*: each source in turn is left out, weights and thresholds are made of the others, and it is judged by
them. *Shipped* is the data file that comes with Headgate, judged on the same rows, most of which it was taught: too
good, and there only to show that the file is what it should be. The rules were written by people who had seen the
data, which no leaving out undoes; a held-out set measures that.
"""

from __future__ import annotations

import argparse
import base64
import codecs
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import guards_learning as learning
from benchmarks import parts
from benchmarks.guards_learning import Array, Rows
from benchmarks.processes import CannotRun
from benchmarks.report import Number
from headgate.policy.guards.injection import look, thresholds

ROOT = Path(__file__).resolve().parent.parent
PART = "injection"
VARIANTS: dict[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "url": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "leetspeak": lambda text: text.translate(str.maketrans("aeiostAEIOST", "431057431057")),
    "homoglyphs": lambda text: text.translate(str.maketrans("aceiopxyACEOPX", "асеіорхуАСЕОРХ")),
    "zero width": "\u200b".join,
    "spaced": " ".join,
    "tags": lambda text: "".join(chr(0xE0000 + ord(each)) if " " <= each <= "~" else each for each in text),
    "reversed": lambda text: text[::-1],
}
SAMPLE = 150  # attacks, and as many benign texts, per variant


def measure(data: Path) -> Iterator[Number]:
    """All numbers of the injection guard.

    Raises:
        CannotRun: the development data is not there.
    """
    try:
        rows = learning.load(data)
    except FileNotFoundError as error:
        raise CannotRun(f"no guard data at {data}: say where with --data") from error
    flagged, blocked = judged_unseen(rows)
    yield from _alarms(rows, flagged, "unseen sources, flagged", (0.5, 2.0))
    yield from _alarms(rows, blocked, "unseen sources, blocked", (0.1, None))
    yield from _recall(rows, flagged, "unseen sources")
    yield Number(PART, "attacks blocked, unseen sources, mean over sources", _mean(rows, blocked), "%")
    channel = ["document" if document else "user" for document in rows.document]
    shipped = np.array(
        [look(text, each).score >= thresholds(each)[0] for text, each in zip(rows.text, channel, strict=True)]
    )
    classic = np.array([look(text, rules="classic").score > 0 for text in rows.text])
    yield from _alarms(rows, shipped, "shipped", (None, None))
    yield Number(
        PART, "attacks seen, shipped, mean over sources", _mean(rows, shipped), "%", note="taught most of them"
    )
    yield from _alarms(rows, classic, "classic", (None, None))
    yield Number(PART, "attacks seen, classic, mean over sources", _mean(rows, classic), "%")
    yield from _variants(rows, shipped)
    yield from _speed(rows)


def judged_unseen(rows: Rows) -> tuple[Array, Array]:
    """Which rows are flagged and blocked by weights and thresholds that have not seen their source."""
    everything, shippable = np.ones(len(rows), dtype=bool), rows.shippable
    flagged, blocked = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    twofold = learning.twofold(rows)
    for group in learning.folds(rows, everything, None):
        test = np.isin(rows.source, group)
        taught = shippable & ~test & ~np.isin(rows.cluster, rows.cluster[test & rows.attack])
        unseen = learning.left_out(rows, taught, ~test)
        flag = learning.choose(rows, unseen, ~test, learning.FLAGGED)
        block = learning.block_at(rows, unseen, ~test, flag)
        logits = learning.scores(rows, learning.learn(rows, taught))
        for channel, mine in (("user", test & ~rows.document), ("document", test & rows.document)):
            flagged[mine] = logits[mine] > flag[channel]
            blocked[mine] = twofold[mine] & (logits[mine] > block[channel])
        print(f"  without {', '.join(group)}", file=sys.stderr, flush=True)
    return flagged, blocked


def _alarms(rows: Rows, told: Array, how: str, targets: tuple[float | None, float | None]) -> Iterator[Number]:
    for kind, name, target in (("benign", "plain", targets[0]), ("benign_hard", "hard", targets[1])):
        mine = rows.kind == kind
        note = f"{int(told[mine].sum())} of {int(mine.sum())}"
        yield Number(
            PART, f"false alarms, {name} benign, {how}", 100 * float(told[mine].mean()), "%", target, note=note
        )


def _recall(rows: Rows, told: Array, how: str) -> Iterator[Number]:
    explicit = rows.attack & (rows.tier != "implicit")
    yield Number(
        PART, f"attacks missed, {how}, mean over sources", 100 - _mean(rows, told), "%", 60, 40, note="without implicit"
    )
    for kind in ("direct", "jailbreak", "leak", "indirect"):
        mine = explicit & (rows.kind == kind)
        yield Number(
            PART, f"  {kind} seen, mean over sources", _mean(rows, told, mine), "%", note=f"{int(mine.sum())} rows"
        )
    implicit = rows.tier == "implicit"
    note = f"{int(implicit.sum())} rows"
    yield Number(PART, "  indirect, implicit, seen", 100 * float(told[implicit].mean()), "%", note=note)
    for source in np.unique(rows.source[explicit]):
        mine = explicit & (rows.source == source)
        yield Number(PART, f"  {source}", 100 * float(told[mine].mean()), "%", note=f"{int(mine.sum())} rows")


def _mean(rows: Rows, told: Array, mine: Array | None = None) -> float:
    mine = rows.attack & (rows.tier != "implicit") if mine is None else mine
    return 100 * float(np.mean([told[mine & (rows.source == name)].mean() for name in np.unique(rows.source[mine])]))


def _variants(rows: Rows, shipped: Array) -> Iterator[Number]:
    caught = np.flatnonzero(shipped & rows.attack)
    benign = np.flatnonzero(~rows.attack & ~shipped)
    lost = alarms = tried = 0
    for how, make in VARIANTS.items():
        missed = sum(not _flags(rows, row, make) for row in _some(caught))
        alarms += sum(_flags(rows, row, make) for row in _some(benign))
        lost, tried = lost + missed, tried + len(_some(caught))
        yield Number(PART, f"  in {how}: lost", 100 * missed / len(_some(caught)), "%")
    yield Number(PART, "caught attacks lost when encoded", 100 * lost / tried, "%", 5)
    yield Number(PART, "harmless texts flagged when encoded", 100 * alarms / tried, "%", 0.5)


def _some(rows: Array) -> Array:
    return np.asarray(rows[:: max(1, len(rows) // SAMPLE)][:SAMPLE])


def _flags(rows: Rows, row: int, make: Callable[[str], str]) -> bool:
    channel = "document" if rows.document[row] else "user"
    return look(make(rows.text[row]), channel).score >= thresholds(channel)[0]


def _speed(rows: Rows) -> Iterator[Number]:
    texts = [text for text, attack in zip(rows.text, rows.attack, strict=True) if not attack]
    everything = "\n".join(texts)
    ordinary = [text for text in texts if len(text) > 200][:800]
    yield Number(PART, "CPU per KB, ordinary texts", _per_kb(ordinary), "ms", 1)
    for size in (10_000, 100_000, 1_000_000):
        yield Number(PART, f"CPU per KB, at {size // 1000} KB", _per_kb([everything[:size]]), "ms", 1)
    coded = base64.b64encode(everything[:150_000].encode()).decode()
    yield Number(PART, "CPU per KB, 200 KB of base64 of text", _per_kb([coded]), "ms", 1)
    yield Number(PART, "CPU per KB, 1 MB of one letter", _per_kb(["a" * 1_000_000]), "ms", 1)


def _per_kb(texts: list[str]) -> float:
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        for text in texts:
            look(text, "document")
        best = min(best, time.process_time() - start)
    return 1e3 * best / (sum(map(len, texts)) / 1024)


def main() -> int:
    """0 if every part asked for ran; 1 if one could not, or with --check a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guards", description=__doc__)
    parser.add_argument("part", nargs="*", type=parts.part_of([PART]), metavar=PART, help="default: all")
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "guard-data", help="the guard data's folder"
    )
    parts.add_outputs(parser)
    told = parser.parse_args()
    return parts.run(told, {PART: lambda: measure(told.data)})


if __name__ == "__main__":
    sys.exit(main())
