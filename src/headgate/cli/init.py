"""`headgate init`: a commented headgate.yaml to begin with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from headgate.cli.text import safe

FILE = "headgate.yaml"

# Variables in which people keep provider keys: (variable, provider's name, dialect, base URL). Wire-formats 3.
OTHERS = (
    ("GROQ_API_KEY", "groq", "openai", "https://api.groq.com/openai/v1"),
    ("MISTRAL_API_KEY", "mistral", "openai", "https://api.mistral.ai/v1"),
    ("DEEPSEEK_API_KEY", "deepseek", "openai", "https://api.deepseek.com/v1"),
    ("TOGETHER_API_KEY", "together", "openai", "https://api.together.xyz/v1"),
    ("OPENROUTER_API_KEY", "openrouter", "openai", "https://openrouter.ai/api/v1"),
    ("XAI_API_KEY", "xai", "openai", "https://api.x.ai/v1"),
)
_OWN = (("ANTHROPIC_API_KEY", "anthropic", "", ""), ("OPENAI_API_KEY", "openai", "", ""))


@click.command()
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
@click.option(
    "--config", "path", metavar="FILE", help=f"Where to write it. Default: ./{FILE}. `headgate --config` counts too."
)
@click.pass_context
def init(ctx: click.Context, force: bool, path: str | None) -> int:
    """Write a commented headgate.yaml: every section, with what it does and what it is by default.

    It changes nothing as it is written: everything in it is a default or a comment. Providers whose key is in the
    environment are switched on. Keys are never written, only the names of their variables.

    \b
    Example:
      headgate init
      headgate init --config deploy/headgate.yaml
    """
    target = Path(path or ctx.find_root().params.get("config") or FILE)
    env = os.environ
    text = template(env)
    _write(target, text, force)
    click.echo(f"Wrote {safe(target)}.")
    for line in next_steps(target, env):
        click.echo(line)
    return 0


def _write(target: Path, text: str, force: bool) -> None:
    if force and target.is_symlink():
        raise click.UsageError(f"{target} is a symbolic link; write its target instead")
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise click.UsageError(f"{target} is there already; --force overwrites it") from None
    except OSError as error:
        raise click.UsageError(f"{target} cannot be written: {error.strerror}") from None


def template(env: Mapping[str, str]) -> str:
    """The file's text, for what is in the environment."""
    from headgate.cli.init_template import TEMPLATE

    on = [other for other in (*_OWN, *OTHERS) if env.get(other[0], "").strip()]
    off = [other for other in _OWN if other not in on]
    lines = [f"{'' if on else '#: '}providers:"]
    lines += [f"  {_provider(*other)}   # its key is in the environment" for other in on]
    lines += [f"#:   {_provider(*other)}" for other in off]
    return TEMPLATE.replace("# (providers)\n", "".join(f"{line}\n" for line in lines))


def _provider(variable: str, name: str, dialect: str, url: str) -> str:
    """One line of `providers`."""
    own = f"dialect: {dialect}, base_url: {url}, " if url else ""
    return f"{name}: {{{own}api_key: env:{variable}}}"


def next_steps(target: Path, env: Mapping[str, str]) -> list[str]:
    """What to do now, given the keys that are there."""
    from headgate.cli.banner import command

    names = [name for variable, name, _, _ in (*_OWN, *OTHERS) if env.get(variable, "").strip()]
    name = command()
    option = "" if target == Path(FILE) else f" --config {safe(target)}"
    if names:
        found = f"Keys in the environment: {', '.join(names)}."
    else:
        found = (
            "No provider's key is in the environment (ANTHROPIC_API_KEY, OPENAI_API_KEY, ...): until there is one,\n"
            "the gateway answers from the built-in simulator, and says so."
        )
    model = "gpt-6-luna" if names and "anthropic" not in names and "openai" in names else "claude-haiku-4-5"
    return [
        found,
        "",
        "Next:",
        f"  {name} doctor{option}",
        f"  {name} explain --model {model}{option}",
        f"  {name} serve{option}",
    ]
