"""`headgate shadow`: what came of comparing models on live calls, and which of them serves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import dollars, moment, print_json, print_table, safe

if TYPE_CHECKING:
    from headgate.policy.shadowing import ShadowRules
    from headgate.stores.shadow_file import ShadowFile

_DAY = 86_400


@click.group(invoke_without_command=True)
@json_option
@config_option
@click.pass_context
def shadow(ctx: click.Context, as_json: bool, config: str | None) -> int:
    """Models compared on live calls (tasks.<name>.shadow): how often they agree, and what each costs.

    Exit codes: 0 fine, 1 a task came back because answers differed, 2 misuse.

    \b
    Example:
      headgate shadow                     every task that has a second model
      headgate shadow switch classify     from now on the second model serves it
    """
    if ctx.invoked_subcommand is not None:
        return 0
    rules, file = _door(config)
    rows = [_row(file, each) for each in rules.values()]
    if as_json:
        print_json({"shadows": rows})
    elif not rows:
        click.echo("No task has a `shadow`: see docs/shadow.md.")
    else:
        names = (
            "task",
            "model",
            "state",
            "compared",
            "same",
            "95% between",
            "wanted",
            "failed",
            "cost",
            "other's cost",
        )
        print_table((*names, "spent today", "what to do"), [_line(each) for each in rows], left=3)
    return 1 if any(each["state"] == "back" for each in rows) else 0


def _command(name: str, told: str, old: tuple[str, ...], new: str) -> None:
    @shadow.command(name=name, help=f"{told}\n\n\b\nExample:\n  headgate shadow {name} classify")
    @click.argument("task")
    @config_option
    def run(task: str, config: str | None) -> None:
        rules, file = _door(config)
        if task not in rules:
            raise click.UsageError(f"tasks.{safe(task)} has no `shadow`")
        model = rules[task].model
        state, _ = file.state(task, model)
        if state not in old or not file.change(task, model, state, new, time.time()):
            raise click.UsageError(f"{safe(task)} is {state}: nothing is changed")
        serves = safe(model) if new == "switched" else "its own model"
        click.echo(
            f"{safe(task)} is {new}: it is served by {serves}, by every process within 5 seconds of its next call."
        )


_command("switch", "The second model serves the task from now on, and is compared with the first.",
         ("watching", "back"), "switched")  # fmt: skip
_command("back", "The task's own model serves it again, and nothing is compared.", ("switched", "watching"), "back")
_command("again", "Begin anew: the task's own model serves it, and comparing begins at 0.",
         ("switched", "back", "watching"), "watching")  # fmt: skip


def _door(config: str | None) -> tuple[dict[str, ShadowRules], ShadowFile]:
    from headgate.core.errors import ConfigError
    from headgate.settings.shadow import shadow_rules
    from headgate.stores.opening import shadow_file
    from headgate.stores.shadow_file import ShadowFile

    settings = settings_of(config)
    path = shadow_file(settings.storage)
    if path is None:
        raise ConfigError("storage: memory: what was compared is in the memory of the process that serves")
    return shadow_rules(settings), ShadowFile(path)


def _row(file: ShadowFile, rules: ShadowRules) -> dict[str, Any]:
    from headgate.core.money import usd_text
    from headgate.policy.shadowing import enough, interval

    state, since = file.state(rules.task, rules.model)
    tally = file.tally(rules.task, rules.model, "switched" if state == "back" else state)
    counted = tally.counted
    low, high = interval(counted.same, counted.compared)
    return {
        "task": rules.task,
        "model": rules.model,
        "state": state,
        "since": since,
        "compare": rules.compare,
        "compared": counted.compared,
        "same": counted.same,
        "different": counted.different,
        "failed": counted.failed,
        "until": rules.until,
        "agreement": rules.agreement_basis_points / 10_000,
        "low": round(low, 4),
        "high": round(high, 4),
        "enough": enough(rules, counted),
        "live_usd": usd_text(tally.live_nano),
        "other_usd": usd_text(tally.other_nano),
        "live_nano": tally.live_nano,
        "other_nano": tally.other_nano,
        "spent_today_nano": file.spent(rules.task, time.time() // _DAY * _DAY),
    }


def _line(row: dict[str, Any]) -> list[str]:
    compared = row["compared"]
    share = f"{row['same'] / compared:.1%}" if compared else "-"
    since = f" since {moment(row['since'])}" if row["since"] else ""
    return [
        safe(row["task"]),
        safe(row["model"]),
        f"{row['state']}{since}",
        f"{compared} of {row['until']}" if row["state"] == "watching" else str(compared),
        share,
        f"{row['low']:.1%} to {row['high']:.1%}" if compared else "-",
        f"{row['agreement']:.1%}",
        str(row["failed"]),
        dollars(row["live_nano"]),
        dollars(row["other_nano"]),
        dollars(row["spent_today_nano"]),
        _advice(row),
    ]


def _advice(row: dict[str, Any]) -> str:
    if row["state"] == "switched":
        return "-"
    if row["state"] == "back":
        return "keep the model, or begin again"
    if row["compared"] < row["until"]:
        return "wait"
    return "switch" if row["enough"] else "keep the model"
