"""Time zones are known by their IANA names, on every machine alike, and a wrong one says which was meant."""

from __future__ import annotations

import contextlib
import zoneinfo
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.settings.zones import zone, zone_name


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT-14", "EST5EDT"])
def test_a_zone_is_named_as_iana_names_it(name: str) -> None:
    assert zone_name(name) == name
    assert datetime(2026, 1, 1, tzinfo=zone(name)).utcoffset() is not None


def test_utc_needs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "ZoneInfo", _nothing)
    assert zone(zone_name("UTC")) is UTC


def _nothing(name: str) -> None:
    raise zoneinfo.ZoneInfoNotFoundError(name)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("Europe/Berlinn", "Europe/Berlin"),
        ("Asia/Calcuta", "Asia/Calcutta"),
        ("utc", "UTC"),
        ("Tokio", "Asia/Tokyo"),
    ],
)
def test_a_name_that_is_nearly_right_is_corrected(written: str, meant: str) -> None:
    with pytest.raises(ValueError) as caught:
        zone_name(written)
    assert str(caught.value) == f"no time zone is named {written!r}; did you mean {meant!r}?"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 500,
        "+01:00",
        "Europe",
        "../etc/passwd",
        "/etc/localtime",
        "localtime",
        "posix/Europe/Berlin",
        "a/b/c/d",
    ],
)
def test_what_names_no_zone_or_another_on_each_machine_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no time zone is named"):
        zone_name(text)


def test_a_system_without_zones_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "ZoneInfo", _nothing)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(ValueError, match="this system has no time zone data: install the tzdata package"):
        zone_name("Europe/Berlin")


@given(st.text(alphabet="aA/_+-.0 \x00\u00e9\ud800", max_size=30) | st.text(max_size=30))
def test_no_text_makes_it_raise_anything_but_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        zone_name(text)
