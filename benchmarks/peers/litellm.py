"""LiteLLM's proxy in a virtual environment of its own, in front of the simulator.

Three ways in which LiteLLM keeps a budget by itself, all in one uvicorn worker:

- `key`: `max_budget` of a key, with the defaults; spend counters in memory.
- `key-strict`: the same with `fail_closed_budget_enforcement: true` and its counters in Redis, with connections enough
  for the burst (`_REDIS`).
- `deployment`: `max_budget` of a deployment, kept by the router.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.burst import Call
from benchmarks.paid_provider import PROVIDERS_KEY, Provider, clean_env
from benchmarks.processes import CannotRun, Child, free_port, running, wait_for_port

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
VENV = HERE / ".venv"
_START_SECONDS = 120.0
_REDIS = {
    "REDIS_MAX_CONNECTIONS": "2000",
    "REDIS_CONNECTION_POOL_TIMEOUT": "60",
    "REDIS_SOCKET_CONNECT_TIMEOUT": "30",
    "REDIS_SOCKET_TIMEOUT": "30",
}
"""Far more than LiteLLM's defaults. With those a burst runs out of connections; LiteLLM then drops the counter, and
without its database it begins again at nothing. That would measure our missing database, not its rule."""
KINDS = ("key", "key-strict", "deployment")


def installed() -> Path:
    """LiteLLM's virtual environment, made from requirements.txt if it is not there or of other pins.

    Raises:
        CannotRun: it cannot be installed here.
    """
    stamp = VENV / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return VENV
    print(f"installing LiteLLM into {VENV.relative_to(HERE.parent.parent)}", file=sys.stderr, flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    pip = [str(VENV / "bin" / "pip"), "install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS)]
    for command in ([sys.executable, "-m", "venv", str(VENV)], pip):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CannotRun(f"LiteLLM cannot be installed: {done.stderr.strip()[-500:]}")
    stamp.write_text(wanted)
    return VENV


def version() -> str:
    """The pinned version."""
    for line in REQUIREMENTS.read_text().splitlines():
        name, _, rest = line.partition("==")
        if name.partition("[")[0] == "litellm":
            return rest.split()[0]
    raise CannotRun("requirements.txt does not pin litellm")


def key(cap_nano: int | None, name: str) -> str:
    """A caller's key that `litellm_auth` reads its cap from, in whole cents at the least."""
    return f"sk-bench-{'none' if cap_nano is None else f'{cap_nano / 1e9:g}'}-{name}"


def alias(call: Call, cap_nano: int) -> str:
    """The model name whose deployment has that budget."""
    return f"{call.model}-capped-{cap_nano}"


def config(kind: str, provider: str, calls: Sequence[Call], caps: Sequence[int]) -> dict[str, object]:
    """LiteLLM's config.yaml. No retries: a burst is counted once."""
    general: dict[str, object] = {
        "custom_auth": "litellm_auth.user_api_key_auth",
        "custom_auth_run_common_checks": True,
    }
    if kind == "key-strict":
        general["fail_closed_budget_enforcement"] = True
    models = []
    for call in calls:
        openai = call.name == "chat"
        params: dict[str, object] = {
            "model": f"{'openai' if openai else 'anthropic'}/{call.model}",
            "api_base": f"{provider}/v1" if openai else provider,
            "api_key": PROVIDERS_KEY,
        }
        if kind != "deployment":
            models.append({"model_name": call.model, "litellm_params": params})
            continue
        for cap in caps:
            capped = {**params, "max_budget": cap / 1e9, "budget_duration": "1d"}
            models.append({"model_name": alias(call, cap), "litellm_params": capped})
    return {
        "model_list": models,
        "general_settings": general,
        "litellm_settings": {"num_retries": 0},
        "router_settings": {"num_retries": 0},
    }


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running LiteLLM proxy, and what else it needs running."""

    port: int
    child: Child
    redis: Child | None = None

    def settled_cpu(self) -> float:
        """Seconds of CPU so far, Redis included, once nothing is worked off any more."""
        return self.child.settled_cpu() + (self.redis.cpu() if self.redis else 0.0)


@contextlib.contextmanager
def proxy(root: Path, kind: str, provider: Provider, calls: Sequence[Call], caps: Sequence[int]) -> Iterator[Proxy]:
    """LiteLLM, keeping budgets in one of `KINDS`.

    Raises:
        CannotRun: it cannot be installed or started here.
    """
    told = config(kind, provider.url, calls, caps)
    with started(root, kind, told, redis=kind == "key-strict") as found:
        yield found


@contextlib.contextmanager
def started(root: Path, name: str, told: Mapping[str, object], *, redis: bool = False) -> Iterator[Proxy]:
    """LiteLLM with a config.yaml.

    Raises:
        CannotRun: it cannot be installed or started here.
    """
    home = root / f"litellm-{name}"
    home.mkdir()
    shutil.copy(HERE / "litellm_auth.py", home)
    (home / "config.yaml").write_text(json.dumps(told, indent=1))
    more = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the price table that comes with it, no download at start
        "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(32)}",
        "HOME": str(home),
    }
    port = free_port()
    with contextlib.ExitStack() as stack:
        server = None
        if redis:
            redis_port, server = stack.enter_context(_redis(home))
            more |= {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis_port), **_REDIS}
        command = [str(installed() / "bin" / "litellm"), "--config", "config.yaml"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        env = {**clean_env(), **more}
        del env["PYTHONPATH"]
        log, out = home / "litellm.log", home / "litellm.out"
        # It prints a line per request: to a file, or it would block on a full pipe.
        wrapped = ["sh", "-c", f'exec "$@" >{out}', "sh", *command]
        child = stack.enter_context(running(wrapped, cwd=home, log=log, env=env))
        try:
            wait_for_port(port, child.process, seconds=_START_SECONDS)
        except CannotRun as error:
            raise CannotRun(f"LiteLLM does not start: {error}\n{_tail(log)}\n{_tail(out)}") from None
        yield Proxy(port, child, server)


def _tail(file: Path) -> str:
    return file.read_text(errors="replace")[-1000:] if file.exists() else ""


@contextlib.contextmanager
def _redis(home: Path) -> Iterator[tuple[int, Child]]:
    if shutil.which("redis-server") is None:
        raise CannotRun("needs redis-server; install with: apt-get install redis-server")
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    command += ["--logfile", str(home / "redis.out")]
    with running(command, cwd=home, log=home / "redis.log", env=clean_env()) as child:
        wait_for_port(port, child.process)
        yield port, child
