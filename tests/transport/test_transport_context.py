"""Who calls, per thread and task."""

from __future__ import annotations

import pytest

import headgate
from headgate.transport.context import in_batch


def test_calls_are_interactive_unless_told_and_inner_priorities_win() -> None:
    assert not in_batch()
    with headgate.caller(priority="batch"):
        assert in_batch()
        with headgate.caller(user="ada"):
            assert in_batch()
        with headgate.caller(priority="interactive"):
            assert not in_batch()
        assert in_batch()
    assert not in_batch()


def test_a_priority_that_does_not_exist_is_refused_and_changes_nothing() -> None:
    with (
        pytest.raises(headgate.ConfigError, match="'urgent' is neither 'interactive' nor 'batch'"),
        headgate.caller(user="ada", priority="urgent"),  # type: ignore[arg-type]  # the mistake under test
    ):
        pass
    assert not in_batch()
