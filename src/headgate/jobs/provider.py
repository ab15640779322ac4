"""Lines of a batch as batches of their provider's: cut, submitted, looked after, fetched, settled line by line.

A shard is on record before it is submitted, and looked up at the provider before it is submitted again: OpenAI's by the
mark in its metadata; Anthropic's, whose batches have no room for one, by when it was made and how large it is, and for
certain by the names in its results.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from headgate.core.errors import HeadgateError, UpstreamError
from headgate.core.exchange import Attempt, Route
from headgate.engine.sending import body_for
from headgate.jobs.holding import BatchHolds
from headgate.jobs.requests import caller_of, cost_of, facts_of, request_of
from headgate.jobs.settling import Settling
from headgate.jobs.vendor import Look, Refused, Unsure, Vendor
from headgate.policy.batching import VENDORS, poll_wait, shards
from headgate.policy.incidents import UNREAD
from headgate.stores.batch_items import CANCELLED, FAILED, WAITING, Batch, BatchStore, Item, Shard
from headgate.wire import DIALECTS
from headgate.wire.batch_lines import Result, read_result

if TYPE_CHECKING:
    from headgate.build import Built

NEW, SUBMITTING, SUBMITTED, FETCHING, OVER = "new", "submitting", "submitted", "fetching", "over"

MOST_TIMES = 3
"""Provider's batches that a line may be in, one after the other, where they expire before its turn comes."""
FETCHED_TOGETHER = 200
SLACK = 120.0
"""Seconds that a provider's clock may be off ours."""
_OVERHEAD = 200  # bytes of a line beside its body
_STEP = 1.0  # seconds between two looks at whether to stop

_encode = msgspec.json.Encoder().encode


