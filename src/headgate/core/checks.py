"""Guards that ask somebody over the network, or a model: what is asked, of which texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Passage(Protocol):
    """A text to look at, and whose it is. `wire.segments.Segment` is one.

    Attributes:
        channel: one of `core.guards.CHANNELS`.
        place: where in the request or the answer, for people.
    """

    @property
    def channel(self) -> str: ...

    @property
    def place(self) -> str: ...

    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Check:
    """One such guard, as the calls of somebody have it.

    Attributes:
        guard: "moderation", "judge", "topic", "webhook" or "classifier".
        blocks: what it finds is blocked; else it is flagged.
        closed: where it cannot be asked, the call is blocked; else it passes, flagged. Only with `blocks`.
        timeout: seconds, of all that it asks about one call.
        threshold: the score from which on it has found something, 0 to 1; None = as who is asked says.
        inputs, outputs: which side it looks at.
        provider: whose moderation is asked, by name; "" where there is a `url`.
        url: of a moderation endpoint or a webhook.
        secret: the reference of the secret that signs, or is sent; "" = none. Never the secret.
        model: who judges, as a caller would ask for it; a classifier's folder or name.
        topics: in words: what texts may be about.
        categories: of moderation, that count; () = all.
    """

    guard: str
    blocks: bool = False
    closed: bool = False
    timeout: float = 2.0
    threshold: float | None = None
    inputs: bool = True
    outputs: bool = False
    provider: str = ""
    url: str = ""
    secret: str = ""
    model: str = ""
    topics: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opinion:
    """What was said of one text.

    Attributes:
        score: 0 to 1.
        flagged: it was found; None = by the score alone.
        reasons: short words: categories, or what a webhook calls its reasons.
        passes: who was asked says that it is to pass all the same.
    """

    score: float
    flagged: bool | None = None
    reasons: tuple[str, ...] = ()
    passes: bool = False


@dataclass(frozen=True, slots=True)
class PlainPassage:
    """A `Passage` made by hand."""

    channel: str
    text: str
    place: str = ""
