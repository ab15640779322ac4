"""Streams with an event that nobody can read: their provider knows nothing of it, goes on writing, and bills that."""

from __future__ import annotations

from typing import Any

import pytest
from crossing_calls import MIXED, asks

from headgate.core.errors import UpstreamError
from headgate.core.exchange import Ending
from headgate.policy.calibration import UNSEEN_LEAST
from headgate.testing import FakeAnswer, World
from headgate.testing.canned import SSE, message_stream
from headgate.testing.fakes import Arrived

NONSENSE = b"event: content_block_delta\ndata: {nonsense\n\n"
TRUTH = 10 * 1_000 + 300 * 5_000  # 10 tokens in and 300 out


def stream(*, before: int, arrived: bool = False) -> FakeAnswer:
    """An answer whose event behind `before` good ones is malformed; what follows comes later, or is here already."""
    pieces = message_stream("one", "x" * 400, "y" * 400, output_tokens=300)
    rest = [Arrived(piece) for piece in pieces[before:]] if arrived else pieces[before:]
    return FakeAnswer(200, ((b"content-type", SSE),), [*pieces[:before], NONSENSE, *rest])


def test_a_translated_stream_that_cannot_be_read_on_is_left_and_charged_as_left(run: Any) -> None:
    world = World(stream(before=3), models=MIXED)
    played = run(world.call(world.request(asks("openai", "claude", stream=True)[0], dialect="openai")))
    (answer,) = world.upstream.answers
    assert answer.closed
    assert not answer.read_to_end  # the rest would have been paid for, for nobody
    assert (played.body.count(b'"error"'), world.exchange.ending) == (1, Ending.CUT)
    assert world.exchange.cost_nano >= 10_000 + (3 + UNSEEN_LEAST) * 5_000
    assert world.exchange.estimated


def test_what_had_arrived_behind_the_event_is_on_the_bill(run: Any) -> None:
    world = World(stream(before=3, arrived=True), models=MIXED)
    run(world.call(world.request(asks("openai", "claude", stream=True)[0], dialect="openai")))
    assert (world.exchange.cost_nano, world.exchange.estimated) == (TRUTH, False)


@pytest.mark.parametrize("before", [1, 2, 3], ids=["behind the start", "before the content", "behind it"])
@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_a_stream_that_is_given_up_for_another_is_charged_for_what_had_arrived(
    run: Any, dialect: str, before: int
) -> None:
    for arrived in (True, False):
        world = World(stream(before=before, arrived=arrived), message_stream("ok"), models=MIXED, on_cut="buffer")
        run(world.call(world.request(asks(dialect, "claude", stream=True)[0], dialect=dialect)))
        first, second = world.exchange.attempts
        assert isinstance(first.error, UpstreamError)
        assert (first.cost_nano == TRUTH) if arrived else (first.cost_nano >= 10_000 + UNSEEN_LEAST * 5_000)
        assert (first.estimated, second.estimated) == (not arrived, False)
        assert world.exchange.ending is Ending.COMPLETE
