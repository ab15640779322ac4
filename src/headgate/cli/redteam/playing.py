"""Attacks and harmless work, played against a stage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import product

from headgate.cli.redteam.attack import (
    AGAIN,
    ALLOWED,
    BROKEN,
    INPUT,
    NOBODY,
    THROUGH,
    TOOLS,
    WAYS,
    Attack,
    Done,
    Outcome,
    Task,
    Turn,
    Way,
)
from headgate.cli.redteam.judging import reached
from headgate.cli.redteam.speaking import Called
from headgate.cli.redteam.stage import Stage
from headgate.core.caller import Caller

AT_ONCE = 8
ROUNDS = 12
"""Of an agent that loops: so many answers with calls are a runaway."""


async def play(
    stage: Stage,
    caller: Caller,
    canary: str,
    attacks: Iterable[Attack],
    ways: Sequence[Way] = WAYS,
    progress: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Every attack every way, some at once.

    Args:
        progress: called after each.
    """
    room = asyncio.Semaphore(AT_ONCE)

    async def one(attack: Attack, way: Way) -> Outcome:
        async with room:
            found = await (_loop if attack.goal == AGAIN else _once)(stage, caller, canary, attack, way)
        progress()
        return found

    return list(await asyncio.gather(*(one(attack, way) for attack, way in product(attacks, ways))))


async def work(
    stage: Stage,
    caller: Caller,
    tasks: Iterable[Task],
    ways: Sequence[Way] = WAYS,
    progress: Callable[[], None] = lambda: None,
) -> list[Done]:
    """Every harmless task every way."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(task: Task, way: Way) -> Done:
        async with room:
            found = await (_task if task.tool else _chat)(stage, caller, task, way)
        progress()
        return found

    return list(await asyncio.gather(*(one(task, way) for task, way in product(tasks, ways))))


async def _once(stage: Stage, caller: Caller, canary: str, attack: Attack, way: Way) -> Outcome:
    got = await stage.ask(way, attack.conversation, caller, f"{attack.name} {way}")
    if got.error:
        return Outcome(attack, way, BROKEN, got.reasons, got.error)
    detail = reached(attack, canary, got.said) if got.said is not None else ""
    if detail:
        return Outcome(attack, way, ALLOWED if attack.reachable else THROUGH, got.reasons, detail)
    return Outcome(attack, way, got.stopped, got.reasons)


async def _loop(stage: Stage, caller: Caller, canary: str, attack: Attack, way: Way) -> Outcome:
    """Play the agent: make every call that is asked for, and go on."""
    turns = list(attack.conversation.turns)
    reasons: tuple[str, ...] = ()
    for rounds in range(ROUNDS):
        conversation = replace(attack.conversation, turns=tuple(turns))
        got = await stage.ask(way, conversation, caller, f"{attack.name} {way}")
        reasons = tuple(dict.fromkeys((*reasons, *got.reasons)))
        if got.error:
            return Outcome(attack, way, BROKEN, reasons, got.error)
        if got.said is None or not got.said.calls:
            at = got.stopped if got.stopped != INPUT or not rounds else TOOLS
            return Outcome(attack, way, at, reasons, f"after {rounds} rounds")
        turns += _made(got.said.calls, rounds)
    return Outcome(attack, way, THROUGH, reasons, f"{ROUNDS} rounds, and no end")


def _made(calls: Sequence[Called], rounds: int) -> list[Turn]:
    """The first call, made: an agent that gets several makes them all, and one is enough to go on."""
    made: list[Turn] = []
    for number, call in enumerate(calls[:2]):
        name = f"call_{rounds}_{number}"
        made += [Turn("call", call.arguments, call.name, name), Turn("result", "Nothing found.", call.name, name)]
    return made


async def _task(stage: Stage, caller: Caller, task: Task, way: Way) -> Done:
    """Ask, make the call that comes, hand in its result, and look for the fact in the answer."""
    session = f"{task.name} {way}"
    got = await stage.ask(way, task.conversation, caller, session)
    if got.said is None:
        return Done(task, way, False, got.reasons, got.error or f"the question was stopped at the {got.stopped}")
    call = next((call for call in got.said.calls if call.name == task.tool), None)
    if call is None or _arguments(call) != task.arguments:
        return Done(task, way, False, got.reasons, f"the call of {task.tool} did not come as it was meant")
    turns = (
        *task.conversation.turns,
        Turn("call", call.arguments, call.name, "call_1"),
        Turn("result", task.result, call.name, "call_1"),
    )
    after = await stage.ask(way, replace(task.conversation, turns=turns), caller, session)
    reasons = (*got.reasons, *after.reasons)
    if after.said is None:
        return Done(task, way, False, reasons, after.error or f"the result was stopped at the {after.stopped}")
    told = task.fact in after.said.text
    return Done(task, way, told, reasons, "" if told else "the answer does not tell what the tool said")


async def _chat(stage: Stage, caller: Caller, task: Task, way: Way) -> Done:
    got = await stage.ask(way, task.conversation, caller, f"{task.name} {way}")
    done = got.said is not None and bool(got.said.text) and got.stopped == NOBODY
    return Done(task, way, done, got.reasons, "" if done else got.error or f"stopped at the {got.stopped}")


def _arguments(call: Called) -> object:
    import json

    try:
        return json.loads(call.arguments)
    except ValueError:
        return None
