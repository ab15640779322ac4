"""`use: defer`: a promise in place of an answer. The call goes on record, and is made when there is room."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable

from headgate.core.errors import HeadgateError
from headgate.core.exchange import Exchange
from headgate.core.ports import Substitute
from headgate.policy.homes import owner
from headgate.stores.job_rows import QUEUED, Job, JobStore
from headgate.stores.jobs_place import JobsPlace

PATH = "/v1/headgate/jobs/"
LIVES = 86_400.0
"""Seconds in which a job has to be done, and then in which its answer is kept."""

_DEFERRED = frozenset({"messages", "chat", "responses", "embeddings"})
_KEPT = frozenset({b"content-type", b"anthropic-version", b"anthropic-beta", b"openai-beta", b"x-headgate-cache"})


class Deferring:
    """`core.ports.Substitutes` on event loops: of calls that came through the gateway, where answers can be fetched.

    Attributes:
        added: called whenever there is another job.
    """

    def __init__(self, place: JobsPlace, *, now: Callable[[], float], tell: Callable[..., None]) -> None:
        """
        Args:
            now: seconds since the epoch.
            tell: the log's `event`.
        """
        self.store = JobStore(place)
        self.added: Callable[[], None] | None = None
        self._now = now
        self._tell = tell

    async def find(self, exchange: Exchange, why: str) -> Substitute | None:
        """A 202 with the job's id; None for streams, whose callers could not read it, and for jobs themselves."""
        request = exchange.request
        if request.way_in != "gateway" or request.facts.stream or request.endpoint not in _DEFERRED or not request.body:
            return None
        now = self._now()
        named = next((value for name, value in request.headers if name == b"idempotency-key"), b"")
        job = Job(
            f"job_{secrets.token_hex(16)}",
            owner(request.caller),
            named.decode("utf-8", "replace")[:255],
            hashlib.sha256(request.path.encode() + b"\0" + request.body).hexdigest(),
            QUEUED,
            now,
            now + LIVES,
            now if why == "asked" else now + 1.0,
            request.dialect,
            request.endpoint,
            request.path,
            request.provider,
            json.dumps([[n.decode(), v.decode("latin-1")] for n, v in request.headers if n in _KEPT]),
            json.dumps(_caller(exchange)),
            request.body,
        )
        try:
            known = await asyncio.to_thread(self.store.add, job)
        except HeadgateError as error:
            self._tell("defer_failed", exchange=exchange.id, error=error.message)
            return None
        if self.added is not None:
            self.added()
        told = {"id": known, "object": "headgate.job", "status": QUEUED, "url": PATH + known, "expires_at": job.expires}
        headers = [(b"content-type", b"application/json"), (b"location", (PATH + known).encode())]
        return Substitute(202, headers, json.dumps(told).encode())


def _caller(exchange: Exchange) -> dict[str, object]:
    caller = exchange.request.caller
    names = ("key", "tenant", "user", "session", "task", "feature", "environment")
    return {**{name: getattr(caller, name) for name in names}, "tags": dict(caller.tags)}
