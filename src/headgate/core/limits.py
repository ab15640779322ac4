"""What a caller's limit is, and what asking for room within limits says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Limit:
    """Requests or tokens per minute, for each value of its dimensions.

    Attributes:
        per: key, tenant, user, session, task, feature, environment, model, provider, address, tag:<name>; () =
            everything together. A limit does not apply to a call that lacks one of them.
        requests_per_minute, tokens_per_minute: >= 1; None = no limit of that kind.
        only: (dimension, value) that a call has to have for the limit to apply to it.
        source: where it is written, "headgate.yaml:12:5"; "" = not known.
        queues: a call that has no room and may be deferred goes on the queue of jobs (`then: queue`).
    """

    per: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    only: tuple[tuple[str, str], ...] = ()
    source: str = ""
    queues: bool = False

    def __post_init__(self) -> None:
        for figure in (self.requests_per_minute, self.tokens_per_minute):
            if figure is not None and figure < 1:
                raise ValueError("a limit per minute is at least 1")


class Figure(NamedTuple):
    """How a scope stands with one limit.

    Attributes:
        unit: "requests" or "tokens".
        limit: per minute.
        remaining: whole units that would fit now, >= 0.
        reset: seconds until the bucket is full, >= 0.
    """

    unit: str
    limit: int
    remaining: int
    reset: float


class Taken(ABC):
    """A call that was let in by all limits. Give it to `correct` when its tokens are known. Truthy.

    Attributes:
        tokens: the estimate that was taken.
    """

    __slots__ = ("tokens",)

    tokens: int

    @property
    @abstractmethod
    def figures(self) -> tuple[Figure, ...]:
        """How its scope stands after it: for each unit the limit with the least remaining. () = no limit applies."""

    @abstractmethod
    def headers(self) -> list[tuple[bytes, bytes]]:
        """`figures` as response headers, see `policy.gcra.ratelimit_headers`."""

    def lines(self) -> bytes:
        """`headers` as they are written, each with its CRLF."""
        lines = b"\r\n".join(map(b": ".join, self.headers()))
        return lines and lines + b"\r\n"

    if TYPE_CHECKING:  # any object is; saying so would be one more call on the way of every call

        def __bool__(self) -> Literal[True]: ...


class Exceeded(ABC):
    """A call that a limit does not let in now. Nothing was taken. Falsy.

    Attributes:
        limit, unit: what said no: of several the one that takes longest.
        scope: the limit's value (one dimension) or values; () = everything together.
        retry_after: seconds after which all limits let it in, if nothing else comes; > 0. None: never, the call alone
            is larger than the limit.
    """

    __slots__ = ("limit", "retry_after", "scope", "unit")

    limit: Limit
    unit: str
    scope: Hashable
    retry_after: float | None

    @property
    @abstractmethod
    def figures(self) -> tuple[Figure, ...]:
        """As in `Taken`."""

    def __bool__(self) -> Literal[False]:
        return False


Place = tuple[str, str]
"""Whose pace: the provider account (provider and a digest of its credential) and the family of models."""


class Amount(NamedTuple):
    """So much of one of a provider's limits.

    Attributes:
        kind: one of `policy.pace.KINDS` or `CEILINGS`.
        amount: requests or tokens.
        capacity: what a full bucket holds, > 0; 0.0 = the limit is not known here, perhaps to others.
        per_second: how fast it fills, > 0 where `capacity` is.
    """

    kind: str
    amount: float
    capacity: float = 0.0
    per_second: float = 0.0
