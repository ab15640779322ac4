"""`headgate logs search`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.log_door import FIELDS, log_reader, query_of, which
from headgate.cli.text import count, dollars, milliseconds, moment, print_table, safe

if TYPE_CHECKING:
    from headgate.stores.logs.query import LogPage, LogRow
    from headgate.stores.logs.reader import LogReader

_HEADS = ("when", "exchange", "who", "model", "ended", "verdict", "said", "tokens", "cost", "took")
_SHORT = 60
_ONLY = ("tenant", "session")


@click.command()
@click.argument("text", nargs=-1)
@which
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Exchanges of a page.")
@click.option("--before", metavar="CURSOR", default="", help="The page behind the one that named this cursor.")
@click.option("--conversation", is_flag=True, help="With --session: its texts, the oldest first.")
@json_option
@config_option
def search(
    text: tuple[str, ...], limit: int, before: str, conversation: bool, as_json: bool, config: str | None, **told: Any
) -> int:
    """Exchanges that fit, the newest first.

    TEXT: words that the user's message or the answer has, all of them; "in quotes" for a phrase, a trailing * for
    beginnings, a leading - (behind --) for words that must not be there. --json prints one JSON object per line.

    Exit code 1 where nothing was found.

    \b
    Example:
      headgate logs search --user ada --since 24h
      headgate logs search refund --errors --where guard=injection
      headgate logs search --session s-17 --conversation
    """
    query = query_of(" ".join(text), told, limit=limit, before=before)
    with log_reader(settings_of(config)) as reader:
        page = _conversation(reader, text, told, limit, before) if conversation else reader.search(query)
    if as_json:
        from headgate.logbook.rows import as_json as of_row

        for row in page.rows:
            click.echo(json.dumps(of_row(row)))
    elif conversation:
        for line in _turns(page, tenants=told.get("tenant") is None):
            click.echo(line)
    elif page.rows:
        print_table(_HEADS, [_cells(row) for row in page.rows], left=7)
    tell_how_far(page.next, page.searched_to, found=bool(page.rows))
    return 0 if page.rows else 1


def _conversation(reader: LogReader, text: tuple[str, ...], told: dict[str, Any], limit: int, after: str) -> LogPage:
    others = [name for name in FIELDS if name not in _ONLY and told.get(name) is not None]
    if told.get("session") is None or text or others or told["where"] or told["correlation"] or told["errors"]:
        raise click.UsageError("--conversation goes with --session, and with --tenant, and nothing else")
    return reader.conversation(told["session"], told.get("tenant"), limit, after)


def _cells(row: LogRow) -> tuple[object, ...]:
    who = " ".join(part for part in (row.tenant, row.user, row.task) if part) or row.key or "-"
    ended = f"{row.ending} {row.status_code or ''}".strip() + (f" {row.error_type}" if row.error_type else "")
    said = " ".join(row.user_message.split())
    tokens = row.input_tokens + row.cache_read_tokens + row.cache_write_tokens
    return (
        moment(row.at),
        row.exchange_id,
        who,
        row.model_served or row.model_asked,
        ended,
        row.verdict or "-",
        f"{said[:_SHORT]}…" if len(said) > _SHORT else said,
        f"{count(tokens)}+{count(row.output_tokens)}",
        dollars(row.cost_nano),
        milliseconds(row.latency_ms),
    )


def _turns(page: LogPage, *, tenants: bool) -> Iterator[str]:
    """The texts of a page. A session is one tenant's: where `tenants` may be several, each turn says whose it is."""
    if tenants and len({row.tenant for row in page.rows}) > 1:
        click.echo("several tenants have a session of this name: choose one with --tenant", err=True)
    for row in page.rows:
        facts = f"{row.model_served or row.model_asked}, {dollars(row.cost_nano)}, {milliseconds(row.latency_ms)}"
        verdict = f", {row.verdict}: {' '.join(row.guards)}" if row.verdict not in ("", "allow") else ""
        whose = f"{row.tenant}  " if tenants and row.tenant else ""
        yield safe(f"── {moment(row.at)}  {whose}{row.exchange_id}  {row.ending}  ({facts}{verdict})")
        for name, text in (("user", row.user_message), ("answer", row.response_text)):
            lines = text.splitlines() or ["(not kept)"]
            yield from (f"  {name if n == 0 else '':7} {safe(line)}" for n, line in enumerate(lines))


def tell_how_far(cursor: str, searched_to: float | None, *, found: bool) -> None:
    """How far it has looked, and how to go on."""
    if searched_to is not None:
        click.echo(f"looked as far back as {moment(searched_to)}, and there is more to look at", err=True)
    if cursor:
        click.echo(f"more: --before {cursor}", err=True)
    elif not found:
        click.echo("nothing was found", err=True)
