"""curl: what the gateway looks like to something that knows no dialect. HG_DIALECT says which it is to speak."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from report import ASKED, CLIENT_SECONDS, HOLD, KEY, ONE_URL, TEXT, URL, check, control, main, squeezed

ANTHROPIC = os.environ["HG_DIALECT"] == "anthropic"
PATH = "/v1/messages" if ANTHROPIC else "/v1/chat/completions"
ALWAYS = ["curl", "-sS", "-N", "--max-time", str(int(CLIENT_SECONDS)), "-H", "content-type: application/json"]
SAYS = ["-H", f"x-api-key: {KEY}", "-H", "anthropic-version: 2023-06-01"] if ANTHROPIC else ["--oauth2-bearer", KEY]


def asked(prompt: str, **more: Any) -> str:
    told = {"model": ASKED["claude" if ANTHROPIC else "gpt"], "messages": [{"role": "user", "content": prompt}], **more}
    if ANTHROPIC:
        told.setdefault("max_tokens", 300)
    elif told.get("stream"):
        told["stream_options"] = {"include_usage": True}
    return json.dumps(told)


def command(prompt: str, *more: str, url: str = URL, **body: Any) -> list[str]:
    return [*ALWAYS, *SAYS, "-d", asked(prompt, **body), *more, url + PATH]


def run(told: list[str]) -> str:
    return subprocess.run(told, capture_output=True, text=True, check=True).stdout


def seen(answer: str) -> dict[str, Any]:
    told = json.loads(answer)
    usage = told["usage"]
    if ANTHROPIC:
        said, stop = told["content"][0]["text"], told["stop_reason"]
        return {"text": said, "stop": stop, "input": usage["input_tokens"], "output": usage["output_tokens"]}
    choice = told["choices"][0]
    counted = {"input": usage["prompt_tokens"], "output": usage["completion_tokens"]}
    return {"text": choice["message"]["content"], "stop": choice["finish_reason"], **counted}


def streamed(lines: Iterable[str]) -> dict[str, Any]:
    """A whole answer from a stream's lines."""
    names, datas, others = [], [], []
    for line in lines:
        field, _, value = line.rstrip("\n").partition(": ")
        if field == "event":
            names.append(value)
        elif field == "data" and value != "[DONE]":
            datas.append(json.loads(value))
        elif field:
            others.append(line)
    if ANTHROPIC:
        pieces = [d["delta"].get("text", "") for d in datas if d["type"] == "content_block_delta"]
        usage = {**datas[0]["message"]["usage"], **datas[-2].get("usage", {})}
        counted = {"input": usage["input_tokens"], "output": usage["output_tokens"]}
        events = squeezed([name for name in names if name != "ping"])
        return {"text": "".join(pieces), **counted, "events": events}
    pieces = [choice["delta"].get("content") or "" for d in datas for choice in d["choices"]]
    usage = datas[-1]["usage"]
    return {"text": "".join(pieces), "input": usage["prompt_tokens"], "output": usage["completion_tokens"]}


@check
def text() -> Any:
    return seen(run(command("say: " + TEXT)))


@check
def stream() -> Any:
    return streamed(run(command("say: " + TEXT, stream=True)).splitlines())


@check
def compressed() -> Any:
    """The request in gzip, the answer in whatever curl asks for."""
    Path("body.gz").write_bytes(gzip.compress(asked("say: " + TEXT).encode()))
    packed = ["-H", "content-encoding: gzip", "--data-binary", "@body.gz", "--compressed"]
    return seen(run([*ALWAYS, *SAYS, *packed, URL + PATH]))


@check
def large_body() -> Any:
    """curl asks for leave first (`Expect: 100-continue`) where a body is this long."""
    model = ASKED["claude_large" if ANTHROPIC else "gpt"]
    more = {"max_tokens" if ANTHROPIC else "max_completion_tokens": 300}
    Path("body.json").write_text(asked("say: " + "é" * 600_000, model=model, **more), encoding="utf-8")
    leave = ["-H", "expect: 100-continue"]
    return seen(run([*ALWAYS, *SAYS, *leave, "--data-binary", "@body.json", URL + PATH]))


@check
def errors() -> Any:
    found = {}
    for word in ("429", "overloaded", "500", "400", "401", "403", "404", "413"):
        for stream_too in (False, True):
            more = ["-D", "-", "-o", "body.out"]
            head = run(command(f"fault:{word}", *more, url=ONE_URL, stream=stream_too)).splitlines()
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:])}
            body = json.loads(Path("body.out").read_text(encoding="utf-8"))
            found[f"{word}{' streamed' if stream_too else ''}"] = {
                "error": body["error"]["type"],
                "status": int(head[0].split()[1]),
                "retry_after": headers.get("retry-after"),
                "request_id": headers.get("request-id" if ANTHROPIC else "x-request-id"),
            }
    return found


@check
def wrong_key() -> Any:
    more = ["-o", "body.out", "-w", "%{http_code}", "-d", asked("hello"), "-H", "authorization: Bearer wrong"]
    version = ["-H", "anthropic-version: 2023-06-01"] if ANTHROPIC else []
    status = run([*ALWAYS, *version, *more, URL + PATH])
    body = json.loads(Path("body.out").read_text(encoding="utf-8"))
    return {"error": body["error"]["type"], "code": body["headgate"]["code"], "status": int(status)}


def _first_text(process: Any) -> str:
    """Read lines until one brings text."""
    wanted = '"text_delta"' if ANTHROPIC else '"content":"'
    for line in process.stdout:
        if wanted in line and '"content":""' not in line:
            return str(line)
    return ""


@check
def progress() -> Any:
    with subprocess.Popen(command(HOLD, stream=True), stdout=subprocess.PIPE, text=True) as process:
        first = _first_text(process)
        then = control("release")
        return {"first": first, "sent": then["sent"], "whole": first + process.stdout.read()}


@check
def cancel_stream() -> Any:
    with subprocess.Popen(command(HOLD, stream=True), stdout=subprocess.PIPE, text=True) as process:
        first = _first_text(process)
        process.kill()
    return {"first": first}


@check
def cancel_whole() -> Any:
    with subprocess.Popen(command("hold:answer"), stdout=subprocess.PIPE) as process:
        control("arrived")
        process.kill()
    return {"cancelled": True}


def _broken(prompt: str) -> Any:
    done = subprocess.run(command(prompt, stream=True), capture_output=True, text=True, check=False)
    last = [line for line in done.stdout.splitlines() if line.startswith("data: ")][-1]
    return {"text": done.stdout, "error": '"error"' in last, "message": last, "code": done.returncode}


@check
def error_event() -> Any:
    return _broken("tokens: 120 fault:event")


@check
def cut() -> Any:
    return _broken("tokens: 120 fault:cut")


@check
def no_terminal() -> Any:
    return _broken("tokens: 120 fault:short")


@check
def keep_alive() -> Any:
    """Five requests in one curl: one connection to the gateway, and one to the provider."""
    told: list[str] = []
    for n in range(5):
        told += [*(["--next"] if n else []), *command(f"say: {n}", "-w", "\n%{num_connects}\n")[1:]]
    lines = run(["curl", *told]).splitlines()
    return {"texts": [seen(line)["text"] for line in lines[::2]], "connects": sum(map(int, lines[1::2]))}


@check
def models() -> Any:
    ids = [model["id"] for model in json.loads(run([*ALWAYS, *SAYS, URL + "/v1/models"]))["data"]]
    return {"ids": ids, "one": json.loads(run([*ALWAYS, *SAYS, f"{URL}/v1/models/{ids[0]}"]))["id"]}


if __name__ == "__main__":
    main()
