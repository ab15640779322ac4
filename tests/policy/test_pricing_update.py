"""A new price file: what is looked at before it is taken, and what it would change."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import ConfigError
from headgate.policy.pricebook import PriceBook
from headgate.policy.pricecheck import CLASSES, MOST_BYTES, validate
from headgate.policy.pricediff import compare
from headgate.policy.pricefile import PriceFile
from headgate.policy.pricepins import PRICES_FILE, PRICES_SHA256, file_version, packaged

AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
PACKAGED = packaged(PRICES_FILE)
SMALL: dict[str, Any] = {
    "format": 1,
    "date": "2026-12-01",
    "source": "a test",
    "providers": {
        "acme": {
            "fallback": [],
            "models": [
                {"id": "one", "m": ["=", "one"], "p": [[None, {"i": 100, "o": [500, [1000, 900]]}]], "c": 1000},
                {
                    "id": "two",
                    "m": ["|", ["^", "two"], ["re", "^zwei-\\d{4}$"]],
                    "p": [[None, {"i": 200, "o": 800}], ["2027-01-01", {"i": 300, "o": 800}]],
                    "v": [[{"service_tier": "priority"}, None, {"i": 400}]],
                    "x": 100,
                },
                {"id": "unpriced", "m": ["=", "unpriced"], "p": None},
            ],
        }
    },
}


def made(change: Callable[[Any], object] = lambda top: None) -> bytes:
    top = copy.deepcopy(SMALL)
    change(top)
    return json.dumps(top).encode()


def model(top: Any, place: int = 0) -> Any:
    return top["providers"]["acme"]["models"][place]


def changes(change: Callable[[Any], object]) -> Any:
    return compare(PriceFile(made()), PriceFile(made(change)), AT)


# Is it a price file?


def test_the_packages_own_file_is_one() -> None:
    assert validate(PACKAGED)["date"] == "2026-11-20"
    assert validate(made())["date"] == "2026-12-01"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda top: top.update(format=2), "format 1"),
        (lambda top: top.update(date="2026-13-01"), "date"),
        (lambda top: top.update(date=20261201), "date"),
        (lambda top: top.pop("source"), "source is missing"),
        (lambda top: top.update(extra=1), "unknown key 'extra'"),
        (lambda top: top.update(providers={}), "providers"),
        (lambda top: top["providers"].update({"Über": {}}), "lower-case"),
        (lambda top: top["providers"]["acme"].update(fallback=["nobody"]), "fallback"),
        (lambda top: model(top).update(p=[[None, {"i": -1, "o": 1}]]), r"acme/one: p\[0\]: i"),
        (lambda top: model(top).update(p=[[None, {"i": 1.5, "o": 1}]]), "whole pico-dollars"),
        (lambda top: model(top).update(p=[[None, {"i": True, "o": 1}]]), "whole pico-dollars"),
        (lambda top: model(top).update(p=[[None, {"i": 10**13, "o": 1}]]), "whole pico-dollars"),
        (lambda top: model(top).update(p=[[None, {"o": 1}]]), "without i"),
        (lambda top: model(top).update(p=[[None, {"i": 1, "zz": 1}]]), "unknown class 'zz'"),
        (lambda top: model(top).update(p=[[None, {"i": [1, [5, 2], [5, 3]]}]]), "whole pico-dollars"),
        (lambda top: model(top).update(p=[["soon", {"i": 1}]]), "constraint"),
        (lambda top: model(top).update(p=[[["25:00:00", "01:00:00"], {"i": 1}]]), "constraint"),
        (lambda top: model(top).update(p=[]), "null"),
        (lambda top: model(top).update(m=["?", "one"]), "match rule"),
        (lambda top: model(top).update(m=["=", "One"]), "no expression"),
        (lambda top: model(top).update(m=["re", "(a+)+$"]), "no expression"),
        (lambda top: model(top).update(m=["re", "("]), "no expression"),
        (lambda top: model(top).update(v=[[{"region": "eu"}, None, {"i": 1}]]), "a context is made of"),
        (lambda top: model(top).update(c=0), "number of tokens"),
        (lambda top: model(top).update(id="\x1b[31m"), "an id"),
    ],
)
def test_a_mistake_is_told_with_its_place(change: Callable[[Any], object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        validate(made(change))


def test_every_mistake_is_told_up_to_ten() -> None:
    def spoil(top: Any) -> None:
        top["providers"]["acme"]["models"] = [{"id": f"m{n}", "m": ["=", "m"], "p": 1} for n in range(30)]

    with pytest.raises(ConfigError) as raised:
        validate(made(spoil))
    assert len(raised.value.mistakes) == 11


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_anything_else_is_refused_and_never_a_crash(content: bytes | str) -> None:
    with pytest.raises(ConfigError):
        validate(content.encode() if isinstance(content, str) else content)


def test_a_file_without_end_is_not_decoded() -> None:
    with pytest.raises(ConfigError, match="at most"):
        validate(b"[" * (MOST_BYTES + 1))
    with pytest.raises(ConfigError, match="not JSON"):
        validate(b"[" * 100_000)


@given(st.data())
def test_a_file_that_passes_can_be_read_and_prices_everything_it_names(data: st.DataObject) -> None:
    rate = st.integers(0, 10**12) | st.tuples(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(0, 10**9)).map(
        lambda found: [found[0], [found[1], found[2]]]
    )
    rates = data.draw(st.dictionaries(st.sampled_from(CLASSES), rate, max_size=6))
    content = made(lambda top: model(top).update(p=[[None, {**rates, "i": 5}]]))
    validate(content)
    book = PriceBook.load(content=content, sha256=hashlib.sha256(content).hexdigest())
    assert book.find("acme", "one", AT) is not None


def test_every_class_of_the_compiler_is_known(request: pytest.FixtureRequest) -> None:
    script = request.config.rootpath / "scripts" / "compile_prices.py"
    names = set(CLASSES)
    assert all(f'("{name}", ' in script.read_text("utf-8") for name in names)


# Which file a row was charged from


def test_a_file_that_did_not_come_with_the_package_is_named_by_its_hash_too() -> None:
    content = made()
    sha256 = hashlib.sha256(content).hexdigest()
    book = PriceBook.load(content=content, sha256=sha256)
    assert book.version == book.snapshot == f"2026-12-01@{sha256[:8]}"
    assert file_version("2026-11-20", PRICES_SHA256) == "2026-11-20"


def test_a_file_that_was_changed_since_it_was_pinned_is_refused() -> None:
    with pytest.raises(ConfigError, match="headgate prices update"):
        PriceBook.load(content=made(), sha256="0" * 64)


# What it would change


def test_the_same_file_changes_nothing() -> None:
    file = PriceFile(PACKAGED)
    found = compare(file, PriceFile(PACKAGED), AT)
    assert (found.changes, found.added, found.vanished) == ([], [], [])
    assert found.models > 2_000


def test_a_rate_of_one_band_is_one_change() -> None:
    found = changes(lambda top: model(top).update(p=[[None, {"i": 100, "o": [500, [1000, 950]]}]]))
    assert {(c.model, c.context, c.above, c.old, c.new) for c in found.changes if c.kind == "output"} == {
        ("one", "", 1000, 900, 950)
    }
    assert not found.absurd


@pytest.mark.parametrize(("rate", "absurd"), [(1000, False), (1001, True), (10, False), (9, True), (0, True)])
def test_more_than_ten_times_dearer_or_cheaper_needs_a_persons_word(rate: int, absurd: bool) -> None:
    found = changes(lambda top: model(top).update(p=[[None, {"i": rate, "o": [500, [1000, 900]]}]]))
    assert bool([change for change in found.absurd if change.kind == "input"]) is absurd


def test_a_price_that_begins_later_is_seen_now() -> None:
    def later(top: Any) -> None:
        model(top, 1)["p"].append(["2027-06-01", {"i": 300_000, "o": 800}])

    (change,) = [c for c in changes(later).absurd if c.kind == "input" and not c.context]
    assert datetime.fromtimestamp(change.since, UTC).date().isoformat() == "2027-06-01"
    assert (change.old, change.new) == (300, 300_000)


def test_a_tier_that_is_gone_is_compared_with_what_would_be_charged_now() -> None:
    found = changes(lambda top: model(top, 1).pop("v"))
    assert {(c.context, c.kind, c.old, c.new) for c in found.changes if c.kind == "input"} >= {
        ("priority", "input", 400, 200)
    }


def test_a_model_that_is_gone_or_no_longer_priced_has_vanished() -> None:
    assert changes(lambda top: top["providers"]["acme"]["models"].pop(0)).vanished == ["acme/one"]
    assert changes(lambda top: model(top).update(p=None)).vanished == ["acme/one"]
    assert changes(lambda top: top.update(providers={"zeta": top["providers"]["acme"]})).vanished == [
        "acme/one",
        "acme/two",
    ]


def test_a_model_under_another_id_has_not_vanished() -> None:
    found = changes(lambda top: model(top, 1).update(id="two-latest"))
    assert (found.vanished, found.added) == ([], [])


def test_a_model_that_gets_a_price_is_new() -> None:
    assert changes(lambda top: model(top, 2).update(p=[[None, {"i": 1}]])).added == ["acme/unpriced"]


def test_a_rate_for_some_hours_of_the_day_is_compared_in_those_hours() -> None:
    def night(top: Any) -> None:
        model(top)["p"].append([["22:00:00", "04:00:00"], {"i": 1, "o": 5}])

    assert [c.new for c in changes(night).absurd if c.kind == "input"] == [1]
