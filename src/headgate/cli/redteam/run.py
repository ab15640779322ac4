"""The whole of it: every subject, attacked and put to work, and advice."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.cli.redteam.advice import Advice, advise
from headgate.cli.redteam.attack import BROKEN, THROUGH, WAYS, Attack, Done, Outcome, Task, Way
from headgate.cli.redteam.benign import chats, tool_tasks
from headgate.cli.redteam.corpus import attacks
from headgate.cli.redteam.playing import play, work
from headgate.cli.redteam.stage import World, world
from headgate.cli.redteam.subjects import Subject

if TYPE_CHECKING:
    from headgate.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one subject."""

    subject: Subject
    outcomes: Sequence[Outcome]
    done: Sequence[Done]
    advice: Sequence[Advice] = ()

    @property
    def through(self) -> list[Outcome]:
        """What got through."""
        return [outcome for outcome in self.outcomes if outcome.ended == THROUGH]

    @property
    def broken(self) -> list[Outcome]:
        """What could not be tried."""
        return [outcome for outcome in self.outcomes if outcome.ended == BROKEN]


def run(
    settings: Settings,
    found: Sequence[Subject],
    *,
    env: Mapping[str, str],
    seed: int = 7,
    ways: Sequence[Way] = WAYS,
    only: Callable[[Attack | Task], bool] = lambda _: True,
    every: int = 1,
    advising: bool = True,
    progress: Callable[[int], Callable[[], None]] = lambda _: lambda: None,
) -> list[Result]:
    """Attack each subject. Blocks.

    Args:
        env: where the configuration's references are read.
        only, every: leave out attacks and tasks.
        advising: look for lines that would have stopped what got through.
        progress: is told how many calls there will be, and gives what is called after each.
    """
    canary = made_canary()
    results = []
    with world(env, seed) as place:
        for subject in found:
            named, allowed = tools_of(subject)
            attacked = [each for each in attacks(canary, named) if only(each)][::every]
            tasks = [each for each in (*tool_tasks(canary, allowed), *chats(canary)) if only(each)][::every]
            step = progress((len(attacked) + len(tasks)) * len(ways))
            with place.stage(settings) as stage:
                outcomes = asyncio.run(play(stage, subject.caller, canary, attacked, ways, step))
                done = asyncio.run(work(stage, subject.caller, tasks, ways, step))
            advice = advise(settings, subject, outcomes, _again(place, subject, canary)) if advising else []
            results.append(Result(subject, outcomes, done, advice))
    return results


def _again(
    place: World, subject: Subject, canary: str
) -> Callable[[Settings, Sequence[tuple[Attack, Way]]], Sequence[Outcome]]:
    """What plays attacks once more, against another configuration."""

    def tried(settings: Settings, pairs: Sequence[tuple[Attack, Way]]) -> Sequence[Outcome]:
        by_way: dict[Way, list[Attack]] = defaultdict(list)
        for attack, way in pairs:
            by_way[way].append(attack)

        async def all_ways() -> list[Outcome]:
            found: list[Outcome] = []
            for way, attacked in by_way.items():
                found += await play(stage, subject.caller, canary, attacked, [way])
            return found

        with place.stage(settings) as stage:
            return asyncio.run(all_ways())

    return tried


def made_canary() -> str:
    """A new one each time."""
    from headgate.transport.canary import canary

    return canary()


def tools_of(subject: Subject) -> tuple[dict[str, bool], list[str]]:
    """(the tools that the configuration names, and whether it allows some of their calls; those of them that it allows
    whatever the arguments)."""
    rules = subject.rules.tool_rules
    named: dict[str, bool] = {}
    allowed: list[str] = []
    for rule in rules.rules if rules is not None else ():
        name = rule.tool.text
        if not rule.tool.plain:
            continue
        named[name] = named.get(name, False) or rule.then == "allow"
        if rule.then == "allow" and not rule.when and rule.schema is None:
            allowed.append(name)
    return named, allowed
