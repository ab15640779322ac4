"""Incidents without a store: what can be set, what is found, and the places that `slow` gives out."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.incidents import Incident
from headgate.policy.incidents import Incidents, Live, Slowing, checked, words

NOW = 1_000.0


def made(kind: str = "stop", scope: str = "provider", value: str = "anthropic", **more: Any) -> Incident:
    told = {"now": NOW, "incident_id": "inc_1", "providers": {"anthropic", "openai"}, "models": {"fast"}}
    return checked(kind, scope, value, **{**told, **more})


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        (("halt", "provider", "anthropic"), {}, "stop, slow, degrade"),
        (("stop", "user", "ada"), {}, "provider, model, task or tenant"),
        (("stop", "provider", "antropic"), {}, "no provider named 'antropic'"),
        (("stop", "tenant", ""), {}, "has to be named"),
        (("stop", "tenant", "a\x1b[31m"), {}, "printable"),
        (("slow", "tenant", "acme"), {}, "needs a rate"),
        (("stop", "tenant", "acme"), {"rate": 5}, "only `slow` has a rate"),
        (("degrade", "model", "fast"), {"to": "nothing"}, "no model to degrade to"),
        (("degrade", "model", "fast"), {"to": "fast"}, "to itself"),
        (("stop", "tenant", "acme"), {"to": "fast"}, "only `degrade`"),
        (("stop", "tenant", "acme"), {"seconds": 8 * 86_400.0}, "7 days"),
        (("stop", "tenant", "acme"), {"seconds": float("nan")}, "7 days"),
        (("stop", "tenant", "acme"), {"why": "x" * 501}, "why has to be"),
    ],
)
def test_what_cannot_be_an_incident_is_refused_with_a_sentence(
    arguments: tuple[str, str, str], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        made(*arguments, **more)


def test_an_incident_says_what_it_does_and_knows_its_end() -> None:
    found = made("slow", "tenant", "acme", rate=30, seconds=60)
    assert words(found) == "slow tenant acme to 30 requests per minute"
    assert (found.holds(NOW + 59), found.holds(NOW + 60)) == (True, False)
    assert words(made("degrade", "model", "openai:gpt-5", to="fast")) == "degrade model openai/gpt-5 to fast"


def test_each_incident_is_found_by_its_scope_and_no_other() -> None:
    scopes = ("provider", "model", "task", "tenant")
    live = Live(made("stop", scope, "anthropic", incident_id=f"inc_{scope}") for scope in scopes)
    assert [each.scope for each in live.of_route("anthropic", "x", NOW)] == ["provider"]
    assert [each.scope for each in live.of_route("openai", "anthropic", NOW)] == ["model"]
    assert [each.scope for each in live.of_caller(Caller(tenant="anthropic"), NOW)] == ["tenant"]
    assert [each.scope for each in live.of_caller(Caller(task="anthropic", tenant="acme"), NOW)] == ["task"]
    assert not list(live.of_caller(Caller(user="anthropic"), NOW))
    assert not list(live.of_route("anthropic", "x", NOW + 3_600))


def test_a_model_is_found_with_and_without_its_provider() -> None:
    live = Live([made("stop", "model", "openai:gpt-5")])
    assert [each.value for each in live.of_route("openai", "gpt-5", NOW)] == ["openai/gpt-5"]
    assert not list(live.of_route("azure", "gpt-5", NOW))


def test_nothing_is_on_once_the_last_one_has_been_lifted() -> None:
    board = Incidents()
    board.put([made()], NOW)
    assert board.live is not None
    board.put([], NOW)
    assert board.live is None
    board.put([made(seconds=10)], NOW + 11)
    assert board.live is None


def test_places_already_given_out_count_when_another_incident_is_set() -> None:
    board, slow = Incidents(), made("slow", "tenant", "acme", rate=60)
    board.put([slow], NOW)
    assert board.live is not None
    assert [board.live.pace(slow).take(NOW, NOW + 9) for _ in range(3)] == [0.0, 1.0, 2.0]
    board.put([slow, made()], NOW)
    assert board.live.pace(slow).take(NOW, NOW + 9) == 3.0


def test_several_processes_share_a_rate() -> None:
    slow = made("slow", "tenant", "acme", rate=60)
    assert Live([slow], writers=3).pace(slow).interval == 3.0


@given(
    rate=st.integers(1, 6_000),
    steps=st.lists(st.tuples(st.floats(0, 30), st.floats(0, 60), st.booleans()), max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_no_more_than_the_rate_go_however_they_come_and_nobody_waits_beyond_the_deadline(
    rate: int, steps: list[tuple[float, float, bool]]
) -> None:
    pace, now, went = Slowing(60.0 / rate), NOW, []
    for pause, patience, leaves in steps:
        now += pause
        seconds = pace.take(now, now + patience)
        if seconds is None:
            assert pace.wait(now) > patience
            continue
        assert 0.0 <= seconds <= patience
        if leaves and seconds:
            pace.left()  # the last in the queue has gone: its place is the next one's
        else:
            went.append(now + seconds)
    assert all(later - before >= 60.0 / rate - 1e-6 for before, later in itertools.pairwise(went))
