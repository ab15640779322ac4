"""What a provider's failure means: wire-formats section 6, row by row."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRejected
from headgate.policy.failures import MONEY_CODES, failure, failure_inside, retry_after_seconds
from headgate.wire import DIALECTS

NOW = 1_795_132_800.0


def judged(
    dialect: str, status: int, error: dict[str, object], headers: tuple[tuple[bytes, bytes], ...] = ()
) -> UpstreamError:
    """As the engine does it: the dialect reads the body, the policy judges."""
    body = json.dumps({"type": "error", "error": error} if dialect == "anthropic" else {"error": error}).encode()
    said = DIALECTS[dialect].read_error(body)
    return failure(
        status, headers, body, type_=said.type, code=said.code, message=said.message, provider=dialect, now=NOW
    )


def anthropic(type_: str, code: str = "", message: str = "no") -> dict[str, object]:
    return {"type": type_, "message": message, **({"details": {"error_code": code}} if code else {})}


def openai(type_: str, code: str | None = None) -> dict[str, object]:
    return {"type": type_, "code": code, "message": "no", "param": None}


# dialect, status, error, kind, retryable here, worth another route
TABLE = [
    # 408, 409: short backoff
    ("anthropic", 408, anthropic("timeout_error"), "server", True, True),
    ("anthropic", 409, anthropic("conflict_error"), "server", True, True),
    ("openai", 409, openai("invalid_request_error", "conversation_locked"), "server", True, True),
    # 429 proper: wait as told, other key or model
    ("anthropic", 429, anthropic("rate_limit_error"), "busy", True, True),
    ("anthropic", 429, anthropic("rate_limit_error", "ramp_limit_exceeded"), "busy", True, True),
    ("openai", 429, openai("requests", "rate_limit_exceeded"), "busy", True, True),
    ("openai", 429, openai("tokens", "rate_limit_exceeded"), "busy", True, True),
    ("openai", 429, openai("requests", "slow_down"), "busy", True, True),
    ("openai", 429, openai("requests", "resource_unavailable"), "busy", True, True),
    # 429 for money, 402: never here
    ("anthropic", 429, anthropic("rate_limit_error", "enforced_spend_limit_reached"), "money", False, True),
    ("anthropic", 429, anthropic("rate_limit_error", "contract_spend_limit_reached"), "money", False, True),
    ("anthropic", 402, anthropic("billing_error"), "money", False, True),
    ("anthropic", 402, anthropic("billing_error", "linked_organization_unpaid"), "money", False, True),
    ("openai", 429, openai("insufficient_quota", "insufficient_quota"), "money", False, True),
    ("openai", 429, openai("insufficient_quota"), "money", False, True),
    ("openai", 429, openai("requests", "credit_balance_exhausted"), "money", False, True),
    ("openai", 429, openai("requests", "organization_spend_limit_exceeded"), "money", False, True),
    ("openai", 429, openai("requests", "project_spend_limit_exceeded"), "money", False, True),
    ("openai", 429, openai("requests", "organization_usage_limit_exceeded"), "money", False, True),
    ("openai", 429, openai("requests", "billing_hard_limit_reached"), "money", False, True),
    ("openai", 402, openai("insufficient_balance"), "money", False, True),
    # 400 spend-limit text (Anthropic)
    (
        "anthropic",
        400,
        anthropic("invalid_request_error", message="You have reached your specified API usage limits. You will regain"),
        "money",
        False,
        True,
    ),
    # 5xx
    ("anthropic", 500, anthropic("api_error"), "server", True, True),
    ("anthropic", 502, anthropic("api_error"), "server", True, True),
    ("anthropic", 503, anthropic("api_error", "cmek_key_unreachable"), "overloaded", True, True),
    ("anthropic", 504, anthropic("timeout_error"), "server", True, True),
    ("anthropic", 529, anthropic("overloaded_error"), "overloaded", True, True),
    ("anthropic", 520, anthropic("api_error"), "server", True, True),
    ("anthropic", 524, anthropic("api_error"), "server", True, True),
    ("openai", 500, openai("server_error"), "server", True, True),
    ("openai", 503, openai("service_unavailable_error", "server_is_overloaded"), "overloaded", True, True),
    ("openai", 498, openai("capacity", "capacity_exceeded"), "busy", True, True),
    # 501: the SDKs retry it, we do not
    ("anthropic", 501, anthropic("api_error"), "config", False, True),
    ("openai", 501, openai("server_error"), "config", False, True),
    # the caller's
    ("anthropic", 400, anthropic("invalid_request_error"), "caller", False, False),
    ("anthropic", 413, anthropic("request_too_large"), "caller", False, False),
    ("anthropic", 422, anthropic("invalid_request_error"), "caller", False, False),
    ("openai", 400, openai("invalid_request_error", "invalid_prompt"), "caller", False, False),
    ("openai", 400, openai("invalid_request_error", "content_filter"), "caller", False, False),
    ("openai", 400, openai("invalid_request_error", "context_length_exceeded"), "too_long", False, False),
    (
        "anthropic",
        400,
        anthropic("invalid_request_error", message="prompt is too long: 210000 tokens > 200000 maximum"),
        "too_long",
        False,
        False,
    ),
    # credentials and models: elsewhere
    ("anthropic", 401, anthropic("authentication_error"), "auth", False, True),
    ("anthropic", 403, anthropic("permission_error"), "auth", False, True),
    ("anthropic", 404, anthropic("not_found_error"), "missing", False, True),
    ("openai", 401, openai("invalid_request_error", "invalid_api_key"), "auth", False, True),
    ("openai", 403, openai("invalid_request_error"), "auth", False, True),
    ("openai", 404, openai("invalid_request_error", "model_not_found"), "missing", False, True),
    # a redirect is not followed: the base URL is wrong
    ("openai", 302, openai(""), "config", False, True),
]


@pytest.mark.parametrize(("dialect", "status", "error", "kind", "retryable", "elsewhere"), TABLE)
def test_every_row_of_the_classification_table_holds(
    dialect: str, status: int, error: dict[str, object], kind: str, retryable: bool, elsewhere: bool
) -> None:
    found = judged(dialect, status, error)
    assert (found.kind, found.retryable, found.elsewhere) == (kind, retryable, elsewhere)
    assert found.status == status
    assert not found.maybe_billed  # an error status is never billed


@pytest.mark.parametrize(("dialect", "status", "error", "kind"), [row[:4] for row in TABLE])
def test_the_class_says_whether_it_was_busy_broken_or_meant(
    dialect: str, status: int, error: dict[str, object], kind: str
) -> None:
    expected = {"busy": UpstreamBusy, "overloaded": UpstreamBusy, "server": UpstreamBroken}.get(kind, UpstreamRejected)
    assert type(judged(dialect, status, error)) is expected


def test_a_page_of_a_proxy_is_judged_by_its_status_alone() -> None:
    said = DIALECTS["anthropic"].read_error(b"<html><body>502 Bad Gateway</body></html>")
    found = failure(502, (), b"<html>", type_=said.type, code=said.code, message=said.message)
    assert (found.kind, found.retryable) == ("server", True)
    assert "<html>" not in str(found)


@pytest.mark.parametrize(("value", "retryable"), [(b"true", True), (b"false", False), (b" False ", False)])
@pytest.mark.parametrize("status", [400, 429, 500, 529])
def test_x_should_retry_is_obeyed_over_the_status(status: int, value: bytes, retryable: bool) -> None:
    assert judged("anthropic", status, anthropic("x"), ((b"x-should-retry", value),)).retryable is retryable


def test_x_should_retry_without_a_clear_word_changes_nothing() -> None:
    assert judged("anthropic", 529, anthropic("x"), ((b"x-should-retry", b"maybe"),)).retryable
    assert not judged("anthropic", 400, anthropic("x"), ((b"x-should-retry", b""),)).retryable


@pytest.mark.parametrize("code", sorted(MONEY_CODES))
def test_x_should_retry_does_not_make_money_come_back(code: str) -> None:
    found = judged("openai", 429, openai("requests", code), ((b"x-should-retry", b"true"), (b"retry-after", b"1")))
    assert (found.kind, found.retryable) == ("money", False)


def test_a_402_is_retried_only_where_it_says_when() -> None:
    assert judged("openai", 402, openai("x"), ((b"retry-after", b"3"),)).retryable
    assert not judged("openai", 402, openai("x")).retryable


def test_a_402_that_names_a_spent_limit_is_not_retried_even_where_it_says_when() -> None:
    assert not judged("openai", 402, openai("x", "insufficient_quota"), ((b"retry-after", b"3"),)).retryable


INSIDE = [
    ("overloaded_error", "", 529, "overloaded", True),
    ("api_error", "", 500, "server", True),
    ("server_error", "", 500, "server", True),
    ("timeout_error", "", 504, "server", True),
    ("rate_limit_error", "", 429, "busy", True),
    ("rate_limit_exceeded", "", 429, "busy", True),
    ("service_unavailable_error", "server_is_overloaded", 503, "overloaded", True),
    ("invalid_request_error", "", 400, "caller", False),
    ("authentication_error", "", 401, "auth", False),
    ("not_found_error", "", 404, "missing", False),
    ("billing_error", "", 402, "money", False),
    ("", "502", 502, "server", True),  # OpenRouter: the numeric status
    ("", "402", 402, "money", False),
    ("", "429", 429, "busy", True),
    ("", "999", 502, "server", True),
    ("something_new", "", 502, "server", True),
    # A response that failed has a code and no type
    ("", "server_error", 500, "server", True),
    ("", "rate_limit_exceeded", 429, "busy", True),
    ("", "vector_store_timeout", 504, "server", True),
    ("", "invalid_prompt", 400, "caller", False),
    ("", "image_content_policy_violation", 400, "caller", False),
    ("image_generation_user_error", "invalid_image", 400, "caller", False),
]


@pytest.mark.parametrize(("type_", "code", "status", "kind", "retryable"), INSIDE)
@pytest.mark.parametrize("billed", [False, True])
def test_an_error_inside_a_200_is_what_it_is_outside(
    type_: str, code: str, status: int, kind: str, retryable: bool, billed: bool
) -> None:
    found = failure_inside(b"", (), type_=type_, code=code, message="", request_id="r", provider="p", billed=billed)
    assert (found.status, found.kind, found.retryable, found.maybe_billed) == (status, kind, retryable, billed)
    assert found.request_id == "r"


def test_the_message_names_provider_status_and_code_and_nothing_of_the_body() -> None:
    found = judged("anthropic", 429, anthropic("rate_limit_error", "ramp_limit_exceeded", "your prompt was: secret"))
    assert str(found) == "anthropic answered 429 (ramp_limit_exceeded)"


# How long to wait


def test_milliseconds_win_over_seconds_in_either_order() -> None:
    both = [(b"retry-after", b"7"), (b"retry-after-ms", b"250")]
    assert retry_after_seconds(both, NOW) == retry_after_seconds(both[::-1], NOW) == 0.25


def test_milliseconds_that_are_not_a_number_leave_the_seconds() -> None:
    assert retry_after_seconds([(b"retry-after-ms", b"soon"), (b"retry-after", b"7")], NOW) == 7


@pytest.mark.parametrize(("value", "seconds"), [(b"0", 0), (b"1.5", 1.5), (b" 3 ", 3), (b"-4", 0), (b"1e3", 1000)])
def test_seconds_are_read(value: bytes, seconds: float) -> None:
    assert retry_after_seconds([(b"retry-after", value)], NOW) == seconds


@pytest.mark.parametrize("value", [b"", b"soon", b"nan", b"inf", b"-inf", b"\xff\xfe", b"1e999"])
def test_what_is_no_time_is_as_if_it_were_not_there(value: bytes) -> None:
    assert retry_after_seconds([(b"retry-after", value)], NOW) is None
    assert retry_after_seconds([(b"retry-after-ms", value)], NOW) is None


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000", "UTC", ""])
def test_a_date_is_read_as_universal_time_wherever_we_are(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        value = f"Fri, 20 Nov 2026 00:00:30 {zone}".strip().encode()
        assert retry_after_seconds([(b"retry-after", value)], NOW) == 30
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_date_that_has_passed_means_now() -> None:
    assert retry_after_seconds([(b"retry-after", b"Fri, 20 Nov 2020 00:00:30 GMT")], NOW) == 0


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_header_makes_it_raise_or_go_back_in_time(seconds: bytes, milliseconds: bytes) -> None:
    told = retry_after_seconds([(b"retry-after", seconds), (b"retry-after-ms", milliseconds)], NOW)
    assert told is None or 0 <= told < float("inf")


_WORDS = st.sampled_from(
    ["Fri,", "20", "Nov", "2026", "99999", "00:00:30", "25:61:61", "GMT", "+9999", "-0000", "-99:99", "0", "-", ":"]
)


@given(st.lists(_WORDS, max_size=8))
def test_no_likeness_of_a_date_makes_it_raise_or_go_back_in_time(words: list[str]) -> None:
    told = retry_after_seconds([(b"retry-after", " ".join(words).encode())], NOW)
    assert told is None or told >= 0


@given(st.integers(-86_400, 10 * 86_400), st.integers(-11, 12))
def test_every_proper_date_is_as_far_away_as_it_says(seconds: int, zone: int) -> None:
    when = datetime.fromtimestamp(NOW + seconds, timezone(timedelta(hours=zone)))
    assert retry_after_seconds([(b"retry-after", format_datetime(when).encode())], NOW) == max(0, seconds)
