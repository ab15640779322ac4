"""`python -m benchmarks.phoenix`: our spans in a real Arize Phoenix, run from its package.

Makes a virtual environment for it where none is given (some 600 MB, minutes), starts it on free ports, sends calls of
the real SDKs through a gate with the simulator behind, and asks Phoenix what it has: every span, nested as we sent it,
with its kind, its tokens and its text. Exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path
from typing import Any

import anthropic
import openai

from benchmarks.processes import free_port
from headgate import Gate
from headgate.testing.server import SimulatorServer

PROJECT = "headgate-check"
START_SECONDS = 120.0
ARRIVE_SECONDS = 60.0
QUESTION = [{"role": "user", "content": "hello"}]


def installed(folder: Path) -> Path:
    """An interpreter with Phoenix, made if need be."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "arize-phoenix"], check=True)
    return python


def ask(url: str, **variables: Any) -> Any:
    """A GET, or a GraphQL query."""
    data = json.dumps(variables).encode() if variables else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit("Phoenix ended before it was up")
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=2).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise SystemExit(f"Phoenix was not up after {START_SECONDS:.0f} s")


def traffic(url: str, folder: Path) -> int:
    """Calls that make spans of both kinds; how many."""
    traces = {
        "to": url,
        "sample": "100%",
        "openinference": True,
        "content": True,
        "resource": {"openinference.project.name": PROJECT},
    }
    with SimulatorServer() as sim:
        env = {
            "ANTHROPIC_BASE_URL": sim.url,
            "OPENAI_BASE_URL": sim.openai_url,
            "HEADGATE_STORAGE": f"sqlite:///{folder / 'h.db'}",
        }
        with Gate.load(env=env, traces=traces) as gate:
            claude = anthropic.Anthropic(api_key="k", base_url=sim.url, http_client=gate.client())
            gpt = openai.OpenAI(api_key="k", base_url=sim.openai_url, http_client=gate.client())
            for _ in range(5):
                claude.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=QUESTION)  # type: ignore[arg-type]
                gpt.chat.completions.create(model="gpt-6-luna", messages=QUESTION)  # type: ignore[arg-type]
            gate.flush()
            traces_of = gate.built.telemetry.traces
            assert traces_of is not None
            if not traces_of.sender.flush(30.0) or traces_of.sender.counts()["dropped"]:
                raise SystemExit(f"not everything was taken: {traces_of.sender.health()}")
    return 20


def stored(url: str, wanted: int) -> list[dict[str, Any]]:
    """The spans that Phoenix has, once there are so many."""
    until = time.monotonic() + ARRIVE_SECONDS
    found: list[dict[str, Any]] = []
    while time.monotonic() < until:
        try:
            found = ask(f"{url}/v1/projects/{PROJECT}/spans?limit=100")["data"]
        except OSError:
            found = []  # the project is made by its first span
        if len(found) >= wanted:
            return found
        time.sleep(0.5)
    return found


def wrong(found: list[dict[str, Any]], wanted: int) -> list[str]:
    """What is not as it was sent."""
    ids = {span["context"]["span_id"]: span for span in found}
    roots = [span for span in found if span["name"] == "headgate.exchange"]
    leaves = [span for span in found if span["name"].startswith("chat ")]
    said = []
    if len(found) != wanted or len(roots) != len(leaves) != wanted / 2:
        said.append(f"{len(found)} spans ({len(roots)} exchanges, {len(leaves)} attempts) of {wanted}")
    said += [f"{span['name']}: its parent is missing" for span in leaves if span["parent_id"] not in ids]
    said += [f"{span['name']} is a {span['span_kind']}" for span in roots if span["span_kind"] != "CHAIN"]
    said += [f"{span['name']} is a {span['span_kind']}" for span in leaves if span["span_kind"] != "LLM"]
    for span in leaves:
        told = span["attributes"]
        for name in ("llm.token_count.prompt", "llm.token_count.completion", "llm.model_name", "output.value"):
            if not told.get(name):
                said.append(f"{span['name']} lacks {name}")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, help="a virtual environment with arize-phoenix, or where to make one")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = installed(told.venv or folder / "venv")
        port, url = free_port(), ""
        url = f"http://127.0.0.1:{port}"
        env = {
            **os.environ,
            "PYTHONPATH": "",
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_WORKING_DIR": str(folder / "phoenix"),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        (folder / "phoenix").mkdir()
        with (folder / "phoenix.out").open("wb") as out:
            process = subprocess.Popen([python, "-m", "phoenix.server.main", "serve"], env=env, stdout=out, stderr=out)
        try:
            began = time.monotonic()
            wait_until_up(url, process)
            up = time.monotonic() - began
            wanted = traffic(url, folder)
            found = stored(url, wanted)
        except BaseException:
            sys.stderr.write((folder / "phoenix.out").read_text(errors="replace")[-3000:])
            raise
        finally:
            process.terminate()
            process.wait(20)
    mistakes = wrong(found, wanted)
    print(
        f"Phoenix up in {up:.0f} s; {len(found)} of {wanted} spans, {'all as sent' if not mistakes else 'not as sent'}"
    )
    for line in mistakes:
        print(f"  {line}")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
