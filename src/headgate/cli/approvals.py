"""`headgate approvals`: tool calls that wait for a person."""

from __future__ import annotations

import time
from typing import Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import moment, print_json, print_table, safe

STATES = ("pending", "approved", "denied", "used", "expired")
_SHORT = 60  # characters of arguments in the list


@click.group()
def approvals() -> None:
    """Tool calls that wait for a person's approval (guards.tools.approve).

    \b
    Example:
      headgate approvals list
      headgate approvals approve ap_7f... --edit '{"to": "ada@acme.example"}'
    """


@approvals.command(name="list")
@click.option("--state", type=click.Choice(STATES), default=None, help="Only these. Default: all.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="The newest N.")
@json_option
@config_option
def list_(state: str | None, limit: int, as_json: bool, config: str | None) -> None:
    """What waits, and what became of the others, the newest first.

    \b
    Example:
      headgate approvals list --state pending
    """
    from headgate.cli.approvals_door import Door

    shown = Door(settings_of(config)).list(state, limit)
    if as_json:
        print_json({"approvals": shown})
    elif not shown:
        click.echo("No tool call waits." if state in (None, "pending") else f"No tool call is {state}.")
    else:
        print_table(
            ("id", "state", "tool", "arguments", "for", "asked", "expires"), [_line(each) for each in shown], left=7
        )


@approvals.command()
@click.argument("approval", metavar="ID")
@json_option
@config_option
def show(approval: str, as_json: bool, config: str | None) -> None:
    """One tool call, with all of its arguments.

    \b
    Example:
      headgate approvals show ap_7f...
    """
    from headgate.cli.approvals_door import Door

    _print(Door(settings_of(config)).show(approval), as_json)


@approvals.command()
@click.argument("approval", metavar="ID")
@click.option("--edit", metavar="JSON", help="Arguments in place of the model's: one JSON object.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the record.")
@json_option
@config_option
def approve(approval: str, edit: str | None, reason: str, as_json: bool, config: str | None) -> int:
    """Approve a call: whoever asked has it, once, by sending the same request again.

    \b
    Example:
      headgate approvals approve ap_7f...
      headgate approvals approve ap_7f... --edit '{"to": "ada@acme.example", "text": "Hello"}'
    """
    return _decide(approval, "approve" if edit is None else "edit", edit, reason, as_json, config)


@approvals.command()
@click.argument("approval", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="Why; whoever asked is told.")
@json_option
@config_option
def deny(approval: str, reason: str, as_json: bool, config: str | None) -> int:
    """Deny a call. It cannot be approved any more.

    \b
    Example:
      headgate approvals deny ap_7f... --reason "not to customers"
    """
    return _decide(approval, "deny", None, reason, as_json, config)


def _decide(approval: str, word: str, edit: str | None, reason: str, as_json: bool, config: str | None) -> int:
    """0 where it was decided now; 1 where it was decided, or had expired, before."""
    from headgate.cli.approvals_door import Door
    from headgate.policy.guards.decisions import read_decision

    told: dict[str, Any] = {"decision": word, "reason": reason}
    if edit is not None:
        told["arguments"] = edit
    try:
        decision = read_decision(told, "cli")
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    assert decision is not None
    with Door(settings_of(config)) as door:
        found = door.decide(approval, decision)
    if as_json:
        print_json(found)
    elif found["made"]:
        click.echo(f"{found['id']} is {found['state']}: {safe(found['tool'])}.")
    else:
        click.echo(f"{found['id']} is {found['state']} already: nothing was changed.", err=True)
    return 0 if found["made"] else 1


def _line(each: dict[str, Any]) -> tuple[str, ...]:
    text = _json(each["arguments"] if each["edited"] is None else each["edited"])
    caller = each["caller"]
    who = caller["user"] or caller["key"] or caller["tenant"] or "-"
    return (
        each["id"],
        each["state"],
        safe(each["tool"]),
        safe(text if len(text) <= _SHORT else f"{text[:_SHORT]}…"),
        safe(who),
        moment(each["created"]),
        moment(each["expires"]),
    )


def _print(each: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(each)
        return
    left = each["expires"] - time.time()
    rows = [
        ("id", each["id"]),
        ("state", each["state"]),
        ("tool", each["tool"]),
        ("arguments", _json(each["arguments"])),
        ("edited", "" if each["edited"] is None else _json(each["edited"])),
        *((name, value) for name, value in each["caller"].items()),
        ("exchange", each["exchange"]),
        ("asked", moment(each["created"])),
        ("expires", moment(each["expires"]) + (f" (in {left / 3600:.1f} h)" if left > 0 else "")),
        ("decided", f"{moment(each['decided_at'])} by {each['decided_by']}" if each["decided_at"] else ""),
        ("reason", each["note"]),
    ]
    for name, value in rows:
        if value:
            click.echo(f"{name:<12} {safe(value)}")


def _json(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
