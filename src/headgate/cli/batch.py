"""`headgate batch`: files of requests, run at the provider's limit or as its own batches, and their results."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.batch_text import Bar, facts, failure_lines, status_lines, table_rows
from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import console, count, dollars, print_json, print_table, safe
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.cli.batch_door import RunningGateway
    from headgate.gate import Gate
    from headgate.jobs.batch import BatchJob, BatchStatus
    from headgate.jobs.submitting import Submitted
    from headgate.settings.model import Settings
    from headgate.stores.batch_items import BatchStore

_LISTED = 20


@click.group()
def batch() -> None:
    """Many calls from a file: run them, see how far they are, fetch their results.

    \b
    Example:
      headgate batch submit prompts.jsonl --via provider
      headgate batch run batch_5c1f
      headgate batch results batch_5c1f -o answers.jsonl
    """


def _terms(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a new batch is to go."""
    for option in reversed(
        (
            click.option(
                "--via",
                type=click.Choice(["auto", "paced", "provider"]),
                default="auto",
                show_default=True,
                help="provider: its own batches, at half the price, within 24 hours. paced: call after call, at its "
                "rate limit. auto: by size and deadline.",
            ),
            click.option("--dialect", type=click.Choice(["anthropic", "openai"]), help="Default: as the lines tell."),
            click.option("--model", metavar="NAME", default="", help="In place of the model that the lines name."),
            click.option("--deadline", metavar="TIME", help="From now, as 90m or 12h: then nothing more is begun."),
            click.option(
                "--budget-hold/--no-budget-hold",
                default=True,
                show_default=True,
                help="Set money aside for the whole batch before its first line goes, where budgets apply.",
            ),
            click.option(
                "--dedupe",
                type=click.Choice(["auto", "always", "never"]),
                default="auto",
                show_default=True,
                help="Answer lines that ask the same once; auto: those with temperature 0.",
            ),
        )
    ):
        command = option(command)
    return command


@batch.command()
@click.argument("file", type=click.Path(dir_okay=False))
@_terms
@json_option
@config_option
def submit(file: str, as_json: bool, config: str | None, **told: Any) -> int:
    """Read FILE and write it down as a batch; `headgate batch run` then works at it. Nothing is sent yet.

    FILE is JSONL: a request of Anthropic's ({custom_id, params}) or of OpenAI's ({custom_id, method, url, body}) per
    line. Lines that cannot be run are told with their numbers; the others go on.

    \b
    Example:
      headgate batch submit prompts.jsonl --via paced --deadline 6h
    """
    settings = settings_of(config)
    gateway = _gateway(settings)
    if gateway is not None:
        found, status = gateway.submit(file, _terms_told(told))
    else:
        with _gate(settings) as gate:
            job = gate.batch(file, **_arguments(told))
            assert job.submitted is not None  # it was read just now
            found, status = job.submitted, job.status
    if as_json:
        print_json({"batch": facts(status), "broken": [{"line": n, "why": why} for n, why in found.broken]})
    else:
        _tell(found)
        click.echo(f"run it with: headgate batch run {found.id}")
    return 1 if found.broken_count else 0


