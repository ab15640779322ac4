"""Who calls, and what just happened, per context (thread, task)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from headgate.core.approvals import Parked
from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.exchange import Exchange
from headgate.core.guards import Finding
from headgate.core.money import usd
from headgate.engine.answer import served_model
from headgate.policy.labels import label

_caller: ContextVar[Caller | None] = ContextVar("headgate_caller", default=None)
_batch: ContextVar[bool] = ContextVar("headgate_batch", default=False)
_seen: ContextVar[list[Exchange] | None] = ContextVar("headgate_seen", default=None)
_approval: ContextVar[str] = ContextVar("headgate_approval", default="")
_ends_by: ContextVar[float | None] = ContextVar("headgate_ends_by", default=None)
_last: ContextVar[Exchange | None] = ContextVar("headgate_last", default=None)
_NOBODY = Caller()


@contextmanager
def caller(
    *,
    user: str | None = None,
    session: str | None = None,
    task: str | None = None,
    feature: str | None = None,
    tenant: str | None = None,
    tags: Mapping[str, str] | None = None,
    priority: Literal["interactive", "batch"] | None = None,
    approval: str | None = None,
) -> Iterator[Caller]:
    """Attribute the calls made inside, in this thread or task and the tasks it starts. Nests: inner values win.

    A new thread starts without a caller; enter this inside it.

    Args:
        priority: "batch" for calls that nobody waits for in person: the others, "interactive", go before them.
        approval: the token of a tool call that waits for a person (`headgate.last().approvals`): the same request sent
            again inside has the call, once it is approved.

    Raises:
        ConfigError: `priority` is neither.
    """
    outer = current_caller()
    told = {"user": user, "session": session, "task": task, "feature": feature, "tenant": tenant}
    inner = replace(outer, **{name: label(value) for name, value in told.items() if value is not None})  # type: ignore[arg-type]  # all of them are str
    if tags is not None:
        inner = replace(
            inner, tags=MappingProxyType({**outer.tags, **{label(name): label(text) for name, text in tags.items()}})
        )
    if priority not in (None, "interactive", "batch"):
        raise ConfigError(f"headgate.caller(priority=): {priority!r} is neither 'interactive' nor 'batch'")
    token = _caller.set(inner)
    outer_batch = _batch.set(_batch.get() if priority is None else priority == "batch")
    outer_approval = _approval.set(_approval.get() if approval is None else approval)
    try:
        yield inner
    finally:
        _approval.reset(outer_approval)
        _batch.reset(outer_batch)
        _caller.reset(token)


def current_caller() -> Caller:
    """The caller of this context."""
    return _caller.get() or _NOBODY


def in_batch() -> bool:
    """Whether this context's calls have priority "batch"."""
    return _batch.get()


def approval_sent() -> str:
    """The approval's token that this context's calls bring; "" = none."""
    return _approval.get()


def ends_by() -> float | None:
    """When this context's calls have to have ended, in seconds since the epoch on the gate's clock; None = no such
    time."""
    return _ends_by.get()


def bind(*, batch: bool | None, end: float | None) -> None:
    """For as long as this context lives: the priority of its calls, and when they have to have ended. None changes
    nothing; a nearer end stays."""
    if batch is not None:
        _batch.set(batch)
    if end is not None:
        _ends_by.set(min(end, _ends_by.get() or end))


def remember(exchange: Exchange) -> None:
    """Make `exchange` this context's last."""
    _last.set(exchange)
    seen = _seen.get()
    if seen is not None:
        seen.append(exchange)


@contextmanager
def collecting() -> Iterator[list[Exchange]]:
    """The exchanges made inside, in this context and those copied from it. Nests: the outer one has them, too, then."""
    outer = _seen.get()
    inner: list[Exchange] = []
    token = _seen.set(inner)
    try:
        yield inner
    finally:
        _seen.reset(token)
        if outer is not None:
            outer.extend(inner)


class Last:
    """The last exchange of this thread or task. A stream's figures are final once it has been read or closed."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @property
    def exchange_id(self) -> str:
        """As in the ledger, the log and the response header."""
        return self._exchange.id

    @property
    def attempts(self) -> int:
        """Requests sent to providers for it."""
        return len(self._exchange.attempts)

    @property
    def cost_usd(self) -> Decimal:
        """What it cost, exactly."""
        return usd(self._exchange.cost_nano)

    @property
    def verdict(self) -> str:
        """What the guards made of it: "allow", "flag", "redact" or "block"; "" where they are off."""
        return self._exchange.verdict

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the guards had to say of it."""
        return self._exchange.findings

    @property
    def estimated(self) -> bool:
        """True where the provider did not report all of the usage."""
        return self._exchange.estimated

    @property
    def ending(self) -> str:
        """complete, refused, failed, cut, abandoned or cancelled; "" while it is running."""
        return self._exchange.ending.value if self._exchange.ending is not None else ""

    @property
    def model(self) -> str:
        """The model that served."""
        return served_model(self._exchange)

    @property
    def input_tokens(self) -> int:
        """Everything that went in, cached or not, over all attempts."""
        return sum(a.usage.prompt_tokens for a in self._exchange.attempts if a.usage is not None)

    @property
    def output_tokens(self) -> int:
        """Everything that came out, over all attempts."""
        return sum(a.usage.output_tokens for a in self._exchange.attempts if a.usage is not None)

    @property
    def latency_ms(self) -> float | None:
        """From the call to its end, None while it is running."""
        ended = self._exchange.ended
        return None if ended is None else round((ended - self._exchange.started) * 1000, 3)

    @property
    def approvals(self) -> tuple[Parked, ...]:
        """Tool calls of its answer that wait for a person, in order: `token` is for the same request sent again."""
        return self._exchange.parked

    @property
    def error(self) -> str:
        """The cause in words, "" without one."""
        return str(self._exchange.error or "")

    def __repr__(self) -> str:
        return f"<{self.exchange_id} {self.ending or 'running'} ${self.cost_usd} in {self.attempts} attempts>"


def last() -> Last | None:
    """The exchange that this thread or task made last through Headgate; None before the first."""
    exchange = _last.get()
    return None if exchange is None else Last(exchange)
