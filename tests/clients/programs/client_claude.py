"""Claude Code in print mode. HG_BINARY is its executable."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report import ASKED, HOLD, KEY, ONE_URL, TEXT, URL, check, control, main, squeezed

QUIET = {
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}
ENV = {
    **os.environ,
    **QUIET,
    "ANTHROPIC_API_KEY": KEY,
    "ANTHROPIC_MODEL": ASKED["claude_large"],
    "ANTHROPIC_SMALL_FAST_MODEL": ASKED["claude"],
}
_SECONDS = 40


def started(*told: str, url: str = URL, tools: str = "") -> subprocess.Popen[str]:
    """A run; what the user says is an argument, or comes by standard input."""
    formats = ["--output-format", "stream-json", "--include-partial-messages", "--verbose", "--no-session-persistence"]
    command = [os.environ["HG_BINARY"], "-p", *told, *formats, "--tools", tools]
    env = {**ENV, "ANTHROPIC_BASE_URL": url}
    return subprocess.Popen(
        command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(*told: str, said: str = "", url: str = URL, tools: str = "") -> list[dict[str, Any]]:
    """All it printed."""
    process = started(*told, url=url, tools=tools)
    try:
        out, wrong = process.communicate(said, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, wrong = process.communicate()
        raise AssertionError(f"not done after {_SECONDS} s: {out[-2000:]} {wrong[-1000:]}") from None
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert lines, wrong
    return lines


def events_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line["event"] for line in lines if line["type"] == "stream_event"]


def seen(lines: list[dict[str, Any]]) -> dict[str, Any]:
    result = lines[-1]
    usage = result["usage"]
    return {
        "text": result.get("result"),
        "stop": result["stop_reason"],
        "input": usage["input_tokens"],
        "output": usage["output_tokens"],
        "written": usage["cache_creation_input_tokens"],
        "read": usage["cache_read_input_tokens"],
        "failed": result["is_error"],
        "status": result.get("api_error_status"),
    }


def texts(events: list[dict[str, Any]]) -> str:
    return "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")


@check
def text() -> Any:
    return seen(run("say: " + TEXT))


@check
def stream() -> Any:
    lines = run("say: " + TEXT)
    events = events_of(lines)
    return {**seen(lines), "text": texts(events), "events": squeezed([event["type"] for event in events])}


@check
def tool_call() -> Any:
    """The model asks for a file that is not there; the tool's error goes back, and an answer comes."""
    lines = run("Read", "--allowedTools", "Read", tools="Read")
    calls = [
        block
        for line in lines
        if line["type"] == "assistant"
        for block in line["message"]["content"]
        if "input" in block
    ]
    return {"name": calls[0]["name"], "arguments": calls[0]["input"], "turns": lines[-1]["num_turns"], **seen(lines)}


@check
def thinking_shown() -> Any:
    lines = run("say: think about it")
    deltas = [event["delta"] for event in events_of(lines) if event["type"] == "content_block_delta"]
    kinds = squeezed([delta["type"] for delta in deltas])
    return {"kinds": kinds, "thinking": "".join(delta.get("thinking", "") for delta in deltas), **seen(lines)}


@check
def cache() -> Any:
    return {"first": seen(run("say: " + TEXT + " 1")), "second": seen(run("say: " + TEXT + " 1"))}


def _with(block: dict[str, Any]) -> Any:
    content = [block, {"type": "text", "text": "What is it?"}]
    message = {"type": "user", "message": {"role": "user", "content": content}}
    return seen(run("--input-format", "stream-json", said=json.dumps(message) + "\n"))


@check
def image() -> Any:
    return _with({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ASKED["png"]}})


@check
def pdf() -> Any:
    source = {"type": "base64", "media_type": "application/pdf", "data": ASKED["pdf"]}
    return _with({"type": "document", "source": source})


@check
def large_body() -> Any:
    return seen(run(said="tokens: 20 " + "é" * 600_000))


@check
def gateways_retries() -> Any:
    return seen(run("fault:twice hello"))


@check
def one_owner() -> Any:
    return seen(run("fault:busy"))


@check
def refused_request() -> Any:
    return seen(run("fault:400", url=ONE_URL))


@check
def progress() -> Any:
    process = started(HOLD)
    process.stdin.close()
    parts = _texts(process)
    first = next(parts)
    then = control("release")
    whole = first + "".join(parts)
    process.stdout.close()
    process.wait(_SECONDS)
    return {"first": first, "sent": then["sent"], "whole": whole}


@check
def cancel_stream() -> Any:
    process = started(HOLD)
    process.stdin.close()
    first = next(_texts(process))
    process.terminate()
    process.wait(_SECONDS)
    return {"first": first}


def _texts(process: subprocess.Popen[str]) -> Iterator[str]:
    for line in process.stdout:
        told = json.loads(line)
        if told["type"] == "stream_event" and (piece := texts([told["event"]])):
            yield piece


if __name__ == "__main__":
    Path("work").mkdir(exist_ok=True)
    os.chdir("work")
    main()
