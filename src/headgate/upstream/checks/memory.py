"""What was said of texts before: by a hash of each, never the text."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from headgate.core.checks import Check, Opinion

MOST = 8_192
SECONDS = 3_600.0
"""How long an opinion is good for."""

_Key = tuple[Check, bytes]


class Opinions:
    """Remembers the last `MOST` opinions. Thread-safe."""

    __slots__ = ("_known", "_lock", "_most")

    def __init__(self, most: int = MOST) -> None:
        self._known: OrderedDict[_Key, tuple[float, Opinion]] = OrderedDict()
        self._lock = threading.Lock()
        self._most = most

    def __len__(self) -> int:
        return len(self._known)

    def get(self, check: Check, text: str, now: float) -> Opinion | None:
        """What was said of a text by the same check, at most `SECONDS` ago."""
        key = _key(check, text)
        with self._lock:
            found = self._known.get(key)
            if found is None or now - found[0] > SECONDS:
                return None
            self._known.move_to_end(key)
            return found[1]

    def put(self, check: Check, text: str, opinion: Opinion, now: float) -> None:
        """Remember one; the one that was not asked for longest goes."""
        with self._lock:
            self._known[_key(check, text)] = (now, opinion)
            self._known.move_to_end(_key(check, text))
            while len(self._known) > self._most:
                self._known.popitem(last=False)


def _key(check: Check, text: str) -> _Key:
    return check, hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
