"""`headgate explain`: each decision about a call, and the line of configuration it came from. Nothing is sent."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import console, print_json, safe

if TYPE_CHECKING:
    from headgate.cli.explain_call import Call
    from headgate.cli.explain_record import Explanation
    from headgate.engine.plan import Policies
    from headgate.settings.model import Settings

_ORIGIN = 32
"""Columns of a terminal for where a decision comes from; a longer path folds."""

_ATTRIBUTION = ("tenant", "user", "session", "task", "feature")


def _with_attribution(command: Any) -> Any:
    for name in reversed(_ATTRIBUTION):
        command = click.option(f"--{name}", metavar="TEXT", help=f"As x-headgate-{name} would say it.")(command)
    return command


def _size(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    from headgate.settings.units import size

    if value is None:
        return None
    try:
        return size(0, 1024**3)(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _seconds(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    from headgate.settings.units import seconds

    if value is None:
        return None
    try:
        return seconds(0.001, 86_400)(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("request_file", metavar="[REQUEST]", required=False)
@click.option("--model", metavar="NAME", help="Without a REQUEST: the model to ask for.")
@click.option("--max-tokens", type=click.IntRange(0, 10_000_000), help="Without a REQUEST: its output cap.")
@click.option("--stream", is_flag=True, help="Without a REQUEST: streamed.")
@click.option(
    "--prompt", metavar="SIZE", callback=_size, help="Without a REQUEST: how long the prompt is. Default: 1KB."
)
@click.option("--dialect", type=click.Choice(["anthropic", "openai"]), help="Default: guessed, and said how.")
@click.option("--path", metavar="PATH", help="Where it is sent to. Default: the dialect's main path.")
@click.option("--key", metavar="NAME", help="Come in with this key, by name or id.")
@_with_attribution
@click.option("--timeout", metavar="DURATION", callback=_seconds, help="As x-headgate-timeout would say it.")
@click.option("--in-process", is_flag=True, help="Under an SDK at its default base URL, instead of the gateway.")
@json_option
@config_option
def explain(
    request_file: str | None,
    model: str | None,
    max_tokens: int | None,
    stream: bool,
    prompt: int | None,
    dialect: str | None,
    path: str | None,
    key: str | None,
    timeout: float | None,
    in_process: bool,
    as_json: bool,
    config: str | None,
    **attribution: str | None,
) -> int:
    """What would happen to a call, decision by decision, and the line of configuration each came from.

    The call is a REQUEST file (the JSON body; - is standard input), or made from flags. The code that decides is the
    gateway's own; nothing is sent, and no ledger is written. Exit code 1 where Headgate would refuse the call, or where
    something deserves a look.

    \b
    Example:
      headgate explain --model fast --task classify --max-tokens 50
      headgate explain request.json --key dev --user ada --json
    """
    _check(request_file, model, max_tokens, stream, prompt, key, in_process)
    settings = settings_of(config)

    from headgate.build import policies_of
    from headgate.cli.explain_call import Told, make_call, read_body
    from headgate.cli.explain_decisions import explain as decide

    told = Told(
        body=None if request_file is None else read_body(request_file),
        model=model,
        max_tokens=max_tokens,
        stream=stream,
        prompt=prompt,
        dialect=dialect,
        path=path,
        key=key,
        timeout=timeout,
        in_process=in_process,
        headers=tuple((f"x-headgate-{name}", attribution.get(name) or "") for name in _ATTRIBUTION),
    )
    policies = policies_of(settings, os.environ, draw=lambda: 0.5)  # the heaviest first, each time
    _put_incidents(settings, policies)
    call = make_call(told, settings, policies)
    said = decide(call, settings, policies, time.time())
    if as_json:
        print_json(_as_json(call, said, settings.source))
    else:
        _print(call, said, settings.source)
    return 1 if said.refusal or said.findings else 0


def _put_incidents(settings: Settings, policies: Policies) -> None:
    """Those that the ledger has. One that no other process can read has none to tell."""
    from headgate.cli.incidents_door import Door
    from headgate.core.errors import ConfigError

    with contextlib.suppress(ConfigError):
        policies.incidents.put(Door(settings).read(), time.time())


def _check(
    request_file: str | None,
    model: str | None,
    max_tokens: int | None,
    stream: bool,
    prompt: int | None,
    key: str | None,
    in_process: bool,
) -> None:
    if request_file is None and not model:
        raise click.UsageError("give a REQUEST file, or --model NAME")
    made = (("--model", model), ("--max-tokens", max_tokens), ("--stream", stream or None), ("--prompt", prompt))
    for flag, value in made:
        if request_file is not None and value is not None:
            raise click.UsageError(f"{flag} makes a request, and {request_file} is one: choose one")
    if in_process and key:
        raise click.UsageError("in process there are no keys: leave --key or --in-process out")


def _as_json(call: Call, said: Explanation, source: str) -> dict[str, Any]:
    return {
        "sent": False,
        "config": source or None,
        "request": {"dialect": call.dialect, "path": call.path, "body_bytes": len(call.body)},
        "decisions": [
            {"step": d.step, "name": d.name, "value": d.value, "from": d.origin, "enforced": d.enforced}
            for d in said.decisions
        ],
        "routes": said.routes,
        "refusal": said.refusal,
        "findings": said.findings,
        "not_enforced": said.not_enforced,
        "gateway": said.gateway or None,
    }


def _print(call: Call, said: Explanation, source: str) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    screen.print(Text(f"Configuration: {safe(source or 'the defaults; no file')}. Nothing was sent.", style="dim"))
    if not screen.is_terminal:
        _print_plainly(said)
        _verdict(call, said)
        return
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim", max_width=_ORIGIN)
    step = ""
    for each in said.decisions:
        if each.step != step and step:
            table.add_row("", "", "", "")
        value = Text(safe(each.value))
        if not each.enforced:
            value.append("  not enforced yet", style="yellow")
        table.add_row(Text("" if each.step == step else each.step), each.name, value, Text(safe(each.origin)))
        step = each.step
    screen.print(table)
    _verdict(call, said)


def _print_plainly(said: Explanation) -> None:
    """A line for each decision, for programs and files: no column is as wide as its longest cell."""
    step = ""
    for each in said.decisions:
        mark = "" if each.enforced else "  (not enforced yet)"
        first = "" if each.step == step else each.step
        click.echo(f"{first:8}  {each.name:14}  {safe(each.value)}{mark}  [{safe(each.origin)}]")
        step = each.step


def _verdict(call: Call, said: Explanation) -> None:
    from rich.text import Text

    screen = console()
    screen.print("")
    for finding in said.findings:
        screen.print(Text(f"Note: {safe(finding)}", style="yellow"))
    if any(not each.enforced for each in said.decisions):
        screen.print(Text("What is marked is read, and not enforced yet in this version.", style="yellow"))
    if said.refusal is not None:
        no = said.refusal
        screen.print(Text(f"Refused ({no['step']}): {no['status']} {no['code']}", style="bold red"))
        screen.print(Text(safe(no["message"])))
        return
    usable = [route for route in said.routes if not route["skipped"]]
    usable = [route for route in usable if not route["open"]] or usable
    served = f"{usable[0]['provider']}/{usable[0]['model']}" if usable and usable[0]["model"] else call.path
    more = f", then {len(usable) - 1} more" if len(usable) > 1 else ""
    screen.print(Text(f"The call would go to {safe(served)}{more}.", style="bold green"))
