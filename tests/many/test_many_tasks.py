"""A run over tasks: order, bounds, cancellation. Nothing sleeps; the deadline is the next turn of the loop."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

import headgate
from headgate import ConfigError, DeadlinePassed, Gate
from headgate.many.run import AHEAD

MINE: ContextVar[str] = ContextVar("mine", default="")
AT_ONCE = 1e-9  # seconds: when the loop looks at its timers next


@pytest.fixture(autouse=True)
def nothing_is_left_unawaited() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


async def value(n: int) -> int:
    await asyncio.sleep(0)
    return n


async def failing(n: int) -> int:
    raise ValueError(n)


async def never() -> None:
    await asyncio.Event().wait()


def test_outcomes_come_in_order_whatever_ends_first() -> None:
    async def main() -> tuple[list[int], list[int]]:
        last = asyncio.Event()

        async def first_waits(n: int) -> int:
            if n == 0:
                await last.wait()
            if n == 9:
                last.set()
            return n

        in_order = [each.value async for each in headgate.gather(*map(first_waits, range(10)))]
        last.clear()
        as_ended = [each.value async for each in headgate.gather(*map(first_waits, range(10))).as_completed()]
        return in_order, as_ended

    in_order, as_ended = asyncio.run(main())
    assert in_order == list(range(10))
    assert as_ended == [*range(1, 10), 0]


def test_failures_are_kept_or_the_first_ends_the_run_and_cancels_the_rest() -> None:
    cancelled: list[bool] = []

    async def other() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main() -> None:
        kept = await headgate.gather(value(1), failing(2), value(3))
        assert [each.ok for each in kept] == [True, False, True]
        with pytest.raises(ValueError, match="2"):
            await headgate.gather(other(), failing(2), value(3), return_exceptions=False)

    asyncio.run(main())
    assert cancelled == [True]


def test_two_thousand_calls_are_taken_from_a_generator_only_as_there_is_room() -> None:
    taken = handed = working = most = 0

    async def work(n: int) -> int:
        nonlocal working, most
        working += 1
        most = max(most, working)
        await asyncio.sleep(0)
        working -= 1
        return n

    def calls() -> Iterator[Awaitable[int]]:
        nonlocal taken
        for n in range(2000):
            taken += 1
            assert taken - handed <= 8 * AHEAD + 1
            yield work(n)

    async def main() -> None:
        nonlocal handed
        async for each in headgate.gather(calls(), limit=8):
            assert each.value == each.index == handed
            handed += 1

    asyncio.run(main())
    assert (handed, most) == (2000, 8)


def test_an_asynchronous_source_that_is_slow_does_not_hold_back_what_has_ended(gate: Gate) -> None:
    async def main() -> list[int]:
        more = asyncio.Event()

        async def items() -> AsyncIterator[int]:
            yield 1
            await more.wait()
            yield 2

        seen = []
        async for each in gate.amap(value, items()):
            seen.append(each.value)
            more.set()  # it is waited for until the first outcome is here
        return seen

    assert asyncio.run(main()) == [1, 2]


def test_callables_are_called_again_and_awaitables_are_not() -> None:
    tries: list[int] = []

    async def second_time() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return 7

    async def main() -> None:
        results = await headgate.gather(second_time, lambda: value(1))
        assert [each.ok for each in results] == [False, True]
        assert [each.value for each in await results.retry_failed()] == [7, 1]
        spent = await headgate.gather(failing(1))
        with pytest.raises(ConfigError, match=r"Give headgate\.gather callables"):
            await spent.retry_failed()

    asyncio.run(main())


@pytest.mark.parametrize("wrong", ["hello", [1, 2], 3])
def test_what_cannot_be_awaited_is_told_where_to_go(wrong: Any) -> None:
    async def main() -> None:
        await headgate.gather(wrong)

    with pytest.raises(ConfigError, match=r"gate\.map"):
        asyncio.run(main())


def test_an_async_function_given_to_map_runs_in_tasks(gate: Gate) -> None:
    class Asks:
        async def __call__(self, n: int) -> int:
            return await value(n)

    async def main() -> tuple[Any, Any]:
        return await gate.map(value, range(3)), await gate.map(Asks(), range(3))

    one, other = asyncio.run(main())
    assert [each.value for each in one] == [each.value for each in other] == [0, 1, 2]


def test_what_a_call_sets_in_its_context_is_its_own_and_what_the_run_was_made_in_is_seen(gate: Gate) -> None:
    async def work(n: int) -> str:
        was = MINE.get()
        MINE.set(f"item {n}")
        return was

    async def main() -> None:
        MINE.set("outer")
        run = gate.amap(work, range(10), limit=2)
        MINE.set("")
        assert {each.value for each in await run} == {"outer"}

    asyncio.run(main())


def test_no_calls_have_no_outcomes() -> None:
    async def main() -> headgate.Outcomes[Any]:
        return await headgate.gather()

    assert str(asyncio.run(main())) == "0 of 0 ok; 0 USD in 0 attempts"


def test_a_run_is_gone_through_once_and_not_without_asyncio() -> None:
    async def main() -> None:
        run = headgate.gather(value(1))
        await run
        with pytest.raises(ConfigError, match="gone through once"):
            await run

    asyncio.run(main())
    with pytest.raises(ConfigError, match="run on asyncio"):
        headgate.gather().__await__().send(None)


# Cancellation


def test_cancelled_it_keeps_what_has_ended_and_leaves_no_task_and_no_coroutine_behind() -> None:
    async def main() -> None:
        ended = asyncio.Event()
        calls = [value(0), never(), never(), value(3), *(value(n) for n in range(4, 50))]
        run = headgate.gather(*calls, limit=3, on_progress=lambda done, *_: done == 1 and ended.set())

        async def waiting() -> None:
            await run

        task = asyncio.ensure_future(waiting())
        await ended.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert run.outcomes[0].value == 0
        assert not {1, 2} & {each.index for each in run.outcomes}
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_leaving_the_loop_cancels_what_is_under_way(gate: Gate) -> None:
    async def main() -> None:
        run = gate.amap(lambda n: never() if n else value(n), range(100), limit=3)
        outcomes = aiter(run)
        assert (await anext(outcomes)).value == 0
        await outcomes.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_call_that_cancels_itself_is_a_failure_of_its_own() -> None:
    async def gives_up() -> None:
        raise asyncio.CancelledError

    async def main() -> headgate.Outcomes[Any]:
        return await headgate.gather(gives_up(), value(1))

    results = asyncio.run(main())
    assert results.errors == {"CancelledError": 1}
    assert results[1].value == 1


def test_a_callback_that_fails_ends_the_run() -> None:
    def fails(*_: Any) -> None:
        raise OSError("no such terminal")

    async def main() -> None:
        with pytest.raises(OSError, match="no such terminal"):
            await headgate.gather(value(1), never(), on_progress=fails)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


# Deadlines


@pytest.mark.parametrize("deadline", [0, AT_ONCE])
def test_at_the_deadline_what_is_under_way_is_cancelled_and_every_call_has_its_outcome(deadline: float) -> None:
    async def main() -> headgate.Outcomes[Any]:
        return await headgate.gather(*(never() for _ in range(20)), limit=4, deadline=deadline)

    results = asyncio.run(main())
    assert len(results) == 20
    assert all(isinstance(each.error, DeadlinePassed) for each in results)
    assert sum("had ended" in str(each.error) for each in results) == (4 if deadline else 0)


def test_what_ends_before_the_deadline_is_kept() -> None:
    async def main() -> headgate.Outcomes[Any]:
        return await headgate.gather(value(1), failing(2), deadline=3600)

    results = asyncio.run(main())
    assert results[0].value == 1
    assert results.errors == {"ValueError": 1}


def test_a_source_that_never_tells_is_not_waited_for_past_the_deadline(gate: Gate) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        await never()

    async def main() -> headgate.Outcomes[int]:
        return await gate.amap(value, items(), deadline=AT_ONCE)

    assert len(asyncio.run(main())) <= 1
