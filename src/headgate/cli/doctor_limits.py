"""Callers' limits that do not do what whoever wrote them is likely to expect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headgate.cli.doctor_report import NOTE, WARNING, Finding
from headgate.policy.estimate import LIKELY_OUTPUT_TOKENS
from headgate.policy.limit_words import scope_text
from headgate.settings.limits import ADDRESS, limits_of

if TYPE_CHECKING:
    from headgate.core.limits import Limit
    from headgate.settings.model import Settings

_LOOPBACK = ("127.", "::1", "localhost")
_OF_KEYS = ("tenant", "environment")  # dimensions that calls through the gateway have from their key
_CALLERS_WORD = frozenset({"user", "session"})  # names that two tenants may both use
_APART = frozenset({"tenant", "key"})


def check_limits(settings: Settings) -> Iterator[Finding]:
    """A finding for each limit that lacks something, and for each thing."""
    for limit in limits_of(settings):
        name = f"the limit {scope_text(limit)} ({limit.source})"
        yield from _lacking(settings, limit, name)
        yield from _too_small(limit, name)
        yield from _mixed(settings, limit, name)


def _lacking(settings: Settings, limit: Limit, name: str) -> Iterator[Finding]:
    """A dimension that calls do not have."""
    told = (*limit.per, *(dimension for dimension, _ in limit.only))
    for dimension in _OF_KEYS:
        keys = settings.keys
        speaking = dimension == "tenant" and any(key.may_speak_for_tenants for key in keys)
        if dimension in told and keys and not speaking and not any(getattr(key, dimension) for key in keys):
            what = f"{name} applies to no call with a key of the configuration: none of them has a {dimension}"
            yield Finding("config", WARNING, what, f"give keys a `{dimension}`, or count by another dimension")
    if ADDRESS in told and settings.server.host.startswith(_LOOPBACK) and not settings.server.trusted_proxies:
        what = f"{name} is one limit for everybody: on {settings.server.host} every caller has this machine's address"
        yield Finding("config", WARNING, what, "behind a proxy, name it in server.trusted_proxies")


def _too_small(limit: Limit, name: str) -> Iterator[Finding]:
    """A call alone is larger."""
    most = limit.tokens_per_minute
    if most is not None and most <= LIKELY_OUTPUT_TOKENS:
        what = (
            f"{name} allows {most:,} tokens a minute, and a call without a lower output cap is expected to take "
            f"{LIKELY_OUTPUT_TOKENS:,} for its answer until its model is known: it never fits"
        )
        yield Finding("config", WARNING, what, "raise tokens_per_minute, or have callers send an output cap")


def _mixed(settings: Settings, limit: Limit, name: str) -> Iterator[Finding]:
    """Callers of different tenants share a bucket because they have a name in common."""
    names = _CALLERS_WORD & set(limit.per)
    tenants = {key.tenant for key in settings.keys}
    if names and len(tenants) > 1 and not _APART & {*limit.per, *(dimension for dimension, _ in limit.only)}:
        word = sorted(names)[0]
        what = f"{name} counts a {word} of one tenant together with another tenant's of the same name"
        yield Finding("config", NOTE, what, f"`per: [tenant, {word}]` keeps them apart")
