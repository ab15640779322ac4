"""`headgate logs`: the record of exchanges; `show`: one with its attempts, from the ledger and the log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, reader_of, settings_of
from headgate.cli.logs_erase import erase
from headgate.cli.logs_export import export
from headgate.cli.logs_replay import replay
from headgate.cli.logs_search import search
from headgate.cli.logs_sessions import sessions
from headgate.cli.text import count, dollars, milliseconds, moment, print_json, safe
from headgate.core.money import usd_text

if TYPE_CHECKING:
    from headgate.settings.model import Settings
    from headgate.stores.logs.query import LogRow
    from headgate.stores.reader import Reader, StoredExchange

_ENOUGH = 10
_PREFIX = "ex_"


@click.group()
def logs() -> None:
    """The record of exchanges: search it, show one, export it, ask again, erase whose words must go.

    \b
    Example:
      headgate logs search --user ada --since 24h
      headgate logs show --last
    """


logs.add_command(search)
logs.add_command(sessions)
logs.add_command(export)
logs.add_command(replay)
logs.add_command(erase)


@logs.command()
@click.argument("exchange_id", required=False)
@click.option("--last", "newest", is_flag=True, help="The newest exchange.")
@json_option
@config_option
def show(exchange_id: str | None, newest: bool, as_json: bool, config: str | None) -> None:
    """One exchange and its attempts: times, waits, costs, errors; what the log has of it: verdict, texts.

    EXCHANGE_ID is the response header x-headgate-exchange, or the beginning of it that only one exchange has.

    \b
    Example:
      headgate logs show ex_019aa1b2c3d4
      headgate logs show --last --json
    """
    if newest == bool(exchange_id):
        raise click.UsageError("give an EXCHANGE_ID (or the beginning of one), or --last")
    settings = settings_of(config)
    reader = reader_of(settings)
    found = _newest(reader) if newest else _named(reader, exchange_id or "")
    if found is None:
        raise _NotFound("nothing was recorded yet" if newest else f"there is no exchange {safe(exchange_id)!s}")
    logged = _logged(settings, _id_of(found))
    if as_json:
        from headgate.logbook.rows import as_json as of_row

        told: dict[str, Any] = {
            "exchange": _as_json(found.exchange),
            "attempts": [_as_json(each) for each in found.attempts],
        }
        if logged is not None:
            told["log"] = {**of_row(logged), "request": logged.request}
        print_json(told)
    else:
        for line in _lines(found):
            click.echo(safe(line))
        if logged is not None:
            for line in _logged_lines(logged):
                click.echo(safe(line))


def _id_of(found: StoredExchange) -> str:
    return str(found.exchange["id"] if found.exchange else found.attempts[0]["exchange_id"])


def _logged(settings: Settings, exchange_id: str) -> LogRow | None:
    """What the log has of it; None where there is no log, or nothing of it."""
    from headgate.cli.log_door import log_reader
    from headgate.core.errors import HeadgateError

    try:
        with log_reader(settings) as reader:
            return reader.show(exchange_id)
    except HeadgateError:
        return None  # the ledger's part is worth showing all the same


def _logged_lines(row: LogRow) -> Iterator[str]:
    if row.verdict:
        words = f": {', '.join(row.guards)}" if row.guards else ""
        yield f"   verdict   {row.verdict}{words}"
    if row.system_prompt_hash:
        yield f"   system prompt  {row.system_prompt_hash}"
    for name in ("degraded", "pruned", "limit", "error_cause"):
        if row.more.get(name):
            yield f"   {name:9} {row.more[name]}"
    for name, text in (("user", row.user_message), ("answer", row.response_text)):
        yield from (f"   {name if n == 0 else '':9} {line}" for n, line in enumerate(text.splitlines()))


class _NotFound(click.ClickException):
    exit_code = 1


def _newest(reader: Reader) -> StoredExchange | None:
    rows = reader.recent(limit=1)
    return reader.exchange(rows[0]["id"]) if rows else None


def _named(reader: Reader, text: str) -> StoredExchange | None:
    whole = text if text.startswith(_PREFIX) else _PREFIX + text
    exact = reader.exchange(whole)
    if exact is not None:
        return exact
    rows = reader.find(whole, limit=_ENOUGH + 1)
    if len(rows) > 1:
        listed = [f"  {row['id']}  {moment(row['started'])}  {row['ending']}" for row in rows[:_ENOUGH]]
        more = ["  …"] if len(rows) > _ENOUGH else []
        raise click.UsageError("\n".join([f"several exchanges begin with {safe(whole)}:", *listed, *more]))
    return reader.exchange(rows[0]["id"]) if rows else None


def _as_json(record: Mapping[str, Any]) -> dict[str, Any]:
    """The row, with money as decimal strings and JSON columns as JSON."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        if name.endswith("_nano"):
            found[name.removesuffix("_nano") + "_usd"] = None if value is None else usd_text(value)
        elif name in ("tags", "facts"):
            found[name] = json.loads(value) if value else None
        elif name in ("stream", "estimated", "simulated"):
            found[name] = bool(value)
        elif name != "owner":
            found[name] = value
    return found


