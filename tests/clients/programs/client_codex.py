"""Codex in print mode (`codex exec`), which speaks Responses. HG_BINARY is its executable."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from report import ASKED, HOLD, KEY, ONE_URL, TEXT, URL, check, control, main

ENV = {**os.environ, "HEADGATE_KEY": KEY}
CONFIG = """
model = "{model}"
model_provider = "headgate"
check_for_update_on_startup = false

[analytics]
enabled = false

[features]
plugins = false

[model_providers.headgate]
name = "Headgate"
base_url = "{url}/v1"
env_key = "HEADGATE_KEY"
wire_api = "responses"
# Codex does not read x-should-retry: at its defaults a gateway's final error is asked for again thirty times.
request_max_retries = 0
stream_max_retries = 0
"""
_SECONDS = 40


def started(*told: str, url: str = URL, model: str = ASKED["gpt"]) -> subprocess.Popen[str]:
    """A run; what the user says is an argument, or comes by standard input."""
    home = Path(os.environ["HOME"]) / ".codex"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(CONFIG.format(model=model, url=url), encoding="utf-8")
    command = [os.environ["HG_BINARY"], "exec", "--json", "--skip-git-repo-check", *told]
    return subprocess.Popen(
        command, env=ENV, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(*told: str, said: str = "", **how: Any) -> dict[str, Any]:
    """What it printed, in a few words."""
    process = started(*told, **how)
    try:
        out, wrong = process.communicate(said, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, wrong = process.communicate()
        raise AssertionError(f"not done after {_SECONDS} s: {out[-2000:]} {wrong[-1000:]}") from None
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert lines, wrong
    items = [line["item"] for line in lines if line["type"] == "item.completed"]
    usage = next((line["usage"] for line in lines if line["type"] == "turn.completed"), {})
    return {
        "text": "".join(item["text"] for item in items if item["type"] == "agent_message"),
        "commands": [item["command"] for item in items if item["type"] == "command_execution"],
        "wrong_items": [line for line in lines if line["type"] in ("error", "turn.failed")],
        "exit": process.returncode,
        "counted": usage,
    }


@check
def text_and_usage() -> Any:
    return run("say: " + TEXT)


@check
def command() -> Any:
    """The model wants a command run; what came of it goes back, and an answer comes."""
    return run("exec_command", model="gpt-5.4")


@check
def image() -> Any:
    Path("gate.png").write_bytes(base64.b64decode(ASKED["png"]))
    return run("say: " + TEXT, "-i", "gate.png")


@check
def large_body() -> Any:
    return run("-", said="tokens: 20 " + "é" * 600_000)


@check
def gateways_retries() -> Any:
    return run("fault:twice hello")


@check
def one_owner() -> Any:
    return run("fault:busy")


@check
def refused_request() -> Any:
    return run("fault:400", url=ONE_URL)


@check
def wrong_key() -> Any:
    ENV["HEADGATE_KEY"] = "wrong-" + "key"
    try:
        return run("hello")
    finally:
        ENV["HEADGATE_KEY"] = KEY


@check
def cancel_stream() -> Any:
    process = started(HOLD)
    process.stdin.close()
    control("arrived")
    process.kill()
    process.wait(_SECONDS)
    return {"first": "nothing is printed before it is whole"}


if __name__ == "__main__":
    Path("work").mkdir(exist_ok=True)
    os.chdir("work")
    main()
