"""`headgate logs erase`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import count, print_json, safe

if TYPE_CHECKING:
    from headgate.settings.model import Settings

_SECONDS = 300.0
"""How long the gateway may take: it merges whole indexes anew."""
_WHERE = {
    "bodies": "what was asked and answered",
    "events": "the name, in other lines of the log",
    "answers": "answers in the cache that may be among them",
    "jobs": "deferred calls",
    "batches": "with their lines and results",
    "approvals": "tool calls that waited for a person",
}


@click.command()
@click.argument("kind", type=click.Choice(["user", "session", "tenant"]))
@click.argument("name")
@click.option("--tenant", metavar="TEXT", help='Of a user or session: only this tenant\'s; "" is those without one.')
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@config_option
def erase(kind: str, name: str, tenant: str | None, yes: bool, as_json: bool, config: str | None) -> int:
    """Erase what was asked and answered by a user, in a session or for a tenant, for good; and its name.

    Words go from the log, kept answers, jobs, batches and approvals. Exchanges stay, with their counts and costs, under
    a random name; the ledger stays as it is. What else may hold words: docs/log-and-ledger.md, "Erasing".

    Exit code 1 where something is left that needs another try.

    \b
    Example:
      headgate logs erase user ada --tenant acme
      headgate logs erase session s-42 --yes
    """
    from headgate.stores.logs.erasing import BadSubject, Subject

    settings = settings_of(config)
    try:
        Subject(kind, name, tenant)  # type: ignore[arg-type]  # it is one of the choices
    except BadSubject as error:
        raise click.UsageError(str(error)) from None
    if not yes:
        whose = "" if tenant is None else f" of tenant {tenant}" if tenant else " without a tenant"
        click.confirm(safe(f"Erase the words of {kind} {name}{whose} for good?"), abort=True, err=True)
    told = _erased(settings, {"kind": kind, "value": name, "tenant": tenant})
    left = list(_left(told))
    if as_json:
        print_json(told)
    else:
        for line in (*_lines(told), *left):
            click.echo(safe(line))
    return 1 if left else 0


def _erased(settings: Settings, fields: dict[str, Any]) -> dict[str, Any]:
    """By the running gateway, whose memory holds answers, too; else here."""
    from headgate.cli.control import ask_running
    from headgate.cli.ledger_door import as_command_line
    from headgate.gate import Gate
    from headgate.stores.opening import sqlite_file

    file = sqlite_file(settings.storage)
    found = None if file is None else ask_running(file, "POST", "/v1/logs/erase", fields, seconds=_SECONDS)
    if found is not None:
        return found
    gate = Gate(settings)
    try:
        with as_command_line():
            return gate.erase(fields["kind"], fields["value"], tenant=fields["tenant"])
    finally:
        gate.close()


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    """What went, a line each; of what nothing was found there is none."""
    if told["pseudonym"]:
        yield f"exchanges      {count(told['exchanges'])}, of {told['pseudonym']} from now on, with their costs"
    gone = [(name, told[name]) for name in _WHERE if told[name] != 0]
    for name, n in gone:
        yield f"{name:<13}  {'erased; how many is not told' if n is None else f'{count(n)} erased'}: {_WHERE[name]}"
    if told["spools_left"]:
        yield f"files left     {count(told['spools_left'])}, which other gateways empty of it in their next turn"
    if not told["pseudonym"] and not gone:
        yield "Nothing was found by that name."


def _left(told: Mapping[str, Any]) -> Iterator[str]:
    if told["batches_left"]:
        yield f"batches left   {count(told['batches_left'])}, which are being cancelled: then run this again"
    if not told["spool_emptied"]:
        yield "The file of JSON lines could not be emptied: run this again."
