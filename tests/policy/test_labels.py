"""Credentials in the names that callers give their calls."""

from __future__ import annotations

import uuid

import pytest

from headgate.core.caller import Caller
from headgate.policy import labels
from headgate.policy.attribution import asked, with_user
from headgate.policy.failures import failure
from headgate.policy.guards import secrets_vendors
from headgate.policy.labels import label

KEY = "gh" + "p_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"


def test_a_key_in_a_label_is_replaced_by_its_kind_and_the_rest_stays() -> None:
    found = label(f"job {KEY} of monday")
    assert KEY not in found
    assert found.startswith("job [github_token:")
    assert found.endswith("] of monday")


def test_two_keys_stay_two_labels_and_the_same_one_stays_the_same() -> None:
    assert label(KEY) == label(KEY) != label(KEY[:-1] + "B")


@pytest.mark.parametrize(
    "text", ["", "ada", "ada.lovelace@example.org", str(uuid.UUID(int=7**40)), "the quarterly report of the north team"]
)
def test_what_is_no_key_stays_as_it_is(text: str) -> None:
    assert label(text) == text


def test_headers_tags_and_the_bodys_user_are_looked_at_whole_before_they_are_cut() -> None:
    long = "x" * 240 + " " + KEY
    headers = [
        (b"x-headgate-session", long.encode()),
        (b"x-headgate-tags", f"team={KEY},{KEY}=b".encode()),
        (b"x-headgate-correlation-id", KEY.encode()),
    ]
    found = asked(headers, Caller(), may_name_tenant=True)
    assert KEY[:12] not in repr(found.caller) + found.correlation_id + with_user(Caller(), long).user
    assert set(found.caller.tags.values()) == {label(KEY), "b"}


def test_a_providers_code_that_is_a_key_is_not_kept() -> None:
    found = failure(500, [], b"", type_=KEY, provider="openai")
    assert found.provider_code == label(KEY)
    assert KEY not in str(found)


def test_a_long_name_is_looked_at_once_and_a_key_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    before = secrets_vendors.vendor_keys

    def look(text: str) -> object:
        looked.append(text)
        return before(text)

    monkeypatch.setattr(labels, "_harmless", set())
    monkeypatch.setattr(labels, "_MOST", 2)
    monkeypatch.setattr(secrets_vendors, "vendor_keys", look)
    names = ["the quarterly report of the north team", f"job {KEY}", "x y" * 200]
    for _ in range(2):
        assert [label(name) == name for name in names] == [True, False, True]
    assert looked == [*names, *names[1:]]
    for number in range(9):
        label(f"the quarterly report of team {number}")
        assert 0 < len(labels._harmless) <= 2
