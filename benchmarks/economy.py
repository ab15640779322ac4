"""`python -m benchmarks.economy`: what automatic prompt caching saves, and what it costs where nothing can be.

Real calls through an engine to the simulator, which accounts prompt caches as Anthropic does and bills them by its own
price table. *Reused*: a system prompt of about 5,000 tokens, asked 100 different questions. *Nothing repeats*: as many
calls, each with a prompt of its own. *Pairs*: the worst that can be done to it, each prefix exactly twice. Compared is
the input cost on the simulator's invoice with the same calls under `prompt_caching: off`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic

from benchmarks.report import Number, table
from headgate import Gate
from headgate.testing.server import SimulatorServer

PART = "economy"
MODEL = "claude-sonnet-5"
CALLS = 100
SYSTEM_CHARACTERS = 20_000  # about 5,000 tokens
_FILLING = "Terms and conditions apply to every order that is placed in the shop, and to its delivery. "


def prompt(n: int) -> str:
    """About 5,000 tokens, another text for another number."""
    text = f"You serve shop number {n}. " + _FILLING * (SYSTEM_CHARACTERS // len(_FILLING) + 1)
    return text[:SYSTEM_CHARACTERS]


LOADS: dict[str, Callable[[int], str]] = {
    "reused": lambda n: prompt(0),
    "nothing repeats": prompt,
    "pairs": lambda n: prompt(n // 2),
}


def measure(calls: int = CALLS) -> Iterator[Number]:
    """What each load costs with it, in percent of what it costs without."""
    for name, load in LOADS.items():
        systems = [load(n) for n in range(calls)]
        plain, caching = _cost(systems, "off"), _cost(systems, "auto")
        more = float((caching - plain) / plain * 100)
        target = {"reused": -80.0, "nothing repeats": 3.0}.get(name)
        note = f"${plain:.4f} without, ${caching:.4f} with"
        yield Number(PART, f"{name}: input cost with prompt caching", more, "%", target, note=note)


def _cost(systems: Sequence[str], caching: str) -> Decimal:
    """Dollars of input on the simulator's invoice."""
    with tempfile.TemporaryDirectory() as folder, SimulatorServer() as simulator:
        told = {"storage": f"sqlite:///{Path(folder) / 'headgate.db'}", "prompt_caching": caching}
        with Gate.load(env={"ANTHROPIC_BASE_URL": simulator.url}, **told) as gate, gate.client() as http:
            client = anthropic.Anthropic(api_key="k" * 9, base_url=simulator.url, http_client=http, max_retries=0)
            for n, system in enumerate(systems):
                client.messages.create(
                    model=MODEL,
                    max_tokens=1,
                    system=system,
                    messages=[{"role": "user", "content": f"What is term number {n}?"}],
                )
        return sum((_input_usd(line) for line in simulator.invoice()["lines"]), Decimal(0))


def _input_usd(line: dict[str, Any]) -> Decimal:
    """A line of the simulator's invoice without its output, which is $10 per million tokens."""
    return (Decimal(line["cost_nano"]) - 10_000 * line["usage"]["output_tokens"]) / 10**9


def main() -> int:
    """Print the numbers; 1 if a target is missed with --check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    told = parser.parse_args()
    numbers = list(measure(told.calls))
    print(table(numbers))
    return int(told.check and any(number.missed for number in numbers))


if __name__ == "__main__":
    raise SystemExit(main())
