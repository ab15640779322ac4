"""`headgate jobs`: calls that were promised an answer, and what became of them."""

from __future__ import annotations

import time
from typing import Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import count, moment, print_json, print_table, safe

STATES = ("queued", "running", "done", "failed", "expired", "cancelled")
_SHORT = 60  # characters of a reason in the list


@click.group()
def jobs() -> None:
    """Deferred jobs: calls that were promised an answer, with 202 (docs/jobs.md).

    \b
    Example:
      headgate jobs list --state queued
      headgate jobs retry job_5c1f...
    """


@jobs.command(name="list")
@click.option("--state", type=click.Choice(STATES), default=None, help="Only these. Default: all.")
@click.option("--owner", metavar="NAME", default=None, help="Only this tenant's, or this key's without a tenant.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="The newest N.")
@json_option
@config_option
def list_(state: str | None, owner: str | None, limit: int, as_json: bool, config: str | None) -> None:
    """What waits, and what became of the others, the newest first.

    \b
    Example:
      headgate jobs list --state failed
    """
    from headgate.cli.jobs_door import Door

    found = Door(settings_of(config)).list(state, owner, limit)
    if as_json:
        print_json(found)
        return
    if not found["jobs"]:
        click.echo("No job was deferred." if state is None else f"No job is {state}.")
    else:
        heads = ("id", "state", "owner", "asked", "tries", "next try", "why")
        print_table(heads, [_line(each) for each in found["jobs"]], left=4)
    queue = found["queue"]
    if queue["oldest"] is not None:
        waiting = queue["states"].get("queued", 0)
        click.echo(f"{count(waiting)} waiting, the oldest for {(time.time() - queue['oldest']) / 60:.0f} minutes")
    if queue["webhooks_lost"]:
        click.echo(f"{count(queue['webhooks_lost'])} webhooks were never told: `headgate jobs show ID` says why")


@jobs.command()
@click.argument("job_id", metavar="ID")
@json_option
@config_option
def show(job_id: str, as_json: bool, config: str | None) -> None:
    """One job: how far it is, why it waits, and whether its webhook was told. Not its texts.

    \b
    Example:
      headgate jobs show job_5c1f...
    """
    from headgate.cli.jobs_door import Door

    _print(Door(settings_of(config)).show(job_id), as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@json_option
@config_option
def cancel(job_id: str, as_json: bool, config: str | None) -> None:
    """Have a job end without an answer. One that is under way is still paid.

    \b
    Example:
      headgate jobs cancel job_5c1f...
    """
    from headgate.cli.jobs_door import Door

    _print(Door(settings_of(config)).cancel(job_id), as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@json_option
@config_option
def retry(job_id: str, as_json: bool, config: str | None) -> None:
    """Have a job that has failed, expired or was cancelled wait anew, as though it had just come in.

    \b
    Example:
      headgate jobs retry job_5c1f...
    """
    from headgate.cli.jobs_door import Door

    _print(Door(settings_of(config)).retry(job_id), as_json)


def _line(each: dict[str, Any]) -> tuple[str, ...]:
    why = each["why"]
    return (
        each["id"],
        each["state"] + (" (perhaps paid twice)" if each["maybe_paid_twice"] else ""),
        safe(each["owner"] or "-"),
        moment(each["created"]),
        count(each["tries"]),
        moment(each["due"]) if each["state"] == "queued" else "-",
        safe(why if len(why) <= _SHORT else f"{why[:_SHORT]}…"),
    )


def _print(each: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(each)
        return
    hook = each["webhook"]
    waits, over = each["state"] == "queued", each["state"] not in ("queued", "running")
    told = "" if hook is None else f"{hook['name']}: {hook['state'] or 'not yet'}"
    if hook is not None and hook["said"]:
        told += f" after {count(hook['tries'])} tries ({hook['said']})"
    rows = [
        ("id", each["id"]),
        ("state", each["state"]),
        ("owner", each["owner"]),
        ("endpoint", each["endpoint"]),
        *((name, value) for name, value in each["caller"].items()),
        ("asked", moment(each["created"])),
        ("tries", count(each["tries"])),
        ("next try", moment(each["due"]) if waits else ""),
        ("kept until" if over else "expires", moment(each["expires"])),
        ("why", each["why"]),
        ("status", str(each["status"] or "")),
        ("exchange", each["exchange"]),
        ("paid twice", "perhaps: it was under way when its process died" if each["maybe_paid_twice"] else ""),
        ("webhook", told),
    ]
    for name, value in rows:
        if value:
            click.echo(f"{name:<12} {safe(value)}")
