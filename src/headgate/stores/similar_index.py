"""Answers by what was asked, as vectors, in this process's memory (extra `semantic`: numpy)."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate.core.cache import Stored

OF_ONE = 512
"""Answers of one partition: every look goes through all of them."""
MOST_BYTES = 128 * 1024 * 1024
_CANDIDATES = 5
_VECTOR_BYTES = 4


class NoVector(ValueError):
    """An embedder has given something that is no vector of the kind that it gave before."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer, and what it answers."""

    text: str
    vector: Any
    stored: Stored

    @property
    def size(self) -> int:
        """Bytes, about."""
        return self.stored.size + len(self.text) * 2 + len(self.vector) * _VECTOR_BYTES


@dataclass(slots=True)
class _Partition:
    entries: list[Entry] = field(default_factory=list)
    matrix: Any = None  # one row for each, in their order; None: to be made


def unit(values: Sequence[float]) -> Any:
    """A vector of length 1. Raises NoVector."""
    import numpy

    try:
        vector = numpy.asarray(values, dtype=numpy.float32)
        length = float(numpy.linalg.norm(vector)) if vector.ndim == 1 and vector.size else 0.0
    except (TypeError, ValueError):
        raise NoVector("the embedder has given no list of numbers") from None
    if not math.isfinite(length) or length == 0.0:
        raise NoVector("the embedder has given a vector without a direction")
    return vector / length


def cosine(one: Any, other: Any) -> float:
    """Of two unit vectors; 0 where they are of different lengths."""
    return float(one @ other) if one.shape == other.shape else 0.0


class SimilarIndex:
    """Safe to share between threads.

    Args:
        most: answers, >= 1; those of the partitions that were not used for longest go first.
        now: seconds since the epoch.
    """

    def __init__(self, most: int, *, now: Callable[[], float], most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._now = now
        self._lock = threading.Lock()
        self._partitions: OrderedDict[str, _Partition] = OrderedDict()
        self._count = self._size = 0

    def __len__(self) -> int:
        return self._count

    def has(self, partition: str) -> bool:
        """Whether there is anything to compare with."""
        with self._lock:
            return partition in self._partitions

    def nearest(self, partition: str, vector: Any, threshold: float) -> list[tuple[float, Entry]]:
        """The nearest that are at least so near and have not expired, the nearest first, at most 5."""
        import numpy

        with self._lock:
            found = self._partitions.get(partition)
            if found is None:
                return []
            self._partitions.move_to_end(partition)
            if found.matrix is None:
                found.matrix = numpy.stack([each.vector for each in found.entries])
            entries, matrix = list(found.entries), found.matrix
        if matrix.shape[1] != len(vector):
            return []
        scores = matrix @ vector
        now = self._now()
        near: list[tuple[float, Entry]] = []
        for place in numpy.argsort(-scores):
            score = float(scores[place])
            if score < threshold or len(near) == _CANDIDATES:
                break
            if entries[place].stored.expires > now:
                near.append((score, entries[place]))
        return near

    def put(self, partition: str, entry: Entry) -> None:
        """Keep it, in place of an earlier answer to the very same text."""
        with self._lock:
            found = self._partitions.setdefault(partition, _Partition())
            self._partitions.move_to_end(partition)
            if found.entries and len(found.entries[0].vector) != len(entry.vector):
                self._drop(found, len(found.entries))  # the embedder is another one
            same = next((n for n, each in enumerate(found.entries) if each.text == entry.text), None)
            if same is not None:
                found.entries.append(found.entries.pop(same))
                self._size -= found.entries.pop().size
                self._count -= 1
            found.entries.append(entry)
            found.matrix = None
            self._count += 1
            self._size += entry.size
            self._drop(found, len(found.entries) - OF_ONE)
            while (self._count > self._most or self._size > self._most_bytes) and self._partitions:
                oldest = next(iter(self._partitions))
                self._drop(self._partitions[oldest], 1)
                if not self._partitions[oldest].entries:
                    del self._partitions[oldest]

    def forget(self, prefix: str) -> int:
        """Drop what partitions hold whose names begin so; "" = everything. Returns how many that were."""
        with self._lock:
            before = self._count
            for name in [each for each in self._partitions if each.startswith(prefix)]:
                partition = self._partitions.pop(name)
                self._drop(partition, len(partition.entries))
            return before - self._count

    def _drop(self, partition: _Partition, count: int) -> None:
        if count > 0:
            self._size -= sum(each.size for each in partition.entries[:count])
            self._count -= min(count, len(partition.entries))
            del partition.entries[:count]
            partition.matrix = None
