"""`headgate logs replay`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.log_door import log_reader, query_of, which
from headgate.cli.text import print_json
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.logbook.cases import Case
    from headgate.settings.model import Settings

_MOST = 1024 * 1024


@click.command()
@click.argument("dataset", required=False, type=click.Path(dir_okay=False))
@partial(which, but="model")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Cases, the newest first."
)
@click.option("--model", metavar="NAME", default="", help="Ask this model in place of each one's own.")
@click.option(
    "--system", metavar="FILE", type=click.Path(dir_okay=False), help="This system prompt in place of theirs."
)
@click.option("--policy", metavar="FILE", help="Ask under this configuration; --config is where the log is.")
@click.option(
    "--storage", metavar="URL", help="Write the run's exchanges into this ledger; beside a gateway, SQLite needs it."
)
@click.option("--max-usd", type=click.FloatRange(0, 1e6), default=1.0, show_default=True, help="The run costs no more.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Calls at once.")
@click.option(
    "--expect", is_flag=True, help="Hold answers against each case's label or expectation; exit 1 if one fails."
)
@click.option("--judge", metavar="MODEL", default="", help="Who judges expectations of the kind `judge`.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and send nothing.")
@click.option("--html", metavar="FILE", type=click.Path(dir_okay=False), help="Write the report as a page, too.")
@json_option
@config_option
def replay(
    dataset: str | None,
    limit: int,
    model: str,
    system: str | None,
    policy: str | None,
    storage: str | None,
    max_usd: float,
    concurrency: int,
    expect: bool,
    judge: str,
    dry_run: bool,
    html: str | None,
    as_json: bool,
    config: str | None,
    **told: Any,
) -> int:
    """Ask again what was asked before, and compare: answers, cost, latency, verdicts.

    What is asked: the cases of DATASET (of `headgate logs export --dataset`), else the logged exchanges that the
    options name. Calls go through the gate: budgets, limits, pacing and guards apply, and --max-usd is held like a
    budget. No tool is run, and nothing comes from the cache. What it will cost is told first.

    Exit code 1 where a case has no answer, or, with --expect, is not what it should be.

    \b
    Example:
      headgate logs replay --task classify --since 7d --model gpt-6-luna
      headgate logs replay evals/classify.jsonl --expect --system prompts/v2.txt --html report.html
      headgate logs replay --policy stricter.yaml --dry-run
      headgate logs replay --limit 1 --storage sqlite:///replays.db
    """
    from headgate.cli.replay_text import forecast_lines, show
    from headgate.gate import Gate
    from headgate.logbook.replaying import Replay, Terms, document, new_run, settings_for

    settings = settings_of(config)
    cases = _of_file(dataset) if dataset is not None else _of_log(settings, told, limit)
    cases = _expecting(cases)[:limit] if expect else cases[:limit]
    if not cases:
        raise _Nothing(
            "no case with a label or an expectation" if expect else "nothing was found that could be asked again"
        )
    terms = Terms(model, _system(system), round(max_usd * 10**9), expect, judge)
    if expect and not judge and any(_needs_judge(case) for case in cases):
        raise click.UsageError("a case expects a judge: name its model with --judge")
    run_id = new_run()
    elsewhere = {} if storage is None else {"storage": storage}
    under = settings_of(policy or config, **elsewhere) if policy or elsewhere else settings
    with Gate(settings_for(under, terms, run_id), env=os.environ) as gate:
        run = Replay(gate, terms, run_id)
        forecast = run.forecast(cases)
        for line in forecast_lines(forecast, len(cases), terms.most_nano):
            click.echo(line, err=True)
        if dry_run:
            return 0
        if forecast.expected_nano > terms.most_nano:
            raise click.UsageError(
                "that is likely to cost more than --max-usd: raise it, or take fewer cases with --limit"
            )
        try:
            gate.built.ledger.open()
        except ConfigError as error:
            raise ConfigError(
                f"{error.message} Or give this run a ledger of its own: --storage sqlite:///replays.db"
            ) from None
        found = list(run.run(cases, concurrency=concurrency, progress=not as_json))
    if html is not None:
        from headgate.cli.replay_html import page

        _write(html, page(found, run_id))
    if as_json:
        print_json(document(found, forecast, run_id))
    else:
        show(found)
    return 1 if any(each.error or each.regressed for each in found) else 0


class _Nothing(click.ClickException):
    exit_code = 1


def _of_file(path: str) -> list[Case]:
    from headgate.logbook.cases import read_cases

    try:
        with Path(path).open("rb") as lines:
            return list(read_cases(lines, path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _of_log(settings: Settings, told: dict[str, Any], limit: int) -> list[Case]:
    from headgate.logbook.cases import case_of
    from headgate.logbook.finding import found, whole

    cases: list[Case] = []
    with log_reader(settings) as reader:
        for row in found(reader, query_of("", told)):
            if len(cases) >= limit:
                break
            case = case_of(whole(reader, row))
            if case is not None and row.way_in != "replay":
                cases.append(case)
    return cases


def _expecting(cases: Sequence[Case]) -> list[Case]:
    from headgate.logbook.judging import conditions

    return [case for case in cases if conditions(case)]


def _needs_judge(case: Case) -> bool:
    from headgate.logbook.judging import conditions

    return "judge" in conditions(case)


def _system(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST).decode("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8") from None


def _write(path: str, text: str) -> None:
    try:
        file = Path(path)
        file.touch(mode=0o600)
        file.write_text(text, "utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
