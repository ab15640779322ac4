"""`headgate prices`: what models cost, whether that can be relied on, and newer prices."""

from __future__ import annotations

import click

from headgate.cli.prices_check import check
from headgate.cli.prices_show import show
from headgate.cli.prices_update import update


@click.group()
def prices() -> None:
    """What models cost: show, check, update.

    \b
    Example:
      headgate prices show claude-haiku-4-5
      headgate prices check
    """


prices.add_command(show)
prices.add_command(check)
prices.add_command(update)
