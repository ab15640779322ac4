"""`core.ports.Checkers`: which guards have to ask about which texts, at once where the colour allows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from headgate.core.checks import Check, Opinion, Passage
from headgate.core.exchange import Exchange
from headgate.core.guards import Finding
from headgate.policy.guards.network import (
    MAX_CHARS,
    MAX_TEXTS,
    Malformed,
    finding,
    looked_at,
    pieces,
    unavailable,
)
from headgate.upstream.checks.asking import Classifier, Means, Unanswered, call_webhook, judge, moderate
from headgate.upstream.checks.memory import Opinions

if TYPE_CHECKING:
    from headgate.engine.engine import Engine

BATCH_CHARS, BATCH_TEXTS = 48_000, 24
"""What a moderation or a model is asked about at once."""

Tell = Callable[..., None]


class Checkers:
    """What both colours share.

    Args:
        tell: told of guards that could not be asked; never of texts.
        classifier: makes the classifier of a folder or a name; may raise ImportError or OSError.
    """

    def __init__(self, means: Means, opinions: Opinions, tell: Tell, classifier: Callable[[str], Classifier]) -> None:
        self._means = means
        self._opinions = opinions
        self._tell = tell
        self._classifier = classifier
        self.engine: Engine | None = None  # of the same colour, for models that judge

    def _jobs(
        self, exchange: Exchange, checks: Sequence[Check], passages: Sequence[Passage], output: bool
    ) -> list[tuple[Check, Callable[[], Awaitable[tuple[Finding, ...]]]]]:
        if exchange.request.of_guard:
            return []  # or a judge would be judged, and so on
        found: list[tuple[Check, Callable[[], Awaitable[tuple[Finding, ...]]]]] = []
        for check in checks:
            seen = looked_at(check, passages, output=output)
            if seen:
                found.append((check, partial(self._ask, exchange, check, seen)))
        return found

    async def _ask(self, exchange: Exchange, check: Check, passages: Sequence[Passage]) -> tuple[Finding, ...]:
        """One guard's findings about the texts. Never raises but when it is cancelled."""
        cut = [(passage, piece) for passage in passages for piece in pieces(passage.text)]
        if len(cut) > MAX_TEXTS or sum(len(piece) for _, piece in cut) > MAX_CHARS:
            return (self.not_asked(exchange, check, "too much text"),)
        now = self._means.clock.now()
        until = now + check.timeout
        known = {piece: self._opinions.get(check, piece, now) for _, piece in cut}
        channels = {piece: passage.channel for passage, piece in cut}
        try:
            for batch in _batches([piece for piece, opinion in known.items() if opinion is None]):
                fresh = await self._opinions_of(exchange, check, batch, channels, until)
                for piece, opinion in zip(batch, fresh, strict=True):
                    self._opinions.put(check, piece, opinion, now)
                known.update(zip(batch, fresh, strict=True))
        except (Unanswered, Malformed) as error:
            return (self.not_asked(exchange, check, str(error)),)
        except Exception as error:
            # A guard that breaks must not look as if it had found nothing.
            return (self.not_asked(exchange, check, type(error).__name__),)
        found = [finding(check, said, passage) for passage, piece in cut if (said := known[piece]) is not None]
        return tuple(dict.fromkeys(each for each in found if each is not None))

    async def _opinions_of(
        self, exchange: Exchange, check: Check, batch: list[str], channels: dict[str, str], until: float
    ) -> list[Opinion]:
        means = self._means
        if check.guard == "classifier":
            return [Opinion(score) for score in await self._classify(check, batch)]
        if check.guard == "webhook":
            return [
                await call_webhook(means, self._timed(check, until), exchange, channels[text], text) for text in batch
            ]
        check = self._timed(check, until)
        if check.guard == "moderation":
            return await moderate(means, check, batch)
        assert self.engine is not None  # set when it was built
        return await judge(means, self.engine, check, exchange, batch)

    def _timed(self, check: Check, until: float) -> Check:
        """With what is left of its time. Raises Unanswered where nothing is."""
        left = until - self._means.clock.now()
        if left <= 0:
            raise Unanswered("timeout")
        return replace(check, timeout=min(check.timeout, left))

    async def _classify(self, check: Check, batch: list[str]) -> list[float]:
        return self._classifier(check.model).score(batch)

    def not_asked(self, exchange: Exchange, check: Check, why: str) -> Finding:
        """The finding that a guard could not be asked; and a line in the log."""
        self._tell("guard_unavailable", exchange=exchange.id, guard=check.guard, reason=why, closed=check.closed)
        return unavailable(check)


class BlockingCheckers(Checkers):
    """For threads: one guard after another."""

    async def check(
        self, exchange: Exchange, checks: Sequence[Check], passages: Sequence[Passage], *, output: bool = False
    ) -> tuple[Finding, ...]:
        """See `core.ports.Checkers`. Never suspends."""
        found: list[Finding] = []
        for _, ask in self._jobs(exchange, checks, passages, output):
            found += await ask()
        return tuple(found)


class AsyncCheckers(Checkers):
    """For event loops: all at once, each within its own time."""

    async def check(
        self, exchange: Exchange, checks: Sequence[Check], passages: Sequence[Passage], *, output: bool = False
    ) -> tuple[Finding, ...]:
        """See `core.ports.Checkers`."""
        jobs = self._jobs(exchange, checks, passages, output)
        if not jobs:
            return ()
        import anyio

        found: list[tuple[Finding, ...]] = [()] * len(jobs)

        async def run(place: int, check: Check, ask: Callable[[], Awaitable[tuple[Finding, ...]]]) -> None:
            with anyio.move_on_after(check.timeout) as scope:
                found[place] = await ask()
            if scope.cancelled_caught:
                found[place] = (self.not_asked(exchange, check, "timeout"),)

        async with anyio.create_task_group() as group:
            for place, (check, ask) in enumerate(jobs):
                group.start_soon(run, place, check, ask)
        return tuple(each for several in found for each in several)

    async def _classify(self, check: Check, batch: list[str]) -> list[float]:
        from anyio import to_thread

        return await to_thread.run_sync(lambda: self._classifier(check.model).score(batch), abandon_on_cancel=True)


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (size + len(text) > BATCH_CHARS or len(batch) >= BATCH_TEXTS):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch
