"""Kept answers, and callers that wait for the same one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headgate.beside import AsyncBeside, BlockingBeside
from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import ContentBlocked, UpstreamBroken, UpstreamTimeout
from headgate.core.exchange import Ending
from headgate.core.guards import Finding, Verdict
from headgate.engine.blocking import run_blocking
from headgate.policy.caching import CacheRules
from headgate.stores.cache_memory import MemoryCache
from headgate.testing import FakeAnswer, World
from headgate.testing.canned import (
    CLAUDE,
    JSON,
    completion,
    completion_stream,
    event,
    message,
    message_stream,
    messages_request,
)
from headgate.testing.fakes import START, Piece, Played, route

WHOLE: dict[str, Callable[..., list[bytes]]] = {"anthropic": message, "openai": completion}
STREAM: dict[str, Callable[..., list[bytes]]] = {"anthropic": message_stream, "openai": completion_stream}
HOUR = CacheRules(3600.0)
BROKEN = UpstreamBroken("reset", kind="broken")


class Kept:
    """A world with a cache, whose clock is the world's."""

    def __init__(self, run: Any, *script: Any, caching: CacheRules = HOUR, **more: Any) -> None:
        beside = BlockingBeside() if run is run_blocking else AsyncBeside()
        self.cache = MemoryCache(now=lambda: self.world.clock.now())
        self.world = World(*script, caching=caching, cache=self.cache, beside=beside, **more)
        self.sent = self.world.upstream.sent

    async def call(self, *, cache: str = "", **options: Any) -> Played:
        request = self.world.request(**options)
        request.cache = cache
        return await self.world.call(request)


def settled(kept: Kept) -> None:
    """A thread reads streams here: it has a few microseconds more to do when its caller has all of it."""
    for thread in threading.enumerate():
        if thread.name == "headgate-flight":
            thread.join(10)


# What is given again


def test_a_whole_answer_is_given_again_byte_for_byte_and_costs_nothing(run: Any, dialect: str) -> None:
    kept = Kept(run, WHOLE[dialect]())
    first, second = run(kept.call(dialect=dialect)), run(kept.call(dialect=dialect))
    assert len(kept.sent) == 1
    assert second.body == first.body == WHOLE[dialect]()[0]
    assert (first.headers[b"x-headgate-cache"], second.headers[b"x-headgate-cache"]) == (b"miss", b"hit")
    assert second.headers[b"x-headgate-cost-usd"] == b"0"
    assert second.headers[b"x-headgate-attempts"] == b"0"
    assert second.headers[b"x-headgate-model"] == first.headers[b"x-headgate-model"]
    assert (second.exchange.ending, second.exchange.cost_nano, second.exchange.attempts) == (Ending.COMPLETE, 0, [])
    assert kept.world.ledger.settled == [first.exchange, second.exchange]


def test_a_hit_touches_neither_intents_nor_the_upstream_and_waits_for_no_commit(run: Any) -> None:
    kept = Kept(run, message())
    run(kept.call())
    del kept.world.happened[:]
    run(kept.call())
    assert kept.world.happened == ["settle"]
    assert kept.world.ledger.flushes == 0


def test_a_stream_is_given_again_as_a_stream_with_its_usage_and_our_own_comment(run: Any, dialect: str) -> None:
    kept = Kept(run, STREAM[dialect]("one", "two"))
    first, second = run(kept.call(dialect=dialect, stream=True)), run(kept.call(dialect=dialect, stream=True))
    assert len(kept.sent) == 1
    body, _, comment = second.body.rpartition(b": x-headgate-exchange=")
    assert body == first.body.rpartition(b": x-headgate-exchange=")[0]
    assert b"x-headgate-cost-usd=0 " in comment
    assert b"x-headgate-cache=hit" in comment
    assert second.exchange.id.encode() in comment
    assert first.exchange.id.encode() not in second.body
    assert second.headers[b"content-type"].startswith(b"text/event-stream")


def test_a_stream_and_a_whole_answer_do_not_stand_for_each_other(run: Any, dialect: str) -> None:
    kept = Kept(run, WHOLE[dialect](), STREAM[dialect]())
    run(kept.call(dialect=dialect))
    assert run(kept.call(dialect=dialect, stream=True)).headers[b"x-headgate-cache"] == b"miss"


def test_a_kept_answer_expires(run: Any) -> None:
    kept = Kept(run, message("old"), message("new"))
    run(kept.call())
    kept.world.clock.time = START + 3601
    assert b"new" in run(kept.call()).body


def test_two_tenants_with_the_same_question_make_two_calls(run: Any) -> None:
    kept = Kept(run, message("acme's"), message("globex's"))
    assert b"acme" in run(kept.call(caller=Caller(tenant="acme"))).body
    assert b"globex" in run(kept.call(caller=Caller(tenant="globex"))).body
    assert b"acme" in run(kept.call(caller=Caller(tenant="acme", user="bob"))).body


def test_without_being_told_only_answers_at_temperature_0_are_kept(run: Any) -> None:
    kept = Kept(run, message(), message(), message(), caching=CacheRules())
    for _ in range(2):
        assert b"x-headgate-cache" not in run(kept.call()).headers
    cold = messages_request(temperature=0)
    assert run(kept.call(body=cold)).headers[b"x-headgate-cache"] == b"miss"
    assert run(kept.call(body=cold)).headers[b"x-headgate-cache"] == b"hit"


def test_a_kept_answer_is_given_though_the_budget_is_spent(run: Any) -> None:
    kept = Kept(run, message(), message(output_tokens=1900), budgets=[Budget("all", cap_nano=10_000_000)])
    dear = messages_request(metadata={"user_id": "x"}, top_k=1)
    assert run(kept.call()).status == 200
    assert run(kept.call(body=dear)).status == 200
    assert run(kept.call(body=messages_request(top_k=2))).status == 429
    assert run(kept.call()).headers[b"x-headgate-cache"] == b"hit"


# What is not kept


@pytest.mark.parametrize(
    "answer",
    [
        message("cut", stop_reason="max_tokens"),
        message("no", stop_reason="refusal"),
        message("wait", stop_reason="pause_turn"),
        message("?", stop_reason=None),
        completion("x" * 9 * 1024 * 1024),
    ],
    ids=["truncated", "refused", "paused", "unknown", "too large"],
)
def test_what_is_no_complete_answer_is_not_kept(run: Any, answer: list[bytes]) -> None:
    dialect = "openai" if b"chat.completion" in answer[0][:200] else "anthropic"
    kept = Kept(run, answer, answer)
    run(kept.call(dialect=dialect))
    assert run(kept.call(dialect=dialect)).headers[b"x-headgate-cache"] == b"miss"
    assert kept.cache.stats().entries == 0


def test_a_refusal_in_words_of_chat_is_not_kept(run: Any) -> None:
    no = [{"index": 0, "message": {"role": "assistant", "refusal": "I cannot"}, "finish_reason": "stop"}]
    kept = Kept(run, completion(choices=no))
    run(kept.call(dialect="openai"))
    assert kept.cache.stats().entries == 0


def test_an_error_is_not_kept(run: Any) -> None:
    wrong = FakeAnswer(400, ((b"content-type", JSON),), [b'{"type":"error","error":{"type":"invalid_request_error"}}'])
    kept = Kept(run, wrong, message())
    assert run(kept.call()).status == 400
    assert run(kept.call()).status == 200


def test_a_cut_stream_is_not_kept(run: Any, dialect: str) -> None:
    kept = Kept(run, [*STREAM[dialect]("one")[:3], BROKEN], STREAM[dialect]("whole"))
    assert b"whole" not in run(kept.call(dialect=dialect, stream=True)).body
    settled(kept)
    assert kept.cache.stats().entries == 0
    assert b"whole" in run(kept.call(dialect=dialect, stream=True)).body


def test_a_tool_call_is_an_answer_and_is_kept(run: Any) -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    kept = Kept(run, message(stop_reason="tool_use", content=[call]))
    run(kept.call())
    assert run(kept.call()).headers[b"x-headgate-cache"] == b"hit"


def test_what_leans_on_state_at_the_provider_passes_the_cache_by_and_says_so(run: Any) -> None:
    kept = Kept(run, message(), message())
    body = messages_request(container="container_abc")
    for _ in range(2):
        played = run(kept.call(body=body))
        assert played.headers.get(b"x-headgate-cache") == b"bypass"
        assert played.headers[b"x-headgate-cache-why"] == b"state"


# x-headgate-cache


def test_off_neither_reads_nor_keeps(run: Any) -> None:
    kept = Kept(run, message("one"), message("two"), message("three"))
    assert b"one" in run(kept.call(cache="off")).body
    assert b"two" in run(kept.call()).body
    played = run(kept.call(cache="off"))
    assert b"three" in played.body
    assert (played.headers[b"x-headgate-cache"], played.headers[b"x-headgate-cache-why"]) == (b"bypass", b"off")


def test_refresh_reads_nothing_and_keeps_what_it_gets(run: Any) -> None:
    kept = Kept(run, message("one"), message("two"))
    run(kept.call())
    assert b"two" in run(kept.call(cache="refresh")).body
    assert b"two" in run(kept.call()).body
    assert len(kept.sent) == 2


def test_only_is_refused_where_nothing_is_kept_and_sends_nothing(run: Any) -> None:
    kept = Kept(run, message())
    played = run(kept.call(cache="only"))
    assert (played.status, played.exchange.ending) == (504, Ending.REFUSED)
    assert b"cache_miss" in played.body
    assert played.headers[b"x-should-retry"] == b"false"
    assert kept.sent == []
    run(kept.call())
    assert run(kept.call(cache="only")).status == 200


def test_only_is_refused_where_there_is_no_cache_at_all(run: Any) -> None:
    world = World(message())
    request = world.request()
    request.cache = "only"
    assert run(world.call(request)).status == 504
    assert world.upstream.sent == []


# Today's output guards


class Says:
    """An inspector that stops at a word."""

    tools = False

    def __init__(self, word: str) -> None:
        self.word = word
        self.stopped: Finding | None = None
        self._seen = ""

    @property
    def findings(self) -> list[Finding]:
        return [self.stopped] if self.stopped else []

    def text(self, place: str, piece: str, *, final: bool = False) -> Any:
        from headgate.core.guards import Seen

        self._seen += piece
        if self.word in self._seen:
            self.stopped = Finding("leak", Verdict.BLOCK, ("canary",))
        return Seen(len(self._seen))

    def tool(self, call: Any) -> Any:
        return call


@pytest.mark.parametrize("stream", [False, True])
def test_a_kept_answer_goes_through_the_guards_of_today(run: Any, dialect: str, stream: bool) -> None:
    kept = Kept(run, STREAM[dialect]("the secret word") if stream else WHOLE[dialect]("the secret word"))
    run(kept.call(dialect=dialect, stream=stream))
    settled(kept)
    engine = kept.world.engine
    admit = engine._admit

    def watched(exchange: Any) -> Any:
        plan = admit(exchange)
        plan.inspects = lambda: Says("secret")
        return plan

    engine._admit = watched  # type: ignore[method-assign]
    played = run(kept.call(dialect=dialect, stream=stream))
    assert isinstance(played.error, ContentBlocked)
    assert (played.status, played.exchange.ending) == (400, Ending.REFUSED)
    assert b"secret" not in played.body
    assert len(kept.sent) == 1


# Single flight


def waits_for(told: asyncio.Event) -> Callable[[], Any]:
    async def wait() -> None:
        await told.wait()

    return wait


def slow(told: asyncio.Event, pieces: list[bytes], after: int = 0) -> FakeAnswer:
    script: list[Piece] = [*pieces[:after], waits_for(told), *pieces[after:]]
    kind = b"text/event-stream" if pieces[0].startswith((b"event:", b"data:")) else JSON
    return FakeAnswer(headers=((b"content-type", kind),), pieces=script)


@pytest.mark.parametrize("stream", [False, True])
def test_a_thousand_identical_calls_at_once_make_one_upstream_call(dialect: str, stream: bool) -> None:
    async def all_at_once() -> None:
        told = asyncio.Event()
        kept = Kept(None, slow(told, STREAM[dialect]("one", "two") if stream else WHOLE[dialect]()))
        calls = [asyncio.create_task(kept.call(dialect=dialect, stream=stream)) for _ in range(1000)]
        await asyncio.sleep(0)
        told.set()
        played = await asyncio.gather(*calls)
        assert len(kept.sent) == 1
        assert {each.body.rpartition(b": x-headgate-exchange=")[0] for each in played} == {
            played[0].body.rpartition(b": x-headgate-exchange=")[0]
        }
        said = [each.headers[b"x-headgate-cache"] for each in played]
        assert (said.count(b"miss"), said.count(b"hit")) == (1, 999)
        assert len(kept.world.ledger.settled) == 1000
        assert len(kept.world.ledger.intents) == 1
        assert all(each.exchange.ending is Ending.COMPLETE for each in played)

    asyncio.run(all_at_once())


