"""LiteLLM's proxy under what `benchmarks.traffic` does to Headgate, side by side in one run.

    python -m benchmarks.peers.traffic [storm failover pacing] [--calls 100] [--json FILE]

LiteLLM with its defaults, one worker, and the openai SDK with its own. What cannot be measured: fairness (it has no
queue between tenants), waiting exchanges (it has no queue), and CPU of turns (it has none to leave out). Its `rpm` of a
deployment is a ceiling per minute of the clock that refuses what is above it; nothing waits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import report, traffic_failover, traffic_storm
from benchmarks.paid_provider import PROVIDERS_KEY
from benchmarks.peers import litellm
from benchmarks.processes import CannotRun
from benchmarks.report import Number, percentile
from benchmarks.traffic_gateway import gateway, simulator

PARTS = ("storm", "failover", "pacing")
SYSTEMS = ("litellm", "headgate")
_MODEL = "gpt-6-luna"
_KEY = "sk-bench-none-traffic"
_PER_MINUTE = 120
FAULTS = ("refuses connections", "resets connections", "answers 500", "black hole")
_PATIENCE = 60.0
"""Seconds after which a caller gives up on a call."""


def _deployment(name: str, url: str, **more: object) -> dict[str, object]:
    told = {"model": f"openai/{_MODEL}", "api_base": f"{url}/v1", "api_key": PROVIDERS_KEY, **more}
    return {"model_name": name, "litellm_params": told}


def _litellm_config(models: Sequence[object], **router: object) -> dict[str, object]:
    general = {"custom_auth": "litellm_auth.user_api_key_auth", "custom_auth_run_common_checks": True}
    return {"model_list": list(models), "general_settings": general, "router_settings": router}


def _provider(url: str, **more: object) -> dict[str, object]:
    key = "env:BENCH_PROVIDERS_KEY"
    return {"dialect": "openai", "base_url": f"{url}/v1", "api_key": key, "price": "free", **more}


def _base_url(stack: ExitStack, root: Path, system: str, first: str, second: str = "", rpm: int | None = None) -> str:
    """A system in front of one provider or of two, in that order; its base URL. The model is called `m`."""
    limit: dict[str, Any] = {} if rpm is None else {"rpm": rpm}
    if system == "litellm":
        models = [_deployment("m", first, **limit)]
        router: dict[str, object] = {}
        if second:
            models.append(_deployment("other", second))
            router = {"fallbacks": [{"m": ["other"]}]}
        proxy = stack.enter_context(litellm.started(root, "traffic", _litellm_config(models, **router)))
        return f"http://127.0.0.1:{proxy.port}/v1"
    config: Mapping[str, object] = {
        "providers": {"first": _provider(first), **({"other": _provider(second)} if second else {})},
        "models": {"m": [f"first/{_MODEL}", *([f"other/{_MODEL}"] if second else [])]},
    }
    url, _ = stack.enter_context(gateway(root / "gateway", config, {"bench": _KEY}))
    return f"{url}/v1"


def storm(calls: int) -> Iterator[Number]:
    """Upstream calls per logical call in both storms."""
    for name, scenario in traffic_storm.STORMS.items():
        for system in SYSTEMS:
            with ExitStack() as stack:
                root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-peers-")))
                limited = stack.enter_context(simulator(root, scenario))
                url = _base_url(stack, root, system, limited.url)
                began = time.monotonic()
                took, failed = asyncio.run(_call(url, calls, traffic_storm.AT_ONCE))
                seconds = time.monotonic() - began
                upstream = limited.refused()[1]
            told = f"{len(took)} of {calls} answered in {seconds:.0f} s{failed}"
            yield Number(
                "storm", f"{name} storm, {system}: upstream calls per logical call", upstream / calls, "", note=told
            )


def failover(calls: int) -> Iterator[Number]:
    """Seconds to the first content of the other route."""
    broken: dict[str, Callable[[], Any]] = {**traffic_failover.BROKEN, "black hole": traffic_failover.black_hole}
    for what in FAULTS:
        for system in SYSTEMS:
            with ExitStack() as stack:
                root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-peers-")))
                healthy = stack.enter_context(simulator(root, {"name": "healthy"}))
                first = stack.enter_context(broken[what]())
                url = _base_url(stack, root, system, first, healthy.url)
                # Each may cost a caller's whole patience, and its SDK's two retries as much again.
                made = traffic_failover.AT_ONCE if what == "black hole" else calls
                took, failed = asyncio.run(_call(url, made, traffic_failover.AT_ONCE))
            told = f"{len(took)} of {made} answered"
            if took:
                told += f"; p50 {percentile(took, 50):.2f} s, p99 {percentile(took, 99):.2f} s"
            slowest = max(took, default=float("inf"))
            yield Number("failover", f"{what}, {system}: the slowest first content", slowest, "s", note=told + failed)


def pacing(_calls: int) -> Iterator[Number]:
    """The burst of a limit, and a quarter more, at once."""
    calls = _PER_MINUTE + _PER_MINUTE // 4
    limited = {"name": "limited", "limits": {"requests_per_minute": _PER_MINUTE}, "pace": {"first_token_seconds": 0.5}}
    ideal = (calls - _PER_MINUTE) / (_PER_MINUTE / 60) + 0.5
    for system in SYSTEMS:
        with ExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-peers-")))
            provider = stack.enter_context(simulator(root, limited))
            url = _base_url(stack, root, system, provider.url, rpm=_PER_MINUTE)
            began = time.monotonic()
            took, failed = asyncio.run(_call(url, calls, calls))
            seconds = time.monotonic() - began
            refused, seen = provider.refused()
        name = f"{system}, {calls} calls at once on {_PER_MINUTE}/min"
        told = f"{len(took)} of {calls} answered{failed}"
        yield Number("pacing", f"{name}: share of 429s", 100 * refused / max(1, seen), "%", note=told)
        yield Number("pacing", f"{name}: until the last call had ended", seconds, "s", note=f"ideal {ideal:.1f} s")


async def _call(url: str, calls: int, at_once: int) -> tuple[list[float], str]:
    """Seconds to the first content of each call that was answered, and what the first that was not was told."""
    import openai

    took: list[float] = []
    failed: list[str] = []
    async with openai.AsyncOpenAI(base_url=url, api_key=_KEY, timeout=_PATIENCE) as client:
        await asyncio.wait_for(_warm(client), _PATIENCE)

        async def some(numbers: range) -> None:
            for _ in numbers:
                began = time.monotonic()
                try:
                    told: Any = {"model": "m", "messages": [{"role": "user", "content": "tokens: 8"}], "stream": True}
                    async with await client.chat.completions.create(max_completion_tokens=20, **told) as stream:
                        first = 0.0
                        async for chunk in stream:
                            if not first and chunk.choices and chunk.choices[0].delta.content:
                                first = time.monotonic() - began
                except openai.OpenAIError as error:
                    failed.append(type(error).__name__)
                else:
                    took.append(first or time.monotonic() - began)

        await asyncio.gather(*(some(range(start, calls, at_once)) for start in range(at_once)))
    return took, f"; {len(failed)} failed, the first with {failed[0]}" if failed else ""


async def _warm(client: Any) -> None:
    """What a process does at its first request, without a call."""
    await client.models.list()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.traffic",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("part", nargs="*", type=_part, metavar="|".join(PARTS), help="default: all")
    made.add_argument("--calls", type=int, default=100, help="of a storm and of each failover (default 100)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    return made


def _part(text: str) -> str:
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(PARTS)}")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if everything asked for ran; 1 if something could not."""
    told = parser().parse_args(arguments)
    where = {**report.machine(), "litellm": litellm.version()}
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in where.items()), flush=True)
    numbers: list[Number] = []
    skipped: dict[str, str] = {}
    for name in told.part or PARTS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            for number in {"storm": storm, "failover": failover, "pacing": pacing}[name](told.calls):
                numbers.append(number)
                print(json.dumps([number.name, round(number.value, 3), number.note]), file=sys.stderr, flush=True)
        except CannotRun as error:
            skipped[name] = str(error)
    print(report.table(numbers))
    for name, why in skipped.items():
        print(f"{name}: NOT MEASURED: {why}")
    if told.json is not None:
        report.write_json(told.json, numbers, skipped, where)
    return 1 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
