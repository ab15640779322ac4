"""The log for commands: opened with what was logged before now; and the options that say which exchanges."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.since import HELP, read_moment

if TYPE_CHECKING:
    from headgate.settings.model import Settings
    from headgate.stores.logs.query import LogQuery
    from headgate.stores.logs.reader import LogReader

FIELDS = ("tenant", "user", "session", "task", "model", "status", "ending", "key")


@contextmanager
def log_reader(settings: Settings) -> Iterator[LogReader]:
    """The log store; raises ConfigError where there is none, UsageError where a question makes no sense."""
    from headgate.settings.log import log_place_of
    from headgate.stores.logs.place import Logs
    from headgate.stores.logs.query import BadQuery

    logs = Logs(log_place_of(settings))
    try:
        yield logs.fresh()
    except BadQuery as error:
        raise click.UsageError(str(error)) from None
    finally:
        logs.close()


def which(command: Any, *, but: str = "") -> Any:
    """The options that say which exchanges, without the one that is called `but`."""
    options: list[Callable[[Any], Any]] = [
        click.option(f"--{name}", metavar="TEXT", help=f"Only this {name}.", default=None)
        for name in FIELDS
        if name != but
    ]
    options += [
        click.option("--correlation", metavar="ID", help="Only this correlation id."),
        click.option(
            "--where", metavar="FIELD=TEXT", multiple=True, help="Only this value of any field, tag:<name> too."
        ),
        click.option("--errors", is_flag=True, help="Only those that ended with an error."),
        click.option("--since", metavar="WHEN", help=HELP),
        click.option("--until", metavar="WHEN", help="Up to, and without, this moment; as --since."),
        click.option("--min-cost", metavar="USD", help="Only those that cost so much or more."),
        click.option(
            "--slower", metavar="MS", type=click.FloatRange(0), help="Only those that took so long or longer."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def query_of(text: str, told: Mapping[str, Any], *, limit: int = 50, before: str = "") -> LogQuery:
    """What `which` was told, as a question."""
    from headgate.stores.logs.query import LogQuery

    fields = {name: told[name] for name in FIELDS if told.get(name) is not None}
    if told.get("correlation") is not None:
        fields["correlation_id"] = told["correlation"]
    for each in told.get("where") or ():
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise click.BadParameter(
                "expected FIELD=TEXT, like guard=injection or tag:team=search", param_hint="--where"
            )
        fields[name] = value
    now = time.time()
    return LogQuery(
        text=text,
        fields=fields,
        since=None if told.get("since") is None else read_moment(told["since"], now=now, option="--since"),
        until=None if told.get("until") is None else read_moment(told["until"], now=now, option="--until"),
        min_cost_nano=_nano(told.get("min_cost")),
        min_latency_ms=told.get("slower") or 0.0,
        errors=bool(told.get("errors")),
        limit=limit,
        before=before,
    )


def _nano(text: str | None) -> int:
    try:
        amount = Decimal(text or "0")
    except InvalidOperation:
        amount = Decimal(-1)
    if not 0 <= amount <= 10**9:
        raise click.BadParameter("expected an amount in USD, like 0.05", param_hint="--min-cost")
    return int(amount * 10**9)
