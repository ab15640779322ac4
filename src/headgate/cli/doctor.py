"""`headgate doctor`: what is wrong with the configuration, the secrets, the providers and this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import print_json

if TYPE_CHECKING:
    from headgate.cli.doctor_report import Finding
    from headgate.settings.model import Settings


def _size(_ctx: click.Context, _parameter: click.Parameter, value: str) -> int:
    from headgate.settings.units import size

    try:
        return size(0, 1024**4)(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _seconds(_ctx: click.Context, _parameter: click.Parameter, value: str) -> float:
    from headgate.settings.units import seconds

    try:
        return seconds(0.1, 3600)(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option("--offline", is_flag=True, help="Ask nobody: no provider, no secret store.")
@click.option(
    "--timeout", metavar="DURATION", default="5s", callback=_seconds, help="For each step at a provider. Default: 5s."
)
@click.option(
    "--history",
    metavar="SIZE",
    default="256MiB",
    callback=_size,
    help="How much of the git history to search, newest first. Default: 256MiB; 0 is none.",
)
@click.option("--history-time", metavar="DURATION", default="60s", callback=_seconds, help="And for how long.")
@json_option
@config_option
def doctor(offline: bool, timeout: float, history: int, history_time: float, as_json: bool, config: str | None) -> int:
    """Look for what is wrong, and say what to do.

    The configuration; secrets (references that cannot be read; literal keys in the configuration, in .env files that
    git tracks and in the git history, shown masked; system prompts with secrets in them); providers (name, TLS, key,
    models, the clock); models that retire; the ledger; what replicas share; the traffic of the gateway that is
    running; where answers are kept; deferred jobs and batches; this machine. Sends one GET for the list of models to
    each provider that has a key, and changes nothing. Exit code 1 where there is a warning or a problem.

    \b
    Example:
      headgate doctor
      headgate doctor --offline --json
    """
    from headgate.cli.doctor_report import FOUND, show
    from headgate.cli.doctor_report import as_json as to_json

    findings = examine(config, offline=offline, seconds=timeout, history=history, history_seconds=history_time)
    if as_json:
        print_json(to_json(findings))
    else:
        show(findings)
    return 1 if any(each.level in FOUND for each in findings) else 0


def examine(
    config: str | None, *, offline: bool, seconds: float, history: int, history_seconds: float
) -> list[Finding]:
    """Every check, in the order of the report. What needs a configuration is skipped where that has mistakes."""
    from headgate.checklist.files import repository
    from headgate.cli.doctor_cache import check_cache
    from headgate.cli.doctor_history import check_history
    from headgate.cli.doctor_jobs import check_jobs
    from headgate.cli.doctor_limits import check_limits
    from headgate.cli.doctor_logs import check_logs
    from headgate.cli.doctor_machine import check_ledger, check_packages, check_process
    from headgate.cli.doctor_models import check_models
    from headgate.cli.doctor_prompts import check_prompt_files, check_prompts_sent
    from headgate.cli.doctor_providers import check_providers
    from headgate.cli.doctor_report import SKIPPED, Finding, progress
    from headgate.cli.doctor_secrets import check_config_text, check_dotenv, check_references
    from headgate.cli.doctor_shared import check_shared
    from headgate.cli.doctor_traffic import check_traffic

    settings, source, mistakes, found = _configuration(config)
    today = datetime.now(UTC).date()
    if source:
        found += check_config_text(source, mistakes)
    if settings is not None:
        found += check_references(settings, os.environ, offline=offline)
        found += check_prompts_sent(settings)
    top = repository(Path(source).absolute().parent if source else Path.cwd())
    if top is None:
        found.append(Finding("history", SKIPPED, "not in a git repository (or git is not installed)"))
    else:
        found += check_dotenv(top)
        found += check_prompt_files(top)
        with progress("git history: commits") as advance:
            found += check_history(top, limit=history, seconds=history_seconds, advance=advance)
    if settings is None:
        found.append(Finding("providers", SKIPPED, "not asked: the configuration has mistakes"))
    elif offline:
        found.append(Finding("providers", SKIPPED, "not asked (--offline)"))
    else:
        with progress("providers") as advance:
            found += check_providers(settings, os.environ, seconds=seconds, today=today, advance=advance)
    if settings is not None:
        found += check_limits(settings)
        found += check_models(settings, today)
        found += check_ledger(settings)
        found += check_logs(settings)
        found += check_shared(settings, offline=offline)
        found += check_traffic(settings)
        found += check_cache(settings, os.environ, offline=offline)
        found += check_jobs(settings, datetime.now(UTC).timestamp())
    found += [*check_packages(), *check_process()]
    return _in_order(found)


def _configuration(config: str | None) -> tuple[Settings | None, str, tuple[str, ...], list[Finding]]:
    """(settings, None where they have mistakes; the file; its mistakes; the findings)."""
    from headgate.cli.doctor_report import OK, PROBLEM, WARNING, Finding
    from headgate.core.errors import ConfigError
    from headgate.settings.environment import CONFIG
    from headgate.settings.loader import FILE

    try:
        settings = settings_of(config)
    except ConfigError as error:
        named = config or os.environ.get(CONFIG, "").strip() or FILE
        source = named if Path(named).is_file() else ""
        return None, source, error.mistakes, [Finding("config", PROBLEM, each) for each in error.mistakes]
    findings = [Finding("config", _level(each), each) for each in settings.warnings]
    if not any(each.level == WARNING for each in findings):
        valid = f"{settings.source} is valid" if settings.source else "there is no file: the defaults are used"
        findings.append(Finding("config", OK, valid))
    return settings, settings.source, (), findings


def _level(warning: str) -> str:
    """What is merely not built yet is no fault of whoever wrote it down."""
    from headgate.cli.doctor_report import NOTE, WARNING

    return NOTE if "not enforced yet" in warning else WARNING


def _in_order(findings: Iterable[Finding]) -> list[Finding]:
    """By check, and within one the gravest first; two checks that found the same of a model say it once."""
    from headgate.cli.doctor_report import LEVELS

    order = (
        "config",
        "secrets",
        "history",
        "providers",
        "models",
        "ledger",
        "log",
        "shared",
        "traffic",
        "cache",
        "jobs",
        "machine",
    )
    unique = dict.fromkeys(findings)
    return sorted(unique, key=lambda each: (order.index(each.check), -LEVELS.index(each.level)))
