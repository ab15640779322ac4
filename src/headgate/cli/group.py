"""The group of commands, and the options that every command shares."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from headgate._version import __version__

if TYPE_CHECKING:
    from headgate.settings.model import Settings
    from headgate.stores.reader import Reader

F = TypeVar("F", bound=Callable[..., Any])

COMMANDS: Mapping[str, tuple[str, str]] = {
    "serve": ("headgate.cli.serve:serve", "The gateway; without any provider's key, the built-in simulator behind it."),
    "demo": ("headgate.cli.demo:demo", "A minute of mixed traffic from the real SDKs, and a summary."),
    "simulate": ("headgate.cli.simulate:simulate", "The simulated provider alone: faults, limits, an invoice."),
    "lab": ("headgate.cli.lab:lab", "Experiments: how retries, and pacing, fare against a limited provider."),
    "init": ("headgate.cli.init:init", "A commented headgate.yaml to begin with."),
    "explain": ("headgate.cli.explain:explain", "Each decision about a call, and the line it came from."),
    "check": ("headgate.cli.check:check", "The pre-launch checklist, executed: each item with its evidence."),
    "doctor": (
        "headgate.cli.doctor:doctor",
        "Look for what is wrong: configuration, secrets, providers, this machine.",
    ),
    "providers": (
        "headgate.cli.providers:providers",
        "How traffic stands with each provider: breakers, limits, who waits.",
    ),
    "scan": ("headgate.cli.scan:scan", "What the guards say of a text, or of many, on standard input."),
    "usage": ("headgate.cli.usage:usage", "What was spent, by user, model, day, ..."),
    "audit": ("headgate.cli.audit:audit", "Where the money goes, and what each change would have saved."),
    "invoice": ("headgate.cli.invoice:invoice", "What a tenant owes for a month: table, CSV, JSON, a page to print."),
    "reconcile": ("headgate.cli.reconcile:reconcile", "The ledger against the provider's own report, with causes."),
    "budgets": ("headgate.cli.budgets:budgets", "What is left in each budget; caps changed without a restart."),
    "prices": ("headgate.cli.prices:prices", "What models cost: show, check, update."),
    "batch": ("headgate.cli.batch:batch", "Many calls from a file: submit, run, status, results, cancel."),
    "jobs": ("headgate.cli.jobs:jobs", "Calls that were promised an answer: list, show, cancel, retry."),
    "shadow": ("headgate.cli.shadow:shadow", "Models compared on live calls: what came of it; switch, and back."),
    "incident": ("headgate.cli.incident:incident", "Stop, slow or degrade traffic now, for a while; lift it."),
    "alerts": ("headgate.cli.alerts:alerts", "What is wrong now: list, history, acknowledge, test the places told."),
    "approvals": ("headgate.cli.approvals:approvals", "Tool calls that wait for a person: list, show, approve, deny."),
    "cache": ("headgate.cli.cache:cache", "Answers that are kept: how that does, and forgetting them."),
    "people": ("headgate.cli.people:people", "Who may use the dashboard and the admin API; API tokens."),
    "audit-log": ("headgate.cli.audit_log:audit_log", "Who changed what, and whether that record is whole."),
    "keys": ("headgate.cli.keys:keys", "Virtual keys: create, list, rotate, revoke."),
    "logs": ("headgate.cli.logs:logs", "The record of exchanges: search, show, export, replay."),
}
"""Name to (where it is, what it does in one line)."""


class LazyGroup(click.Group):
    """Knows its commands by name and summary, and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of a first encounter."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or None for an unknown name."""
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, _, attribute = found[0].partition(":")
        return cast("click.Command", getattr(importlib.import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="%(version)s")
@click.option("--config", "config", metavar="FILE", help="The configuration file, for any command.")
def cli(config: str | None) -> None:
    """Headgate: the production layer for LLM calls.

    \b
    Example:
      headgate serve                 start the gateway on http://127.0.0.1:8484
      headgate usage --by user       what each user has spent

    Exit codes: 0 fine, 1 found something, 2 misuse or a mistake in the configuration.
    """


def config_option(command: F) -> F:
    """`--config FILE`, before or behind the command's name."""

    def told(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        return value if value is not None else ctx.find_root().params.get("config")

    option = click.option(
        "--config",
        metavar="FILE",
        callback=told,
        help="The configuration file. Default: what HEADGATE_CONFIG names, else ./headgate.yaml if it is there.",
    )
    return option(command)


def json_option(command: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON; money as decimal strings of USD.")(command)


def settings_of(config: str | None, **overrides: object) -> Settings:
    """The configuration of this process; flags by dotted key ("server__port").

    Raises:
        ConfigError: every mistake at once.
    """
    from headgate.settings import load

    return load(config, env=os.environ, overrides={k.replace("__", "."): v for k, v in overrides.items()})


def reader_of(settings: Settings) -> Reader:
    """The ledger, for reading it.

    Raises:
        ConfigError: the configuration names none that another process can read.
    """
    from headgate.stores.opening import open_reader

    return open_reader(settings.storage)


def account_name() -> str:
    """Who runs this command; "cli" where the account has no name, as in containers."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "cli"


def need_server() -> None:
    """Raises ConfigError where the server's packages are not installed."""
    from importlib.util import find_spec

    from headgate.core.errors import ConfigError

    if find_spec("uvicorn") is None:
        raise ConfigError("this command needs the server: pip install 'headgate[gateway]'")
