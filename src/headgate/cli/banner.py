"""What `headgate serve` says when it is ready: where it is, and two ways to try it that work as pasted."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from headgate.cli.text import console, safe

if TYPE_CHECKING:
    from headgate.settings.model import Settings

_CHEAP = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}
"""A model to try each dialect's own provider with."""

_SIMULATED = (
    "SIMULATED ANSWERS. Every answer comes from the built-in simulator: none is real, and none costs money.\n"
    "They carry the header x-headgate-simulated: true, and their rows in the ledger are marked.\n"
    "For real ones set ANTHROPIC_API_KEY or OPENAI_API_KEY and start again."
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What to try the gateway with."""

    dialect: str
    model: str


def trial(settings: Settings, *, simulated: bool) -> Trial | None:
    """A dialect and a model that this gateway can answer, as far as the configuration tells; None where it does not.

    A virtual model comes first: its owner put it there to be called.
    """
    ready = {name for name, provider in settings.providers.items() if simulated or provider.has_key(os.environ)}
    for dialect, model in _CHEAP.items():
        if dialect in ready:
            return Trial(dialect, model)
    for name, routes in settings.models.items():
        for route in routes:
            if route.provider in ready:
                return Trial(settings.providers[route.provider].dialect, name)
    return None


def curl_line(url: str, found: Trial, *, keys: bool) -> str:
    """One line for a shell."""
    secret = ' -H "x-api-key: $HEADGATE_KEY"' if keys else ""
    path = "/v1/chat/completions"
    extra = ""
    if found.dialect == "anthropic":
        path, extra = "/v1/messages", " -H 'anthropic-version: 2023-06-01'"
    body = f'{{"model": "{found.model}", {_cap(found)}: 100, "messages": [{{"role": "user", "content": "Hello"}}]}}'
    return f"curl -sSi {url}{path} -H 'content-type: application/json'{extra}{secret} -d '{body}'"


def _cap(found: Trial) -> str:
    return '"max_tokens"' if found.dialect == "anthropic" else '"max_completion_tokens"'


def snippet(url: str, found: Trial, *, keys: bool) -> str:
    """Five lines of Python with the official SDK."""
    secret = 'os.environ["HEADGATE_KEY"]' if keys else '"not-needed"'
    also = "import os; " if keys else ""
    if found.dialect == "anthropic":
        return (
            f"{also}import anthropic\n"
            f'client = anthropic.Anthropic(base_url="{url}", api_key={secret})\n'
            'question = {"role": "user", "content": "Hello"}\n'
            f'message = client.messages.create(model="{found.model}", max_tokens=100, messages=[question])\n'
            "print(message.content[0].text)\n"
        )
    return (
        f"{also}import openai\n"
        f'client = openai.OpenAI(base_url="{url}/v1", api_key={secret})\n'
        'question = {"role": "user", "content": "Hello"}\n'
        f'answer = client.chat.completions.create(model="{found.model}", messages=[question])\n'
        "print(answer.choices[0].message.content)\n"
    )


def announce(url: str, settings: Settings, *, simulated: bool, keys: bool, behind_proxy: bool, to: TextIO) -> None:
    """Say it. What is to be pasted stands alone on its lines, without a frame."""
    url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    if simulated:
        _loudly(_SIMULATED, to)
    lines = [f"Headgate listens on {url}"]
    if settings.dashboard:
        lines += [f"Dashboard: {url}/"]
    lines += [""]
    if behind_proxy:
        lines += ["Your environment names an HTTP proxy. In the shell you try this from, first:", ""]
        lines += ["export NO_PROXY=127.0.0.1,localhost", ""]
    found = trial(settings, simulated=simulated)
    if found is not None and found.model == safe(found.model) and "'" not in found.model and '"' not in found.model:
        if keys:
            lines += [f"With a key in HEADGATE_KEY (`{command()} keys create NAME` makes one):", ""]
        lines += ["Try it from a shell:", "", curl_line(url, found, keys=keys), ""]
        lines += [
            f"or from Python ({_sdk(found.dialect)}):",
            "",
            *snippet(url, found, keys=keys).splitlines(),
            "",
        ]
    name = command()
    lines += [f"What it did: {name} usage --by model   and   {name} logs show --last", "Ctrl-C stops it.", ""]
    to.write("\n".join(lines) + "\n")
    to.flush()


def _sdk(name: str) -> str:
    """Where the official SDK is, or how to get it."""
    if find_spec(name) is None:
        return f"pip install {name}"
    return f"{_from_here(Path(sys.executable))} has the SDK"


def command() -> str:
    """How this command line is called from here: by its name where the shell finds it, else by its path."""
    started = Path(sys.argv[0])
    if started.name != "headgate" or shutil.which("headgate"):
        return "headgate"
    return _from_here(started)


def _from_here(path: Path) -> str:
    try:
        return safe(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return safe(path)


def proxied() -> bool:
    """Whether curl and the SDKs would ask a proxy for an address on loopback, as the environment is now."""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    return bool(proxies.get("http") or proxies.get("all")) and not proxy_bypass("127.0.0.1")


def _loudly(text: str, to: TextIO) -> None:
    from rich.panel import Panel
    from rich.text import Text

    screen = console(to)
    if screen.is_terminal:
        screen.print(Panel(Text(text), border_style="bold yellow", expand=False))
        return
    rule = "*" * 100
    to.write(f"{rule}\n{text}\n{rule}\n")
