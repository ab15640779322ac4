"""Headgate: the production layer for LLM calls.

    import anthropic, headgate

    gate = headgate.Gate.load()
    client = anthropic.Anthropic(http_client=gate.client())

Everything is imported on first use, so that `import headgate` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate._version import __version__

if TYPE_CHECKING:
    from headgate import guards
    from headgate.core.errors import ConfigError, ConfigWarning, HeadgateError, Refusal, UpstreamError
    from headgate.gate import Gate
    from headgate.many.gathering import gather
    from headgate.many.outcomes import DeadlinePassed, Outcome, Outcomes
    from headgate.refusals import refusal
    from headgate.transport.canary import canary
    from headgate.transport.context import Last, caller, last
    from headgate.transport.untrusted import isolation_note, untrusted

_WHERE = {
    "Gate": "headgate.gate",
    "caller": "headgate.transport.context",
    "canary": "headgate.transport.canary",
    "last": "headgate.transport.context",
    "Last": "headgate.transport.context",
    "refusal": "headgate.refusals",
    "untrusted": "headgate.transport.untrusted",
    "isolation_note": "headgate.transport.untrusted",
    "gather": "headgate.many.gathering",
    "DeadlinePassed": "headgate.many.outcomes",
    "Outcome": "headgate.many.outcomes",
    "Outcomes": "headgate.many.outcomes",
    "ConfigError": "headgate.core.errors",
    "ConfigWarning": "headgate.core.errors",
    "HeadgateError": "headgate.core.errors",
    "Refusal": "headgate.core.errors",
    "UpstreamError": "headgate.core.errors",
}

__all__ = [
    "ConfigError",
    "ConfigWarning",
    "DeadlinePassed",
    "Gate",
    "HeadgateError",
    "Last",
    "Outcome",
    "Outcomes",
    "Refusal",
    "UpstreamError",
    "__version__",
    "caller",
    "canary",
    "gather",
    "guards",
    "isolation_note",
    "last",
    "refusal",
    "untrusted",
]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if name == "guards":
        import importlib

        return importlib.import_module("headgate.guards")
    if where is None:
        raise AttributeError(f"module 'headgate' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(where), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
