"""Several keys of one provider: taken in turn, and what fails with one goes to the next where another key may help."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import NotServed, UpstreamError, UpstreamRejected
from headgate.core.exchange import Attempt, Facts, Request, Route
from headgate.core.secret import Secret
from headgate.policy.recovery import GiveUp, Recovery, Retry
from headgate.policy.routing import Router


class Key(Secret):
    """A key that may be refused, or gone."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.rejected = False

    def lose(self) -> None:
        self._value = ""


@pytest.fixture
def keys() -> list[Key]:
    return [Key("fake-1"), Key("fake-2"), Key("fake-3")]


def router(keys: list[Key], unready: dict[str, str] | None = None) -> Router:
    claude = Route("anthropic", "", "anthropic", "https://claude.test", keys[0])
    acme = Route("acme", "", "anthropic", "https://acme.test", Secret("fake-acme"))
    local = Route("local", "", "anthropic", "http://127.0.0.1:1")
    return Router(
        providers={r.provider: r for r in (claude, acme, local)},
        models={"fast": (replace(claude, model="haiku"), replace(acme, model="small"))},
        defaults={"anthropic": "anthropic"},
        unready=unready or {},
        keys={"anthropic": keys},
    )


def request(model: str, provider: str = "", direct: Route | None = None) -> Request:
    return Request(
        "anthropic",
        "messages",
        "POST",
        "/v1/messages",
        (),
        b"",
        Facts(model=model),
        Caller(),
        "gateway",
        provider=provider,
        direct=direct,
    )


def shown(routes: Any) -> list[str]:
    return [f"{r.provider}/{r.model} {r.credential.reveal() if r.credential else '-'}" for r in routes]


@pytest.mark.parametrize("asked", [request("haiku"), request("anthropic/haiku"), request("haiku", "anthropic")])
def test_each_exchange_begins_with_the_next_key_and_has_all_of_them(keys: list[Key], asked: Request) -> None:
    made = router(keys)
    firsts = [shown(made.routes(asked)) for _ in range(4)]
    assert firsts[0] == ["anthropic/haiku fake-1", "anthropic/haiku fake-2", "anthropic/haiku fake-3"]
    assert [each[0][-1] for each in firsts] == ["1", "2", "3", "1"]
    assert all(sorted(each) == sorted(firsts[0]) for each in firsts)


def test_the_routes_of_a_turn_are_made_once_and_not_for_each_exchange(keys: list[Key]) -> None:
    made = router(keys)
    once = [made.routes(request("haiku")) for _ in range(3)]
    again = [made.routes(request("haiku")) for _ in range(3)]
    assert all(a is b for one, two in zip(once, again, strict=True) for a, b in zip(one, two, strict=True))


def test_all_keys_of_a_virtual_models_first_provider_come_before_its_second(keys: list[Key]) -> None:
    assert shown(router(keys).routes(request("fast"))) == [
        "anthropic/haiku fake-1",
        "anthropic/haiku fake-2",
        "anthropic/haiku fake-3",
        "acme/small fake-acme",
    ]


def test_a_key_that_has_gone_is_left_out_and_comes_back(keys: list[Key]) -> None:
    made = router(keys)
    keys[0].lose()
    keys[1].lose()
    assert shown(made.routes(request("haiku"))) == ["anthropic/haiku fake-3"]
    keys[0]._value = "fake-4"
    assert "anthropic/haiku fake-4" in shown(made.routes(request("haiku")))


def test_a_key_that_its_provider_refused_comes_after_the_others(keys: list[Key]) -> None:
    made = router(keys)
    keys[0].rejected = True
    assert [shown(made.routes(request("haiku")))[-1] for _ in range(3)] == ["anthropic/haiku fake-1"] * 3
    for key in keys:
        key.rejected = True
    assert len(made.routes(request("haiku"))) == 3


def test_a_provider_that_loses_its_last_key_at_run_time_is_refused_with_the_reason_and_serves_again(
    keys: list[Key],
) -> None:
    unready: dict[str, str] = {}
    made = Router(
        {"anthropic": Route("anthropic", "", "anthropic", "https://claude.test", keys[0])},
        {},
        {"anthropic": "anthropic"},
        unready,
    )
    assert len(made.routes(request("haiku"))) == 1
    unready["anthropic"] = "vault:x/y#z was deleted"
    with pytest.raises(
        NotServed, match=r"provider anthropic cannot be used: the gateway has no key for it now"
    ) as refused:
        made.routes(request("haiku"))
    assert (refused.value.status_hint, refused.value.code) == (503, "provider_not_configured")
    del unready["anthropic"]
    assert len(made.routes(request("haiku"))) == 1


