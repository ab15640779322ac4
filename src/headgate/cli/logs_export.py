"""`headgate logs export`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from headgate.cli.group import config_option, settings_of
from headgate.cli.log_door import log_reader, query_of, which
from headgate.core.csv_lines import csv_line
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.stores.logs.query import LogQuery, LogRow
    from headgate.stores.logs.reader import LogReader


@click.command()
@click.argument("text", nargs=-1)
@which
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option(
    "--dataset", is_flag=True, help="An eval dataset, without personal data: id, input, output, metadata, label."
)
@click.option("--all", "everything", is_flag=True, help="With --dataset: also what failed, was flagged or was blocked.")
@click.option("--sample", type=click.IntRange(1, 100_000), metavar="N", help="So many of them, drawn at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="What --sample is drawn by.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The newest N that fit; default: all.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="A file in place of standard output, mode 0600.")
@config_option
def export(
    text: tuple[str, ...],
    form: str,
    dataset: bool,
    everything: bool,
    sample: int | None,
    seed: int,
    limit: int | None,
    output: str | None,
    config: str | None,
    **told: Any,
) -> int:
    """Exchanges that fit, as a file.

    Texts are as the log keeps them; in a --dataset personal data and credentials are taken out once more, whatever
    `log.bodies` says. A dataset has only complete exchanges that no guard has flagged, and whole requests where
    `log: {requests: on}` keeps them; else the user's message alone.

    Exit code 1 where nothing was found.

    \b
    Example:
      headgate logs export --since 7d --format csv -o week.csv
      headgate logs export --task classify --dataset --sample 50 -o evals/classify.jsonl
    """
    if dataset and form == "csv":
        raise click.UsageError("a dataset is JSONL: leave --format out")
    if everything and not dataset:
        raise click.UsageError("--all goes with --dataset")
    query, drawn = query_of(" ".join(text), told), None if sample is None else (sample, seed)
    with log_reader(settings_of(config)) as reader:

        def write(out: TextIO) -> int:
            if dataset:
                return _dataset(reader, query, limit, drawn, out, everything=everything)
            rows = _rows(reader, query, limit, drawn)
            return _csv(rows, out) if form == "csv" else _jsonl(rows, out)

        written = write(sys.stdout) if output is None else _into(output, write)
    click.echo(f"{written:,} exchanges{f' in {output}' if output and written else ''}", err=True)
    return 0 if written else 1


def _into(output: str, write: Callable[[TextIO], int]) -> int:
    """How many were written. A file is written beside the one of that name, and takes its place when it is whole: a
    mistake in the question, even one that finds nothing, or a disk that is full, leaves the old one as it was."""
    try:
        path = Path(output)
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe: where its link leads there may be no path
            with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
                return write(file)
        path = Path(os.path.realpath(path))  # behind a link, not in its place
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # its mode is 0600
        made = Path(name)
        try:
            with os.fdopen(fd, "w", encoding="utf-8", errors="replace", newline="") as file:
                written = write(file)
            if written or not path.exists():
                made.replace(path)
            return written
        finally:
            made.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror}") from None


def _rows(
    reader: LogReader, query: LogQuery, limit: int | None, sample: tuple[int, int] | None, *, fitting: bool = False
) -> Iterable[LogRow]:
    from headgate.logbook.cases import fit, sampled
    from headgate.logbook.finding import found

    rows: Iterable[LogRow] = (row for row in found(reader, query, limit) if not fitting or fit(row))
    return rows if sample is None else sampled(rows, *sample)


def _dataset(
    reader: LogReader,
    query: LogQuery,
    limit: int | None,
    sample: tuple[int, int] | None,
    out: TextIO,
    *,
    everything: bool,
) -> int:
    from headgate.logbook.cases import case_of, cleaned
    from headgate.logbook.finding import whole

    written = 0
    for row in _rows(reader, query, limit, sample, fitting=not everything):
        case = case_of(whole(reader, row))
        if case is not None:
            out.write(json.dumps(cleaned(case).as_json()) + "\n")
            written += 1
    return written


def _jsonl(rows: Iterable[LogRow], out: TextIO) -> int:
    from headgate.logbook.rows import as_json

    written = 0
    for row in rows:
        out.write(json.dumps(as_json(row)) + "\n")
        written += 1
    return written


def _csv(rows: Iterable[LogRow], out: TextIO) -> int:
    from headgate.logbook.rows import COLUMNS, as_cells

    out.write(csv_line(COLUMNS, end="\r\n"))
    written = 0
    for row in rows:
        written += 1
        out.write(csv_line(as_cells(row), end="\r\n"))
    return written
