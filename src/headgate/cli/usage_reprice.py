"""`headgate usage --reprice`: what history would have cost under another price version."""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.doctor_report import progress
from headgate.cli.text import count, dollars, print_json, print_table
from headgate.core.csv_lines import csv_line
from headgate.core.errors import ConfigError
from headgate.core.money import usd_text

if TYPE_CHECKING:
    from headgate.policy.pricebook import PriceBook
    from headgate.policy.pricefile import PriceFile
    from headgate.policy.reprice import Charged
    from headgate.settings.model import Settings
    from headgate.stores.price_files import PriceFiles
    from headgate.stores.usage_sums import Record

CURRENT = "current"
_TELL_EVERY = 2_000  # attempts between two looks at the bar


@dataclass(slots=True)
class Repriced:
    """Sums over attempts. Money is nano-dollars.

    `repriced_nano` has what was charged in it for attempts that could not be computed again, so that
    `cost_nano + difference_nano == repriced_nano`.
    """

    attempts: int = 0
    cost_nano: int = 0
    repriced_nano: int = 0
    assumed: int = 0
    assumed_nano: int = 0  # of `repriced_nano`
    kept: int = 0  # not repriced
    kept_nano: int = 0

    @property
    def difference_nano(self) -> int:
        """What the other version would have cost more."""
        return self.repriced_nano - self.cost_nano

    def add(self, cost: int, repriced: int, how: str) -> None:
        """One attempt."""
        self.attempts += 1
        self.cost_nano += cost
        self.repriced_nano += repriced
        if how == "assumed":
            self.assumed += 1
            self.assumed_nano += repriced
        elif how != "exact":
            self.kept += 1
            self.kept_nano += cost

    def as_json(self) -> dict[str, int | str]:
        """Money as decimal strings of USD."""
        return {
            "attempts": self.attempts,
            "cost_usd": usd_text(self.cost_nano),
            "repriced_usd": usd_text(self.repriced_nano),
            "difference_usd": usd_text(self.difference_nano),
            "assumed_attempts": self.assumed,
            "assumed_usd": usd_text(self.assumed_nano),
            "not_repriced_attempts": self.kept,
            "not_repriced_usd": usd_text(self.kept_nano),
        }


@dataclass(slots=True)
class RepriceReport:
    """`version`: what was repriced under. `reasons`: attempts by how they were repriced, see `policy.reprice`."""

    version: str
    by: tuple[str, ...]
    rows: dict[tuple[str, ...], Repriced] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    total: Repriced = field(default_factory=Repriced)


Read = Callable[[Callable[[Iterable[tuple[tuple[str, ...], "Record"]]], None]], None]


def reprice(settings: Settings, version: str, by: tuple[str, ...], read: Read) -> RepriceReport:
    """Compute history again.

    Args:
        version: a price version, `CURRENT`, or a price file.
        by: the dimensions of the rows.
        read: calls what it is given with (values of `by`, an attempt's row) of every attempt.

    Raises:
        ConfigError: there is no such version.
    """
    from headgate.policy.reprice import Repricer
    from headgate.stores.price_files import PriceFiles, prices_folder

    files = PriceFiles(prices_folder(os.environ))
    repricer = Repricer(_target(settings, files, version), files_by_version(files))
    report = RepriceReport(repricer.target.version, by)
    groups: defaultdict[tuple[str, ...], Repriced] = defaultdict(Repriced)

    with progress("repricing") as tell:

        def take(attempts: Iterable[tuple[tuple[str, ...], Record]]) -> None:
            for number, (key, row) in enumerate(attempts, 1):
                cost = row["cost_nano"]
                found, how = repricer.reprice(_charged(row))
                groups[key].add(cost, found, how)
                report.total.add(cost, found, how)
                report.reasons[how] += 1
                if not number % _TELL_EVERY:
                    tell(number, 0)

        read(take)
    from headgate.stores.usage_sums import sort_key

    named = sorted(groups.items(), key=lambda each: sort_key(dict(zip(by, each[0], strict=True)), each[1].cost_nano))
    report.rows = dict(named) if by else {}
    return report


