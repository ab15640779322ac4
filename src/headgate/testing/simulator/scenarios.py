"""The scenarios that ship by name.

`storm`, the standard 429 storm, counts instead of drawing lots: whatever the concurrency, exactly one request in five
is refused, so a caller that retries each refusal once it may sends 1.25 requests per answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Pace, Rule, Scenario, When

_STORM = Scenario(
    name="storm",
    rules=(
        Rule(Fault("rate_limit", retry_after=1), when=When(every=15, offset=5), name="429 with retry-after"),
        Rule(Fault("rate_limit", retry_after_ms=250), when=When(every=15, offset=10), name="429 with retry-after-ms"),
        Rule(Fault("rate_limit"), when=When(every=15), name="429 without a wait"),
    ),
)


def _sometimes(probability: float, fault: Fault) -> Rule:
    return Rule(fault, when=When(probability=probability), name=fault.kind)


_MIXED = Scenario(
    name="mixed",
    rules=(
        _sometimes(0.03, Fault("rate_limit", retry_after_ms=100)),
        _sometimes(0.02, Fault("overloaded")),
        _sometimes(0.01, Fault("server_error", status=500)),
        _sometimes(0.01, Fault("server_error", status=502, html=True)),
        _sometimes(0.01, Fault("server_error", status=503, should_retry=True)),
        _sometimes(0.01, Fault("drop")),
        _sometimes(0.01, Fault("drop", generated=True, how="fin")),
        _sometimes(0.02, Fault("slow_first_token", seconds=0.2)),
        _sometimes(0.01, Fault("stall", seconds=0.3)),
        _sometimes(0.015, Fault("cut", after_events=6)),
        _sometimes(0.01, Fault("cut", after_events=4, how="fin")),
        _sometimes(0.01, Fault("no_terminal")),
        _sometimes(0.01, Fault("error_event", after_events=0)),
        _sometimes(0.01, Fault("error_event", after_events=5)),
        _sometimes(0.005, Fault("malformed_event")),
        _sometimes(0.01, Fault("truncate")),
        _sometimes(0.01, Fault("refusal")),
    ),
)

_OUTAGE = Scenario(name="outage", rules=(Rule(Fault("overloaded"), name="everything is overloaded"),))

_OBEDIENT = Scenario(name="obedient", obey=True, pace=Pace(tokens_per_event=1))

SHIPPED: Mapping[str, Scenario] = MappingProxyType(
    {scenario.name: scenario for scenario in (Scenario(), _STORM, _MIXED, _OUTAGE, _OBEDIENT)}
)
"""By name: healthy, storm, mixed, outage, obedient."""
