"""Batches that callers submit themselves, through the gateway's `/v1/messages/batches` and `/v1/batches`: bounded and
held before they go on, looked after in the background, settled line by line at the batch's price when they have ended.

The provider's batch stays the caller's: its requests and its answer pass unchanged. What we keep of it is gone once it
is settled; a batch of which nobody can say any more what came of it is charged at its bound (decisions 9).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.errors import BudgetExceeded, HeadgateError, Refusal, UpstreamError
from headgate.core.exchange import Exchange, Request
from headgate.engine.answer import HeaderList
from headgate.engine.relay import Reply
from headgate.jobs.holding import BatchHolds, Grouping
from headgate.jobs.requests import caller_facts, caller_of, cost_of, request_of
from headgate.jobs.running import PASSED, Running, open_batches
from headgate.jobs.settling import Settling
from headgate.jobs.vendor import Refused, Vendor
from headgate.stores.batch_items import OVER, SENT, Batch, BatchStore, Shard
from headgate.wire import DIALECTS
from headgate.wire.batch_lines import Broken, read_line

if TYPE_CHECKING:
    from headgate.build import Built

_CREATE = {"anthropic": "/v1/messages/batches", "openai": "/batches"}
_TOGETHER = 500
_AGAIN = 30.0  # seconds until a batch whose watcher failed is looked after again
_report = logging.getLogger("headgate.batches")


class _Anthropics(msgspec.Struct):
    requests: list[msgspec.Raw]


class _OpenAis(msgspec.Struct):
    input_file_id: str
    endpoint: str = ""


def is_new_batch(request: Request) -> bool:
    """It submits a batch that can be read here; a body too large to hold goes through, or is refused, as before."""
    return (
        request.method == "POST"
        and request.upload is None
        and request.path.partition("?")[0].rstrip("/") == _CREATE[request.dialect]
    )


class Passing:
    """Of one gateway. Its watchers are tasks of the loop that it was started in."""

    def __init__(self, built: Built) -> None:
        self._built = built
        self._store = BatchStore(built.jobs)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Look after what was submitted before this process; nothing is opened where there is nothing."""
        untold = "batches that were passed on are not looked after"
        for batch in await open_batches(self._built, self._store, untold):
            if batch.via == PASSED:
                self._watch(batch.id)

    async def stop(self) -> None:
        """Leave them to the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def begin(self, exchange: Exchange) -> Passed:
        """Read what is submitted, and set its bound aside.

        Raises:
            BudgetExceeded: it does not fit; or a budget applies, and a line cannot be bounded.
            Refusal: as the engine's; `exchange` is not settled.
        """
        request, now = exchange.request, self._built.engine.ports.clock.now()
        name = f"batch_{secrets.token_hex(8)}"
        batch = Batch(name, "passed on", request.dialect, PASSED, "running", now, None, None, True,
                      caller_facts(request.caller))  # fmt: skip
        passed = Passed(self, self._built, self._store, batch)
        await asyncio.to_thread(self._store.create, batch)
        try:
            await passed.read(request)
            await passed.hold()
        except BaseException:
            await passed.forget()
            raise
        if passed.whole:  # its money is set aside here: the engine sees a call that has its own
            exchange.request = replace(request, prepaid_nano=1)
        return passed

    def watch(self, batch_id: str) -> None:
        """Look after it from now on."""
        self._watch(batch_id)

    def _watch(self, batch_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self._watching(batch_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watching(self, batch_id: str) -> None:
        while True:
            batch = await asyncio.to_thread(self._store.batch, batch_id)
            if batch is None:
                return
            if batch.state in OVER:
                await asyncio.to_thread(self._store.remove, batch_id)
                return
            try:
                await Running(self._built, self._store, batch, None, 1).run()
            except HeadgateError as error:
                _report.error("the batch %s is looked after again in %d s: %s", batch_id, _AGAIN, error.message)
                await asyncio.sleep(_AGAIN)


class Passed:
    """One batch on its way to the provider."""

    def __init__(self, passing: Passing, built: Built, store: BatchStore, batch: Batch) -> None:
        self._passing = passing
        self._built = built
        self._store = store
        self._batch = batch
        self._holds = BatchHolds(built, store, batch)
        self._grouping = Grouping(built, store, batch)
        self._rows: list[dict[str, Any]] = []
        self._url = "/v1/messages"
        self._lines = 0
        self._why = ""  # the first line without a bound, and why
        self._hard = False  # a budget that refuses applies to a line

    @property
    def whole(self) -> bool:
        """Every line of it is bounded."""
        return not self._why

    async def read(self, request: Request) -> None:
        """Put its lines on record. Lines that we cannot read are the provider's to refuse, unless a budget applies."""
        if request.dialect == "anthropic":
            await asyncio.to_thread(self._read_body, request.body)
        else:
            await self._read_file(request)
        await asyncio.to_thread(self._store.add, self._batch.id, self._rows)
        await asyncio.to_thread(self._grouping.write)
        hard = self._hard or (self._why and self._applies(request))
        if self._why and hard:
            raise BudgetExceeded(
                f"a budget applies to this batch, and what it can cost cannot be bounded: {self._why}",
                code="unbounded",
                status_hint=400,
                why="unbounded",
            )

    def _read_body(self, body: bytes) -> None:
        try:
            told = msgspec.json.decode(body, type=_Anthropics)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            self._why = "requests: expected a list of {custom_id, params}"
            return
        for number, raw in enumerate(told.requests, 1):
            self._add(number, bytes(raw))

    async def _read_file(self, request: Request) -> None:
        try:
            told = msgspec.json.decode(request.body, type=_OpenAis)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            self._why = "input_file_id: expected the id of an uploaded file"
            return
        if not told.input_file_id.replace("-", "").replace("_", "").isalnum():
            self._why = "input_file_id: this is no file's id"
            return
        self._url = told.endpoint
        route = self._built.router.routes(request, self._batch.created)[0]
        number = 0
        try:
            async for raw in Vendor(self._built, "openai", route).lines(f"/files/{told.input_file_id}/content"):
                number += 1
                self._add(number, raw)
        except (Refused, UpstreamError) as error:
            self._why = f"its file cannot be read: {error.message}"

    def _add(self, number: int, raw: bytes) -> None:
        batch = self._batch
        line = read_line(number, raw, DIALECTS[batch.dialect])
        if isinstance(line, Broken):
            self._why = self._why or f"line {number}: {line.reason}"
            return
        caller = caller_of(batch.caller, batch.id, line.facts.user)
        request = request_of(batch.id, batch.dialect, number, line.url, line.body, caller, line.facts)
        cost = cost_of(self._built, request, batch.created)
        if cost is None or cost.nano is None:
            self._why = self._why or f"line {number} has no price, or no bound"
        if cost is not None and not self._hard:
            budgets = self._built.engine.policies.budgets
            applying = budgets.applying(caller, cost.route, line.facts.model, batch.created)
            self._hard = applying.hard is not None and bool(self._why)
        self._rows.append(
            {
                "place": self._lines,
                "line": number,
                "custom_id": line.custom_id,
                "state": SENT,
                "shard": 0,
                "url": line.url,
                "digest": line.digest,
                "body": line.body,
                "bound_nano": cost.nano if cost is not None else None,
                "bound_tokens": cost.tokens if cost is not None else 0,
                "hold": self._grouping.add(line, caller, cost),
            }
        )
        self._lines += 1
        if len(self._rows) >= _TOGETHER:
            self._store.add(batch.id, self._rows)
            self._rows = []

    def _applies(self, request: Request) -> bool:
        route = self._built.router.routes(request, self._batch.created)[0]
        budgets = self._built.engine.policies.budgets
        return budgets.applying(request.caller, route, "", self._batch.created).hard is not None

    async def hold(self) -> None:
        """Set aside what it can cost."""
        await self._holds.take(always=True)

    async def noted(self, reply: Reply) -> Reply:
        """The provider's answer, of which its batch's id is taken."""
        body = bytearray()
        while piece := await reply.read():
            body += piece
        batch_id = ""
        if 200 <= reply.status < 300:
            with contextlib.suppress(msgspec.DecodeError, AttributeError):
                batch_id = str(msgspec.json.decode(bytes(body)).get("id") or "")
        try:
            await self._note(reply, batch_id)
        except HeadgateError as error:  # the caller has its batch; what was set aside for it stays so
            _report.error("the batch %s is not looked after: %s", batch_id, error.message)
        return Whole(reply, bytes(body))

    async def _note(self, reply: Reply, batch_id: str) -> None:
        last = reply.exchange.last
        if batch_id and last is not None:
            now = self._built.engine.ports.clock.now()
            shard = Shard(
                0, last.route.provider, self._url, self._lines, "submitted", batch_id, "", self._batch.created, now
            )
            await asyncio.to_thread(self._store.add_shard, self._batch.id, shard, ())
            self._passing.watch(self._batch.id)
        elif 200 <= reply.status < 300:
            await self.lost("the provider's answer names no batch that can be looked after")
        else:
            await self.forget()

    async def failed(self, error: BaseException) -> None:
        """The engine has no answer: it was not submitted, or nobody knows."""
        if isinstance(error, Refusal) or (isinstance(error, UpstreamError) and not error.maybe_billed):
            await self.forget()
        else:
            await self.lost("nobody knows whether the provider has taken it")

    async def lost(self, why: str) -> None:
        """Whether it is billed cannot be found out: its bound is charged."""
        now = self._built.engine.ports.clock.now()
        shard = Shard(0, "", self._url, self._lines, "over", "", "", self._batch.created, now, why)
        await Settling(self._built, self._store, self._batch).charge_bound(shard, why)
        await asyncio.to_thread(self._holds.give_back)
        await asyncio.to_thread(self._store.remove, self._batch.id)

    async def forget(self) -> None:
        """It was not submitted: what was set aside is given back."""
        await asyncio.to_thread(self._holds.give_back)
        await asyncio.to_thread(self._store.remove, self._batch.id)


class Whole:
    """A `Reply` that has been read, and is settled."""

    drains = False
    drain_seconds = 0.0

    def __init__(self, reply: Reply, body: bytes) -> None:
        self._body = body
        self.exchange = reply.exchange
        self.status = reply.status
        self.headers: HeaderList = reply.headers
        self.length: int | None = len(body)

    async def read(self) -> bytes:
        """The whole body, then b""."""
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        """Nothing is left to settle."""

    def leave(self) -> None:
        """Nothing is left to drain."""

    def stop(self) -> None:
        """Nothing is being read."""