@batch.command()
@click.argument("what", metavar="ID|FILE")
@_terms
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the results there at the end.")
@click.option("--retry-failed", is_flag=True, help="Send again what has failed before.")
@click.option("--concurrency", type=click.IntRange(1, 10_000), default=512, show_default=True, help="For paced.")
@click.option("--detach", is_flag=True, help="Hand it to the running gateway, and do not wait for its end.")
@json_option
@config_option
def run(
    what: str,
    output: str | None,
    retry_failed: bool,
    concurrency: int,
    detach: bool,
    as_json: bool,
    config: str | None,
    **told: Any,
) -> int:
    """Work at a batch until it is over; what was done before stays done. A FILE is submitted first.

    It may be stopped at any time, with Ctrl-C or however: the next run goes on from there. Lines that were under way
    at a kill are sent again, and marked, since they may have been paid for. Where a gateway writes the ledger, it does
    the work, and goes on with it whether or not anybody watches.

    \b
    Example:
      headgate batch run prompts.jsonl -o answers.jsonl
      headgate batch run batch_5c1f --retry-failed
    """
    settings = settings_of(config)
    is_file = not what.startswith("batch_") or Path(what).exists()
    gateway = _gateway(settings)
    if detach and gateway is None:
        raise click.UsageError("--detach is for a running gateway, which goes on with the batch, and none is running")
    if gateway is not None:
        if is_file:
            found, status = gateway.submit(what, _terms_told(told))
            what = found.id
            if not as_json:
                _tell(found)
        status = gateway.run(what, retry_failed=retry_failed, concurrency=concurrency)
        if detach:
            print_json({"batch": facts(status)}) if as_json else click.echo(f"{status.id}: the gateway works at it")
            return 0
        status = _watched(gateway, status.id)
        _report(_reading(settings), status, as_json=as_json, output=output)
    else:
        with _gate(settings) as gate:
            job = gate.batch(what, **_arguments(told)) if is_file else gate.open_batch(what)
            if job.submitted is not None and not as_json:
                _tell(job.submitted)
            if retry_failed:
                job.retry_failed()
            status = _worked(job, concurrency)
            _report(gate.batches, status, as_json=as_json, output=output)
    return 0 if status.state == "ended" and not (status.failed or status.broken) else 1


@batch.command()
@click.argument("batch_id", metavar="[ID]", required=False)
@json_option
@config_option
def status(batch_id: str | None, as_json: bool, config: str | None) -> None:
    """How far a batch is and what it has cost; without an ID all batches, newest first.

    \b
    Example:
      headgate batch status batch_5c1f
    """
    from headgate.jobs.batch import found, status_of
    from headgate.jobs.results import failures

    store = _reading(settings_of(config))
    if batch_id is None:
        every = [status_of(store, each) for each in store.batches(limit=_LISTED)]
        if as_json:
            print_json([facts(each) for each in every])
        elif every:
            heads, rows = table_rows(every)
            print_table(heads, rows, left=4)
        else:
            click.echo("no batch was submitted yet")
        return
    one = found(store, batch_id)
    told = status_of(store, one)
    if as_json:
        print_json(facts(told))
        return
    for line in status_lines(told):
        click.echo(safe(line))
    for line in failure_lines(failures(store, one, limit=_LISTED), told):
        click.echo(safe(line))


@batch.command()
@click.argument("batch_id", metavar="ID")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write them there. Default: standard output.")
@config_option
def results(batch_id: str, output: str | None, config: str | None) -> int:
    """The results: a line for each line of the input, in its order, in the vendor's own format.

    \b
    Example:
      headgate batch results batch_5c1f -o answers.jsonl
    """
    from headgate.jobs.batch import found, status_of, write_results
    from headgate.jobs.results import result_lines

    store = _reading(settings_of(config))
    one = found(store, batch_id)
    if output:
        written = write_results(store, one, output)
        click.echo(f"{count(written)} results are in {output}", err=True)
    else:
        for line in result_lines(store, one):
            sys.stdout.write(line.decode() + "\n")
    told = status_of(store, one)
    if not told.over:
        click.echo(f"{one.id} is not over: {count(told.waiting + told.sent)} lines have no result yet", err=True)
    return 0 if told.over else 1


@batch.command()
@click.argument("batch_id", metavar="ID")
@click.option("--remove", is_flag=True, help="Forget it, too: its requests and results are deleted.")
@config_option
def cancel(batch_id: str, remove: bool, config: str | None) -> None:
    """Have nothing more of a batch begun. What is over stays, and is paid; a provider's batch is cancelled there.

    \b
    Example:
      headgate batch cancel batch_5c1f
    """
    from headgate.jobs.batch import ask_to_cancel, found

    settings = settings_of(config)
    gateway = _gateway(settings)
    if gateway is not None:
        status = gateway.cancel(batch_id)
        _cancelled(_watched(gateway, status.id), gateway.remove if remove else None)
        return
    try:
        with _gate(settings) as gate:
            job = gate.open_batch(batch_id)
            job.cancel()
            _cancelled(_worked(job, 1), (lambda _: job.remove()) if remove else None)
    except ConfigError:
        # Another process has the files. Where it works at this batch, it sees to it.
        one = found(_reading(settings), batch_id)
        if not ask_to_cancel(settings.storage, one):
            raise
        click.echo(f"{one.id}: the process that works at it was told")


