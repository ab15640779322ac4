"""`headgate lab`: experiments that show what a configuration, or the lack of one, does."""

from __future__ import annotations

import click

from headgate.cli.lab_costs import costs
from headgate.cli.lab_redteam import redteam
from headgate.cli.lab_retries import retries


@click.group()
def lab() -> None:
    """Experiments against the simulator: nothing leaves this machine, and nothing is billed.

    \b
    Example:
      headgate lab costs
      headgate lab redteam
      headgate lab retries
      headgate lab retries --requests-per-minute 50 --overload 5 --chart retries.svg
    """


lab.add_command(costs)
lab.add_command(redteam)
lab.add_command(retries)
