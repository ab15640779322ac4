"""The gateway of `benchmarks.headgate_server`, with its bytecodes counted: `python -m benchmarks.counted_server URL`,
in an empty directory. It counts while a file named `counting` is there, and once that is gone writes `counted`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.headgate_server import made, serve, without_proxies

COUNTING, COUNTED = "counting", "counted"
_LOOKS_EVERY = 0.05  # seconds
_Where = tuple[str, str, str]  # thread, file, function


class Counting:
    """Counts what each function executes, in every thread that starts after `begin`.

    A tracing function is asked at every call of Python code, and then at every bytecode of it; while it is off, calls
    cost a little more than they would.
    """

    def __init__(self) -> None:
        self._on = False
        self._executed: Counter[_Where] = Counter()
        self._calls: Counter[_Where] = Counter()

    def begin(self) -> None:
        """In this thread, and in those that start later."""
        threading.settrace(self._call)
        sys.settrace(self._call)
        threading.Thread(target=self._watch, daemon=True, name="bench-watch").start()

    def _call(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if not self._on:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        code, executed = frame.f_code, self._executed
        where = (threading.current_thread().name, code.co_filename, code.co_qualname)
        self._calls[where] += 1  # and each time that a coroutine goes on

        def local(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            if event == "opcode":
                executed[where] += 1
            return local

        return local

    def _watch(self) -> None:
        sys.settrace(None)
        while True:
            time.sleep(_LOOKS_EVERY)
            asked = Path(COUNTING).exists()
            if self._on and not asked:
                self._on = False
                counted = [[*where, count, self._calls[where]] for where, count in self._executed.items()]
                Path(COUNTED + ".new").write_text(json.dumps(counted))
                Path(COUNTED + ".new").rename(COUNTED)
            self._on = asked


def main() -> int:
    """See the module."""
    without_proxies()
    built = made(sys.argv[1])
    Counting().begin()
    return serve(built)


if __name__ == "__main__":
    sys.exit(main())
