"""A sample of a task's calls is answered by a second model too, behind the caller's back and at its own cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from headgate.background import Background
from headgate.core.caller import Caller
from headgate.core.errors import UpstreamBusy
from headgate.core.limits import Limit
from headgate.policy.guards.rules import GuardRules
from headgate.policy.recovery import Recovery
from headgate.policy.shadowing import BACK, SWITCHED, WATCHING, ShadowRules
from headgate.shadowing import Shadows, guards_of_purpose
from headgate.stores.shadow_file import ShadowFile
from headgate.testing import World
from headgate.testing.canned import CLAUDE, completion, message, message_stream, messages_request

OPUS = "claude-opus-4-5"
RULES = ShadowRules("classify", CLAUDE, sample_basis_points=10_000, until=20, agreement_basis_points=9_000, auto=True)


class Inline(Background):
    """Does everything at once."""

    def offer(self, work: Callable[[], None]) -> bool:
        work()
        return True


def shadowed(world: World, file: ShadowFile | None = None, rules: ShadowRules = RULES, draw: float = 0.0) -> ShadowFile:
    file = file or ShadowFile(None)
    shadows = Shadows(
        {rules.task: rules},
        file,
        Inline(world.log.event),
        now=world.clock.now,
        draw=lambda: draw,
        mark=lambda: "mark",
        tell=world.log.event,
    )
    policies = replace(world.engine.policies, tasks=shadows.tasks(world.engine.policies.tasks))
    world.engine = type(world.engine)(replace(world.engine.ports, witnesses=(shadows,)), policies)
    shadows.engine = world.engine
    return file


def ask(world: World, run: Any, *, stream: bool = False) -> Any:
    request = world.request(messages_request(model=OPUS, stream=stream), caller=Caller(task="classify", user="ada"))
    return run(world.call(request))


def models(world: World) -> list[str]:
    return [each.attempts[-1].route.model for each in world.ledger.settled]


def test_the_caller_has_its_own_models_answer_and_the_other_is_asked_behind_it(run: Any) -> None:
    world = World(message("spam"), message("spam"))
    file = shadowed(world)
    assert b"spam" in ask(world, run).body
    assert models(world) == [OPUS, CLAUDE]
    assert file.tally("classify", CLAUDE, WATCHING).counted.same == 1
    live, other = world.ledger.settled
    assert (other.request.caller.task, other.request.caller.user) == ("shadow:classify", "")
    assert other.request.correlation_id == live.id
    assert file.spent("classify", 0.0) == other.cost_nano > 0


def test_a_different_answer_and_one_that_was_cut_count_against_it(run: Any) -> None:
    cut = [message("spam")[0].replace(b"end_turn", b"max_tokens")]
    world = World(message("spam"), message("ham"), message("spam"), cut)
    file = shadowed(world)
    ask(world, run)
    ask(world, run)
    assert file.tally("classify", CLAUDE, WATCHING).counted.different == 2


def test_a_second_model_that_fails_is_told_and_counts_for_nothing(run: Any) -> None:
    failure = UpstreamBusy("busy", kind="busy", retryable=True)
    world = World(message("spam"), failure, recovery=Recovery(attempts=1))
    file = shadowed(world)
    assert ask(world, run).status == 200
    counted = file.tally("classify", CLAUDE, WATCHING).counted
    assert (counted.compared, counted.failed) == (0, 1)
    assert [fields["result"] for name, fields in world.log.events if name == "shadow"] == ["failed"]


def test_streams_are_compared_by_what_they_say(run: Any) -> None:
    world = World(message_stream("sp", "am"), message_stream("s", "pam"))
    file = shadowed(world)
    ask(world, run, stream=True)
    assert file.tally("classify", CLAUDE, WATCHING).counted.same == 1


def test_calls_of_other_tasks_and_those_not_drawn_are_left_alone(run: Any) -> None:
    world = World(message("a"), message("b"))
    shadowed(world, rules=replace(RULES, sample_basis_points=500), draw=0.05)
    ask(world, run)
    run(world.call(world.request(messages_request(model=OPUS))))
    assert models(world) == [OPUS, OPUS]


def test_it_switches_and_the_sample_goes_on_the_other_way_round(run: Any) -> None:
    world = World(*[message("spam")] * 42)
    file = shadowed(world)
    for _ in range(20):
        ask(world, run)
    assert file.state("classify", CLAUDE)[0] == SWITCHED
    assert [name for name, _ in world.log.events if name == "shadow_switched"] == ["shadow_switched"]
    assert ask(world, run).status == 200
    assert models(world)[-2:] == [CLAUDE, OPUS]
    assert file.tally("classify", CLAUDE, SWITCHED).counted.same == 1


def test_it_comes_back_by_itself_when_answers_begin_to_differ(run: Any) -> None:
    world = World(*[message("spam")] * 40, *[message("ham"), message("spam")] * 3, message("spam"))
    file = shadowed(world)
    for _ in range(24):
        ask(world, run)
    assert file.state("classify", CLAUDE)[0] == BACK
    assert models(world)[-1] == OPUS
    ((_, told),) = [each for each in world.log.events if each[0] == "shadow_back"]
    assert (told["task"], told["different"]) == ("classify", 3)


def test_the_days_money_ends_it_and_another_day_goes_on(run: Any) -> None:
    world = World(*[message("spam")] * 5)
    shadowed(world, rules=replace(RULES, day_nano=1))
    for _ in range(2):
        ask(world, run)
    assert models(world) == [OPUS, CLAUDE, OPUS]
    world.clock.time += 86_400.0
    ask(world, run)  # what it looks at first is as of yesterday
    assert models(world)[3:] == [OPUS, CLAUDE]


def test_without_auto_nothing_switches_and_the_report_is_told_once(run: Any) -> None:
    world = World(*[message("spam")] * 42)
    file = shadowed(world, rules=replace(RULES, auto=False))
    for _ in range(22):
        ask(world, run)
    assert file.state("classify", CLAUDE)[0] == WATCHING
    assert len(models(world)) == 42
    assert [name for name, _ in world.log.events].count("shadow_done") == 1


def test_a_restart_remembers_and_a_persons_switch_is_seen_within_seconds(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "headgate.db.shadow.db"
    world = World(message("spam"), message("spam"))
    shadowed(world, ShadowFile(path))
    ask(world, run)
    assert ShadowFile(path).tally("classify", CLAUDE, WATCHING).counted.same == 1
    world = World(*[message("spam")] * 6)
    shadowed(world, ShadowFile(path))
    ask(world, run)
    assert ShadowFile(path).change("classify", CLAUDE, WATCHING, SWITCHED, world.clock.now())
    world.clock.time += 5
    ask(world, run)
    ask(world, run)
    assert models(world)[-2:] == [CLAUDE, OPUS]
    again = World(message("spam"), message("spam"))
    shadowed(again, ShadowFile(path))
    ask(again, run)
    assert models(again) == [CLAUDE, OPUS]


def test_a_judge_is_asked_where_texts_differ_and_its_cost_is_counted(run: Any) -> None:
    world = World(message("It is spam."), message("Spam, clearly."), completion('{"same": true}'))
    file = shadowed(world, rules=replace(RULES, compare="judge", judge="gpt-5-mini"))
    ask(world, run)
    tally = file.tally("classify", CLAUDE, WATCHING)
    assert tally.counted.same == 1
    assert tally.judge_nano == world.ledger.settled[-1].cost_nano > 0
    assert world.ledger.settled[-1].request.caller.task == "shadow-judge:classify"


def test_a_judge_that_says_nothing_of_use_is_a_comparison_that_failed(run: Any) -> None:
    world = World(message("a"), message("b"), completion("They are the same!"))
    file = shadowed(world, rules=replace(RULES, compare="judge", judge="gpt-5-mini"))
    ask(world, run)
    assert file.tally("classify", CLAUDE, WATCHING).counted.failed == 1


def test_the_callers_limits_do_not_count_it(run: Any) -> None:
    world = World(*[message("spam")] * 4, limits=[Limit(requests_per_minute=2)])
    shadowed(world)
    assert [ask(world, run).status for _ in range(2)] == [200, 200]


def test_its_calls_have_the_guards_of_the_task_that_they_are_made_for() -> None:
    seen: list[str] = []

    def inner(caller: Caller) -> GuardRules:
        seen.append(caller.task)
        return GuardRules()

    guards = guards_of_purpose(inner)
    for task in ("classify", "shadow:classify", "shadow-judge:classify", "similar:classify"):
        guards(Caller(task=task))
    assert seen == ["classify"] * 4


def test_a_file_that_cannot_be_read_stops_comparing_and_no_call(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    path.write_bytes(b"this is no database at all, and long enough to be read as one" * 20)
    world = World(message("spam"))
    shadowed(world, ShadowFile(path))
    assert ask(world, run).status == 200
    assert models(world) == [OPUS]
