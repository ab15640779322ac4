"""Both vendors' batches: what was asked, how far it is, and what came of it.

A batch works in the simulator's own time: request after request, `seconds_per_request` each, from `start_seconds`
after its creation. Nothing runs between two requests; whoever looks, at a batch, a file or the invoice, finds it as
far as it is by then. Answers do not depend on who looks when.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from headgate.testing.simulator.asked import Fail, Json
from headgate.testing.simulator.book import Record
from headgate.testing.simulator.faults import BEFORE_GENERATION, Fault, error_of
from headgate.testing.simulator.scenario import Batching, Seen
from headgate.testing.simulator.wrongusage import wrong_body

if TYPE_CHECKING:
    from headgate.testing.simulator.provider import Provider

_encode = msgspec.json.Encoder().encode
LIFETIME = 86_400.0  # seconds until what has not been processed expires


@dataclass(slots=True)
class Item:
    """One request of a batch. `status`: processing, succeeded, errored, canceled, expired.

    `answer` is what was answered, an error's body too; `http_status` and `request_id` go with it.
    """

    custom_id: str
    path: str
    body: Json
    request_id: str = ""
    status: str = "processing"
    http_status: int = 200
    answer: bytes = b""


@dataclass(slots=True)
class Batch:
    """One batch. Times are seconds since the epoch."""

    id: str
    dialect: str
    record: Record
    headers: Mapping[bytes, bytes]
    created: float
    timing: Batching
    items: list[Item] = field(default_factory=list)
    cancelled: float | None = None
    ended: float | None = None
    done: int = 0
    errors: list[Json] = field(default_factory=list)  # why it failed as a whole
    request: Json = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    output_file: str = ""
    error_file: str = ""

    @property
    def scope(self) -> str:
        """The credential that made it."""
        return self.record.credential

    @property
    def starts(self) -> float:
        """When processing begins."""
        return self.created + self.timing.start_seconds

    def count(self, status: str) -> int:
        """How many requests are in this state."""
        return sum(item.status == status for item in self.items)

    def advance(self, provider: Provider, now: float) -> bool:
        """Be as far as it is at `now`; True where that ended it."""
        if self.ended is not None:
            return False
        expires = self.created + LIFETIME
        until = min(now, expires, now if self.cancelled is None else self.cancelled)
        each, left = self.timing.seconds_per_request, len(self.items)
        while self.done < left and self.starts + (self.done + 1) * each <= until:
            _process(provider, self, self.items[self.done], self.done)
            self.done += 1
        if self.done == left:
            self.ended = max(self.starts + left * each, self.created)
        elif self.cancelled is not None:
            self._give_up("canceled", self.cancelled)
        elif now >= expires:
            self._give_up("expired", expires)
        if self.ended is not None and self.ended > now:
            self.ended = None
        return self.ended is not None

    def _give_up(self, status: str, when: float) -> None:
        for item in self.items[self.done :]:
            item.status = status
        self.ended = when


class BatchStore:
    """All batches of one scenario."""

    def __init__(self) -> None:
        self._kept: dict[str, Batch] = {}
        self._open: list[Batch] = []
        self._lock = threading.Lock()  # the invoice may be asked for from another thread, which advances too

    def keep(self, batch: Batch) -> None:
        """Remember a batch."""
        with self._lock:
            self._kept[batch.id] = batch
            if batch.ended is None:
                self._open.append(batch)

    def advance(self, provider: Provider, now: float, ended: Callable[[Batch], None]) -> None:
        """Let all batches be as far as they are at `now`; `ended` is told each that this ended."""
        with self._lock:
            for batch in self._open:
                if batch.advance(provider, now):
                    ended(batch)
            self._open = [batch for batch in self._open if batch.ended is None]

    def get(self, dialect: str, scope: str, batch_id: str) -> Batch | None:
        """A batch of this credential's."""
        found = self._kept.get(batch_id)
        return found if found is not None and (found.dialect, found.scope) == (dialect, scope) else None

    def listed(self, dialect: str, scope: str) -> list[Batch]:
        """The batches of one credential, newest first."""
        return [b for b in reversed(self._kept.values()) if (b.dialect, b.scope) == (dialect, scope)]

    def delete(self, batch: Batch) -> None:
        """Forget a batch."""
        del self._kept[batch.id]


def _process(provider: Provider, batch: Batch, item: Item, index: int) -> None:
    """Answer one request of a batch, and bill it if it succeeded."""
    digest = hashlib.blake2b(f"{provider.seed}:{batch.id}:{index}".encode(), digest_size=12).hexdigest()
    item.request_id = f"req_{digest}"
    dialect = provider.apis[item.path]
    try:
        _answer(provider, batch, item, digest)
        item.status = "succeeded"
    except Fail as fail:
        item.status, item.http_status = "errored", fail.status
        item.answer = dialect.error(fail, item.request_id)


def _answer(provider: Provider, batch: Batch, item: Item, digest: str) -> None:
    body = _encode(item.body)
    fault = _strike(provider, batch, item, body)
    if item.body.get("stream"):
        raise Fail(400, "invalid_request_error", "stream: not supported in a batch")
    if item.body.get("speed") == "fast":
        raise Fail(400, "invalid_request_error", "speed: fast mode is not supported in a batch")
    plan = provider.plan(item.path, batch.headers, item.body, body, batch.scope, fault)
    asked, counts = plan.asked, plan.asked.counts
    counts.batch = True
    if asked.model.kind == "chat":
        counts.tier = "batch" if batch.dialect == "anthropic" else "default"
    counts.output = plan.output
    now = provider.clock.now()
    asked.commit_cache(now)
    item.answer = plan.dialect.message(asked, plan.answers, answer_id=digest, seed=provider.seed, now=now)
    spoilt = fault is not None and fault.kind == "wrong_usage"
    if fault is not None and spoilt:
        item.answer = wrong_body(item.answer, fault.usage)
    for name, tokens in (
        ("input", counts.prompt),
        ("cached", counts.cache_read),
        ("output", counts.output),
        ("reasoning", counts.reasoning),
    ):
        batch.usage[name] = batch.usage.get(name, 0) + tokens
    if asked.model.kind != "moderation":
        provider.book.later(
            batch.record,
            counts,
            asked.model,
            "complete",
            reported=not spoilt,
            request_id=item.request_id,
            user=asked.user,
            batch=batch.id,
            custom_id=item.custom_id,
        )


def _strike(provider: Provider, batch: Batch, item: Item, body: bytes) -> Fault | None:
    """A rule sees a batch's requests under `/batch` and their own path, and only if it asks for such a path."""
    model = item.body.get("model")
    name = model if isinstance(model, str) else ""
    rule = provider.script.strike(Seen(batch.dialect, f"/batch{item.path}", False, name, False, batch.headers, body))
    if rule is None:
        return None
    if rule.fault.kind in BEFORE_GENERATION:
        raise error_of(rule.fault, batch.dialect)
    return rule.fault
