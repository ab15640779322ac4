"""`headgate audit-log`: every change that people made, and whether the record of it is whole."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from headgate.cli.group import config_option, json_option, reader_of, settings_of
from headgate.cli.text import moment, print_json, print_table, safe

_SHORT = 60  # characters of what changed


@click.group(name="audit-log")
def audit_log() -> None:
    """Who changed what, when and from where: keys, caps, approvals, people. (`headgate audit` is about money.)

    \b
    Example:
      headgate audit-log list --actor ada
      headgate audit-log verify
    """


@audit_log.command(name="list")
@click.option("--actor", default="", metavar="NAME", help="Only what this person did.")
@click.option("--action", default="", metavar="NAME", help="Only this, like key.create.")
@click.option("--subject", default="", metavar="ID", help="Only changes of this.")
@click.option("--tenant", default=None, metavar="NAME", help="Only what is this tenant's.")
@click.option("--below", type=click.IntRange(1), metavar="NUMBER", help="Only rows before this one.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="The newest N.")
@json_option
@config_option
def list_(
    actor: str,
    action: str,
    subject: str,
    tenant: str | None,
    below: int | None,
    limit: int,
    as_json: bool,
    config: str | None,
) -> None:
    """The changes, the newest first.

    \b
    Example:
      headgate audit-log list --action budget.cap --limit 10
    """
    from sqlalchemy import Connection

    from headgate.stores.audit_log import AuditRow, read_audit, read_rows

    told = {name: value for name, value in (("actor", actor), ("action", action), ("subject", subject)) if value}

    def ask(sql: Connection) -> list[AuditRow]:
        return read_rows(sql, below=below, limit=limit, tenant=tenant, **told)

    none: list[AuditRow] = []
    found = read_audit(reader_of(settings_of(config)), ask, empty=none)
    if as_json:
        print_json({"rows": [row.as_json() for row in found]})
    elif not found:
        click.echo("Nothing was changed.")
    else:
        heads = ("number", "when", "who", "way", "from", "action", "what", "change")
        print_table(heads, [_line(row.as_json()) for row in found], left=8)


@audit_log.command()
@click.option("--noted", metavar="NUMBER:HASH", help="A row's hash that was noted before: it has to be the same still.")
@json_option
@config_option
def verify(noted: str | None, as_json: bool, config: str | None) -> int:
    """Read the whole log: each row has to be as it was written, and to follow the one before. 1 where one is not.

    Whoever may write the database can write a whole new log. Note the last hash elsewhere now and then, and give it
    back with --noted: then that is seen, too.

    \b
    Example:
      headgate audit-log verify
      headgate audit-log verify --noted 412:9f3c...
    """
    from headgate.stores.audit_log import FIRST, Verified, read_audit
    from headgate.stores.audit_log import verify as look

    row = None
    if noted is not None:
        match = re.fullmatch(r"([1-9]\d{0,17}):([0-9a-f]{64})", noted)
        if match is None:
            raise click.BadParameter("expected NUMBER:HASH, as `verify` prints it", param_hint="--noted")
        row = (int(match[1]), match[2])
    found = read_audit(reader_of(settings_of(config)), lambda sql: look(sql, row), empty=Verified(0, FIRST))
    if as_json:
        told = {"rows": found.rows, "head": found.head, "broken": found.broken, "why": found.why}
        print_json({"sound": found.broken is None, **told})
    elif found.broken is None:
        click.echo(f"{found.rows:,} rows, all as they were written. The last: {found.rows}:{found.head}")
    else:
        click.echo(
            f"Row {found.broken} is not as it was written: {found.why}. {found.rows:,} rows before it are sound."
        )
    return 0 if found.broken is None else 1


def _line(row: dict[str, Any]) -> list[str]:
    change = " → ".join(json.dumps(row[name]) for name in ("before", "after") if row[name] is not None)
    return [
        str(row["number"]),
        moment(row["at"]),
        safe(row["actor"] or "-"),
        row["way"],
        safe(row["address"] or "-"),
        row["action"],
        safe(row["subject"]),
        safe(change if len(change) <= _SHORT else change[: _SHORT - 1] + "…"),
    ]