def _lines(found: StoredExchange) -> Iterator[str]:
    row, attempts = found.exchange, found.attempts
    start: float = row["started"] if row else attempts[0]["started"]
    if row:
        yield from _exchange_lines(row)
    else:
        yield f"{attempts[0]['exchange_id']}  on its way since {moment(start)}"
    for place, attempt in enumerate(attempts):
        last = place == len(attempts) - 1
        if attempt["waited_ms"]:
            yield f"├─ waited {milliseconds(attempt['waited_ms'])}"
        lines = list(_attempt_lines(attempt, start))
        yield f"{'└─' if last else '├─'} {lines[0]}"
        yield from (f"{'  ' if last else '│ '}   {line}" for line in lines[1:])


def _exchange_lines(row: Mapping[str, Any]) -> Iterator[str]:
    status = f" {row['status']}" if row["status"] else ""
    marks = "  SIMULATED" if row["simulated"] else ""
    yield f"{row['id']}  {row['ending']}{status}{marks}"
    took = milliseconds(row["latency_ms"])
    first = f", first content after {milliseconds(row['ttft_ms'])}" if row["ttft_ms"] is not None else ""
    yield f"│  when      {moment(row['started'])}, {took}{first}"
    how = ", streamed" if row["stream"] else ""
    yield f"│  asked     {row['model_asked'] or '-'} ({row['dialect']} {row['endpoint']}{how}; {row['way_in']})"
    if row["provider"]:
        stop = f", stop reason {row['stop_reason']}" if row["stop_reason"] else ""
        yield f"│  served    {row['model_served'] or '-'} by {row['provider']}{stop}"
    names = ("key", "tenant", "user", "session", "task", "feature", "environment")
    who = [f"{name} {row[name]}" for name in names if row[name]]
    if row["tags"]:
        who += [f"{name}={value}" for name, value in json.loads(row["tags"]).items()]
    if who:
        yield f"│  caller    {', '.join(who)}"
    if row["client_retries"]:
        yield f"│  caller's SDK is retrying: {row['client_retries']} times before"
    yield f"│  tokens    {_tokens(row)}"
    if row["cache"]:
        yield f"│  cache     {row['cache']}"
    yield f"│  cost      {_cost(row)}"
    if row["error_code"]:
        kind = f" ({row['error_kind']})" if row["error_kind"] else ""
        yield f"│  error     {row['error_code']}{kind}"
    if row["correlation_id"]:
        yield f"│  correlation id  {row['correlation_id']}"
    if row["upstream_gateway"]:
        yield f"│  charged by another Headgate as {row['upstream_gateway']}"


def _attempt_lines(attempt: Mapping[str, Any], start: float) -> Iterator[str]:
    status = f" {attempt['status']}" if attempt["status"] else ""
    outcome = attempt["outcome"] or "on its way"
    said = " ".join(part for part in (attempt["error_kind"], attempt["provider_code"]) if part)
    yield (
        f"attempt {attempt['number']}: {attempt['provider']}/{attempt['model']}  {outcome}{status}"
        f"{f'  {said}' if said else ''}"
    )
    times = [f"sent +{milliseconds((attempt['started'] - start) * 1000)}"]
    for name, label in (("first_byte", "headers"), ("first_content", "first content"), ("ended", "ended")):
        if attempt[name] is not None:
            times.append(f"{label} +{milliseconds((attempt[name] - start) * 1000)}")
    yield ", ".join(times)
    bound = "unbounded" if attempt["bound_nano"] is None else f"at most {dollars(attempt['bound_nano'])}"
    if attempt["outcome"] is None:
        yield f"held: {bound}"
    else:
        yield f"{_cost(attempt)} ({bound}); {_tokens(attempt)}"
    if attempt["request_id"]:
        yield f"provider's request id {attempt['request_id']}"


def _cost(record: Mapping[str, Any]) -> str:
    prices = f", prices {record['price_version']}" if record["price_version"] else ""
    return f"{dollars(record['cost_nano'])}{' (estimated)' if record['estimated'] else ''}{prices}"


def _tokens(record: Mapping[str, Any]) -> str:
    parts = [f"{count(record['input_tokens'])} in"]
    written = record["cache_write_tokens"] + record["cache_write_long_tokens"]
    if record["cache_read_tokens"]:
        parts.append(f"{count(record['cache_read_tokens'])} from the cache")
    if written:
        parts.append(f"{count(written)} into the cache")
    reasoning = record["reasoning_tokens"]
    parts.append(
        f"{count(record['output_tokens'])} out{f' ({count(reasoning)} of them thinking)' if reasoning else ''}"
    )
    if record["web_searches"]:
        parts.append(f"{count(record['web_searches'])} web searches")
    return ", ".join(parts)
