"""`headgate`: the entry point. A command's module is imported when the command runs, so that `--help` is quick."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

USAGE_ERROR = 2


def main() -> int:
    """Run the command line of this process.

    Returns:
        The exit code: 0 fine, 1 found something, 2 misuse or a mistake in the configuration.
    """
    try:
        import click  # noqa: F401 -- is it there?
    except ImportError:
        sys.stderr.write("headgate: the command line needs click and rich: pip install 'headgate[cli]'\n")
        return USAGE_ERROR
    from headgate.cli.group import cli

    return run(cli, sys.argv[1:])


def run(cli: click.Command, arguments: list[str]) -> int:
    """Run `cli` and turn what it raises into sentences on standard error, without a traceback."""
    import click

    from headgate.cli.text import safe
    from headgate.core.errors import ConfigError, HeadgateError

    try:
        code = cli.main(arguments, prog_name="headgate", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except click.Abort:
        sys.stderr.write("headgate: stopped\n")
        return 130
    except ConfigError as error:
        for mistake in error.mistakes:
            for line in mistake.splitlines():
                sys.stderr.write(f"headgate: {safe(line)}\n")
        return USAGE_ERROR
    except HeadgateError as error:
        sys.stderr.write(f"headgate: {safe(error.message)}\n")
        return 1
    except BrokenPipeError:
        # `headgate usage | head`: the reader has seen enough. Without this the interpreter complains at exit.
        sys.stderr.close()
        return 0
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
