"""What plans of alike calls have in common is worked out once, and nothing of it depends on which call came first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headgate.core.errors import NotServed
from headgate.core.exchange import Ending, Request, Route
from headgate.engine.plan import Plan, Policies, make_plan
from headgate.policy.sessions import Sessions
from headgate.testing import World
from headgate.testing.canned import message, messages_request
from headgate.testing.fakes import route

NOW = 1_000.0


@pytest.fixture
def policies() -> Policies:
    return World().engine.policies


def asked(model: str = "claude-haiku-4-5", **more: Any) -> Request:
    return replace(World().request(messages_request(model=model)), **more)


def plans(policies: Policies, *requests: Request) -> list[Plan]:
    return [make_plan(request, policies, NOW + n) for n, request in enumerate(requests)]


def test_alike_calls_share_their_routes_and_have_their_own_times_and_requests(policies: Policies) -> None:
    one, other = asked(), asked(body=b"{}")
    first, second = plans(policies, one, other)
    assert first.routes is second.routes
    assert (first.ends_by, second.ends_by) == (NOW + 600, NOW + 601)
    assert (first.first_content_by, second.first_content_by) == (NOW + 120, NOW + 121)
    assert (first.asked, second.asked, second.came) == (one, other, other)


def test_what_is_changed_in_one_plan_is_not_changed_in_the_next(policies: Policies) -> None:
    (first,) = plans(policies, asked())
    first.routes, first.direct, first.plain, first.on_cut = (), None, False, "restart"
    (second,) = plans(policies, asked())
    assert second.plain
    assert second.direct is second.home is second.routes[0]
    assert second.on_cut == "error"


def test_a_models_name_decides(policies: Policies) -> None:
    found = plans(policies, asked("claude-haiku-4-5"), asked("openai/gpt-5"), asked("claude-opus-4-5"))
    assert [(plan.routes[0].provider, plan.routes[0].model) for plan in found] == [
        ("anthropic", "claude-haiku-4-5"),
        ("openai", "gpt-5"),
        ("anthropic", "claude-opus-4-5"),
    ]
    assert [plan.direct is None for plan in found] == [False, True, False]  # the second has to be translated


@pytest.mark.parametrize(
    ("more", "provider"),
    [({"provider": "openai"}, "openai"), ({"direct": Route("own", "", "anthropic", "https://own.example")}, "own")],
)
def test_a_call_that_says_where_it_goes_goes_there_whatever_those_before_it_did(
    policies: Policies, more: dict[str, Any], provider: str
) -> None:
    found = plans(policies, asked(), asked(**more), asked())
    assert [plan.routes[0].provider for plan in found] == ["anthropic", provider, "anthropic"]


def test_a_provider_that_loses_its_credential_is_refused_and_served_again_once_it_has_one() -> None:
    unready: dict[str, str] = {}
    policies = World().engine.policies
    policies = replace(policies, router=replace(policies.router, unready=unready))
    assert plans(policies, asked())
    unready["anthropic"] = "the variable KEY is not set"
    with pytest.raises(NotServed):
        plans(policies, asked())
    unready.clear()
    assert plans(policies, asked())


def test_a_callers_patience_is_its_own(policies: Policies) -> None:
    stream = replace(asked().facts, stream=True)
    requests = [asked(), asked(patience=20.0), asked(facts=stream, patience=20.0), asked(timeout=5.0), asked()]
    found = plans(policies, *requests)
    assert [plan.ends_by - NOW - n for n, plan in enumerate(found)] == [600, 20, 600, 5, 600]
    assert [plan.first_content_by - NOW - n for n, plan in enumerate(found)] == [120, 20, 20, 5, 120]
    assert found[2].heard_by == NOW + 2 + 20
    assert [plan.patience for plan in found if plan is not found[2]] == [float("inf")] * 4


def test_a_task_is_asked_for_each_call() -> None:
    world = World()
    of_task = {"": world.engine.policies.tasks(""), "other": replace(world.engine.policies.tasks(""), model="claude-x")}
    policies = replace(world.engine.policies, tasks=lambda name: of_task[name])
    named = [asked(caller=replace(asked().caller, task=task)) for task in ("", "other", "")]
    assert [plan.asked.facts.model for plan in plans(policies, *named)] == [
        "claude-haiku-4-5",
        "claude-x",
        "claude-haiku-4-5",
    ]


def test_another_gates_decisions_are_not_taken_for_this_ones(policies: Policies) -> None:
    elsewhere = replace(policies.router, providers={"anthropic": route("elsewhere")}, _seen={}, sessions=Sessions())
    other = replace(policies, router=elsewhere)  # with the very same tasks
    for _ in range(2):
        assert make_plan(asked(), policies, NOW).routes[0].provider == "anthropic"
        assert make_plan(asked(), other, NOW).routes[0].provider == "elsewhere"


def test_names_that_callers_make_up_are_not_all_remembered(policies: Policies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.engine.plan._MOST_OUTLINES", 8)
    for n in range(50):
        (plan,) = plans(policies, asked(f"claude-{n}"))
        assert plan.routes[0].model == f"claude-{n}"
    assert len(policies.tasks("").outlines) <= 8
    before = set(policies.tasks("").outlines)
    (plan,) = plans(policies, asked("claude-" + "x" * 300))
    assert plan.routes[0].model.endswith("xxx")
    assert set(policies.tasks("").outlines) == before  # a name as long as a body is not kept


def test_no_request_is_kept_once_it_is_over(run: Any) -> None:
    world = World(message("a"), message("b"))
    for _ in range(2):
        assert run(world.call(asked(body=b'{"secret":1}'))).exchange.ending is Ending.COMPLETE
    kept = [outline.copy() for outline in world.engine.policies.tasks("").outlines.values()]
    assert [(plan.asked.body, plan.came.body) for plan in kept] == [(b"", b"")]
