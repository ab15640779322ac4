"""`headgate logs sessions`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.log_door import log_reader, query_of, which
from headgate.cli.logs_search import tell_how_far
from headgate.cli.text import count, dollars, moment, print_table

if TYPE_CHECKING:
    from headgate.stores.logs.query import LogSession

_HEADS = ("last", "session", "tenant", "user", "began with", "exchanges", "failed", "blocked", "cost")
_SHORT = 60


@click.command()
@click.argument("text", nargs=-1)
@which
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Sessions of a page.")
@click.option("--before", metavar="CURSOR", default="", help="The page behind the one that named this cursor.")
@json_option
@config_option
def sessions(text: tuple[str, ...], limit: int, before: str, as_json: bool, config: str | None, **told: Any) -> int:
    """Sessions with an exchange that fits, the one that was active last first.

    Figures are of all its exchanges; a + says that there are more, and there was no time to count them.
    TEXT and the options are those of `headgate logs search`. --json prints one JSON object per line.

    Exit code 1 where nothing was found.

    \b
    Example:
      headgate logs sessions --user ada --since 7d
      headgate logs sessions refund --errors
    """
    with log_reader(settings_of(config)) as reader:
        page = reader.sessions(query_of(" ".join(text), told, limit=limit, before=before))
    if as_json:
        from headgate.logbook.rows import session_json

        for each in page.sessions:
            click.echo(json.dumps(session_json(each)))
    elif page.sessions:
        print_table(_HEADS, [_cells(each) for each in page.sessions], left=5)
    tell_how_far(page.next, page.searched_to, found=bool(page.sessions))
    return 0 if page.sessions else 1


def _cells(each: LogSession) -> tuple[object, ...]:
    said = " ".join(each.excerpt.split())
    return (
        moment(each.last),
        each.session,
        each.tenant or "-",
        each.user or "-",
        f"{said[:_SHORT]}…" if len(said) > _SHORT else said,
        count(each.exchanges) + ("" if each.whole else "+"),
        count(each.failed),
        count(each.blocked),
        dollars(each.cost_nano),
    )
