"""What pages are made of, without a browser: words for numbers, strangers' texts, periods, searches, sentences."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.control.people import Principal
from headgate.core.budget import Balance, Budget, Claim
from headgate.core.csv_lines import csv_line
from headgate.core.text import csv_cell as cell
from headgate.pages import bars, changes, exchanges, periods, search_words
from headgate.pages import format as formats
from headgate.pages.asked import Asked
from headgate.pages.exchange import where_time_went
from headgate.pages.figures import Figures, by_value, over_time, total
from headgate.pages.spend import in_bars
from headgate.policy.alert_readings import searched
from headgate.settings import load
from headgate.stores.account_rows import AccountRow
from headgate.stores.logs.query import LogRow, RollupRow

PAGES = Path(formats.__file__).parent
TESTS = Path(__file__).parent
NOW = 1_795_000_000.0
DAY, HOUR = 86_400, 3_600
ANY_TEXT = st.text(max_size=60) | st.text("<>&\"'\u202e\ud800\x00\x1b\u200b\n a", max_size=30)


@given(ANY_TEXT)
@settings(max_examples=200)
def test_a_strangers_text_is_shown_without_anything_that_acts(text: str) -> None:
    shown = str(formats.visible(text))
    shown.encode()
    bare = re.sub(r'<span class="odd">\\[xuU][0-9a-f]+</span>', "", shown)
    assert "<" not in bare
    assert ">" not in bare
    assert '"' not in bare
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)


@given(ANY_TEXT, st.integers(2, 20))
@settings(max_examples=50)
def test_a_text_that_is_cut_shows_at_most_so_many_characters(text: str, limit: int) -> None:
    shown = re.sub(r'<span class="odd">[^<]*</span>', "x", str(formats.visible(text, limit)))
    assert len(re.sub(r"&[#a-z0-9]+;", "x", shown)) <= limit


@pytest.mark.parametrize(
    ("nano", "words"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (82_500, "$0.000082"),
        (1_234_567, "$0.0012"),
        (123_456_789, "$0.123"),
        (12_345_678_901, "$12.35"),
        (1_234_567_890_123, "$1,235"),
        (-2_500_000_000, "-$2.50"),
        (None, "–"),
    ],
)
def test_money_has_the_digits_that_matter(nano: int | None, words: str) -> None:
    assert formats.money(nano) == words


def test_the_exact_amount_and_that_it_is_an_estimate_are_at_hand() -> None:
    assert 'title="$0.001234567, estimated"' in formats.cost(1_234_567, True)
    assert "≈" in formats.cost(1_234_567, True)


def test_a_time_has_the_moment_in_its_title_and_a_wrong_clock_breaks_nothing() -> None:
    assert 'title="2026-11-18 11:06:40 UTC"' in formats.ago(NOW, NOW + 120)
    assert ">2 min ago<" in formats.ago(NOW, NOW + 120)
    assert ">in 2 h<" in formats.ago(NOW + 7_200, NOW)
    assert formats.ago(1e20, NOW) == "–"


@given(ANY_TEXT | st.sampled_from(["=1+1", " =x", "'=x", "\t=x", "@SUM(A1)", "-2", "+49 30", "＝1", "a; =x"]))
@settings(max_examples=100)
def test_no_cell_of_a_csv_begins_a_formula(text: str) -> None:
    made = cell(text)
    assert not made.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "|", "%"))
    made.encode()


@given(st.lists(ANY_TEXT | st.text("a;,'\"=-+@ ｰ＝", max_size=9), min_size=1, max_size=4), st.integers(-9, 9))
def test_a_line_of_csv_reads_as_it_was_written_and_no_reader_finds_a_formula_in_it(texts: list[str], n: int) -> None:
    line = csv_line(texts, (n, "-1.5", None))
    (read,) = csv.reader([line], strict=True)
    assert read == [*map(cell, texts), str(n), "-1.5", ""]
    assert line.count("\n") == 1
    for found in line.split(";")[1:]:  # where `;` parts the cells, quotes within a cell are letters
        assert not found.lstrip(' "').startswith(("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠"))


@given(st.dictionaries(st.sampled_from(["period", "from", "to"]), st.text(max_size=30), max_size=3))
@settings(max_examples=100)
def test_whatever_an_address_says_there_is_a_period_with_points_enough_for_a_plot(query: dict[str, str]) -> None:
    period = periods.chosen(query, NOW)
    assert period.since < period.until
    assert 1 <= len(period.starts()) <= 420


@pytest.mark.parametrize("name", periods.NAMES)
def test_every_period_is_read_from_sums_that_are_still_kept(name: str) -> None:
    period = periods.named(name, NOW)
    kept = {"minute": 3 * DAY, "hour": 62 * DAY, "day": 400 * DAY}
    assert NOW - period.before().since <= kept[period.step]
    drawn = in_bars(period)
    assert drawn.since < drawn.until
    assert len(drawn.starts()) <= 49


def test_a_custom_period_says_its_days_and_survives_in_the_address() -> None:
    period = periods.chosen({"from": "2026-11-01", "to": "2026-11-10"}, NOW)
    assert (period.words, period.length) == ("2026-11-01 to 2026-11-11", 10 * DAY)
    assert periods.chosen(period.query(), NOW) == period


def test_a_day_whose_minutes_are_gone_is_shown_by_the_hour() -> None:
    assert periods.chosen({"from": "2026-11-01", "to": "2026-11-01"}, NOW).step == "hour"
    assert periods.named("yesterday", NOW).step == "minute"


def test_an_alerts_address_is_understood() -> None:
    period = periods.chosen({"since": str(int(NOW - 600))}, NOW)
    assert period.since == NOW // 60 * 60 - 600
    asked = Asked(
        *(Principal("ada", "viewer"), "", True, "GET", "/ui/exchanges", {}),
        {"provider": "openai", "errors": "true", "since": str(int(NOW - 600)), "q": "late"},
        *({}, NOW, False, ""),
    )
    search = exchanges.read(exchanges.conditions(asked))
    assert search.typed == "late provider:openai"
    assert (search.query.errors, search.query.fields, search.query.since) == (
        True,
        {"provider": "openai"},
        period.since,
    )


KNOWN = frozenset({"user", "model", "session", "error_type", "ending"})


@given(st.text(max_size=80))
@settings(max_examples=100)
def test_nothing_that_is_typed_breaks_the_search(typed: str) -> None:
    search_words.read(typed, KNOWN)


@given(st.sampled_from(sorted(KNOWN)), st.text(max_size=40) | st.text('"\\: a', max_size=12))
@settings(max_examples=100)
def test_a_condition_that_is_written_is_read_again(name: str, value: str) -> None:
    found = search_words.read(f"first {search_words.written(name, value)} last", KNOWN)
    assert (found.fields, found.text) == ({name: value}, "first last")


@given(st.text(max_size=40) | st.text('"\\: a\xa0\n', max_size=12))
@settings(max_examples=100)
def test_what_an_alert_links_to_is_read_as_what_it_is_about(task: str) -> None:
    found = search_words.read(searched(session="s", model=task, user="u"), KNOWN)
    about = {"session": "s", "model": task, "user": "u"}
    assert (found.fields, found.text) == ({name: value for name, value in about.items() if value}, "")


@given(st.text('"=: aé', max_size=8), st.text('"=: a', max_size=12))
@settings(max_examples=50)
def test_a_tag_that_is_written_is_read_again(name: str, value: str) -> None:
    written = search_words.tagged(name, value)
    assert ("=" in name or not value) is (written == "")
    found = search_words.read(f"first {written} last", KNOWN)
    assert (found.fields, found.text) == ({f"tag:{name}": value} if written else {}, "first last")


def test_several_tags_are_several_conditions_and_one_without_a_value_is_told_how_it_is_written() -> None:
    found = search_words.read('tag:team=chat tag:"area=store credit" tag:odd', KNOWN)
    assert (found.fields, found.text) == ({"tag:team": "chat", "tag:area": "store credit"}, "tag:odd")
    assert found.unknown == ("tag",)


def test_a_search_is_words_phrases_fields_and_measures() -> None:
    typed = 'refund user:ada model:"my model" "store credit" latency>2s cost>$0.01 is:error when:now -spam'
    found = search_words.read(typed, KNOWN)
    assert found.text == 'refund "store credit" when:now -spam'
    assert found.fields == {"user": "ada", "model": "my model"}
    assert (found.min_latency_ms, found.min_cost, found.errors, found.unknown) == (2_000.0, "0.01", True, ("when",))


def rows(*told: tuple[float, str, int, int]) -> list[RollupRow]:
    return [
        RollupRow(start, value, exchanges=number, cost_nano=cost, latency={80: number})
        for start, value, number, cost in told
    ]


@given(st.lists(st.tuples(st.integers(0, 86_399), st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 99))))
@settings(max_examples=50)
def test_folding_sums_over_time_or_by_value_loses_nothing(told: list[tuple[int, str, int, int]]) -> None:
    midnight = NOW // DAY * DAY
    period = periods.named("today", midnight + DAY - 1)
    found = rows(*((midnight + start, value, number, cost) for start, value, number, cost in told))
    whole = total(found)
    for parts in (over_time(found, period), list(by_value(found).values())):
        assert sum(each.cost_nano for each in parts) == whole.cost_nano
        assert sum(sum(each.latency.values()) for each in parts) == whole.exchanges


def day(cost: int, exchanges: int = 100, **more: int) -> Figures:
    return Figures(exchanges=exchanges, cost_nano=cost * 10**9, **more)


def said(now: Figures, before: Figures, **by: tuple[dict[str, Figures], dict[str, Figures]]) -> list[str]:
    now_by = {name: pair[0] for name, pair in by.items()}
    before_by = {name: pair[1] for name, pair in by.items()}
    return [each.text for each in changes.sentences(changes.Days(now, before, now_by, before_by))]


def test_who_spent_more_is_named_with_the_amount() -> None:
    users = ({"eve": day(12), "ada": day(3)}, {"eve": day(2), "ada": day(3)})
    assert said(day(15), day(5), user=users) == [
        "Spend is $15.00: 3.0 times the $5.00 of the day before.",
        "The user eve accounts for all of that: $10.00 more.",
    ]


def test_the_model_that_more_was_spent_on_is_searched_for_where_it_served() -> None:
    now, before = {"fine": day(12), "fast": day(3)}, {"fine": day(2), "fast": day(3)}
    found = changes.sentences(changes.Days(day(15), day(5), {"model": now}, {"model": before}))
    assert found[1].query == {"q": "model_served:fine"}


def test_failures_savings_and_newcomers_are_told_with_both_numbers() -> None:
    found = said(
        day(5, 100, failed=6, hits=30, saved_nano=2 * 10**9),
        day(5, 100, failed=1, hits=10),
        tenant=({"globex": day(5)}, {}),
    )
    assert found == [
        "6.0% of exchanges failed, after 1.0% the day before.",
        "The cache answered 30% of exchanges, after 10%; caches saved $2.00.",
        "New tenant since yesterday: globex, $5.00.",
    ]


def test_nothing_is_made_of_a_handful_of_exchanges_or_of_small_changes() -> None:
    assert said(day(9, 6), day(1, 5)) == []
    assert said(day(100, 100), day(101, 104)) == []
    assert "Nothing out of the ordinary" in changes.ordinary(changes.Days(day(5), day(5), {}, {}))


def test_the_parts_of_the_time_add_up_to_what_it_took_and_the_largest_is_first() -> None:
    def attempt(**told: float | None) -> dict[str, object]:
        return {"provider": "p", "waited_ms": None, "first_content": None, **told}

    row = LogRow("1", NOW + 9, "ex", latency_ms=9_000.0, more={"waited_ms": 6_000.0})
    tried = [
        attempt(started=NOW, ended=NOW + 0.5),
        attempt(started=NOW + 6.5, first_content=NOW + 7.5, ended=NOW + 8.9, waited_ms=6_000.0),
    ]
    parts = where_time_went(row, tried)
    assert sum(part.milliseconds for part in parts) == pytest.approx(9_000)
    assert parts[0].words.startswith("waiting on purpose")
    assert [round(part.milliseconds) for part in parts] == [6_000, 1_400, 1_000, 500, 100]


def account(spent: int, *, cap: int = 100, held: int = 0, soft: bool = False) -> AccountRow:
    midnight = NOW // DAY * DAY
    budget = Budget("user/day", per=("user",), cap_nano=cap * 10**9, every="day", soft=soft)
    claim = Claim(budget, "ada", midnight, midnight + DAY, ("user/day", "ada", midnight))
    return AccountRow(Balance(claim, cap * 10**9, None, spent * 10**9, held * 10**9))


def test_a_budget_says_where_it_will_end_at_this_rate() -> None:
    noon = NOW // DAY * DAY + DAY / 2
    (bar,) = bars.bars([account(60, held=5)], noon, 9)
    assert (bar.forecast_share, bar.will_end_over, bar.full) == (1.2, True, False)
    assert "$120.00 by the end at this rate" in bar.words
    assert "used up in about 8 h" in bar.words
    (calm,) = bars.bars([account(10)], noon, 9)
    assert (calm.will_end_over, calm.parts[0][1]) == (False, "fill")
    (full,) = bars.bars([account(100)], noon, 9)
    assert (full.full, full.parts[0][1]) == (True, "bad")


@pytest.mark.parametrize("folder", [PAGES / "static" / "vendor", TESTS / "vendor"], ids=["wheel", "tests"])
def test_what_is_vendored_is_what_was_recorded(folder: Path) -> None:
    told = {
        name: digest
        for each in json.loads((folder / "vendored.json").read_text())
        for name, digest in each["files"].items()
    }
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.suffix != ".json"
    }
    assert found == told


@pytest.mark.parametrize("path", sorted((PAGES / "templates").iterdir()), ids=lambda path: path.name)
def test_no_template_has_what_the_content_policy_forbids_or_hands_on_unescaped(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:|\|\s*safe\b|autoescape|<style|Markup", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    assert not re.search(r"""(?:src|href|action)=["']https?://""", text)


@pytest.mark.parametrize(("told", "pages"), [({}, True), ({"dashboard": "on"}, True), ({"dashboard": False}, False)])
def test_the_dashboard_is_on_unless_it_is_switched_off(told: dict[str, object], pages: bool) -> None:
    assert load(env={}, overrides={"storage": "memory", **told}).dashboard is pages
