"""`use: defer`: a promise in place of an answer. The call goes on record, and is made when there is room."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable, Collection

from headgate.core.caller import Caller
from headgate.core.errors import HeadgateError
from headgate.core.exchange import Exchange, Request
from headgate.core.ports import Substitute
from headgate.policy.homes import owner
from headgate.stores.job_rows import QUEUED, Job, JobStore
from headgate.stores.jobs_place import JobsPlace
from headgate.wire import DIALECTS

PATH = "/v1/headgate/jobs/"
WAY_IN = "deferred"
_DEFERRED = frozenset({"messages", "chat", "responses", "embeddings"})
_KEPT = frozenset({b"content-type", b"anthropic-version", b"anthropic-beta", b"openai-beta"})

_HEAD = " head"  # beside the caller's own dimensions, in the same JSON


class Deferring:
    """`core.ports.Substitutes` on event loops: of calls that came through the gateway, where answers can be fetched.

    Attributes:
        added: called whenever there is another job.
    """

    def __init__(
        self,
        place: JobsPlace,
        *,
        now: Callable[[], float],
        tell: Callable[..., None],
        wait_seconds: float = 86_400.0,
        keep_seconds: float = 86_400.0,
        most: int = 10_000,
        hooks: Collection[str] = (),
    ) -> None:
        """
        Args:
            now: seconds since the epoch.
            tell: the log's `event`.
            wait_seconds: how long a job may wait for room.
            keep_seconds: how long it is kept when it is over.
            most: of one owner's that may wait; more are not deferred.
            hooks: who may be told of answers, by the names that callers give.
        """
        self.store = JobStore(place)
        self.tell = tell
        self.wait_seconds = wait_seconds
        self.keep_seconds = keep_seconds
        self.most = most
        self.hooks = frozenset(hooks)
        self.added: Callable[[], None] | None = None
        self._now = now

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
            now + self.wait_seconds,
            now if why == "asked" else now + 1.0,
            request.dialect,
            request.endpoint,
            request.path,
            request.provider,
            json.dumps([[n.decode(), v.decode("latin-1")] for n, v in request.headers if n in _KEPT]),
            json.dumps(_caller(exchange)),
            request.body,
            webhook=request.webhook if request.webhook in self.hooks else "",
        )
        try:
            known = await asyncio.to_thread(self.store.add, job, most=self.most)
        except HeadgateError as error:
            self.tell("defer_failed", exchange=exchange.id, error=error.message)
            return None
        if not known:
            self.tell("defer_full", exchange=exchange.id, owner=job.owner, most=self.most)
            return None
        if self.added is not None:
            self.added()
        told = {"id": known, "object": "headgate.job", "status": QUEUED, "url": PATH + known, "expires_at": job.expires}
        headers = [(b"content-type", b"application/json"), (b"location", (PATH + known).encode())]
        return Substitute(202, headers, json.dumps(told).encode())


def _caller(exchange: Exchange) -> dict[str, object]:
    """Who asks, and what of the request's head counts for how it is run."""
    request, caller = exchange.request, exchange.request.caller
    names = ("key", "tenant", "user", "session", "task", "feature", "environment")
    told: dict[str, object] = {**{name: getattr(caller, name) for name in names}, "tags": dict(caller.tags)}
    return told | {_HEAD: {"address": request.address, "cache": request.cache}}


def request_of(job: Job) -> Request:
    """The call that a job is, as it came; with the job's id to correlate it.

    Raises:
        BadRequest: it cannot be read, as it could not then.
    """
    told = json.loads(job.caller)
    head = told.pop(_HEAD, {})
    return Request(
        dialect=job.dialect,
        endpoint=job.endpoint,
        method="POST",
        path=job.path,
        headers=[(name.encode(), value.encode("latin-1")) for name, value in json.loads(job.headers)],
        body=job.body,
        facts=DIALECTS[job.dialect].read_request(job.endpoint, job.body),
        caller=Caller(**told),
        way_in=WAY_IN,
        correlation_id=job.id,
        provider=job.provider,
        batch=True,
        address=head.get("address", ""),
        cache=head.get("cache", ""),
    )
