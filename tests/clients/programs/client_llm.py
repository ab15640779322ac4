"""`llm` with its Anthropic plugin: its library, and once the command. HG_DIALECT says which of its models."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import llm

from report import ASKED, HOLD, KEY, TEXT, URL, check, control, main

ANTHROPIC = os.environ["HG_DIALECT"] == "anthropic"
MODEL = "claude-haiku-4.5" if ANTHROPIC else "gate"
FOLDER = Path(os.environ["HOME"]) / "llm"
os.environ |= {
    "LLM_USER_PATH": str(FOLDER),
    "ANTHROPIC_BASE_URL": URL,
    "ANTHROPIC_API_KEY": KEY,
    "OPENAI_API_KEY": KEY,
}


def prompt(said: str, **more: Any) -> Any:
    return llm.get_model(MODEL).prompt(said, key=KEY, **more)


def seen(response: Any) -> dict[str, Any]:
    text, usage = response.text(), response.usage()
    return {"text": text, "input": usage.input, "output": usage.output}


@check
def text() -> Any:
    return seen(prompt("say: " + TEXT, stream=False))


@check
def stream() -> Any:
    return seen(prompt("say: " + TEXT))


@check
def structured() -> Any:
    return {"value": json.loads(prompt("Where?", schema=ASKED["schema"]).text())}


@check
def image() -> Any:
    picture = llm.Attachment(content=base64.b64decode(ASKED["png"]), type="image/png")
    return {"text": prompt("?", attachments=[picture]).text()}


@check
def tool_run() -> Any:
    """A function of ours is called with the model's arguments, and its result goes back."""
    called = []

    def weather(city: str, days: int) -> str:
        """The weather."""
        called.append({"city": city, "days": days})
        return "rain"

    chain = llm.get_model(MODEL).chain("Use weather.", tools=[weather], key=KEY)
    return {"text": chain.text(), "called": called}


def _error(said: str) -> Any:
    try:
        return {"text": prompt(said).text()}
    except Exception as error:
        return {"error": str(error)}


@check
def one_owner() -> Any:
    return _error("fault:busy")


@check
def refused() -> Any:
    return _error("fault:400")


@check
def cut() -> Any:
    text = ""
    try:
        for piece in prompt("tokens: 120 fault:cut"):
            text += piece
    except Exception as error:
        return {"text": text, "error": str(error)}
    return {"text": text}


@check
def progress() -> Any:
    pieces = iter(prompt(HOLD))
    first = next(pieces)
    then = control("release")
    return {"first": first, "sent": then["sent"], "whole": first + "".join(pieces)}


@check
def cancel_stream() -> Any:
    """The command itself; it takes seconds to start, so it does so once."""
    command = [str(Path(sys.executable).with_name("llm")), "-m", MODEL, HOLD]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        first = os.read(process.stdout.fileno(), 4096).decode("utf-8", "replace")
        process.kill()
    return {"first": first}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    gate = {"model_id": "gate", "model_name": ASKED["gpt"], "api_base": f"{URL}/v1", "api_key_name": "openai"}
    gate |= {"supports_schema": True, "supports_tools": True, "vision": True}
    # llm reads YAML, of which JSON is a part.
    (FOLDER / "extra-openai-models.yaml").write_text(json.dumps([gate]), encoding="utf-8")
    main()
