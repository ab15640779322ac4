"""`headgate cache`: answers that are kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.since import HELP, read_moment
from headgate.cli.text import count, dollars, print_json, print_table, safe
from headgate.core.money import usd_text

if TYPE_CHECKING:
    from headgate.cli.cache_prompts import PromptRow


@click.group()
def cache() -> None:
    """Answers that are kept, and given again to the same question (docs/cache.md).

    \b
    Example:
      headgate cache stats
      headgate cache prompts --since 24h
      headgate cache forget --tenant acme
    """


@cache.command()
@json_option
@config_option
def stats(as_json: bool, config: str | None) -> int:
    """How the cache of the running gateway does, since it started.

    Exit code 1 where no gateway is running, or the place where answers are kept is gone.

    \b
    Example:
      headgate cache stats
    """
    from headgate.cli.cache_door import stats as ask

    found = ask(settings_of(config))
    if as_json:
        print_json({"running": found is not None, **(found or {})})
    elif found is None:
        click.echo("Nothing to see: no gateway of this ledger is running here.")
    else:
        for name, text in _lines(found):
            click.echo(f"{name:<10} {safe(text)}")
    return 0 if found is not None and found["ok"] else 1


@cache.command()
@json_option
@config_option
def similar(as_json: bool, config: str | None) -> int:
    """Similar answers: how often they would have been wrong, and whether they may be given (docs/similar.md).

    Exit code 1: they are wanted (`mode: answer`), and are not given.

    \b
    Example:
      headgate cache similar
    """
    from headgate.cli.cache_similar import report

    found = report(settings_of(config))
    if as_json:
        print_json(found)
    elif not found["on"]:
        click.echo("`similar` is off: see docs/similar.md.")
    else:
        for name, value in found.items():
            if name != "on":
                click.echo(f"{name:<16} {safe(value)}")
    return 1 if found["on"] and found["mode"] == "answer" and not found["may_answer"] else 0


@cache.command()
@click.option("--since", metavar="WHEN", default="7d", show_default=True, help=HELP)
@click.option("--tenant", metavar="TEXT", default=None, help="Only this tenant.")
@json_option
@config_option
def prompts(since: str, tenant: str | None, as_json: bool, config: str | None) -> int:
    """Providers' prompt caches, prefix by prefix: tokens written and read, hit rate, money saved or lost (-).

    From the log. A prefix is named by a digest, which is `prompt_prefix` in the log. Uncached are the prompt's other
    tokens. Exit code 1: prompt caching has lost money in all.

    \b
    Example:
      headgate cache prompts --since 24h
    """
    from headgate.cli.cache_prompts import prompt_rows

    start = read_moment(since, now=time.time(), option="--since")
    rows = [each for each in prompt_rows(settings_of(config), start) if tenant is None or each.tenant == tenant]
    saved = sum(each.saved_nano for each in rows)
    if as_json:
        print_json({"saved_usd": usd_text(saved), "prefixes": [each.as_json() for each in rows]})
    elif not rows:
        click.echo("No prompt prefix has come again in this time.")
    else:
        heads = ("prefix", "tenant", "model", "tasks", "calls", "hit rate", "written", "read", "uncached", "saved")
        print_table(heads, [_prompt_cells(each) for each in rows], left=4, footer=_prompt_footer(rows, saved))
    return 1 if saved < 0 else 0


def _prompt_cells(each: PromptRow) -> list[str]:
    who = [each.prefix, each.tenant or "-", each.model or "-", ", ".join(sorted(each.tasks)) or "-"]
    tokens = map(count, (each.written_tokens, each.read_tokens, each.uncached_tokens))
    return [*who, count(each.calls), f"{each.hit_rate:.0%}", *tokens, dollars(each.saved_nano)]


def _prompt_footer(rows: Sequence[PromptRow], saved: int) -> list[str]:
    calls, hits = sum(each.calls for each in rows), sum(each.hits for each in rows)
    tokens = (
        sum(getattr(each, name) for each in rows) for name in ("written_tokens", "read_tokens", "uncached_tokens")
    )
    return ["total", "", "", "", count(calls), f"{hits / calls:.0%}", *map(count, tokens), dollars(saved)]


@cache.command()
@click.option("--tenant", metavar="NAME", help="A tenant's answers, whichever key asked for them.")
@click.option("--key", metavar="NAME", help="Answers of a key without a tenant.")
@click.option("--all", "everything", is_flag=True, help="Everybody's.")
@json_option
@config_option
def forget(tenant: str | None, key: str | None, everything: bool, as_json: bool, config: str | None) -> int:
    """Forget answers, in the running gateway and in the place where they are kept.

    Other gateways that share the place may have some of them in memory, for `cache.memory` at the most. Memcached does
    not tell how many they were.

    \b
    Example:
      headgate cache forget --tenant acme
      headgate cache forget --all
    """
    from headgate.cache_report import whose_answers
    from headgate.cli.cache_door import forget as ask

    told: dict[str, Any] = {name: value for name, value in (("tenant", tenant), ("key", key)) if value is not None}
    if everything:
        told["everything"] = True
    try:
        whose = whose_answers(told)
    except ValueError:
        raise click.UsageError("say whose answers: one of --tenant NAME, --key NAME and --all") from None
    found = ask(settings_of(config), whose)
    if as_json:
        print_json(found)
        return 0
    count = found["forgotten"]
    number = "Answers" if count is None else f"{count:,} answer{'' if count == 1 else 's'}"
    click.echo(f"{number} forgotten in {safe(found['cache'])}.")
    return 0


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    asked = found["hits"] + found["misses"]
    rate = "nothing was asked for yet" if not asked else f"{found['hits']:,} of {asked:,} ({found['hit_rate']:.1%})"
    state = "answers" if found["ok"] else f"is gone: {found['last_error']}"
    rows = [("kept in", f"{found['cache']}, which {state}" if found["cache"] != "memory" else "memory"), ("hits", rate)]
    if found["entries"] is not None:
        rows.append(("entries", f"{found['entries']:,}, {found['bytes']:,} bytes"))
    if "memory" in found:
        memory = found["memory"]
        rows.append(("in memory", f"{memory['entries']:,}, {memory['bytes']:,} bytes, {memory['hits']:,} of the hits"))
    rows.append(("stored", f"{found['stored']:,}; {found['evicted']:,} went for room; {found['dropped']:,} not kept"))
    if found["corrupt"]:
        rows.append(("corrupt", f"{found['corrupt']:,}: see cache_corrupt in the log"))
    return rows
