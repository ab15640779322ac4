"""`headgate alerts`: what is on, what was, who looks after it, and whether people would be told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import account_name, config_option, json_option, settings_of
from headgate.cli.text import moment, print_json, print_table, safe

if TYPE_CHECKING:
    from headgate.settings.model import Settings


@click.group()
def alerts() -> None:
    """What people are told before users complain: alerts, and the places that are told.

    \b
    Example:
      headgate alerts list
      headgate alerts acknowledge al_7fq3k2ma4c
      headgate alerts test
    """


@alerts.command(name="list")
@json_option
@config_option
def list_(as_json: bool, config: str | None) -> int:
    """What is on, the newest first, and what could not be told. Exit code 1 where something is on.

    \b
    Example:
      headgate alerts list
    """
    return _show(settings_of(config), as_json=as_json, ended=False, limit=1_000)


@alerts.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="The newest N.")
@json_option
@config_option
def history(limit: int, as_json: bool, config: str | None) -> None:
    """Those that have ended within 90 days, too.

    \b
    Example:
      headgate alerts history --limit 20
    """
    _show(settings_of(config), as_json=as_json, ended=True, limit=limit)


@alerts.command()
@click.argument("alert", metavar="ID")
@click.option("--by", metavar="NAME", default=None, help="Who. Default: this account's name.")
@json_option
@config_option
def acknowledge(alert: str, by: str | None, as_json: bool, config: str | None) -> int:
    """Say that you look after one: it is not told again until it ends.

    \b
    Example:
      headgate alerts acknowledge al_7fq3k2ma4c
    """
    from headgate.cli.alerts_door import Door

    with Door(settings_of(config)) as door:
        found = door.acknowledge(alert, by or account_name())
    if as_json:
        print_json(found)
    else:
        click.echo(f"{found['id']} is acknowledged by {safe(found['acknowledged_by'])}: {safe(found['summary'])}.")
        click.echo(f"What to do: {found['runbook']}")
    return 0


@alerts.command()
@json_option
@config_option
def test(as_json: bool, config: str | None) -> int:
    """Send a test alert to each place of the configuration now, and say what came of it.

    Nothing goes through the gateway or the ledger, and nothing is tried again. Exit code 1 where one was not told, or
    there is none.

    \b
    Example:
      headgate alerts test
    """
    import secrets
    import time

    from headgate.alerting.places import places_of, tried

    settings = settings_of(config)
    now = time.time()
    found = [tried(place, f"nt_{secrets.token_hex(12)}", now) for place in places_of(settings, os.environ)]
    if as_json:
        print_json({"places": found})
    for each in () if as_json else found:
        what = "told" if each["told"] else f"NOT told: {safe(each['error'])}"
        click.echo(f"{safe(each['place'])}  {what} ({each['seconds']:.1f} s)")
    if not found and not as_json:
        click.echo("Nobody is told: `alerts` names no place. Alerts are in the log, and in `headgate alerts list`.")
    return 0 if found and all(each["told"] for each in found) else 1


def _show(settings: Settings, *, as_json: bool, ended: bool, limit: int) -> int:
    from headgate.cli.alerts_door import Door
    from headgate.stores.alerts import alert_json

    found = Door(settings).read(ended=ended, limit=limit)
    names = {place.key: place.name for place in settings.alerts}
    untold = [
        {"place": names.get(key, key), "waiting": found.waiting.get(key, 0), "given_up": found.given_up.get(key, 0)}
        for key in sorted({*found.waiting, *found.given_up})
    ]
    on = [each for each in found.alerts if each.resolved is None]
    if as_json:
        print_json({"alerts": [alert_json(each) for each in found.alerts], "untold": untold})
        return 1 if on else 0
    if not found.alerts:
        click.echo("No alert was ever raised." if ended else "No alert is on.")
    else:
        lines = [_line(alert_json(each)) for each in found.alerts]
        print_table(("id", "state", "severity", "rule", "since", "what"), lines, left=6)
    for each in untold:
        click.echo(f"{safe(each['place'])}: {each['waiting']:,} waiting to be told, {each['given_up']:,} given up")
    return 1 if on else 0


def _line(each: dict[str, Any]) -> tuple[str, ...]:
    state = each["state"]
    if state == "acknowledged":
        state = f"{state} by {each['acknowledged_by']}"
    elif state == "resolved":
        state = f"{state} {moment(each['resolved'])}"
    since = moment(each["since"])
    return each["id"], safe(state), each["severity"], each["rule"], since, safe(each["summary"])
