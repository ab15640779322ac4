"""What the simulator received, and what it would bill for it.

The newest records are kept whole; the totals count everything since the last reset.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headgate.testing.simulator.models import Model
from headgate.testing.simulator.prices import PRICES, Counts, Price, cost_nano
from headgate.testing.simulator.usage_book import UsageBook

_CREDENTIALS = (b"x-api-key", b"authorization", b"api-key", b"x-goog-api-key", b"cookie", b"proxy-authorization")


@dataclass(slots=True)
class Record:
    """One request, from its arrival to its ending.

    Attributes:
        order: 1, 2, ... as received.
        credential: SHA-256 of the credential's value, hexadecimal, "" if there was none.
        fault: the rule that struck (its name, else its fault's kind), "" if none did.
        counts: what is billed; None for a request that never reached generation.
        reported: the final usage was handed to the socket.
        ending: open; complete; error (answered with one); cut (by a fault, during the answer); dropped (by a fault,
            before the headers); abandoned (the client left).
        events: stream events handed to the socket.
        later: not a request, but work that one asked for; `batch` and `custom_id` name it.
    """

    order: int
    at: float
    request_id: str
    method: str
    path: str
    headers: Mapping[bytes, bytes]
    credential: str = ""
    credential_header: str = ""
    dialect: str = ""
    body_bytes: int = 0
    model: str = ""
    model_id: str = ""
    model_served: str = ""
    stream: bool = False
    user: str = ""
    status: int = 0
    fault: str = ""
    counts: Counts | None = None
    reported: bool = False
    ending: str = "open"
    events: int = 0
    cost_nano: int = 0
    later: bool = False
    batch: str = ""
    custom_id: str = ""

    def as_request(self) -> dict[str, Any]:
        """The entry of `GET /_sim/requests`."""
        return {
            "order": self.order,
            "at": self.at,
            "request_id": self.request_id,
            "dialect": self.dialect,
            "method": self.method,
            "path": self.path,
            "headers": {k.decode("latin-1"): v.decode("latin-1") for k, v in self.headers.items()},
            "credential_present": bool(self.credential),
            "credential_header": self.credential_header,
            "credential_sha256": self.credential,
            "body_bytes": self.body_bytes,
            "model": self.model,
            "stream": self.stream,
            "user": self.user,
            "status": self.status,
            "fault": self.fault,
            "billed": self.counts is not None,
            "events": self.events,
            "ending": self.ending,
        }

    def as_line(self) -> dict[str, Any]:
        """The line of `GET /_sim/invoice`."""
        counts = self.counts or Counts()
        return {
            "order": self.order,
            "request_id": self.request_id,
            "dialect": self.dialect,
            "model": self.model,
            "model_served": self.model_served,
            "user": self.user,
            "usage": {
                "input_tokens": counts.input,
                "cache_read_tokens": counts.cache_read,
                "cache_write_tokens": counts.cache_write,
                "cache_write_1h_tokens": counts.cache_write_1h,
                "output_tokens": counts.output,
                "reasoning_tokens": counts.reasoning,
            },
            "service_tier": counts.tier,
            "speed": counts.speed,
            "inference_geo": counts.geo,
            "cost_nano": self.cost_nano,
            "reported": self.reported,
            "ending": self.ending,
            "batch": self.batch,
            "custom_id": self.custom_id,
        }


@dataclass(slots=True)
class _Totals:
    requests: int = 0
    billed: int = 0
    cost_nano: int = 0
    reported: int = 0
    reported_cost_nano: int = 0
    tokens: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens"), 0
        )
    )


class Book:
    """All records since the last reset. Written by one event loop, read from any thread.

    Attributes:
        usage: what the usage and cost reports are made of.
    """

    def __init__(self, prices: Mapping[str, Price] | None, keep: int) -> None:
        self._prices = PRICES if prices is None else {**PRICES, **prices}
        self._kept: deque[Record] = deque(maxlen=keep)
        self._totals = _Totals()
        self.usage = UsageBook(self._prices)
        self._open = 0
        self._changed = threading.Condition()

    def receive(self, at: float, new_id: str, method: str, path: str, headers: Mapping[bytes, bytes]) -> Record:
        """Open a record. Credentials are reduced to a digest here, and kept nowhere."""
        with self._changed:
            self._totals.requests += 1
            self._open += 1
            order = self._totals.requests
            clean = {k: v for k, v in headers.items() if k not in _CREDENTIALS}
            record = Record(order, at, new_id, method, path, clean)
            self._kept.append(record)
        for name in (b"x-api-key", b"authorization"):  # if both arrive, x-api-key is the one used
            value = headers.get(name, b"").removeprefix(b"Bearer ").strip()
            if value:
                record.credential = hashlib.sha256(value).hexdigest()
                record.credential_header = name.decode()
                break
        return record

    def close(self, record: Record) -> None:
        """Close a record and bill it. Idempotence is the caller's: call it once."""
        counts = record.counts
        if counts is not None:
            record.cost_nano = cost_nano(self._prices[record.model_id], counts)
        with self._changed:
            self._open -= 1
            if counts is not None:
                self._add(record, counts)
            if self._open == 0:
                self._changed.notify_all()

    def later(
        self,
        origin: Record,
        counts: Counts,
        model: Model,
        ending: str,
        *,
        reported: bool,
        request_id: str = "",
        user: str = "",
        batch: str = "",
        custom_id: str = "",
    ) -> None:
        """Bill work that ended after the request that asked for it had been answered."""
        line = replace(
            origin,
            model=model.id,
            model_id=model.id,
            model_served=model.served,
            counts=counts,
            reported=reported,
            request_id=request_id or origin.request_id,
            user=user or origin.user,
            ending=ending,
            later=True,
            batch=batch,
            custom_id=custom_id,
            cost_nano=cost_nano(self._prices[model.id], counts),
        )
        with self._changed:
            self._kept.append(line)
            self._add(line, counts)

    def _add(self, record: Record, counts: Counts) -> None:
        totals = self._totals
        self.usage.add(record, counts)
        totals.billed += 1
        totals.cost_nano += record.cost_nano
        if record.reported:
            totals.reported += 1
            totals.reported_cost_nano += record.cost_nano
        tokens = totals.tokens
        tokens["input_tokens"] += counts.input
        tokens["cache_read_tokens"] += counts.cache_read
        tokens["cache_write_tokens"] += counts.cache_write
        tokens["cache_write_1h_tokens"] += counts.cache_write_1h
        tokens["output_tokens"] += counts.output

    def wait_closed(self, seconds: float) -> bool:
        """Block this thread until no record is open; False if that took longer than `seconds`."""
        until = time.monotonic() + seconds
        with self._changed:
            while self._open:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return not self._open
        return True

    def requests(self) -> list[dict[str, Any]]:
        """Everything received, oldest first."""
        with self._changed:
            records = [record for record in self._kept if not record.later]
        return [record.as_request() for record in records]

    def invoice(self) -> dict[str, Any]:
        """What it would bill: one line per request that reached generation and has ended, and the totals."""
        with self._changed:
            lines = [r for r in self._kept if r.counts is not None and r.ending != "open"]
            totals, still_open = self._totals, self._open
            total = {
                "requests": totals.requests,
                "lines": totals.billed,
                "open": still_open,
                **totals.tokens,
                "cost_nano": totals.cost_nano,
                "reported_lines": totals.reported,
                "reported_cost_nano": totals.reported_cost_nano,
                "unreported_cost_nano": totals.cost_nano - totals.reported_cost_nano,
            }
        return {"simulated": True, "lines": [r.as_line() for r in lines], "total": total}
