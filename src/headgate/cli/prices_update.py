"""`headgate prices update`: take a newer price file over, verified, compared and pinned."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option
from headgate.cli.text import count, moment, print_json, print_table

if TYPE_CHECKING:
    from headgate.policy.pricediff import Change, Difference
    from headgate.stores.price_files import Installed, PriceFiles

_MOST_ROWS = 200
_MOST_NAMES = 20
_NEXT = "It is charged from the next start of each process on; rows name it as their price version."


@click.command()
@click.argument("source", required=False, metavar="[FILE_OR_URL]")
@click.option("--sha256", metavar="HASH", help="The file's SHA-256. Default: what <FILE_OR_URL>.sha256 says.")
@click.option("--dry-run", is_flag=True, help="Verify and compare; install nothing.")
@click.option("--accept", is_flag=True, help="Install although something was found that nobody should pass over.")
@click.option(
    "--builtin", is_flag=True, help="Go back to the prices that came with Headgate. What was installed is kept."
)
@json_option
@config_option
def update(
    source: str | None,
    sha256: str | None,
    dry_run: bool,
    accept: bool,
    builtin: bool,
    as_json: bool,
    config: str | None,
) -> None:
    """Install a newer price file.

    The file is one that scripts/compile_prices.py wrote. It must have the hash you give and be a price file in every
    value. It must change nothing by more than 10x, lose no model and not be older than what is in use, unless you
    --accept that. It goes to $XDG_DATA_HOME/headgate/prices (~/.local/share/headgate/prices) and is pinned by its hash
    there; earlier ones are kept for `headgate usage --reprice`. A hash that lies beside the file guards against damage,
    not against whoever can change both.

    \b
    Example:
      headgate prices update prices-2026-12-01.json --sha256 7ce83e4c... --dry-run
      headgate prices update https://prices.example/prices-2026-12-01.json
      headgate prices update --builtin
    """
    del config  # of no account here: taken, because every command takes it
    from headgate.stores.price_files import PriceFiles, prices_folder

    files = PriceFiles(prices_folder(os.environ))
    if builtin:
        if source is not None or dry_run or accept or sha256 is not None:
            raise click.UsageError("--builtin stands alone")
        files.use_package()
        click.echo(f"Prices are those of {files.in_use().version} again, which came with Headgate.")
        return
    if source is None:
        raise click.UsageError("name the file or URL to take prices from, or --builtin")
    _take(files, source, sha256, dry_run=dry_run, accept=accept, as_json=as_json)


def _take(files: PriceFiles, source: str, sha256: str | None, *, dry_run: bool, accept: bool, as_json: bool) -> None:
    from headgate.cli.prices_fetch import fetch
    from headgate.cli.prices_text import say
    from headgate.policy.pricecheck import validate
    from headgate.policy.pricediff import compare
    from headgate.policy.pricefile import PriceFile
    from headgate.policy.pricepins import file_version

    content, digest = fetch(source, sha256)
    dated = validate(content)["date"]
    before = files.in_use()
    version = file_version(dated, digest)
    now = time.time()
    found = compare(PriceFile(files.read(before)), PriceFile(content), now)
    doubts = _doubts(found, before, dated, now)
    install = not dry_run and (accept or not doubts)
    if install and version != before.version:
        files.install(content, date=dated, sha256=digest, origin=_told(source))
    in_use = files.in_use()
    if as_json:
        print_json(_json(found, before, version, doubts, installed=install))
    else:
        _print(found, before, version, doubts, now)
        say(_outcome(before, version, in_use, doubts, dry_run=dry_run, install=install))
    if doubts and not accept:
        raise click.exceptions.Exit(1)


def _told(source: str) -> str:
    """Where it was from, without a credential that a URL may hold."""
    if "://" not in source:
        return source
    from urllib.parse import urlsplit

    where = urlsplit(source)
    return f"{where.scheme}://{where.hostname or ''}{where.path}"


def _doubts(found: Difference, before: Installed, dated: str, now: float) -> list[str]:
    """What nobody should pass over, a sentence each."""
    doubts = []
    if absurd := found.absurd:
        named = ", ".join(dict.fromkeys(f"{c.provider}/{c.model}" for c in absurd[:5]))
        doubts.append(
            f"{count(len(absurd))} rates change by more than 10x ({named}{', ...' if len(absurd) > 5 else ''})"
        )
    if found.vanished:
        doubts.append(f"models without a price from now on: {count(len(found.vanished))}")
    if dated < before.date:
        doubts.append(f"it is of {dated}, older than what is in use ({before.version})")
    if date.fromisoformat(dated) > datetime.fromtimestamp(now, UTC).date():
        doubts.append(f"its date, {dated}, is in the future")
    return doubts


def _outcome(
    before: Installed, version: str, in_use: Installed, doubts: list[str], *, dry_run: bool, install: bool
) -> str:
    if version == before.version:
        return f"{version} is in use already."
    if install and in_use.version != version:
        return f"{version} was installed and is kept for `headgate usage --reprice`; {in_use.version} stays in use."
    if install:
        return f"{version} was installed. {_NEXT}"
    if dry_run:
        return "A dry run: nothing was installed."
    return "Nothing was installed. Look at what was found; with --accept it is installed all the same."


def _print(found: Difference, before: Installed, version: str, doubts: list[str], now: float) -> None:
    from headgate.cli.prices_text import KINDS, amount, say

    if found.changes:
        ordered = sorted(found.changes, key=lambda change: not change.absurd)
        rows = [
            (
                f"{change.provider}/{change.model}",
                _place(change, now),
                KINDS[change.kind],
                amount(change.kind, change.old),
                amount(change.kind, change.new),
                _percent(change),
            )
            for change in ordered[:_MOST_ROWS]
        ]
        title = f"{before.version} -> {version}, USD per million tokens (searches and requests: per 1,000)"
        print_table(("model", "for", "class", "old", "new", "change"), rows, left=3, title=title)
        if len(ordered) > _MOST_ROWS:
            click.echo(f"... and {count(len(ordered) - _MOST_ROWS)} more (--json has them all)")
        click.echo("")
    for what, names in (("new", found.added), ("gone", found.vanished)):
        if names:
            more = f", ... ({count(len(names) - _MOST_NAMES)} more)" if len(names) > _MOST_NAMES else ""
            say(f"{what}: {', '.join(names[:_MOST_NAMES])}{more}")
    touched = len({(change.provider, change.model) for change in found.changes})
    say(
        f"{before.version} -> {version}: rates changed: {count(len(found.changes))}, of {count(touched)} models; "
        f"models: {count(found.models)}, new: {count(len(found.added))}, gone: {count(len(found.vanished))}."
    )
    for doubt in doubts:
        say(f"FOUND: {doubt}")


def _place(change: Change, now: float) -> str:
    """What a rate is for: the service, the length of the prompt, and from when on."""
    above = f"above {count(change.above)}" if change.above else ""
    later = f"from {moment(change.since)[:10]}" if change.since > now else ""
    return " ".join(filter(None, (change.context, above, later))) or "-"


def _percent(change: Change) -> str:
    if not change.old:
        return "was free"
    if not change.new:
        return "free"
    times = change.new / change.old
    return f"{times:,.1f}x" if times > 10 else f"1/{1 / times:,.1f}" if times < 0.1 else f"{(times - 1) * 100:+.1f}%"


def _json(found: Difference, before: Installed, version: str, doubts: list[str], *, installed: bool) -> dict[str, Any]:
    from headgate.cli.prices_text import PIECES, amount

    return {
        "from": before.version,
        "to": version,
        "installed": installed,
        "found": doubts,
        "models": found.models,
        "added": found.added,
        "vanished": found.vanished,
        "changes": [
            {
                "provider": change.provider,
                "model": change.model,
                "service": change.context or "standard",
                "above_prompt_tokens": change.above,
                "class": change.kind,
                "unit": "usd_per_thousand" if change.kind in PIECES else "usd_per_mtok",
                "old": amount(change.kind, change.old),
                "new": amount(change.kind, change.new),
                "since": moment(change.since),
                "absurd": change.absurd,
            }
            for change in found.changes
        ],
    }
