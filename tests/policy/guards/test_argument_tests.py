"""What an argument is compared with."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.guards.argument_tests import ArgumentTest, Condition, domain_of, in_domain, is_below
from headgate.policy.guards.patterns import Glob, Regex

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        ("https://docs.acme.example/a?b", "docs.acme.example"),
        ("HTTPS://DOCS.Acme.Example:8443/", "docs.acme.example"),
        ("ada@acme.example", "acme.example"),
        ("https://acme.example./", "acme.example"),
        ("https://acme.example@evil.example/", None),
        ("https://evil.example\\@acme.example/", None),
        ("https://evil.example/\t@acme.example", None),
        ("javascript://acme.example/%0aalert(1)", None),
        ("file:///etc/passwd", None),
        ("https://аcme.example/", None),  # a Cyrillic a
        ("ada@acme.example,eve@evil.example", None),
        ("eve@evil.example ada@acme.example", None),
        ("<eve@evil.example>", None),
        ("acme.example", None),
        ("@acme.example", None),
        ("", None),
        ("https://[::1", None),
        ("https:///path", None),
    ],
)
def test_a_domain_is_read_only_where_no_program_could_read_another(value: str, domain: str | None) -> None:
    assert domain_of(value) == domain


@pytest.mark.parametrize(
    ("domain", "pattern", "inside"),
    [
        ("acme.example", "acme.example", True),
        ("a.acme.example", "acme.example", False),
        ("a.acme.example", "*.acme.example", True),
        ("a.b.acme.example", "*.acme.example", True),
        ("acme.example", "*.acme.example", False),
        ("evilacme.example", "*.acme.example", False),
        ("acme.example.evil.example", "acme.example", False),
    ],
)
def test_a_host_is_in_a_domain_by_whole_labels(domain: str, pattern: str, inside: bool) -> None:
    assert in_domain(domain, pattern) is inside


@pytest.mark.parametrize(
    ("value", "prefix", "below"),
    [
        ("https://acme.example/docs/a", "https://acme.example/docs", True),
        ("https://acme.example", "https://acme.example", True),
        ("https://acme.example?q=..", "https://acme.example", True),
        ("https://acme.example.evil.example/", "https://acme.example", False),
        ("https://acme.example@evil.example/", "https://acme.example", False),
        ("/srv/data/x.txt", "/srv/data/", True),
        ("/srv/data/../../etc/passwd", "/srv/data/", None),
        ("/srv/data/%2e%2e/%2e%2e/etc/passwd", "/srv/data/", None),
        ("/srv/data/%252e%252e/etc/passwd", "/srv/data/", None),
        ("/srv/data/..\\..\\etc", "/srv/data/", None),
        ("/srv/data/..;/etc", "/srv/data/", None),
        ("/srv/database", "/srv/data", False),
        ("/srv/data/a\x00b", "/srv/data/", None),
        ("/etc/passwd", "/srv/data/", False),
    ],
)
def test_what_climbs_out_of_a_prefix_is_not_below_it(value: str, prefix: str, below: bool | None) -> None:
    assert is_below(value, prefix) is below


@pytest.mark.parametrize(
    ("test", "value", "fits"),
    [
        (ArgumentTest(glob=Glob("*@acme.example")), "ada@acme.example", True),
        (ArgumentTest(glob=Glob("*@acme.example")), 5, None),
        (ArgumentTest(glob=Glob("a*")), "a" * 5_000, None),
        (ArgumentTest(regex=Regex("[0-9]{8}")), "12345678", True),
        (ArgumentTest(regex=Regex("[0-9]{8}")), "x12345678", False),
        (ArgumentTest(among=(1, "a", None)), 1, True),
        (ArgumentTest(among=(1,)), True, False),
        (ArgumentTest(among=(1, None)), None, True),
        (ArgumentTest(most=100), 100, True),
        (ArgumentTest(most=100), 100.5, False),
        (ArgumentTest(most=100), "5", None),
        (ArgumentTest(most=100), True, None),
        (ArgumentTest(least=0, most=100), -1, False),
        (ArgumentTest(most=100), float("nan"), False),
        (ArgumentTest(domains=("acme.example",)), "ada@acme.example", True),
        (ArgumentTest(domains=("acme.example",)), "no address", None),
        (ArgumentTest(glob=Glob("a*"), regex=Regex("ab")), "ac", False),
    ],
)
def test_a_value_fits_does_not_or_cannot_be_told(test: ArgumentTest, value: object, fits: bool | None) -> None:
    assert test.fits(value) is fits


TO_ACME = Condition(("to",), ArgumentTest(glob=Glob("*@acme.example")))


@pytest.mark.parametrize(
    ("arguments", "for_allowing", "for_blocking"),
    [
        ({"to": "ada@acme.example"}, True, True),
        ({"to": ["ada@acme.example", "bob@acme.example"]}, True, True),
        ({"to": ["ada@acme.example", "eve@evil.example"]}, False, True),
        ({"to": ["ada@acme.example", {"address": "eve@evil.example"}]}, False, True),
        ({"to": ["ada@acme.example", []]}, False, True),
        ({"to": []}, False, False),
        ({}, False, False),
        ({"to": 5}, False, True),
        ({"to": "eve@evil.example"}, False, False),
        ({"to": [[]] * 2_000 + ["eve@evil.example"]}, False, True),
    ],
)
def test_all_values_have_to_fit_to_allow_and_one_is_enough_to_block(
    arguments: dict[str, Any], for_allowing: bool, for_blocking: bool
) -> None:
    assert TO_ACME.holds(arguments, for_sure=True) is for_allowing
    assert TO_ACME.holds(arguments, for_sure=False) is for_blocking


def test_a_path_leads_into_objects_and_the_items_of_lists() -> None:
    inside = Condition(("messages", "to"), ArgumentTest(glob=Glob("*@acme.example")))
    assert inside.holds({"messages": [{"to": "a@acme.example"}, {"to": ["b@acme.example"]}]}, for_sure=True)
    assert not inside.holds({"messages": [{"to": "a@acme.example"}, {"cc": "b@acme.example"}]}, for_sure=True)
    assert not inside.holds({"messages": "a@acme.example"}, for_sure=True)


@given(st.dictionaries(st.sampled_from("abc"), JSON, max_size=3), st.sampled_from(["a", "b"]))
def test_what_is_for_sure_also_holds_where_one_value_is_enough(arguments: dict[str, Any], key: str) -> None:
    for test in (ArgumentTest(glob=Glob("a*")), ArgumentTest(most=3), ArgumentTest(among=(None, 1))):
        condition = Condition((key, "b"), test)
        if condition.holds(arguments, for_sure=True):
            assert condition.holds(arguments, for_sure=False)