class Submitting:
    """One run over what is left of a batch, through its providers' batches."""

    def __init__(self, built: Built, store: BatchStore, batch: Batch, holds: BatchHolds) -> None:
        self._built = built
        self._store = store
        self._batch = batch
        self._holds = holds
        self._passed = batch.via not in ("paced", "provider")  # its caller's: with names of the caller's
        self._names: dict[str, int] = {}
        self._clock = built.engine.ports.clock
        self._settling = Settling(built, store, batch)
        self._looked: dict[int, tuple[int, float]] = {}  # by shard: how often, and when again
        self._cancelled: set[int] = set()
        self._models: dict[int, tuple[str, ...]] = {}  # names by shard, once an incident stops a model
        self.stop = False
        """Submit nothing more, and leave what is at the provider there."""

    async def run(self, *, cancel: bool = False) -> None:
        """Return when nothing is left, or `stop` was set.

        Args:
            cancel: have what is at the provider end; nothing is submitted.

        Raises:
            HeadgateError: the provider cannot be asked, or the store not be written.
        """
        while not self.stop:
            late = self._batch.deadline is not None and self._now() >= self._batch.deadline
            if not cancel and not late and not self._passed:
                await self._cut()
            under_way = False
            for shard in await asyncio.to_thread(self._store.shards, self._batch.id):
                if shard.state != OVER and not self.stop:
                    under_way = await self._step(shard, cancel=cancel or late) or under_way
            await asyncio.to_thread(self._holds.settle_over)
            counts = await asyncio.to_thread(self._store.counts, self._batch.id)
            if not under_way and (not counts.states.get(WAITING) or cancel or late):
                return
            if under_way:
                await self._clock.sleep(_STEP if not self._due() else 0.0)

    def _due(self) -> bool:
        now = self._now()
        return any(at <= now for _, at in self._looked.values())

    async def _step(self, shard: Shard, *, cancel: bool) -> bool:
        """One thing to do for a shard; whether there is more."""
        if shard.state == NEW and cancel:
            await self._over(shard, CANCELLED, "cancelled before it was submitted")
            return False
        if shard.state == NEW and await self._stopped(shard):
            return True  # once the incident is over
        if shard.state in (NEW, SUBMITTING):
            await self._submit(shard)
            return True
        asked, at = self._looked.get(shard.number, (0, 0.0))
        if cancel and shard.number not in self._cancelled:
            self._cancelled.add(shard.number)
            await self._vendor(shard).cancel(shard.provider_id)
            asked, at = 0, 0.0
        if self._now() < at:
            return True
        look = await self._look(shard)
        if look is None:
            return True
        if not look.ended:
            self._looked[shard.number] = (asked + 1, self._now() + poll_wait(asked))
            return True
        self._looked.pop(shard.number, None)
        return not await self._fetch(shard, look)

    async def _stopped(self, shard: Shard) -> bool:
        """An incident keeps it from being submitted: its provider's, its caller's, or that of a model of its lines."""
        incidents, record = self._built.engine.policies.incidents, self._built.engine.ports.incidents
        if incidents.live is UNREAD and record is not None:
            await record.known()
        if incidents.stops_batch(caller_of(self._batch.caller, self._batch.id), shard.provider, self._now()):
            return True
        if not incidents.stops_models():
            return False
        if shard.number not in self._models:
            self._models[shard.number] = await asyncio.to_thread(self._names_of_models, shard)
        return incidents.stops(self._models[shard.number], self._now())

    def _names_of_models(self, shard: Shard) -> tuple[str, ...]:
        """All names that the models of a shard's lines go by. Blocks."""
        found: set[str] = set()
        after, router = -1, self._built.engine.policies.router
        while page := self._store.of_shard(self._batch.id, shard.number, after=after):
            after = page[-1].place
            for item in page:
                request = self._settling.request(item)
                route = self._route(item)
                model = route.model if route is not None and route.model else request.facts.model
                found.update((*router.led(request), model, f"{shard.provider}/{model}"))
        return tuple(found)

    # -- to the provider -------------------------------------------------------------------------------------------

    async def _cut(self) -> None:
        """Put what waits into shards, on record."""
        known = await asyncio.to_thread(self._store.shards, self._batch.id)
        number = max((shard.number for shard in known), default=-1) + 1
        groups: dict[tuple[str, str, str], list[tuple[int, int]]] = {}  # places and sizes; no bodies
        after = -1
        while page := await asyncio.to_thread(self._store.unsharded, self._batch.id, after=after):
            after = page[-1].place
            for item in page:
                route = self._route(item)
                if route is None:
                    await self._fail([item], "no provider serves its model")
                    continue
                if item.bound_nano is None and self._has_hard_budget(item, route):
                    await self._fail([item], "unbounded: what it can cost is not known, and a budget applies to it")
                    continue
                # OpenAI's take one model per file.
                model = route.model if self._batch.dialect == "openai" else ""
                groups.setdefault((route.provider, item.url, model), []).append(
                    (item.place, len(item.body) + _OVERHEAD)
                )
        for (provider, url, _), found in groups.items():
            for places in shards(found, VENDORS[self._batch.dialect]):
                shard = Shard(number, provider, url, len(places))
                await asyncio.to_thread(self._store.add_shard, self._batch.id, shard, places)
                number += 1

    async def _submit(self, shard: Shard) -> None:
        vendor, batch_id = self._vendor(shard), self._batch.id
        mark = f"{batch_id}-{shard.number}"
        if shard.state == SUBMITTING:
            there = await self._find(shard, mark)
            if there is not None:
                shard.provider_id, shard.submitted, shard.state = there.id, there.created, SUBMITTED
                await asyncio.to_thread(self._store.set_shard, batch_id, shard)
                return
        content = await asyncio.to_thread(lambda: b"".join(self._content(shard)))
        shard.state, shard.begun = SUBMITTING, shard.begun or self._now()
        await asyncio.to_thread(self._store.set_shard, batch_id, shard)
        try:
            shard.provider_id, shard.file_id = await vendor.create(mark, shard.url, content, file_id=shard.file_id)
        except Refused as error:
            await self._over(shard, FAILED, f"the provider took no batch of them: {error.message}")
            return
        except Unsure as error:
            shard.why = error.message
            await asyncio.to_thread(self._store.set_shard, batch_id, shard)
            await self._clock.sleep(poll_wait(0))  # then it is looked for, and submitted again if it is not there
            return
        shard.state, shard.submitted, shard.why = SUBMITTED, self._now(), ""
        await asyncio.to_thread(self._store.set_shard, batch_id, shard)

    async def _find(self, shard: Shard, mark: str) -> Look | None:
        """The provider's batch of a shard that may have been submitted."""
        found = await self._vendor(shard).recent(shard.begun - SLACK)
        if self._batch.dialect == "openai":
            return next((each for each in found if each.mark == mark), None)
        taken = {each.provider_id for each in await asyncio.to_thread(self._store.shards)}
        return next((each for each in found if each.size == shard.items and each.id not in taken), None)

    def _content(self, shard: Shard) -> Iterator[bytes]:
        """What is sent, in pieces."""
        anthropic, after, first = self._batch.dialect == "anthropic", -1, True
        if anthropic:
            yield b'{"requests":['
        while page := self._store.of_shard(self._batch.id, shard.number, after=after):
            after = page[-1].place
            for item in page:
                body = msgspec.Raw(self._body(item))
                name = f"{self._batch.id}-{item.place}"
                if anthropic:
                    yield (b"" if first else b",") + _encode({"custom_id": name, "params": body})
                else:
                    yield _encode({"custom_id": name, "method": "POST", "url": item.url, "body": body}) + b"\n"
                first = False
        if anthropic:
            yield b"]}"

    def _body(self, item: Item) -> bytes:
        """With the model that its route has, and the output cap that money is held for."""
        request = self._settling.request(item)
        cost = cost_of(self._built, request, self._now())
        if cost is None:
            return item.body
        attempt = Attempt(1, cost.route, self._now(), output_cap=cost.output_cap)
        return body_for(request, DIALECTS[self._batch.dialect], attempt)

    def _route(self, item: Item) -> Route | None:
        batch = self._batch
        facts = facts_of(batch.dialect, item.url, item.body, keep_text=False)
        caller = caller_of(batch.caller, batch.id, facts.user)
        request = request_of(batch.id, batch.dialect, item.line, item.url, item.body, caller, facts)
        cost = cost_of(self._built, request, self._now())
        return None if cost is None or cost.route.dialect != batch.dialect else cost.route

    def _has_hard_budget(self, item: Item, route: Route) -> bool:
        request = self._settling.request(item)
        budgets = self._built.engine.policies.budgets
        return budgets.applying(request.caller, route, request.facts.model, self._now()).hard is not None

    # -- and back --------------------------------------------------------------------------------------------------

    async def _look(self, shard: Shard) -> Look | None:
        try:
            return await self._vendor(shard).look(shard.provider_id)
        except Refused as error:
            await self._settling.charge_bound(shard, f"the provider does not know its batch: {error.message}")
            await self._over(shard, FAILED, error.message)
        except Unsure as error:
            asked, _ = self._looked.get(shard.number, (0, 0.0))
            shard.why = error.message
            self._looked[shard.number] = (asked + 1, self._now() + poll_wait(asked))
        return None

    async def _fetch(self, shard: Shard, look: Look) -> bool:
        """Take the results in. False where this turned out to be no batch of ours, or it has to be fetched again."""
        again = shard.state == FETCHING
        shard.state = FETCHING
        await asyncio.to_thread(self._store.set_shard, self._batch.id, shard)
        if self._passed and not self._names:
            self._names = await asyncio.to_thread(self._store.names, self._batch.id)
        group: list[tuple[int, Result]] = []
        try:
            for path in look.files:
                async for raw in self._vendor(shard).lines(path):
                    result = read_result(self._batch.dialect, raw)
                    if result is None:
                        continue
                    place = self._place(result.custom_id)
                    if place is None:
                        return await self._not_ours(shard)
                    group.append((place, result))
                    if len(group) >= FETCHED_TOGETHER:
                        await self._settling.settle(shard, group, check=again)
                        group = []
            await self._settling.settle(shard, group, check=again)
        except UpstreamError as error:
            shard.why = error.message
            await self._clock.sleep(poll_wait(0))
            return False
        except Refused as error:
            await self._settling.charge_bound(shard, f"its results cannot be fetched: {error.message}")
            await self._over(shard, FAILED, error.message)
            return True
        await self._leave(shard, look)
        return True

    async def _not_ours(self, shard: Shard) -> bool:
        shard.state, shard.provider_id, shard.submitted = SUBMITTING, "", None
        await asyncio.to_thread(self._store.set_shard, self._batch.id, shard)
        return False

    def _place(self, name: str) -> int | None:
        if self._passed:
            return self._names.get(name, -1)
        head, _, place = name.rpartition("-")
        return int(place) if head == self._batch.id and place.isdecimal() else None

    async def _leave(self, shard: Shard, look: Look) -> None:
        """What the provider has not answered: it waits again, or has failed as the provider says."""
        wrong = dict(look.errors)
        left: list[Item] = []
        after = -1
        while page := await asyncio.to_thread(self._store.of_shard, self._batch.id, shard.number, after=after):
            after = page[-1].place
            left += [replace(each, body=b"") for each in page]
        if look.errors:  # the whole input was refused for these
            bad = [each for place, each in enumerate(left, 1) if place in wrong] or left
            names = {each.place: wrong.get(place, look.errors[0][1]) for place, each in enumerate(left, 1)}
            await self._settling.fail(bad, names)
            left = [each for each in left if each not in bad]
        else:
            tired = [each for each in left if each.attempt >= MOST_TIMES or self._passed]
            await self._settling.fail(tired, dict.fromkeys((e.place for e in tired), "expired at the provider"))
        stays = CANCELLED if look.status in ("cancelled", "canceling") or shard.number in self._cancelled else WAITING
        why = "cancelled at the provider" if stays == CANCELLED else ""
        await self._over(shard, stays, why)

    async def _over(self, shard: Shard, state: str, reason: str) -> None:
        shard.state, shard.why = OVER, reason
        await asyncio.to_thread(self._store.leave_shard, self._batch.id, shard.number, state, reason)
        await asyncio.to_thread(self._store.set_shard, self._batch.id, shard)

    async def _fail(self, items: list[Item], reason: str) -> None:
        await self._settling.fail(items, dict.fromkeys((each.place for each in items), reason))

    def _vendor(self, shard: Shard) -> Vendor:
        route = self._built.router.providers.get(shard.provider)
        if route is None:
            raise HeadgateError(
                f"the provider {shard.provider}, which has a part of {self._batch.id}, is not configured"
            )
        return Vendor(self._built, self._batch.dialect, route)

    def _now(self) -> float:
        return self._clock.now()
