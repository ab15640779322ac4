"""Who a call is attributed to, and what its own headers ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.caller import Caller
from headgate.core.errors import BadRequest
from headgate.policy.attribution import MAX_TAGS, MAX_VALUE, Asked, asked, with_user


def read(*headers: tuple[str, str], caller: Caller | None = None, may_name_tenant: bool = True) -> Asked:
    fields = [(n.encode(), v.encode()) for n, v in headers]
    return asked(fields, caller or Caller(), may_name_tenant=may_name_tenant)


@pytest.mark.parametrize("field", ["user", "session", "task", "feature", "tenant"])
def test_each_dimension_has_a_header(field: str) -> None:
    assert getattr(read((f"x-headgate-{field}", " ada ")).caller, field) == "ada"


@pytest.mark.parametrize(
    ("alias", "field"),
    [("helicone-user-id", "user"), ("x-litellm-end-user-id", "user"), ("helicone-session-id", "session")],
)
def test_an_alias_names_the_same_dimension(alias: str, field: str) -> None:
    assert getattr(read((alias, "ada")).caller, field) == "ada"


def test_our_own_header_wins_over_an_alias_in_either_order() -> None:
    ours, alias = ("x-headgate-user", "ada"), ("helicone-user-id", "bob")
    assert read(ours, alias).caller.user == read(alias, ours).caller.user == "ada"


def test_what_a_header_does_not_name_stays_as_the_way_in_said() -> None:
    caller = Caller(key="dev", tenant="acme", user="ada", environment="test", tags={"a": "1"})
    found = read(("x-headgate-session", "s"), caller=caller).caller
    assert (found.key, found.tenant, found.user, found.environment) == ("dev", "acme", "ada", "test")
    assert (found.session, dict(found.tags)) == ("s", {"a": "1"})


def test_a_call_without_headers_of_ours_keeps_its_caller_object() -> None:
    caller = Caller(key="dev")
    assert read(("anthropic-version", "2023-06-01"), caller=caller).caller is caller


def test_ours_and_the_aliases_do_not_go_on_to_the_provider_and_the_rest_does_in_order() -> None:
    found = read(
        ("anthropic-beta", "a"),
        ("x-headgate-user", "ada"),
        ("x-headgate-made-up", "x"),
        ("x-custom", "1"),
        ("helicone-user-id", "ada"),
        ("x-stainless-timeout", "60"),
        ("anthropic-beta", "b"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )
    assert [n for n, _ in found.headers] == [
        b"anthropic-beta",
        b"x-custom",
        b"x-stainless-timeout",
        b"anthropic-beta",
        b"traceparent",
    ]


# Tenants


def test_a_caller_that_may_not_speak_for_tenants_is_refused_another_tenant() -> None:
    with pytest.raises(BadRequest, match="x-headgate-tenant") as caught:
        read(("x-headgate-tenant", "rival"), caller=Caller(tenant="acme"), may_name_tenant=False)
    assert (caught.value.code, caught.value.status_hint) == ("tenant_not_allowed", 403)


def test_a_caller_without_a_tenant_may_not_take_one_either() -> None:
    with pytest.raises(BadRequest):
        read(("x-headgate-tenant", "acme"), may_name_tenant=False)


def test_a_callers_own_tenant_may_be_repeated() -> None:
    found = read(("x-headgate-tenant", "acme"), caller=Caller(tenant="acme"), may_name_tenant=False)
    assert found.caller.tenant == "acme"


def test_an_empty_tenant_does_not_take_a_call_off_its_tenants_bill() -> None:
    found = read(("x-headgate-tenant", ""), caller=Caller(tenant="acme"), may_name_tenant=False)
    assert found.caller.tenant == "acme"


# The exchange's time


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", "86401", ""])
def test_a_timeout_of_ours_that_cannot_be_used_is_refused_by_name(value: str) -> None:
    with pytest.raises(BadRequest, match="x-headgate-timeout"):
        read(("x-headgate-timeout", value))


def test_an_sdks_timeout_is_its_patience_and_ours_is_the_exchanges_time() -> None:
    ours, total, reading = (
        ("x-headgate-timeout", "9"),
        ("x-stainless-timeout", "600"),
        ("x-stainless-read-timeout", "5"),
    )
    assert [(found.timeout, found.patience) for found in (read(ours, total), read(ours, total, reading))] == [
        (9, 600),
        (9, 5),
    ]
    assert (read(total).timeout, read(total).patience) == (None, 600)
    assert (read().timeout, read().patience) == (None, None)


@pytest.mark.parametrize("value", ["None", "NOT_GIVEN", "0", "nan"])
def test_an_sdk_without_a_timeout_sets_none(value: str) -> None:
    assert read(("x-stainless-timeout", value)).patience is None


@pytest.mark.parametrize(("value", "count"), [("0", 0), ("2", 2), ("-1", 0), ("x", 0), ("9" * 50, 0)])
def test_a_caller_that_is_retrying_is_seen(value: str, count: int) -> None:
    assert read(("x-stainless-retry-count", value)).client_retries == count


# Correlation


def test_the_trace_id_correlates_unless_the_caller_says_otherwise() -> None:
    trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    ours = ("x-headgate-correlation-id", "mine")
    assert read(trace).correlation_id == "0af7651916cd43dd8448eb211c80319c"
    assert read(trace, ours).correlation_id == read(ours, trace).correlation_id == "mine"


@pytest.mark.parametrize("value", ["", "00", "00-short-b7ad6b7169203331-01", "-" * 40])
def test_a_broken_trace_header_correlates_nothing(value: str) -> None:
    assert read(("traceparent", value)).correlation_id == ""


# Tags


def test_tags_add_to_the_callers_and_win_over_them() -> None:
    caller = Caller(tags={"team": "a", "env": "x"})
    found = read(("x-headgate-tags", "team = b , , release=1=2"), caller=caller).caller
    assert dict(found.tags) == {"team": "b", "env": "x", "release": "1=2"}


@pytest.mark.parametrize("value", ["lonely", "=x", "a=1,b", " = "])
def test_tags_that_are_not_pairs_are_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="x-headgate-tags"):
        read(("x-headgate-tags", value))


def test_more_tags_than_fit_a_row_are_refused() -> None:
    read(("x-headgate-tags", ",".join(f"t{n}=1" for n in range(MAX_TAGS))))
    with pytest.raises(BadRequest, match="more than"):
        read(("x-headgate-tags", ",".join(f"t{n}=1" for n in range(MAX_TAGS + 1))))


def test_the_bodys_user_counts_only_where_no_header_names_one() -> None:
    assert with_user(Caller(), "body").user == "body"
    assert with_user(Caller(user="header"), "body").user == "header"
    assert len(with_user(Caller(), "x" * 1000).user) == MAX_VALUE


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                b"x-headgate-user x-headgate-timeout x-headgate-tags x-headgate-priority x-headgate-tenant "
                b"x-headgate-correlation-id traceparent x-stainless-timeout x-stainless-retry-count x-other".split()
            ),
            st.binary(max_size=400),
        ),
        max_size=6,
    )
)
def test_whatever_the_headers_hold_they_are_read_or_refused(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        found = asked(headers, Caller(), may_name_tenant=True)
    except BadRequest:
        return
    assert all(not n.startswith(b"x-headgate-") for n, _ in found.headers)
    assert len(found.caller.user) <= MAX_VALUE
    assert len(found.correlation_id) <= MAX_VALUE
    assert all(seconds is None or 0 < seconds <= 86_400 for seconds in (found.timeout, found.patience))


# Priority


@pytest.mark.parametrize(("value", "batch"), [("batch", True), ("interactive", False), ("", None), (" batch ", True)])
def test_the_priority_header_says_whether_a_call_is_batch(value: str, batch: bool | None) -> None:
    assert read(("x-headgate-priority", value)).batch is batch


def test_without_the_header_nothing_is_said_of_priority() -> None:
    assert read(("anthropic-beta", "a")).batch is None


@pytest.mark.parametrize("value", ["Batch", "low", "batch, interactive"])
def test_another_priority_is_refused_by_name(value: str) -> None:
    with pytest.raises(BadRequest, match=r"x-headgate-priority: .* is neither 'interactive' nor 'batch'"):
        read(("x-headgate-priority", value))