def _cancelled(told: BatchStatus, remove: Callable[[str], object] | None) -> None:
    for line in status_lines(told):
        click.echo(safe(line))
    if remove is not None:
        remove(told.id)
        click.echo(f"{told.id} is removed")


@contextmanager
def _gate(settings: Settings) -> Iterator[Gate]:
    from headgate.gate import Gate

    gate = Gate(settings)
    try:
        yield gate
    finally:
        gate.close()


def _gateway(settings: Settings) -> RunningGateway | None:
    from headgate.cli.batch_door import gateway_of

    return gateway_of(settings)


def _reading(settings: Settings) -> BatchStore:
    """Beside whoever writes."""
    from headgate.stores.batch_items import BatchStore
    from headgate.stores.jobs_place import JobsPlace

    return BatchStore(JobsPlace(settings.storage, now=time.time, read_only=True))


def _arguments(told: dict[str, Any]) -> dict[str, Any]:
    """Of `Gate.batch`."""
    terms = _terms_told(told)
    deadline = terms.pop("deadline_seconds")
    return {**terms, "deadline": deadline}


def _terms_told(told: dict[str, Any]) -> dict[str, Any]:
    """Of `jobs.submitting.Terms`."""
    deadline = told["deadline"]
    return {
        "via": told["via"],
        "dialect": told["dialect"] or "",
        "model": told["model"],
        "deadline_seconds": None if deadline is None else _seconds(deadline),
        "hold": told["budget_hold"],
        "dedupe": told["dedupe"],
    }


def _seconds(text: str) -> float:
    from headgate.settings.units import seconds

    try:
        return seconds(1.0, 366 * 86_400.0)(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--deadline") from error


def _tell(found: Submitted) -> None:
    why = f" ({found.why})" if found.why else ""
    same = f", {count(found.same)} of them ask the same as another" if found.same else ""
    most = "" if found.most_nano is None else f"; at most {dollars(found.most_nano)} at standard prices"
    click.echo(f"{found.id}: {count(found.lines)} lines{same}, via {found.via}{why}{most}")
    for number, reason in found.broken:
        click.echo(safe(f"line {number}: {reason}"), err=True)
    more = found.broken_count - len(found.broken)
    if more:
        click.echo(f"… and {count(more)} more lines that cannot be run", err=True)


def _worked(job: BatchJob, concurrency: int) -> BatchStatus:
    """Run it; the first Ctrl-C has what is under way end."""
    with Bar(console(sys.stderr)) as bar:
        before = signal.getsignal(signal.SIGINT)

        def interrupted(*_: object) -> None:
            signal.signal(signal.SIGINT, before)
            click.echo("stopping: what is under way ends first; Ctrl-C again to leave it", err=True)
            job.stop()

        signal.signal(signal.SIGINT, interrupted)
        try:
            return job.run(on_progress=bar.show, concurrency=concurrency)
        finally:
            signal.signal(signal.SIGINT, before)


def _watched(gateway: RunningGateway, batch_id: str) -> BatchStatus:
    """Until the gateway has done with it. Ctrl-C ends the watching alone."""
    with Bar(console(sys.stderr)) as bar:
        try:
            return gateway.watch(batch_id, bar.show)
        except KeyboardInterrupt:
            click.echo(f"the gateway goes on: headgate batch status {batch_id}", err=True)
            raise


def _report(store: BatchStore, status: BatchStatus, *, as_json: bool, output: str | None) -> None:
    from headgate.jobs.batch import found, write_results
    from headgate.jobs.results import failures

    batch = found(store, status.id)
    written = write_results(store, batch, output) if output else None
    if as_json:
        print_json({"batch": facts(status), "results": written})
        return
    for line in status_lines(status):
        click.echo(safe(line))
    for each in failures(store, batch, limit=_LISTED):
        click.echo(safe(f"  line {each.line} ({each.custom_id}): {each.reason}"), err=True)
    if written is not None:
        click.echo(f"{count(written)} results are in {output}")
