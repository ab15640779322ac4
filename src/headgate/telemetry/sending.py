"""Sends telemetry to a collector over OTLP/HTTP, from threads of its own. For a collector that is gone spans are kept,
up to a bound; what comes beyond it is dropped and counted, and nothing is encoded for it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from headgate.core.errors import HeadgateError
from headgate.settings.secrets import SecretRef
from headgate.telemetry.otlp import Span

if TYPE_CHECKING:
    import httpx2

MAX_QUEUED = 4_096
"""Spans, those that are under way among them."""
BATCH = 512
LINGER_SECONDS = 1.0
SECONDS = 10.0
"""For one request."""
FIRST_REST = 1.0
LONGEST_REST = 60.0
"""Seconds between two tries: twice as long each time. The batch, and what comes meanwhile, is kept."""
STOP_SECONDS = 2.0
_AGAIN = frozenset({408, 429, 502, 503, 504})
_RENEWED_AFTER = 300  # requests: then secrets in headers are read again

Headers = Mapping[str, SecretRef | str]


class Collector:
    """One URL of a collector. One thread at a time.

    Args:
        url: as it is posted to.
        headers: more of them; references are read when they are needed, and now and then again.
        env: where `env:` references are read.
    """

    def __init__(self, url: str, headers: Headers, env: Mapping[str, str]) -> None:
        self._url = url
        self._headers = headers
        self._env = env
        self._client: httpx2.Client | None = None
        self._posted = 0

    def post(self, body: bytes) -> str:
        """Send once. "" = it was taken; else why not, in words without the URL, with "!" in front where another try
        cannot help."""
        import httpx2

        try:
            client = self._opened()
            answer = client.post(self._url, content=body)
        except HeadgateError as error:
            return error.message
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return type(error).__name__
        if answer.status_code < 300:
            return ""
        return f"{'' if answer.status_code in _AGAIN else '!'}it answered {answer.status_code}"

    def close(self) -> None:
        """Hang up. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _opened(self) -> httpx2.Client:
        import httpx2

        self._posted += 1
        if self._client is None or self._posted % _RENEWED_AFTER == 0:
            self.close()
            told = {
                name: value.resolve(self._env).reveal() if isinstance(value, SecretRef) else value
                for name, value in self._headers.items()
            }
            # Redirects are not followed: they would take the credential along.
            self._client = httpx2.Client(
                timeout=SECONDS, headers={**told, "content-type": "application/x-protobuf", "user-agent": "headgate"}
            )
        return self._client


class Sender:
    """A thread that sends batches of spans, made at the first of them.

    Args:
        collector: where to.
        encode: spans to a request's body.
        tell: the log's `event`.
    """

    def __init__(
        self, collector: Collector, encode: Callable[[Sequence[Span]], bytes], *, tell: Callable[..., None]
    ) -> None:
        self._collector = collector
        self._encode = encode
        self._tell = tell
        self._stopping = threading.Event()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._queue: deque[Span] = deque()
        self._bell = threading.Event()
        self._thread: threading.Thread | None = None
        self._counts = {"sent": 0, "dropped": 0}
        self._error = ""
        self._rest = FIRST_REST
        self._idle = threading.Event()
        self._idle.set()

    def put(self, spans: Sequence[Span]) -> None:
        """Queue the spans of one exchange, all or none. Never waits, never raises."""
        if self._pid != os.getpid():
            self._begin()  # the thread, and what it had to send, are the parent's
        with self._lock:
            if self._stopping.is_set() or len(self._queue) + len(spans) > MAX_QUEUED:
                self._counts["dropped"] += len(spans)
                return
            self._queue.extend(spans)
            self._idle.clear()
            if self._thread is None:
                self._start()
        if len(self._queue) >= BATCH:
            self._bell.set()

    def flush(self, seconds: float = STOP_SECONDS) -> bool:
        """Block until everything queued was sent, or was not taken; at most so long. Whether it was."""
        self._bell.set()
        return self._idle.wait(seconds)

    def close(self) -> None:
        """Send what is queued, within some seconds. Idempotent."""
        if self._pid != os.getpid():
            return
        if self._thread is not None and not self._error:
            self.flush()
        self._stopping.set()
        self._bell.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_SECONDS)

    def counts(self) -> dict[str, int]:
        """Spans sent, dropped and waiting."""
        with self._lock:
            return {**self._counts, "queued": len(self._queue)}

    def health(self) -> dict[str, Any]:
        """As `counts`, with the last error in words ("" = the last request went well)."""
        return {**self.counts(), "last_error": self._error}

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="headgate-traces", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down and takes no new threads
            self._stopping.set()
            return
        self._thread = thread

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._bell.wait(LINGER_SECONDS)
                self._bell.clear()
                while self._queue and not self._stopping.is_set():
                    self._deliver()
                with self._lock:
                    if not self._queue:
                        self._idle.set()
        finally:
            self._collector.close()
            self._give_up()
            self._idle.set()

    def _deliver(self) -> None:
        """Send the first batch, again and again until the collector has taken it or says that it never will."""
        with self._lock:
            spans = list(islice(self._queue, BATCH))
        body = b""
        while True:
            try:
                body = body or self._encode(spans)
                said = self._collector.post(body)
            except Exception as error:  # a mistake in here must not end the thread; it is told as any other failure
                said = f"!{type(error).__name__}"
            if not said:
                self._rest = FIRST_REST
                self._done("sent", len(spans))
                return
            self._failing(said.lstrip("!"))
            if said.startswith("!"):
                self._done("dropped", len(spans))
            rest, self._rest = self._rest, min(LONGEST_REST, self._rest * 2)
            if self._stopping.wait(rest) or said.startswith("!"):
                return

    def _give_up(self) -> None:
        """At the end: nobody sends the rest any more."""
        with self._lock:
            self._counts["dropped"] += len(self._queue)
            self._queue.clear()

    def _failing(self, said: str) -> None:
        if not self._error:
            self._tell("collector_unreachable", signal="traces", error=said)
        self._error = said

    def _done(self, what: str, count: int) -> None:
        if self._error and what == "sent":
            self._tell("collector_back", signal="traces", dropped=self._counts["dropped"])
            self._error = ""
        with self._lock:
            self._counts[what] += count
            for _ in range(count):
                self._queue.popleft()