@pytest.mark.parametrize("stream", [False, True])
def test_many_threads_at_once_make_one_upstream_call(dialect: str, stream: bool) -> None:
    told = threading.Event()

    async def wait() -> None:
        told.wait(10)

    pieces = STREAM[dialect]("one", "two") if stream else WHOLE[dialect]()
    kind = b"text/event-stream" if stream else JSON
    kept = Kept(run_blocking, FakeAnswer(headers=((b"content-type", kind),), pieces=[wait, *pieces]))
    played: list[Played] = []

    def call() -> None:
        played.append(run_blocking(kept.call(dialect=dialect, stream=stream)))

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    while kept.world.engine._recalling is None or not _crew_is(kept, 16):
        threading.Event().wait(0.001)
    told.set()
    for thread in threads:
        thread.join(10)
    assert len(kept.sent) == 1
    assert sorted(each.headers[b"x-headgate-cache"] for each in played) == [b"hit"] * 15 + [b"miss"]


def _crew_is(kept: Kept, number: int) -> bool:
    recalling = kept.world.engine._recalling
    assert recalling is not None
    return any(flight.crew == number for flight in recalling._tools.flights._by_key.values())


def test_threads_and_an_event_loop_wait_for_the_same_answer() -> None:
    """The leader is in an event loop; a thread follows it, through the other colour's engine."""
    from headgate.engine.engine import Engine
    from headgate.engine.flights import Flights

    told = asyncio.Event()
    kept = Kept(None, slow(told, message_stream("one", "two"), after=3))
    world, flights = kept.world, Flights()
    policies, ports = world.engine.policies, world.engine.ports
    world.engine = Engine(ports, policies, flights)
    from dataclasses import replace

    other = World(caching=HOUR)
    other.engine = Engine(replace(ports, beside=BlockingBeside()), policies, flights)
    bodies: list[bytes] = []

    async def both() -> None:
        leader = asyncio.create_task(kept.call(stream=True))
        await asyncio.sleep(0.01)

        def follow() -> None:
            bodies.append(run_blocking(other.call(other.request(stream=True))).body)

        thread = threading.Thread(target=follow)
        thread.start()
        while not any(flight.crew == 2 for flight in flights._by_key.values()):
            await asyncio.sleep(0.001)
        told.set()
        bodies.append((await leader).body)
        await asyncio.to_thread(thread.join, 10)

    asyncio.run(both())
    assert len(kept.sent) == 1
    assert len({body.rpartition(b": x-headgate-exchange=")[0] for body in bodies}) == 1


def test_a_follower_gets_a_stream_from_its_beginning_while_it_is_written(dialect: str) -> None:
    async def follow() -> None:
        told = asyncio.Event()
        pieces = STREAM[dialect]("one", "two")
        kept = Kept(None, slow(told, pieces, after=3))
        leader = await kept.world.open(kept.world.request(dialect=dialect, stream=True))
        assert await leader.read()
        follower = await kept.world.open(kept.world.request(dialect=dialect, stream=True))
        begun = b""
        while b"one" not in begun:
            begun += await follower.read()
        assert b"two" not in begun
        told.set()
        rest = b""
        while piece := await follower.read():
            rest += piece
        whole, _, comment = (begun + rest).rpartition(b": x-headgate-exchange=")
        assert b"one" in whole and b"two" in whole  # noqa: PT018 -- one claim
        assert b"x-headgate-cache=hit" in comment
        leader.close()

    asyncio.run(follow())


