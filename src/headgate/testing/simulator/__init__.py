"""The simulator: our fault-injecting provider, with both dialects, rate limits, prompt caching and its own invoice.

See docs/simulator.md. `headgate.testing.server.SimulatorServer` serves it on a loopback port.
"""

from __future__ import annotations

from headgate.testing.simulator.app import Simulator
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.limits import Limits
from headgate.testing.simulator.loading import load_scenario
from headgate.testing.simulator.prices import Price
from headgate.testing.simulator.scenario import Batching, Match, Pace, Rule, Scenario, TlsRule, When
from headgate.testing.simulator.scenarios import SHIPPED

__all__ = [
    "SHIPPED",
    "Batching",
    "Fault",
    "Limits",
    "Match",
    "Pace",
    "Price",
    "Rule",
    "Scenario",
    "Simulator",
    "TlsRule",
    "When",
    "load_scenario",
]
