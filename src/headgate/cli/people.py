"""`headgate people`: who may use the dashboard and the admin API."""

from __future__ import annotations

import secrets
import sys
from typing import Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import moment, print_json, print_table, safe

ROLES = ("admin", "operator", "viewer", "tenant-admin")

_TENANT = "The tenant of a tenant-admin, who sees and changes nothing else."


@click.group()
def people() -> None:
    """People who may use the dashboard and the admin API, and API tokens for programs.

    \b
    Example:
      headgate people add ada --role admin
      headgate people token deploy --role operator --days 30
    """


@people.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What she may do; see docs/admin.md.")
@click.option("--tenant", default="", metavar="NAME", help=_TENANT)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--generate", is_flag=True, help="Make a password, and show it once.")
@json_option
@config_option
def add(
    name: str, role: str, tenant: str, password_stdin: bool, generate: bool, as_json: bool, config: str | None
) -> None:
    """Make a person called NAME. The first one has to be an admin, and closes the dashboard to everybody else.

    \b
    Example:
      headgate people add ada --role admin
      headgate people add bob --role tenant-admin --tenant acme --generate
    """
    from headgate.cli.people_door import Door

    password = _password(password_stdin, generate)
    with Door(settings_of(config)) as door:
        made = door.add(name, role, tenant, password)
    _told(made, f"{safe(made['name'])} is {_role(made)}", password if generate else "", as_json)


@people.command(name="list")
@json_option
@config_option
def list_(as_json: bool, config: str | None) -> None:
    """The people there are.

    \b
    Example:
      headgate people list
    """
    from headgate.stores.opening import open_reader
    from headgate.stores.people import people_beside

    found = people_beside(open_reader(settings_of(config).storage))
    shown = [{name: getattr(each, name) for name in ("name", "role", "tenant", "created", "changed")} for each in found]
    if as_json:
        print_json({"people": shown})
    elif not shown:
        click.echo("There are no people: on this machine the dashboard opens without login, elsewhere not at all.")
    else:
        rows = [
            (each["name"], each["role"], each["tenant"] or "-", moment(each["created"]), moment(each["changed"]))
            for each in shown
        ]
        print_table(("name", "role", "tenant", "made", "changed"), rows, left=5)


@people.command()
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@click.option("--tenant", default="", metavar="NAME", help=_TENANT)
@json_option
@config_option
def role(name: str, role: str, tenant: str, as_json: bool, config: str | None) -> None:
    """Give a person another role. It counts at once.

    \b
    Example:
      headgate people role bob viewer
    """
    from headgate.cli.people_door import Door

    with Door(settings_of(config)) as door:
        changed = door.role(name, role, tenant)
    _told(changed, f"{safe(changed['name'])} is {_role(changed)}", "", as_json)


@people.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--generate", is_flag=True, help="Make a password, and show it once.")
@json_option
@config_option
def password(name: str, password_stdin: bool, generate: bool, as_json: bool, config: str | None) -> None:
    """Give a person another password. All of its sessions end.

    \b
    Example:
      headgate people password ada
    """
    from headgate.cli.people_door import Door

    text = _password(password_stdin, generate)
    with Door(settings_of(config)) as door:
        changed = door.password(name, text)
    _told(
        changed, f"{safe(changed['name'])} has another password, and is logged out", text if generate else "", as_json
    )


@people.command()
@click.argument("name")
@json_option
@config_option
def logout(name: str, as_json: bool, config: str | None) -> None:
    """Log a person out everywhere.

    \b
    Example:
      headgate people logout bob
    """
    from headgate.cli.people_door import Door

    with Door(settings_of(config)) as door:
        ended = door.logout(name)
    if as_json:
        print_json({"ended": ended})
    else:
        click.echo(f"{ended} session{'' if ended == 1 else 's'} ended.")