@pytest.mark.parametrize("stream", [False, True])
def test_what_one_callers_budget_has_led_to_is_nobody_elses_answer(stream: bool) -> None:
    """Ada's money is enough for the cheaper model alone; Bob, who asks the same meanwhile, has his own."""

    async def ask() -> None:
        told = asyncio.Event()
        make = message_stream if stream else message
        probe = World(message())
        request = probe.request(stream=stream)
        bound = probe.engine.policies.charges.bound(
            route("anthropic", CLAUDE), request.facts, len(request.body), probe.clock.time
        )
        assert bound is not None
        kept = Kept(
            None,
            slow(told, make("cheap"), after=3 if stream else 0),
            make("as asked"),
            budgets=[
                Budget("ada", per=("user",), only=(("user", "ada"),), cap_nano=bound.nano // 5, degrade_to="fast")
            ],
            models={"fast": [route("anthropic", "claude-haiku-5-5")]},
        )
        tasks = []
        for user in ("ada", "bob"):
            tasks.append(asyncio.create_task(kept.call(stream=stream, caller=Caller(tenant="acme", user=user))))
            for _ in range(50):  # a stream's content is there by now, and its end is not
                await asyncio.sleep(0)
        told.set()
        first, second = await asyncio.gather(*tasks)
        assert b"cheap" in first.body
        assert first.headers[b"x-headgate-degraded"] == b"budget ada: fast"
        assert b"as asked" in second.body
        assert len(kept.sent) == 2

    asyncio.run(ask())


@pytest.mark.parametrize("stream", [False, True])
def test_the_upstream_call_goes_on_when_its_leader_leaves_and_another_waits(dialect: str, stream: bool) -> None:
    async def leave() -> None:
        told = asyncio.Event()
        pieces = STREAM[dialect]("one", "two") if stream else WHOLE[dialect]()
        kept = Kept(None, slow(told, pieces))
        leader = asyncio.create_task(kept.call(dialect=dialect, stream=stream))
        await asyncio.sleep(0)
        follower = asyncio.create_task(kept.call(dialect=dialect, stream=stream))
        await asyncio.sleep(0)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        assert kept.world.ledger.settled == []  # its money is still being spent
        told.set()
        played = await follower
        assert played.status == 200
        assert played.exchange.cost_nano == 0
        assert len(kept.sent) == 1
        paid = [each for each in kept.world.ledger.settled if each.attempts]
        assert [each.ending for each in paid] == [Ending.COMPLETE]
        assert paid[0].cost_nano > 0

    asyncio.run(leave())


def test_the_upstream_call_ends_when_the_last_one_leaves() -> None:
    async def leave() -> None:
        told = asyncio.Event()
        kept = Kept(None, slow(told, message()), message("later"))
        calls = [asyncio.create_task(kept.call()) for _ in range(3)]
        await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(0)
        assert kept.world.upstream.answers[0].closed
        endings = [each.ending for each in kept.world.ledger.settled]
        assert endings == [Ending.CANCELLED] * 3
        assert b"later" in (await kept.call()).body

    asyncio.run(leave())


def test_a_call_that_is_cancelled_before_its_flight_has_begun_is_settled() -> None:
    async def leave() -> None:
        kept = Kept(None, message())
        exchange = kept.world.engine.begin(kept.world.request())
        call = kept.world.engine.open(exchange)
        call.send(None)  # up to the wait for its flight, which has not had a turn
        call.close()
        await asyncio.sleep(0)
        assert exchange.ending is Ending.CANCELLED
        assert kept.sent == []

    asyncio.run(leave())


def test_a_follower_leads_where_its_leader_has_failed(run: Any) -> None:
    async def both() -> None:
        told = asyncio.Event()

        async def fail() -> None:
            await told.wait()
            raise UpstreamBroken("reset", kind="broken")

        kept = Kept(None, fail, message("second"))
        calls = [asyncio.create_task(kept.call()) for _ in range(3)]
        await asyncio.sleep(0)
        told.set()
        played = await asyncio.gather(*calls)
        assert len(kept.sent) == 2
        assert [each.status for each in played] == [503, 200, 200]

    asyncio.run(both())


def test_a_provider_that_is_down_is_not_asked_by_one_follower_after_the_other() -> None:
    async def all_at_once() -> None:
        kept = Kept(None, *[BROKEN] * 50)
        played = await asyncio.gather(*(kept.call() for _ in range(20)))
        assert {each.status for each in played} == {503}
        assert len(kept.sent) <= 20

    asyncio.run(all_at_once())


def test_a_follower_waits_no_longer_than_its_own_deadline() -> None:
    async def wait() -> None:
        told = asyncio.Event()
        kept = Kept(None, slow(told, message()))
        leader = asyncio.create_task(kept.call())
        await asyncio.sleep(0)
        follower = asyncio.create_task(kept.call(timeout=0.01))
        await asyncio.sleep(0)
        kept.world.clock.time += 1
        played = await follower
        assert isinstance(played.error, UpstreamTimeout)
        assert (played.status, played.exchange.attempts) == (504, [])
        told.set()
        assert (await leader).status == 200

    asyncio.run(wait())


def test_a_follower_of_a_stream_that_breaks_gets_the_dialects_own_error(dialect: str) -> None:
    async def follow() -> None:
        told = asyncio.Event()
        pieces = STREAM[dialect]("one", "two")[:4]
        script: list[Piece] = [*pieces[:3], waits_for(told), UpstreamBroken("reset", kind="broken")]
        answer = FakeAnswer(headers=((b"content-type", b"text/event-stream"),), pieces=script)
        kept = Kept(None, answer)
        leader = asyncio.create_task(kept.call(dialect=dialect, stream=True))
        await asyncio.sleep(0.01)
        follower = asyncio.create_task(kept.call(dialect=dialect, stream=True))
        await asyncio.sleep(0.01)
        told.set()
        first, second = await asyncio.gather(leader, follower)
        for played in (first, second):
            assert played.body.count(b"broke off") == 1
            assert played.exchange.ending is Ending.CUT
            assert played.exchange.id.encode() in played.body
        assert kept.cache.stats().entries == 0

    asyncio.run(follow())


def test_a_follower_of_responses_gets_the_error_as_the_next_event() -> None:
    async def follow() -> None:
        told = asyncio.Event()
        at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        begun = event("response.created", sequence_number=0, response={"id": "r", "model": "gpt-6-luna"})
        text = event("response.output_text.delta", sequence_number=1, **at, delta="hello")
        script: list[Piece] = [begun, text, waits_for(told), UpstreamBroken("reset", kind="broken")]
        kept = Kept(None, FakeAnswer(headers=((b"content-type", b"text/event-stream"),), pieces=script))
        body = b'{"model":"gpt-6-luna","input":"hi","max_output_tokens":9,"stream":true,"store":false}'
        calls = [asyncio.create_task(kept.call(dialect="openai", path="/responses", body=body)) for _ in range(2)]
        await asyncio.sleep(0.01)
        told.set()
        for played in await asyncio.gather(*calls):
            _, ours, data = played.body.partition(b"event: error\ndata: ")
            assert ours
            assert json.loads(data)["sequence_number"] == 2

    asyncio.run(follow())


def test_a_caller_that_leaves_a_stream_alone_is_charged_as_without_a_cache(run: Any, dialect: str) -> None:
    closed = threading.Event()

    async def wait() -> None:
        if run is not run_blocking:
            await asyncio.Event().wait()
        closed.wait(10)
        raise UpstreamBroken("closed by us", kind="broken")

    async def leave() -> Any:
        kept = Kept(run, [*STREAM[dialect]("one" * 50)[:3], wait])
        reply = await kept.world.open(kept.world.request(dialect=dialect, stream=True))
        while b"one" not in await reply.read():
            pass
        reply.close()
        closed.set()
        if run is not run_blocking:
            await asyncio.sleep(0.01)
        return kept, reply

    kept, reply = run(leave())
    settled(kept)
    exchange = reply.exchange
    assert exchange.ending is Ending.ABANDONED
    assert exchange.estimated
    assert exchange.cost_nano > 0
    assert kept.cache.stats().entries == 0


def test_an_interactive_call_does_not_wait_for_one_that_may_wait_for_long() -> None:
    async def both() -> None:
        told = asyncio.Event()
        kept = Kept(None, slow(told, message("batch")), message("at once"))
        request = kept.world.request()
        request.batch = True
        batch = asyncio.create_task(kept.world.call(request))
        await asyncio.sleep(0)
        assert b"at once" in (await kept.call()).body
        told.set()
        assert b"batch" in (await batch).body

    asyncio.run(both())


def test_where_nothing_is_kept_there_is_no_single_flight() -> None:
    async def both() -> None:
        told = asyncio.Event()
        kept = Kept(None, slow(told, message()), slow(told, message()), caching=CacheRules())
        calls = [asyncio.create_task(kept.call()) for _ in range(2)]
        await asyncio.sleep(0)
        told.set()
        await asyncio.gather(*calls)
        assert len(kept.sent) == 2

    asyncio.run(both())


def test_content_of_other_kinds_of_frames_passes_as_it_came(run: Any) -> None:
    """Pings, unknown events, and a chunk that nobody asked for."""
    pieces = [*message_stream("hi")[:3], event("ping"), event("vendor.thing", x=1), *message_stream("hi")[3:]]
    kept = Kept(run, pieces)
    first = run(kept.call(stream=True))
    settled(kept)
    second = run(kept.call(stream=True))
    assert b"vendor.thing" in second.body
    assert first.body.rpartition(b": x-h")[0] == second.body.rpartition(b": x-h")[0]


def test_a_chunk_of_usage_goes_only_to_those_who_asked_for_it(run: Any) -> None:
    from headgate.testing.canned import chat_request

    kept = Kept(run, completion_stream("a"), completion_stream("a"))
    plain = chat_request(stream=True)
    told = chat_request(stream=True, stream_options={"include_usage": True})
    for _ in range(2):
        assert b'"prompt_tokens"' not in run(kept.call(dialect="openai", body=plain)).body
        assert b'"prompt_tokens"' in run(kept.call(dialect="openai", body=told)).body
        settled(kept)
    assert len(kept.sent) == 2
