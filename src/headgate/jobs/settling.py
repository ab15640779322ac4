"""Results of a provider's batch, line by line: in the ledger at the batch's price, then in the batch's items."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from headgate.core.errors import HeadgateError
from headgate.core.exchange import Attempt, Ending, Exchange, Request, Route
from headgate.core.usage import Usage
from headgate.engine.books import BOUND, FREE
from headgate.jobs.paid import paid
from headgate.jobs.requests import caller_of, correlation, cost_of, facts_of, request_of
from headgate.policy.batching import at_share, batch_share
from headgate.policy.estimate import as_told, believable, credible
from headgate.policy.pricing import ModelPrice, cost_nano
from headgate.stores.batch_items import CANCELLED, DONE, FAILED, SENT, Batch, BatchStore, Ended, Item, Shard
from headgate.wire import DIALECTS
from headgate.wire.batch_lines import ENDPOINTS, Result

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.policy.charging import Charging


class Settling:
    """Of one batch."""

    def __init__(self, built: Built, store: BatchStore, batch: Batch) -> None:
        self._built = built
        self._store = store
        self._batch = batch

    def request(self, item: Item) -> Request:
        """The call that a line stands for."""
        batch = self._batch
        facts = facts_of(batch.dialect, item.url, item.body, keep_text=False)
        caller = caller_of(batch.caller, batch.id, facts.user)
        return request_of(batch.id, batch.dialect, item.line, item.url, item.body, caller, facts)

    async def settle(self, shard: Shard, found: Sequence[tuple[int, Result]], *, check: bool) -> None:
        """Write these down, once: lines that are over already are left alone.

        Args:
            check: some may be in the ledger already; their results are not on record then.
        """
        if found:
            ended = await asyncio.to_thread(self._settled, shard, found, check)
            await self._built.engine.ports.ledger.flush()
            await asyncio.to_thread(self._store.finish, self._batch.id, ended)

    async def fail(self, items: Sequence[Item], reasons: Mapping[int, str]) -> None:
        """These have failed, and cost nothing."""
        ended = [Ended(each.place, FAILED, reason=reasons.get(each.place, "")) for each in items]
        await asyncio.to_thread(self._store.finish, self._batch.id, ended)

    async def charge_bound(self, shard: Shard, why: str) -> None:
        """Nobody can say what came of what is left of a shard: each line is charged the most that it can have cost."""
        store, batch_id, after = self._store, self._batch.id, -1
        while page := await asyncio.to_thread(store.of_shard, batch_id, shard.number, after=after):
            after = page[-1].place
            ended = []
            for item in page:
                exchange = self._exchange(shard, item, Result(item.custom_id, "errored", 0, b""))
                attempt = exchange.attempts[0]
                share = self._share(attempt.route, attempt.started)
                attempt.cost_nano = at_share(item.bound_nano or 0, share)
                attempt.estimated, attempt.price_version = True, BOUND
                self._built.engine.ports.ledger.settle(exchange)
                self._built.engine.ports.log.write(exchange)
                one = Ended(item.place, FAILED, reason=why, exchange=exchange.id, cost_nano=attempt.cost_nano)
                one.drawn_nano = one.cost_nano if item.hold is not None else 0
                ended.append(one)
            await self._built.engine.ports.ledger.flush()
            await asyncio.to_thread(store.finish, batch_id, ended)

    def _share(self, route: Route, at: float) -> tuple[int, int]:
        try:
            book = cast("Charging", self._built.engine.policies.charges).book
            return batch_share(book.price_for(route.provider, route.model, at))
        except HeadgateError:
            return 1, 1

    def _settled(self, shard: Shard, found: Sequence[tuple[int, Result]], check: bool) -> list[Ended]:
        items = self._store.at(self._batch.id, [place for place, _ in found])
        known = {}
        if check:
            names = [correlation(self._batch.id, each.line) for each in items.values() if each.state == SENT]
            known = paid(self._built.ledger, names, since=shard.begun)
        ended = []
        for place, result in found:
            item = items.get(place)
            if item is None or item.state != SENT or item.shard != shard.number or result.kind == "expired":
                continue  # what has expired waits again
            before = known.get(correlation(self._batch.id, item.line))
            if result.kind == "canceled":
                ended.append(Ended(place, CANCELLED, reason="cancelled at the provider"))
                continue
            state = DONE if result.kind == "succeeded" else FAILED
            one = Ended(place, state, result.status, result.body, result.request_id)
            if state == FAILED:
                one.reason = f"the provider's error {result.status or ''}".strip()
            if before is None:
                exchange = self._exchange(shard, item, result)
                self._built.engine.ports.ledger.settle(exchange)
                self._built.engine.ports.log.write(exchange)
                one.exchange, one.cost_nano = exchange.id, exchange.cost_nano
                one.drawn_tokens = exchange.attempts[0].used_tokens if item.hold is not None else 0
            else:
                one.exchange, one.cost_nano = before.exchange, before.nano
                one.drawn_tokens = before.tokens if item.hold is not None else 0
            one.drawn_nano = one.cost_nano if item.hold is not None else 0
            ended.append(one)
        return ended

    def _exchange(self, shard: Shard, item: Item, result: Result) -> Exchange:
        ports, request = self._built.engine.ports, self.request(item)
        now = ports.clock.now()
        sent = shard.submitted or shard.begun
        cost = cost_of(self._built, request, sent)
        route = cost.route if cost is not None else Route(shard.provider, request.facts.model, self._batch.dialect, "")
        attempt = Attempt(1, route, sent, sent=True, status=result.status, ended=now, request_id=result.request_id)
        exchange = Exchange(ports.new_id(now), request, sent, [attempt], ended=now, status=result.status)
        exchange.ending = Ending.COMPLETE if result.kind == "succeeded" else Ending.FAILED
        if result.kind == "succeeded":
            self._charge(exchange, item, result)
        else:
            attempt.price_version = FREE  # only what has succeeded is billed (wire-formats 1.7)
        return exchange

    def _charge(self, exchange: Exchange, item: Item, result: Result) -> None:
        attempt = exchange.attempts[0]
        answer, _ = DIALECTS[self._batch.dialect].read_answer(ENDPOINTS[item.url][0], result.body)
        attempt.model_served, attempt.stop_reason = answer.model, answer.stop_reason
        route, charges = attempt.route, cast("Charging", self._built.engine.policies.charges)
        try:
            price = charges.book.price_served(route.provider, route.model, answer.model, attempt.started)
        except HeadgateError:
            attempt.cost_nano, attempt.estimated, attempt.price_version = item.bound_nano or 0, True, BOUND
            return
        attempt.bound_nano = None if item.bound_nano is None else at_share(item.bound_nano, batch_share(price))
        if answer.usage is None:
            attempt.cost_nano, attempt.estimated, attempt.price_version = attempt.bound_nano or 0, True, BOUND
            return
        usage: Usage = answer.usage
        if not believable(price, usage):
            self._charge_unbelieved(exchange, price, usage)
            return
        if usage.service_tier in ("", "default", "standard"):
            usage = replace(usage, service_tier="batch")  # as Anthropic says it; OpenAI says "default" (2.5)
        attempt.usage_final = True
        attempt.cost_nano = cost_nano(price, usage, at=attempt.started, batch=True)
        attempt.usage, attempt.price_version = usage.whole(), price.version
        told = charges.doubts(route, answer.model, usage, attempt.started)
        if told:
            self._tell(exchange, "price_doubt", doubts=list(told), price_version=price.version)

    def _charge_unbelieved(self, exchange: Exchange, price: ModelPrice, usage: Usage) -> None:
        """No answer can have this usage: its line is charged its bound, or what can be believed if that is more."""
        attempt = exchange.attempts[0]
        told, told_nano = credible(price, usage), 0
        if told is not None:
            told_nano = cost_nano(price, told, at=attempt.started, batch=True)
            attempt.usage = told.whole()
        attempt.cost_nano = max(attempt.bound_nano or 0, told_nano)
        attempt.estimated, attempt.price_version = True, BOUND
        self._tell(exchange, "bad_usage", **as_told(usage))

    def _tell(self, exchange: Exchange, event: str, **facts: object) -> None:
        attempt = exchange.attempts[0]
        self._built.engine.ports.log.event(
            event,
            exchange=exchange.id,
            attempt=attempt.number,
            provider=attempt.route.provider,
            model=attempt.model_served or attempt.route.model,
            request_id=attempt.request_id,
            **facts,
        )