def test_in_process_the_sdks_own_key_is_one_route_and_the_configured_ones_are_not_used(keys: list[Key]) -> None:
    direct = Route("anthropic", "", "anthropic", "https://claude.test")
    found = router(keys).routes(request("fast", direct=direct))
    assert [(r.provider, r.credential is None) for r in found] == [("anthropic", True), ("acme", False)]


def test_a_provider_without_a_credential_is_left_as_it_is(keys: list[Key]) -> None:
    assert shown(router(keys).routes(request("local/x"))) == ["local/x -"]


# ---- what follows a failure ----------------------------------------------------------------------------------------


def failed(route: Route, kind: str, *, retryable: bool, elsewhere: bool = True, number: int = 1) -> Attempt:
    error: UpstreamError = UpstreamRejected("no", kind=kind, retryable=retryable, elsewhere=elsewhere)
    return Attempt(number, route, 0.0, error=error)


@pytest.mark.parametrize(("kind", "retryable"), [("auth", False), ("busy", True), ("money", False)])
def test_what_another_key_need_not_share_goes_to_the_next_key_at_once(
    keys: list[Key], kind: str, retryable: bool
) -> None:
    routes = router(keys).routes(request("fast"))
    attempts = [failed(routes[0], kind, retryable=retryable)]
    assert Recovery().next(attempts, routes, left=100, jitter=0.5) == Retry(1, 0.0)
    attempts.append(failed(routes[1], kind, retryable=retryable))
    assert Recovery().next(attempts, routes, left=100, jitter=0.5) == Retry(2, 0.0)
    attempts.append(failed(routes[2], kind, retryable=retryable))
    assert Recovery().next(attempts, routes, left=100, jitter=0.5) == Retry(3, 0.0)


@pytest.mark.parametrize("kind", ["overloaded", "server", "broken"])
def test_what_all_keys_share_is_retried_and_then_goes_to_the_next_provider(keys: list[Key], kind: str) -> None:
    routes = router(keys).routes(request("fast"))
    attempts = [failed(routes[0], kind, retryable=True)]
    step = Recovery().next(attempts, routes, left=100, jitter=0.5)
    assert isinstance(step, Retry)
    assert (step.route, step.after > 0) == (0, True)
    attempts.append(failed(routes[0], kind, retryable=True))
    assert Recovery().next(attempts, routes, left=100, jitter=0.5) == Retry(3, 0.0)


def test_a_model_that_is_missing_is_missing_for_every_key(keys: list[Key]) -> None:
    routes = router(keys).routes(request("fast"))
    attempts = [failed(routes[0], "missing", retryable=False)]
    assert Recovery().next(attempts, routes, left=100, jitter=0.5) == Retry(3, 0.0)
    alone = routes[:3]
    assert isinstance(Recovery().next(attempts, alone, left=100, jitter=0.5), GiveUp)


def test_when_every_key_is_over_its_limit_the_last_one_waits_as_told(keys: list[Key]) -> None:
    routes = router(keys).routes(request("haiku"))
    attempts = [failed(route, "busy", retryable=True) for route in routes]
    attempts[-1].error.retry_after = 4.0  # type: ignore[union-attr]
    assert Recovery().next(attempts, routes, left=100, jitter=0.0) == Retry(2, 4.0)


def test_a_credential_that_was_renewed_is_tried_at_once_on_the_same_route(keys: list[Key]) -> None:
    routes = router(keys).routes(request("fast"))
    attempts = [failed(routes[0], "auth", retryable=False)]
    assert Recovery().next(attempts, routes, left=100, jitter=0.5, renewed=True) == Retry(0, 0.0)
    error = attempts[0].error
    assert error is not None
    assert Recovery(attempts=1).next(attempts, routes, left=100, jitter=0.5, renewed=True) == GiveUp(error)
    assert Recovery().next(attempts, routes, left=0, jitter=0.5, renewed=True) == GiveUp(error)
