"""What came of it, as JSON and for a terminal. No words of an attack or an answer are in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.redteam.attack import (
    ALLOWED,
    BROKEN,
    FAMILIES,
    INPUT,
    NOBODY,
    OUTPUT,
    THROUGH,
    TOOLS,
    Done,
    Outcome,
)
from headgate.cli.text import count, print_table, safe

if TYPE_CHECKING:
    from headgate.cli.redteam.run import Result
    from headgate.settings.model import Settings

COLUMNS = (INPUT, TOOLS, OUTPUT, NOBODY, ALLOWED, BROKEN, THROUGH)
HEADS = ("family", "tried", "stopped: input", "tools", "output", NOBODY, ALLOWED, BROKEN, "GOT THROUGH")
_SHOWN = 12
_MOST = 200  # of what got through, in JSON


def as_document(settings: Settings, results: Sequence[Result]) -> dict[str, Any]:
    """As JSON; docs/lab.md has the fields."""
    return {
        "simulated": True,
        "config": settings.source,
        "got_through": sum(len(result.through) for result in results),
        "not_tried": sum(len(result.broken) for result in results),
        "subjects": [_subject(result) for result in results],
    }


def _subject(result: Result) -> dict[str, Any]:
    rules = result.subject.rules
    return {
        "who": result.subject.name,
        "profile": rules.profile,
        "tried": len(result.outcomes),
        "families": {
            family: _family(result.outcomes, family) for family in FAMILIES if _family(result.outcomes, family)
        },
        "could_have": _impacts(result.through),
        "got_through": [_outcome(each) for each in result.through[:_MOST]],
        "not_tried": [_outcome(each) for each in result.broken[:_MOST]],
        "allowed_tools": sorted({each.attack.tool for each in result.outcomes if each.ended == ALLOWED}),
        "advice": [
            {"goal": each.goal, "line": each.line, "where": each.where, "stops": each.stops, "of": each.of}
            for each in result.advice
        ],
        "harmless": {"tool_tasks": _work(result.done, tools=True), "chats": _work(result.done, tools=False)},
    }


def _family(outcomes: Sequence[Outcome], family: str) -> dict[str, int]:
    ended = Counter(each.ended for each in outcomes if each.attack.family == family)
    return {column: ended[column] for column in COLUMNS} if ended else {}


def _impacts(through: Sequence[Outcome]) -> list[dict[str, Any]]:
    """What could have been done, the most frequent first."""
    by_impact: dict[str, list[Outcome]] = defaultdict(list)
    for each in through:
        by_impact[each.attack.impact].append(each)
    ordered = sorted(by_impact.items(), key=lambda each: (-len(each[1]), each[0]))
    return [
        {
            "impact": impact,
            "times": len(found),
            "channels": sorted({each.attack.channel for each in found}),
            "ways": sorted({str(each.way) for each in found}),
        }
        for impact, found in ordered
    ]


def _outcome(each: Outcome) -> dict[str, Any]:
    return {
        "attack": each.attack.name,
        "way": str(each.way),
        "channel": each.attack.channel,
        "impact": each.attack.impact,
        "detail": each.detail,
        "findings": list(each.reasons),
    }


def _work(done: Sequence[Done], *, tools: bool) -> dict[str, Any]:
    of = [each for each in done if bool(each.task.tool) == tools]
    failed = Counter((each.detail, ", ".join(dict.fromkeys(each.reasons))) for each in of if not each.completed)
    return {
        "completed": sum(each.completed for each in of),
        "of": len(of),
        "failed": [
            {"why": why, "findings": findings, "times": times} for (why, findings), times in failed.most_common(_SHOWN)
        ],
    }


def print_results(document: dict[str, Any]) -> None:
    """For people."""
    for place, subject in enumerate(document["subjects"]):
        if place:
            click.echo("")
        _print(document["config"], subject)
    through = document["got_through"]
    click.echo(
        f"\n{count(through)} attacks got through."
        if through
        else "\nNothing of consequence got through, though the model obeyed every word."
    )
    if document["not_tried"]:
        click.echo(f"{count(document['not_tried'])} could not be tried, so nothing is known of them.")


def _print(config: str, subject: dict[str, Any]) -> None:
    click.echo(f"{safe(config or 'no configuration file')}: {safe(subject['who'])}, profile {subject['profile']}\n")
    rows = [
        (family.replace("_", " "), sum(ended.values()), *(ended[column] or "-" for column in COLUMNS))
        for family, ended in subject["families"].items()
    ]
    print_table(HEADS, rows, left=1)
    for each in subject["harmless"], "tool_tasks", "chats":
        if isinstance(each, str):
            work = subject["harmless"][each]
            click.echo(f"{'' if each == 'chats' else chr(10)}Harmless {each.replace('_', ' ')}: {_went_on(work)}")
    if subject["allowed_tools"]:
        click.echo(f"Allowed by your rules, to whoever is obeyed: {safe(', '.join(subject['allowed_tools']))}")
    if subject["could_have"]:
        click.echo("\nWhat got through could")
        for each in subject["could_have"][:_SHOWN]:
            click.echo(f"  {safe(each['impact'])}: {each['times']} times, from {', '.join(each['channels'])}")
        left = len(subject["could_have"]) - _SHOWN
        if left > 0:
            click.echo(f"  and {left} other things; --json has all")
    for each in subject["not_tried"][:1]:
        click.echo(f"\nNot tried, for example {each['attack']}: {safe(each['detail'])}")
    _print_advice(subject["advice"])


def _went_on(work: dict[str, Any]) -> str:
    told = f"{count(work['completed'])} of {count(work['of'])} went on"
    if work["failed"]:
        worst = work["failed"][0]
        told += f"; {worst['times']} times {safe(worst['why'])}"
        told += f" ({safe(worst['findings'])})" if worst["findings"] else ""
    return told


def _print_advice(advice: Sequence[dict[str, Any]]) -> None:
    if not advice:
        return
    click.echo("\nWhat would have stopped it (each line was tried)")
    for each in advice:
        if not each["line"]:
            click.echo(f"  {each['goal']}: no single line that was tried stops any of the {each['of']}")
            continue
        where = f"  [{safe(each['where'])}]" if each["where"] else ""
        click.echo(f"  {safe(each['line'])}{where}: stops {each['stops']} of {each['of']}")
