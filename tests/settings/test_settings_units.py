"""Durations, sizes, percentages, money, counts and switches mean what is written, exactly."""

from __future__ import annotations

from decimal import Decimal

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.settings import units

DAY = 86_400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", 0.5),
        ("5s", 5.0),
        ("120s", 120.0),
        ("1.5s", 1.5),
        ("2m", 120.0),
        ("2min", 120.0),
        ("1h", 3600.0),
        ("30d", 30.0 * DAY),
        ("1w", 7.0 * DAY),
        ("90", 90.0),
        ("0.25", 0.25),
        ("1_000 s", 1000.0),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, expected: float) -> None:
    assert units.seconds(0.001, 365 * DAY)(text) == expected


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "0", "5S", "5 parsecs", "1:30", "1e3", "inf", "nan", "366d", "½s", "٣s"]
)
def test_what_is_no_duration_in_range_is_refused_and_the_message_names_the_range(text: str) -> None:
    with pytest.raises(ValueError, match="from 1ms to 365d"):
        units.seconds(0.001, 365 * DAY)(text)


def test_zero_is_a_duration_only_where_it_is_allowed() -> None:
    assert units.seconds(1, 10, zero=True)("0s") == 0.0
    with pytest.raises(ValueError):
        units.seconds(1, 10)("0s")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4096", 4096),
        ("4096B", 4096),
        ("64KiB", 65_536),
        ("64kb", 64_000),
        ("32MB", 32_000_000),
        ("32MiB", 33_554_432),
        ("1.5MiB", 1_572_864),
        ("1GiB", 1_073_741_824),
        ("0.5 GB", 500_000_000),
    ],
)
def test_a_size_is_read_in_bytes_and_mega_is_not_mebi(text: str, expected: int) -> None:
    assert units.size(1, 2**30)(text) == expected


@pytest.mark.parametrize("text", ["", "MB", "-1", "32 megs", "1TB", "0.5", "2GiB"])
def test_what_is_no_size_in_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        units.size(1, 2**30)(text)


@pytest.mark.parametrize(("text", "expected"), [("80%", 8000), ("100%", 10_000), ("99.95%", 9995), ("0.01 %", 1)])
def test_a_percentage_is_exact_to_a_hundredth(text: str, expected: int) -> None:
    assert units.basis_points(text) == expected


@pytest.mark.parametrize("text", ["80", "0%", "100.01%", "-5%", "0.001%", "%", "eighty%"])
def test_a_percentage_needs_its_sign_and_its_range(text: str) -> None:
    with pytest.raises(ValueError, match="like 80%"):
        units.basis_points(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("10", Decimal(10)), ("0.1", Decimal("0.1")), ("1_000.000000001", Decimal("1000.000000001"))]
)
def test_money_is_exact(text: str, expected: Decimal) -> None:
    assert units.money(10**9, 10**9, unit="USD")(text) == expected


@pytest.mark.parametrize("text", ["$10", "10 USD", "-1", "1e3", "0.0000000001", "1000000001", ".5", "1.", "", "inf"])
def test_money_is_a_plain_amount_no_finer_than_its_unit(text: str) -> None:
    with pytest.raises(ValueError, match="at most 9 decimals"):
        units.money(10**9, 10**9, unit="USD")(text)


@given(st.integers(0, 10**18))
def test_every_nano_dollar_amount_survives_its_text(nano: int) -> None:
    text = f"{nano // 10**9}.{nano % 10**9:09d}"
    assert int(units.money(10**9, 10**9, unit="USD")(text) * 10**9) == nano


@pytest.mark.parametrize(("text", "expected"), [("7", 7), ("100_000", 100_000), ("+3", 3), ("010", 10)])
def test_a_count_is_decimal_and_may_hold_underscores(text: str, expected: int) -> None:
    assert units.whole(0, 10**6)(text) == expected


@pytest.mark.parametrize("text", ["", "1.0", "0x10", "four", "-1", "1000001", "9" * 5000, "٣"])
def test_what_is_no_count_in_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 0 to 1_000_000"):
        units.whole(0, 10**6)(text)


@pytest.mark.parametrize("text", ["off", "Off", "OFF", "no", "false", "False"])
def test_off_means_off_however_yaml_spells_it(text: str) -> None:
    assert units.one_of(("off", "on"))(text) == "off"
    assert units.switch(text) is False


def test_a_mode_without_off_refuses_it() -> None:
    with pytest.raises(ValueError, match="expected close or drain"):
        units.one_of(("close", "drain"))("off")


@pytest.mark.parametrize(
    "text", ["", "x", "ftp://h", "http://", "http:///p", "http://h:0", "http://h:99999", "http://[::1", "http://a b"]
)
def test_what_is_no_http_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        units.base_url(text)


@pytest.mark.parametrize("text", ["ftp://canary", "http://canary:99999", "http://canary b", "canary"])
def test_a_wrong_url_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        units.base_url(text)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://u:pw@h", "https://u@h", "http://h?x=1", "http://h#f", "http://h?"])
def test_a_base_url_holds_no_credential_and_no_query(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        units.base_url(text)
    assert "pw" not in str(caught.value)


def test_a_base_url_loses_its_trailing_slash() -> None:
    assert units.base_url("https://llm.acme.example/v1/") == "https://llm.acme.example/v1"


@given(st.text(max_size=50))
def test_no_text_makes_a_reader_raise_anything_but_value_error(text: str) -> None:
    readers = [
        units.whole(0, 10),
        units.seconds(0, 10),
        units.size(0, 10),
        units.money(10**6, 10, unit="USD"),
        units.basis_points,
        units.switch,
        units.one_of(("a",)),
        units.text_up_to(10),
        units.base_url,
    ]
    for read in readers:
        try:
            read(text)
        except ValueError:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "https://LLM.Acme.example/v1",
        "https://llm.acme.example:443/v1/",
        "http://LLM.acme.example:80",
        "https://llm.acme.example:8443/V1",
        "http://[::1]:80/v1",
        "https://[2001:DB8::1]",
    ],
)
def test_a_base_url_is_written_as_the_sdks_client_writes_it(text: str) -> None:
    found = units.base_url(text)
    assert str(httpx2.URL(text)).startswith(found)
    assert units.base_url(found) == found
