"""`headgate incident`: stop, slow or degrade traffic now, for a while."""

from __future__ import annotations

import time
from typing import Any

import click

from headgate.cli.group import account_name, config_option, json_option, settings_of
from headgate.cli.text import moment, print_json, print_table, safe

_SCOPES = ("provider", "model", "task", "tenant")


@click.group()
def incident() -> None:
    """Stop, slow or degrade the traffic of a provider, a model, a task or a tenant now, for a while.

    It counts at once, for calls that begin from then on, survives restarts, and ends by itself. On SQLite the running
    gateway is told; on PostgreSQL all of them see it within 3 seconds.

    \b
    Example:
      headgate incident stop --provider anthropic --for 30m --why "wrong answers since 14:02"
      headgate incident list
      headgate incident lift inc_7fq3k2ma
    """


def _scoped(command: Any) -> Any:
    told = (
        ("provider", "Calls to this provider."),
        ("model", "Calls for this model: a virtual model, a provider's, or provider/model."),
        ("task", "Calls of this task."),
        ("tenant", "Calls of this tenant."),
    )
    command = config_option(json_option(command))
    command = click.option("--by", metavar="NAME", default=None, help="Who sets it. Default: this account's name.")(
        command
    )
    command = click.option("--why", metavar="TEXT", default="", help="For colleagues; callers are not told.")(command)
    command = click.option(
        "--for", "lasts", metavar="DURATION", default="1h", show_default=True, help="It ends then by itself: 1s to 7d."
    )(command)
    for name, help_text in reversed(told):
        command = click.option(f"--{name}", metavar="NAME", help=help_text)(command)
    return command


@incident.command()
@_scoped
def stop(**told: Any) -> int:
    """Refuse calls, with a sentence that a person can be shown (503, incident_stopped).

    A provider or a model that is stopped is passed over: other routes of the virtual model serve, and calls are refused
    where none is left.

    \b
    Example:
      headgate incident stop --provider anthropic --for 30m --why "wrong answers"
      headgate incident stop --tenant acme --for 2h --why "their key has leaked"
    """
    return _set("stop", told)


@incident.command()
@click.option("--rate", type=click.IntRange(1, 1_000_000), required=True, metavar="N", help="Requests per minute.")
@_scoped
def slow(rate: int, **told: Any) -> int:
    """Let through so many requests per minute, of everybody in the scope together.

    Calls wait for their turn; those whose turn would come after their deadline are refused (429, with Retry-After).

    \b
    Example:
      headgate incident slow --tenant acme --rate 30 --for 1h
    """
    return _set("slow", told, rate=rate)


@incident.command()
@click.option("--to", metavar="MODEL", required=True, help="What serves: a virtual model, or provider/model.")
@_scoped
def degrade(to: str, **told: Any) -> int:
    """Have another model answer. Calls that it cannot serve go on as they are: embeddings, and what a provider keeps.

    \b
    Example:
      headgate incident degrade --model strong --to fast --for 4h --why "the bill"
    """
    return _set("degrade", told, to=to)


@incident.command(name="list")
@click.option("--ended", is_flag=True, help="Those that have ended within 30 days, too.")
@json_option
@config_option
def list_(ended: bool, as_json: bool, config: str | None) -> int:
    """What is on, the newest first. Exit code 1 where something is.

    \b
    Example:
      headgate incident list
    """
    from headgate.cli.incidents_door import Door

    found = Door(settings_of(config)).list(ended=ended)
    if as_json:
        print_json({"incidents": found})
    elif not found:
        click.echo("No incident is on.")
    else:
        heads = ("id", "what", "by", "since", "until", "why")
        print_table(heads, [_line(each) for each in found], left=6)
    return 1 if any(each["on"] for each in found) else 0


@incident.command()
@click.argument("incident_id", metavar="ID", required=False)
@click.option("--all", "everything", is_flag=True, help="All that are on.")
@click.option("--by", metavar="NAME", default=None, help="Who lifts it. Default: this account's name.")
@json_option
@config_option
def lift(incident_id: str | None, everything: bool, by: str | None, as_json: bool, config: str | None) -> int:
    """End one now, or all.

    \b
    Example:
      headgate incident lift inc_7fq3k2ma
      headgate incident lift --all
    """
    from headgate.cli.incidents_door import Door

    if (incident_id is None) == (not everything):
        raise click.UsageError("give the ID of one, or --all")
    settings = settings_of(config)
    ids = [each["id"] for each in Door(settings).list()] if incident_id is None else [incident_id]
    with Door(settings) as door:
        lifted = [door.lift(each, by or account_name()) for each in ids]
    if as_json:
        print_json({"lifted": lifted})
    elif not lifted:
        click.echo("No incident is on.")
    for each in () if as_json else lifted:
        click.echo(f"{each['id']} is lifted: {safe(_what(each))}.")
    return 0


def _set(kind: str, told: dict[str, Any], *, to: str = "", rate: int = 0) -> int:
    from headgate.cli.incident_names import unheard_of
    from headgate.cli.incidents_door import Door
    from headgate.policy.incidents import LEAST_SECONDS, MOST_SECONDS
    from headgate.settings.units import seconds

    named = [(scope, told[scope]) for scope in _SCOPES if told[scope] is not None]
    if len(named) != 1:
        raise click.UsageError("name one of --provider, --model, --task and --tenant")
    try:
        lasts = seconds(LEAST_SECONDS, MOST_SECONDS)(told["lasts"])
    except ValueError as error:
        raise click.UsageError(f"--for: {error}") from None
    (scope, value), by = named[0], told["by"] or account_name()
    fields = {"kind": kind, "scope": scope, "value": value, "to": to, "rate": rate}
    settings = settings_of(told["config"])
    with Door(settings) as door:
        found = door.set({**fields, "why": told["why"], "by": by, "seconds": lasts})
    warning = unheard_of(settings, scope, found["value"])
    if warning:
        click.echo(f"warning: {safe(warning)}.", err=True)
    if told["as_json"]:
        print_json(found)
    else:
        click.echo(f"{found['id']}: {safe(_what(found))}, until {moment(found['expires'])}.")
        click.echo(f"It ends then by itself; `headgate incident lift {found['id']}` ends it before.")
    return 0


def _what(each: dict[str, Any]) -> str:
    from headgate.core.incidents import Incident
    from headgate.policy.incidents import words

    names = ("id", "kind", "scope", "value", "to", "rate", "by", "why", "since", "expires")
    return words(Incident(**{name: each[name] for name in names} | {"to": each["to"] or "", "rate": each["rate"] or 0}))


def _line(each: dict[str, Any]) -> tuple[str, ...]:
    ended = each["lifted"] if each["lifted"] is not None else each["expires"]
    left = "" if not each["on"] else f" ({max(0.0, each['expires'] - time.time()) / 60:,.0f} min)"
    until = f"{moment(ended)}{left}" if each["on"] else f"ended {moment(ended)}"
    return each["id"], safe(_what(each)), safe(each["by"]), moment(each["since"]), until, safe(each["why"] or "-")
