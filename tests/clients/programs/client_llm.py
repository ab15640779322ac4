"""The `llm` command, with its Anthropic plugin. HG_DIALECT says which of its models."""

from __future__ import annotations

import ast
import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from report import ASKED, HOLD, KEY, TEXT, URL, check, control, main

ANTHROPIC = os.environ["HG_DIALECT"] == "anthropic"
LLM = str(Path(sys.executable).with_name("llm"))
MODEL = "claude-haiku-4.5" if ANTHROPIC else "gate"
FOLDER = Path(os.environ["HOME"]) / "llm"
ENV = {
    **os.environ,
    "LLM_USER_PATH": str(FOLDER),
    "ANTHROPIC_BASE_URL": URL,
    "ANTHROPIC_API_KEY": KEY,
    "OPENAI_API_KEY": KEY,
}


def started(*told: str) -> subprocess.Popen[bytes]:
    command = [LLM, "-m", MODEL, *told]
    return subprocess.Popen(command, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(*told: str) -> dict[str, Any]:
    out, wrong = started(*told).communicate(timeout=40)
    usage = [line for line in wrong.decode().splitlines() if line.startswith("Token usage:")]
    return {"text": out.decode().removesuffix("\n"), "usage": usage, "error": wrong.decode()[-600:]}


def counted(saw: dict[str, Any]) -> dict[str, Any]:
    words = saw["usage"][0].replace(",", "").split()
    return {"text": saw["text"], "input": int(words[2]), "output": int(words[4])}


@check
def text() -> Any:
    return counted(run("say: " + TEXT, "--no-stream", "-u"))


@check
def stream() -> Any:
    return counted(run("say: " + TEXT, "-u"))


@check
def structured() -> Any:
    return {"value": json.loads(run("Where?", "--schema", json.dumps(ASKED["schema"]))["text"])}


@check
def image() -> Any:
    Path("gate.png").write_bytes(base64.b64decode(ASKED["png"]))
    return {"text": run("?", "-a", "gate.png")["text"]}


@check
def tool_run() -> Any:
    """A function of ours is called with the model's arguments, and its result goes back."""
    function = "def weather(city: str, days: int) -> str:\n    'The weather.'\n    return 'rain'\n"
    saw = run("Use weather.", "--functions", function, "--td")
    calls = [line.partition("Tool call: weather(")[2] for line in saw["error"].splitlines()]
    found = [ast.literal_eval(call.rstrip(")")) for call in calls if call]
    return {"called": found, "text": saw["text"]}


@check
def one_owner() -> Any:
    return run("fault:busy")


@check
def refused() -> Any:
    return run("fault:400")


def _read(process: subprocess.Popen[bytes], least: int) -> str:
    return os.read(process.stdout.fileno(), least).decode("utf-8", "replace")


@check
def progress() -> Any:
    process = started(HOLD)
    first = _read(process, 4096)
    then = control("release")
    rest, _ = process.communicate(timeout=40)
    return {"first": first, "sent": then["sent"], "whole": first + rest.decode("utf-8", "replace")}


@check
def cancel_stream() -> Any:
    process = started(HOLD)
    first = _read(process, 4096)
    process.kill()
    process.communicate()
    return {"first": first}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    gate = {"model_id": "gate", "model_name": ASKED["gpt"], "api_base": f"{URL}/v1", "api_key_name": "openai"}
    gate |= {"supports_schema": True, "supports_tools": True, "vision": True}
    # llm reads YAML, of which JSON is a part.
    (FOLDER / "extra-openai-models.yaml").write_text(json.dumps([gate]), encoding="utf-8")
    main()