@people.command()
@click.argument("name")
@json_option
@config_option
def remove(name: str, as_json: bool, config: str | None) -> None:
    """Remove a person, log it out, and revoke the API tokens that it has made. What it did stays in the audit log.

    \b
    Example:
      headgate people remove bob
    """
    from headgate.cli.people_door import Door

    with Door(settings_of(config)) as door:
        gone = door.remove(name)
    tokens = ", ".join(safe(each) for each in gone["tokens_revoked"])
    also = f", and these API tokens are revoked: {tokens}" if tokens else ""
    _told(gone, f"{safe(gone['name'])} is removed{also}", "", as_json)


@people.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it may do.")
@click.option("--tenant", default="", metavar="NAME", help=_TENANT)
@click.option("--days", type=click.FloatRange(0, 3650, min_open=True), default=90.0, show_default=True, metavar="N")
@click.option("--forever", is_flag=True, help="It does not expire.")
@json_option
@config_option
def token(name: str, role: str, tenant: str, days: float, forever: bool, as_json: bool, config: str | None) -> None:
    """Make an API token for a program, and show it once. The token alone goes to standard output.

    \b
    Example:
      headgate people token deploy --role operator --days 30
    """
    from headgate.cli.people_door import Door

    with Door(settings_of(config)) as door:
        made = door.make_token(name, role, tenant, None if forever else days)
    if as_json:
        print_json(made)
        return
    until = "does not expire" if made["expires"] is None else f"expires {moment(made['expires'])}"
    sys.stderr.write(
        f"Token {safe(made['name'])} (id {made['id']}) was made, and {until}.\n"
        "It is shown this once and kept only as a hash: store it now.\n"
    )
    sys.stderr.flush()
    click.echo(made["token"])


@people.command()
@json_option
@config_option
def tokens(as_json: bool, config: str | None) -> None:
    """The API tokens there are, revoked ones too.

    \b
    Example:
      headgate people tokens
    """
    from headgate.cli.people_door import token_json
    from headgate.stores.api_tokens import tokens_beside
    from headgate.stores.opening import open_reader

    shown = [token_json(each) for each in tokens_beside(open_reader(settings_of(config).storage))]
    if as_json:
        print_json({"tokens": shown})
    elif not shown:
        click.echo("There are no API tokens. `headgate people token NAME --role ROLE` makes one.")
    else:
        heads = ("id", "name", "role", "tenant", "made by", "made", "expires", "revoked")
        rows = [
            (
                *(each["id"], each["name"], each["role"], each["tenant"] or "-", each["made_by"] or "-"),
                *(moment(each["created"]), moment(each["expires"]), moment(each["revoked"])),
            )
            for each in shown
        ]
        print_table(heads, rows, left=8)


@people.command(name="revoke-token")
@click.argument("token_id", metavar="ID")
@json_option
@config_option
def revoke_token(token_id: str, as_json: bool, config: str | None) -> None:
    """End an API token for good.

    \b
    Example:
      headgate people revoke-token abcd2345
    """
    from headgate.cli.people_door import Door

    with Door(settings_of(config)) as door:
        gone = door.revoke_token(token_id)
    if as_json:
        print_json(gone)
    else:
        click.echo(f"Token {safe(gone['name'])} (id {gone['id']}) is revoked: it works no more.")


def _password(from_stdin: bool, generate: bool) -> str:
    """Asked for on a terminal, twice."""
    if from_stdin and generate:
        raise click.UsageError("--password-stdin and --generate are two ways: choose one")
    if generate:
        return secrets.token_urlsafe(15)
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for a password: --password-stdin or --generate")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _role(person: dict[str, Any]) -> str:
    return f"{person['role']} of {safe(person['tenant'])}" if person["tenant"] else str(person["role"])


def _told(person: dict[str, Any], what: str, made: str, as_json: bool) -> None:
    if as_json:
        print_json({**person, **({"password": made} if made else {})})
        return
    if not made:
        click.echo(f"{what}.")
        return
    sys.stderr.write(f"{what}. The password is shown this once:\n")
    sys.stderr.flush()
    click.echo(made)
