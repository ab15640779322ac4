"""`python -m benchmarks.guards_stream [--markdown]`: what output guards cost a stream: its first content, and CPU.

One answer of ordinary prose with a link in it, as 250 events of Messages, goes through the meter alone and through the
meter with a gate behind it. What waits is counted in characters and events, which depends on no machine; a model that
writes 50 events a second makes 20 ms of each.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from headgate.core.exchange import Facts
from headgate.policy.guards.leaks import Canaries
from headgate.policy.guards.output_rules import OutputRules
from headgate.policy.guards.rules import GuardRules
from headgate.policy.guards.watch import Watching
from headgate.wire import ANTHROPIC
from headgate.wire.dialect import Meter
from headgate.wire.gated import gated

EVENTS = 250
ROUNDS = 15
_SENTENCE = (
    "The lock was emptied at noon, and the boats that had waited since the morning went through in pairs, as the "
    "keeper likes it (see https://docs.acme.example/locks/upper-brook for the hours of the day). "
)
SYSTEM = "You are the assistant of the Acme canal company and you answer in plain words about boats and locks. " * 20


@dataclass(frozen=True)
class Words:
    """A text of the request."""

    channel: str
    plain: str
    place: str = ""


@dataclass(frozen=True)
class Cost:
    """Of one way of watching."""

    name: str
    us_per_stream: float
    us_per_event: float
    first_events: int
    first_characters: int


def frames() -> list[bytes]:
    """The stream, one frame each."""
    text = (_SENTENCE * 40)[: EVENTS * 16]
    pieces = [text[at : at + 16] for at in range(0, len(text), 16)]
    start = {"id": "msg_1", "model": "claude-haiku-4-5", "content": [], "usage": {"input_tokens": 10}}
    told = [
        ("message_start", {"message": start}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        *(("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": p}}) for p in pieces),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
        ("message_stop", {}),
    ]
    return [
        f"event: {kind}\ndata: {json.dumps({'type': kind, **more}, separators=(',', ':'))}\n\n".encode()
        for kind, more in told
    ]


def ways() -> dict[str, Callable[[], Meter]]:
    """How a stream may be watched."""
    canary = OutputRules(canaries=Canaries(("Zebra-Quartz-7741",)))
    rules = {
        "standard": GuardRules(profile="standard", leaks="block", links="flag"),
        "standard, with a canary": GuardRules(profile="standard", leaks="block", links="flag", output=canary),
        "strict": GuardRules(
            profile="strict", leaks="block", links="redact", pii="redact", secrets="block", output=canary
        ),
    }

    def metered() -> Meter:
        return ANTHROPIC.meter("messages", Facts(stream=True))

    found: dict[str, Callable[[], Meter]] = {"off": metered}
    for name, each in rules.items():
        watching = Watching(each, [Words("system", SYSTEM), Words("user", "When is the lock emptied?")])
        found[name] = lambda watching=watching: gated("messages", metered(), watching())
    return found


def measure(name: str, make: Callable[[], Meter], stream: Sequence[bytes]) -> Cost:
    """Feed the stream, again and again."""
    spent = []
    first = 0
    for _ in range(ROUNDS):
        meter = make()
        first = 0
        begun = time.process_time_ns()
        for number, frame in enumerate(stream):
            if b"text_delta" in meter.feed(frame) and not first:
                first = number
        meter.finish()
        spent.append((time.process_time_ns() - begun) / 1000)
    cost = median(spent)
    waited = max(first - 2, 0)
    return Cost(name, cost, cost / len(stream), waited, waited * 16)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guards_stream", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="a table for the documentation")
    told = parser.parse_args(arguments)
    stream = frames()
    costs = [measure(name, make, stream) for name, make in ways().items()]
    if told.markdown:
        print("| guards | first content waits for | CPU per event | per stream of 250 events |\n|---|---|---|---|")
    for cost in costs:
        waits = f"{cost.first_events} events, {cost.first_characters} characters"
        row = (cost.name, waits, f"{cost.us_per_event:.1f} us", f"{cost.us_per_stream / 1000:.2f} ms")
        print(f"| {' | '.join(row)} |" if told.markdown else "  ".join(f"{each:32}" for each in row))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
