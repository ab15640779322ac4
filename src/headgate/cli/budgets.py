"""`headgate budgets`: what is left in each account, and caps that change without a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from headgate.cli.group import config_option, json_option, reader_of, settings_of
from headgate.cli.text import print_json, safe

if TYPE_CHECKING:
    from headgate.stores.account_rows import AccountReport
    from headgate.stores.accounts_reader import Wanted

F = TypeVar("F", bound=Callable[..., Any])

_SCOPE = "Whose account: a value, or tenant=acme,user=ada where a budget is for several."


def _list_options(command: F) -> F:
    """Of `headgate budgets` and of `headgate budgets list`, which are the same."""
    for option in (
        config_option,
        json_option,
        click.option(
            "--limit",
            metavar="N",
            type=click.IntRange(0),
            default=50,
            show_default=True,
            help="Of each budget so many accounts, the fullest; 0 = all. JSON has all.",
        ),
        click.option("--all-periods", is_flag=True, help="Earlier periods, and budgets that are gone, too."),
        click.option("--near", metavar="SHARE", help="Only where so much of the cap is spent, like 80%."),
        click.option("--scope", metavar="VALUE", help="Only these accounts: a value, or tenant=acme,user=ada."),
        click.option("--budget", metavar="ID", default="", help="Only this budget, like user/day."),
    ):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@_list_options
@click.pass_context
def budgets(
    ctx: click.Context,
    budget: str,
    scope: str | None,
    near: str | None,
    all_periods: bool,
    limit: int,
    as_json: bool,
    config: str | None,
) -> int:
    """What is left in every budget: `headgate budgets` alone is `headgate budgets list`.

    \b
    Example:
      headgate budgets
      headgate budgets set user/day --scope ada --usd 20
    """
    if ctx.invoked_subcommand is None:
        return _show(Asked(budget, scope, near, all_periods, limit, as_json, config))
    told = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if told:
        raise click.UsageError(f"options belong behind the word {ctx.invoked_subcommand!r}")
    return 0


@budgets.command(name="list")
@_list_options
def list_(
    budget: str, scope: str | None, near: str | None, all_periods: bool, limit: int, as_json: bool, config: str | None
) -> int:
    """Every account of the current periods: its cap, what is spent and held, and what is left.

    Reads the ledger that `storage` names, while a gateway writes it or while none runs. "Held" is set aside for calls
    on their way; "spent" in percent is of the cap. A cap with a star was set here, not in the configuration. A budget
    on which nothing was spent has one row for whoever comes first. Ends with 1 if a hard cap is spent to the last
    cent, in the accounts that are listed.

    \b
    Example:
      headgate budgets list --near 80%
      headgate budgets list --budget tenant+user/week --scope tenant=acme,user=ada --json
    """
    return _show(Asked(budget, scope, near, all_periods, limit, as_json, config))


class Asked(NamedTuple):
    """The options of `list`."""

    budget: str
    scope: str | None
    near: str | None
    all_periods: bool
    limit: int
    as_json: bool
    config: str | None


def _show(asked: Asked) -> int:
    from headgate.cli.budgets_text import print_report
    from headgate.stores.accounts_reader import Wanted

    wanted = Wanted(asked.budget, asked.scope, _share(asked.near), asked.all_periods)
    report = _report(wanted, asked.config, quiet=asked.as_json)
    if asked.as_json:
        print_json(report.as_json())
    else:
        print_report(report, wanted, limit=asked.limit)
    return 1 if report.used_up else 0


def _report(wanted: Wanted, config: str | None, *, quiet: bool) -> AccountReport:
    from headgate.settings.budgets import budgets_of
    from headgate.stores.accounts_reader import AccountsReader, nothing_spent
    from headgate.stores.reader import NoLedger

    settings = settings_of(config)
    reader = reader_of(settings)
    found, now = budgets_of(settings), time.time()
    try:
        return AccountsReader(reader).accounts(found, now, wanted)
    except NoLedger:
        if not quiet:
            click.echo(f"There is no ledger at {safe(reader.name)} yet: nothing is spent.", err=True)
        return nothing_spent(found, now, wanted)


def _share(near: str | None) -> int:
    from headgate.settings.units import Unfit, basis_points

    try:
        return 0 if near is None else basis_points(near)
    except Unfit as error:
        raise click.BadParameter(str(error), param_hint="--near") from None


@budgets.command(name="set")
@click.argument("budget_id", metavar="BUDGET_ID")
@click.option("--scope", metavar="VALUE", default="", help=_SCOPE)
@click.option("--usd", metavar="X", help="The new cap in dollars. Not told: as it is.")
@click.option("--tokens", metavar="N", help="The new cap in tokens. Not told: as it is.")
@json_option
@config_option
def set_(budget_id: str, scope: str, usd: str | None, tokens: str | None, as_json: bool, config: str | None) -> None:
    """Give one account another cap, at once, in this period and later ones. Nothing is restarted.

    It goes through the running gateway if there is one, else into the ledger. Who waits for money is looked at again.
    BUDGET_ID is one that `headgate budgets` lists.

    \b
    Example:
      headgate budgets set user/day --scope ada --usd 20
      headgate budgets set tenant+user/week --scope tenant=acme,user=ada --usd 50 --tokens 2000000
      headgate budgets set all/day --usd 400
    """
    from headgate.cli.budgets_door import Door
    from headgate.cli.budgets_text import print_change
    from headgate.settings.caps import cap_amounts

    cap_amounts(usd, tokens)  # a mistake is told before anything is opened
    with Door(settings_of(config)) as door:
        change = door.set(budget_id, scope, usd, tokens)
    if as_json:
        print_json(change)
    else:
        print_change(change)


@budgets.command()
@click.argument("budget_id", metavar="BUDGET_ID")
@click.option("--scope", metavar="VALUE", default="", help=_SCOPE)
@json_option
@config_option
def unset(budget_id: str, scope: str, as_json: bool, config: str | None) -> None:
    """Give one account the configuration's cap again, at once.

    \b
    Example:
      headgate budgets unset user/day --scope ada
    """
    from headgate.cli.budgets_door import Door
    from headgate.cli.budgets_text import print_change

    with Door(settings_of(config)) as door:
        change = door.unset(budget_id, scope)
    if as_json:
        print_json(change)
    else:
        print_change(change)
