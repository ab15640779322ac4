"""Classes of failures, as configuration names them: several kinds of `UpstreamError` that call for the same answer.

`fallback` and `degrade` speak of the same classes, and mean the same by `any`.
"""

from __future__ import annotations

from types import MappingProxyType

from headgate.core.errors import UpstreamError

ANY = "any"
"""Stands for `PROVIDERS`."""

PROVIDERS = ("overload", "timeout", "server", "auth", "money")
"""Failures that are the provider's, or its operator's."""

FAILURES = (*PROVIDERS, "missing", "context_length", "refusal")
"""All classes. In the last three the provider has answered, and means it: nothing is done but what is written for
them."""

# By `UpstreamError.kind`. What is not here is the caller's own mistake.
_CLASS_OF = MappingProxyType(
    {
        "busy": "overload",
        "overloaded": "overload",
        "saturated": "overload",
        "paced": "overload",
        "open": "overload",
        "timeout": "timeout",
        "server": "server",
        "connect": "server",
        "broken": "server",
        "truncated": "server",
        "config": "server",
        "auth": "auth",
        "money": "money",
        "missing": "missing",
        "too_long": "context_length",
        "refusal": "refusal",
    }
)
_CAUSES = MappingProxyType({"money": "money", "auth": "auth", "forbidden": "auth"})
"""Why a breaker is open, where that is not an overload."""


def class_of(error: UpstreamError) -> str:
    """One of `FAILURES`; "" where nothing but an attempt's own retry helps."""
    if error.kind == "open":
        return _CAUSES.get(getattr(error, "cause", ""), "overload")
    if error.kind == "connect" and error.code == "provider_timeout":
        return "timeout"
    return _CLASS_OF.get(error.kind, "")
