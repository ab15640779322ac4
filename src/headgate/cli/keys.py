"""`headgate keys`: through the gateway that writes the ledger's file, so that a change counts at once; else directly.

In PostgreSQL always directly: gateways look for changed keys every few seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.ledger_door import LedgerDoor
from headgate.cli.text import moment, print_json, print_table, safe

if TYPE_CHECKING:
    from headgate.settings.model import Settings
    from headgate.stores.keys import Key, NewKey


@click.group()
def keys() -> None:
    """Virtual keys: what callers of the gateway send in place of a provider's key.

    \b
    Example:
      headgate keys create ci --tenant acme
      headgate keys list
    """


@keys.command()
@click.argument("name")
@click.option("--tenant", default="", metavar="NAME", help="Whose calls and costs these are.")
@click.option("--environment", default="", metavar="NAME", help="development, production, ...")
@click.option("--may-speak-for-tenants", is_flag=True, help="Calls with it may name their tenant (x-headgate-tenant).")
@json_option
@config_option
def create(
    name: str, tenant: str, environment: str, may_speak_for_tenants: bool, as_json: bool, config: str | None
) -> None:
    """Make a key called NAME, and show it once.

    The key alone goes to standard output. The first key closes a gateway that was open on loopback.

    \b
    Example:
      headgate keys create ci --tenant acme --environment production
      HEADGATE_KEY=$(headgate keys create laptop)
    """
    fields = {"name": name, "tenant": tenant, "environment": environment}
    for field, text in fields.items():
        if len(text) > 200 or not text.isprintable():
            raise click.UsageError(f"{field} has to be at most 200 printable characters")
    settings = settings_of(config)
    with _Door(settings) as door:
        made = door.create(fields, may_speak_for_tenants)
    _show_made(made, "made", as_json)
    if not settings.keys and _is_first(settings.storage):
        sys.stderr.write("It is the first: from now on the gateway asks every caller for a key.\n")


@keys.command(name="list")
@json_option
@config_option
def list_(as_json: bool, config: str | None) -> None:
    """The keys there are, revoked ones too. Never a secret: only how it ends.

    \b
    Example:
      headgate keys list
    """
    settings = settings_of(config)
    shown: list[dict[str, Any]] = [
        {
            "id": key.name,
            "name": key.name,
            "tenant": key.tenant,
            "environment": key.environment,
            "may_speak_for_tenants": key.may_speak_for_tenants,
            "last4": None,
            "created": None,
            "rotated": None,
            "revoked": None,
            "source": str(key.key),
        }
        for key in settings.keys
    ]
    from headgate.stores.opening import stored_keys

    shown += [_listed(key) for key in stored_keys(settings.storage)]
    if as_json:
        print_json({"keys": shown})
    elif not shown:
        click.echo("There are no keys. `headgate keys create NAME` makes one.")
    else:
        print_table(
            (
                "id",
                "name",
                "tenant",
                "environment",
                "ends in",
                "speaks for tenants",
                "made",
                "rotated",
                "revoked",
                "from",
            ),
            [
                (
                    key["id"],
                    key["name"],
                    key["tenant"] or "-",
                    key["environment"] or "-",
                    f"…{key['last4']}" if key["last4"] else "-",
                    "yes" if key["may_speak_for_tenants"] else "no",
                    moment(key["created"]),
                    moment(key["rotated"]),
                    moment(key["revoked"]),
                    key["source"],
                )
                for key in shown
            ],
            left=10,
        )


@keys.command()
@click.argument("id_or_name", metavar="ID|NAME")
@json_option
@config_option
def rotate(id_or_name: str, as_json: bool, config: str | None) -> None:
    """Give a key a new secret, and show it once. The old one stops working at once.

    \b
    Example:
      headgate keys rotate ci
    """
    settings = settings_of(config)
    _not_from_file(settings, id_or_name)
    with _Door(settings) as door:
        made = door.rotate(id_or_name)
    _show_made(made, "rotated; the old secret works no more", as_json)


@keys.command()
@click.argument("id_or_name", metavar="ID|NAME")
@json_option
@config_option
def revoke(id_or_name: str, as_json: bool, config: str | None) -> None:
    """End a key for good. Its row stays, so that old exchanges can be explained.

    \b
    Example:
      headgate keys revoke ci
    """
    settings = settings_of(config)
    _not_from_file(settings, id_or_name)
    with _Door(settings) as door:
        ended = door.revoke(id_or_name)
    if as_json:
        print_json(ended)
    else:
        click.echo(f"Key {safe(ended['name'])} (id {ended['id']}) is revoked: it works no more.")


def _show_made(made: Mapping[str, Any], what: str, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    sys.stderr.write(
        f"Key {safe(made['name'])} (id {made['id']}) was {what}.\n"
        "It is shown this once and kept only as a hash: store it now.\n"
    )
    sys.stderr.flush()
    click.echo(made["key"])


def _is_first(storage: str) -> bool:
    from headgate.stores.opening import stored_keys

    return len(stored_keys(storage)) == 1


def _not_from_file(settings: Settings, id_or_name: str) -> None:
    """A key of the configuration changes where it is written, unless the database has one of that id or name."""
    from headgate.core.errors import ConfigError

    if not any(key.name == id_or_name for key in settings.keys):
        return
    from headgate.stores.opening import stored_keys

    stored = stored_keys(settings.storage)
    if any(id_or_name in (key.id, key.name) and key.revoked is None for key in stored):
        return
    raise ConfigError(
        f"the key {id_or_name!r} is in the configuration: change it where its reference points to, and restart"
    )


class _Door(LedgerDoor):
    """Where keys are changed: the control API of the gateway that writes the file, or the ledger itself."""

    def create(self, fields: Mapping[str, str], speaks: bool) -> dict[str, Any]:
        """Make a key; the answer holds it as `key`."""
        answer = self._ask("POST", "/keys", {**fields, "may_speak_for_tenants": speaks})
        if answer is not None:
            return answer
        return _made(
            self._own().keys.create(
                fields["name"],
                tenant=fields["tenant"],
                environment=fields["environment"],
                may_speak_for_tenants=speaks,
            )
        )

    def rotate(self, id_or_name: str) -> dict[str, Any]:
        """Rotate; the answer holds the new key as `key`."""
        answer = self._ask("POST", f"/keys/{_quoted(id_or_name)}/rotate")
        return answer if answer is not None else _made(self._own().keys.rotate(id_or_name))

    def revoke(self, id_or_name: str) -> dict[str, Any]:
        """Revoke."""
        answer = self._ask("DELETE", f"/keys/{_quoted(id_or_name)}")
        return answer if answer is not None else _shown(self._own().keys.revoke(id_or_name))

    def _ask(self, method: str, path: str, fields: Mapping[str, object] | None = None) -> dict[str, Any] | None:
        """The running gateway's answer, or None where none has to be asked."""
        from headgate.cli.control import ask_running
        from headgate.stores.opening import sqlite_file

        file = sqlite_file(self._settings.storage)
        return None if file is None else ask_running(file, method, path, fields)


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _made(made: NewKey) -> dict[str, Any]:
    return {**_shown(made.key), "key": made.secret.reveal()}


def _shown(key: Key) -> dict[str, Any]:
    """As the control API shows a key."""
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "environment": key.environment,
        "may_speak_for_tenants": key.may_speak_for_tenants,
        "created": key.created,
        "revoked": key.revoked,
    }


def _listed(key: Key) -> dict[str, Any]:
    return {**_shown(key), "last4": key.last4, "rotated": key.rotated, "source": "database"}
