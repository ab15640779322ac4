"""What a failure's class is, and which step of a ladder is next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import BadRequest, BudgetExceeded, HeadgateError, Unavailable, UpstreamError, UpstreamTimeout
from headgate.policy.ladder import CLASSES, PROVIDERS, Descent, Step, class_of


def failed(kind: str) -> UpstreamError:
    return UpstreamError("no", kind=kind)


@pytest.mark.parametrize(
    ("kind", "class_"),
    [
        ("busy", "overload"),
        ("overloaded", "overload"),
        ("saturated", "overload"),
        ("paced", "overload"),
        ("timeout", "timeout"),
        ("server", "server"),
        ("connect", "server"),
        ("broken", "server"),
        ("truncated", "server"),
        ("config", "server"),
        ("auth", "auth"),
        ("money", "money"),
        ("missing", "missing"),
        ("too_long", "context_length"),
    ],
)
def test_every_kind_of_failure_has_its_class(kind: str, class_: str) -> None:
    assert class_of(failed(kind)) == class_
    assert class_ in CLASSES


def test_a_connection_that_takes_too_long_is_a_timeout() -> None:
    assert class_of(UpstreamTimeout("no", kind="connect")) == "timeout"


@pytest.mark.parametrize(
    ("cause", "class_"), [("money", "money"), ("auth", "auth"), ("forbidden", "auth"), ("failures", "overload")]
)
def test_an_open_breaker_is_of_the_class_that_opened_it(cause: str, class_: str) -> None:
    error = failed("open")
    error.cause = cause  # type: ignore[attr-defined]  # as the error of an open breaker has it
    assert class_of(error) == class_


@pytest.mark.parametrize(
    "error",
    [
        failed("caller"),
        BadRequest("no"),
        Unavailable("no"),
        BudgetExceeded("no", code="unpriced"),
        BudgetExceeded("no", code="unbounded"),
        BudgetExceeded("no", code="call_too_expensive"),
    ],
)
def test_what_only_another_request_mends_has_no_class(error: HeadgateError) -> None:
    assert class_of(error) == ""


def test_a_budget_that_is_exhausted_has_a_class_of_its_own() -> None:
    assert class_of(BudgetExceeded("no")) == "budget"
    assert "budget" not in PROVIDERS


def test_a_step_for_what_went_wrong_first_still_counts_when_something_else_goes_wrong() -> None:
    fast, sorry = Step(frozenset({"overload"}), model="fast"), Step(frozenset({"overload"}), say="sorry")
    descent = Descent([fast, Step(frozenset({"money"}), say="not this"), sorry])
    first = failed("busy")
    assert descent.next(first) is fast
    assert descent.next(failed("timeout")) is sorry
    assert (descent.why, descent.cause) == ("overload", first)


def test_of_several_reasons_the_latest_is_told() -> None:
    both = frozenset({"overload", "timeout"})
    descent = Descent([Step(both, model="fast"), Step(both, say="sorry")])
    descent.next(failed("busy"))
    descent.next(failed("timeout"))
    assert descent.why == "timeout"


KINDS = ("busy", "timeout", "server", "auth", "money", "missing", "too_long", "caller")


@given(
    st.lists(st.sets(st.sampled_from(CLASSES), min_size=1), max_size=8),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=20),
)
def test_a_ladder_is_only_gone_down_and_each_step_fits_something_that_went_wrong(
    classes: list[set[str]], kinds: list[str]
) -> None:
    steps = [Step(frozenset(each), say=str(place)) for place, each in enumerate(classes)]
    descent = Descent(steps)
    met: set[str] = set()
    taken: list[int] = []
    for kind in kinds:
        met.add(class_of(failed(kind)))
        step = descent.next(failed(kind))
        if step is not None:
            assert step.on & met
            assert descent.why in step.on & met
            taken.append(int(step.say))
    assert taken == sorted(set(taken))
    assert descent.cause is not None