def _target(settings: Settings, files: PriceFiles, version: str) -> PriceBook:
    import hashlib

    from headgate.policy.pricecheck import validate
    from headgate.settings.price_book import book_of, book_over

    if version == CURRENT:
        return book_of(settings, files, files.in_use())
    if version.endswith(".json") or "/" in version or os.sep in version:
        try:
            content = Path(version).expanduser().read_bytes()
        except OSError as error:
            raise ConfigError(f"--reprice: {version} cannot be read: {error.strerror}") from None
        validate(content)
        return book_over(settings, content, hashlib.sha256(content).hexdigest())
    snapshot, plus, _ = version.partition("+")
    installed = files.find(snapshot)
    if installed is None:
        known = ", ".join(each.version for each in files.all())
        raise ConfigError(f"--reprice: no prices of {version} are at hand. There are {known}; or name a price file")
    book = book_of(settings, files, installed)
    if plus and book.version != version:
        raise ConfigError(
            f"--reprice: {version} is of other prices in headgate.yaml than there are now; {snapshot} reprices with "
            f"the present ones ({book.version})"
        )
    return book


def files_by_version(files: PriceFiles) -> Callable[[str], PriceFile | None]:
    """Price files by their version; each is read once."""
    from headgate.policy.pricefile import PriceFile

    known: dict[str, PriceFile | None] = {}

    def find(version: str) -> PriceFile | None:
        if version not in known:
            installed = next((each for each in files.all() if each.version == version), None)
            known[version] = None if installed is None else PriceFile(files.read(installed))
        return known[version]

    return find


def _charged(row: Record) -> Charged:
    from headgate.core.usage import Usage
    from headgate.policy.reprice import Charged

    tier, speed, geography = (row["service"] or "//").split("/", 2)
    usage = Usage(
        row["input_tokens"],
        row["cache_read_tokens"],
        row["cache_write_tokens"],
        row["cache_write_long_tokens"],
        row["output_tokens"],
        row["reasoning_tokens"],
        web_searches=row["web_searches"],
        service_tier=tier,
        speed=speed,
        inference_geo=geography,
    )
    return Charged(
        row["provider"],
        row["model"],
        row["model_served"],
        row["started"],
        usage,
        row["cost_nano"],
        row["price_version"],
        bool(row["estimated"]),
        row["bound_nano"],
    )


def show(report: RepriceReport, *, as_json: bool, as_csv: bool) -> None:
    """Print a report."""
    if as_json:
        print_json(_json(report))
    elif as_csv:
        sys.stdout.write(_csv(report))
    elif not report.total.attempts:
        click.echo("Nothing was recorded in this time.")
    else:
        _print(report)


def _json(report: RepriceReport) -> dict[str, Any]:
    rows = [{**_named(report, key), **amounts.as_json()} for key, amounts in report.rows.items()]
    return {
        "reprice": {"version": report.version, "attempts": dict(report.reasons)},
        "total": report.total.as_json(),
        "rows": rows,
    }


def _named(report: RepriceReport, key: Sequence[str]) -> Mapping[str, str]:
    return dict(zip(report.by, key, strict=True))


def _csv(report: RepriceReport) -> str:
    lines = [csv_line([*report.by, *report.total.as_json()])]
    for key, amounts in (report.rows if report.by else {(): report.total}).items():
        lines.append(csv_line((name or "" for name in key), amounts.as_json().values()))
    return "".join(lines)


def _print(report: RepriceReport) -> None:
    from headgate.cli.prices_text import say
    from headgate.policy.reprice import ASSUMED, EXACT, REASONS

    kept = bool(report.total.kept)

    def cells(amounts: Repriced) -> list[str]:
        money = [amounts.cost_nano, amounts.repriced_nano, amounts.difference_nano]
        shown = [count(amounts.attempts), *map(dollars, money)]
        return [*shown, *([count(amounts.kept)] if kept else [])]

    heads = ["attempts", "cost", "repriced", "difference", *(["kept"] if kept else [])]
    title = f"Repriced under {report.version}"
    if report.by:
        rows = [[*(name or "-" for name in key), *cells(amounts)] for key, amounts in report.rows.items()]
        footer = ["total", *[""] * (len(report.by) - 1), *cells(report.total)]
        print_table((*report.by, *heads), rows, left=len(report.by), footer=footer, title=title)
    else:
        print_table(heads, [cells(report.total)], left=0, title=title)
    if set(report.reasons) <= {EXACT}:
        return
    click.echo("")
    say(f"{count(report.reasons[EXACT])} exact")
    for how, why in REASONS.items():
        if number := report.reasons[how]:
            say(f"{count(number)} {'assumed' if how == ASSUMED else 'kept'}: {why}")
    if kept:
        say(f"What was kept, {dollars(report.total.kept_nano)} of the cost, is repriced as what was charged.")
