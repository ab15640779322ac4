"""Tells a webhook of tool calls that wait for a person, and takes its answer, beside all calls; signed (`signing`)."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headgate.core.approvals import Decision, Parked
from headgate.core.errors import HeadgateError
from headgate.core.secret import Secret
from headgate.policy.guards.decisions import read_decision
from headgate.upstream.signing import signed

if TYPE_CHECKING:
    import httpx2

TRIES = 6
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
SECONDS = 10.0
MAX_QUEUED = 1_000
MAX_ANSWER = 512 * 1024
_STOP_SECONDS = 2.0


class ApprovalHook:
    """A thread of its own, made at the first call that waits.

    Args:
        url: gets a POST for each of them.
        secret: signs it: any text, or ``whsec_`` and base64. Asked for at each delivery.
        decide: takes an answer in, by the approval's id.
        token: of a call, with which its receiver may decide later.
        now: seconds since the epoch.
        tell: the log's `event`.
    """

    def __init__(
        self,
        url: str,
        secret: Callable[[], Secret],
        *,
        decide: Callable[[str, Decision], object],
        token: Callable[[Parked], str],
        now: Callable[[], float],
        tell: Callable[..., None],
    ) -> None:
        self._url = url
        self._secret = secret
        self._decide = decide
        self._token = token
        self._now = now
        self._tell = tell
        self._queue: queue.Queue[Parked] = queue.Queue(MAX_QUEUED)
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def parked(self, parked: Parked) -> None:
        """A call waits. Never waits itself, never raises."""
        try:
            self._queue.put_nowait(parked)
        except queue.Full:
            self._lost(parked, "too many others wait to be told")
            return
        with self._starting:
            if (self._thread is None or self._pid != os.getpid()) and not self._stopping.is_set():
                self._pid = os.getpid()  # a forked child has no thread of its parent's
                self._thread = threading.Thread(target=self._run, name="headgate-approvals", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop; what is under way is given up after some seconds. Idempotent."""
        self._stopping.set()
        with self._starting:
            thread = self._thread
        if thread is not None and self._pid == os.getpid():
            thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        import httpx2

        with httpx2.Client(timeout=SECONDS) as client:  # redirects are not followed: they would take the call along
            while not self._stopping.is_set():
                try:
                    parked = self._queue.get(timeout=0.2)
                except queue.Empty:
                    continue
                self._deliver(client, parked)

    def _deliver(self, client: httpx2.Client, parked: Parked) -> None:
        wait, said = FIRST_WAIT, ""
        for _ in range(TRIES):
            try:
                said = self._told(client, parked)
            except HeadgateError as error:
                said = error.code
            if not said:
                return
            if self._now() >= parked.expires or self._stopping.wait(wait):
                break
            wait = min(LONGEST_WAIT, wait * 4)
        self._lost(parked, said)

    def _told(self, client: httpx2.Client, parked: Parked) -> str:
        """Tell once; what went wrong, where another try may help, else "". A mistake in the answer is in the log."""
        import httpx2

        body = json.dumps(payload(parked, self._token(parked))).encode()
        headers = signed(self._secret(), parked.id, self._now(), body)
        try:
            with client.stream("POST", self._url, content=body, headers=headers) as answer:
                if answer.status_code >= 300:
                    return f"answered {answer.status_code}"
                text = _read(answer)
        except httpx2.HTTPError as error:
            return type(error).__name__
        self._answered(parked, text)
        return ""

    def _answered(self, parked: Parked, text: bytes) -> None:
        try:
            told = json.loads(text) if text.strip() else {}
            decision = read_decision(told, "webhook") if isinstance(told, dict) else None
        except (ValueError, RecursionError):
            self._tell("approval_answer_unread", approval=parked.id)
            return
        if decision is not None:
            self._decide(parked.id, decision)

    def _lost(self, parked: Parked, why: str) -> None:
        self._tell("approval_untold", approval=parked.id, error=why[:200])


def payload(parked: Parked, token: str) -> dict[str, Any]:
    """What a webhook gets."""
    caller = parked.caller
    told = {name: getattr(caller, name) for name in ("key", "tenant", "user", "session", "task", "feature")}
    return {
        "type": "approval.parked",
        "id": parked.id,
        "created": parked.created,
        "expires": parked.expires,
        "exchange": parked.exchange_id,
        "caller": {name: value for name, value in told.items() if value},
        "tool": parked.call.name,
        "arguments": json.loads(parked.call.arguments or "{}"),
        "decide": {"path": f"/admin/api/approvals/{parked.id}", "token": token},
    }


def _read(answer: httpx2.Response) -> bytes:
    found = b""
    for piece in answer.iter_bytes():
        found += piece
        if len(found) > MAX_ANSWER:
            return b"no"  # it is no answer of the kind that is read
    return found
