"""The dashboard in headless Chromium, over a made-up fortnight of three tenants."""

from __future__ import annotations

import csv
import io
import random
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pages_stories import HOSTILE, Teller, hostile, life
from pages_walk import too_wide, visiting, walk, wrong_with
from pages_world import World, world
from playwright.sync_api import expect

SLOW = "correlation_id:order-4711"
PATHS = (
    "/",
    "/ui/exchanges?q=user:ada@acme.example&period=24h",
    "/ui/exchanges?q=nothing+has+this+word",
    "/ui/exchanges/erase?kind=user&value=hal@initech.example",
    "/ui/conversations",
    "/ui/conversations/returns-4711",
    "/ui/spend",
    "/ui/spend?from=2026-11-01&to=2026-11-10&by=model",
)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    now = time.time()
    with world(tmp_path_factory.mktemp("pages")) as made:
        made.record(life(now, days=2, calls=50), budgeted=now - 3_600)
        made.summed()
        yield made


def slow_exchange(page: Any) -> None:
    page.goto(f"/ui/exchanges?q={SLOW}&min_ms=5000")
    page.locator("#rows a").first.click()
    expect(page.get_by_role("heading", name="Where the time went")).to_be_visible()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_page_is_free_of_errors_and_barriers_and_fits_a_phone(browser: Any, gate: World, colours: str) -> None:
    with visiting(browser, gate.url, colours=colours) as page:
        found = {path: walk(page, path, colours=colours) for path in PATHS}
        slow_exchange(page)
        found["exchange"] = wrong_with(page, colours=colours)
    assert {path: each for path, each in found.items() if each} == {}


def test_who_spent_the_money_yesterday(browser: Any, gate: World) -> None:
    with visiting(browser, gate.url) as page:
        page.goto("/")
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Spend").click()
        page.get_by_role("navigation", name="Period").get_by_role("link", name="Yesterday").click()
        first = page.get_by_role("table", name="Spend by user, dearest first").locator("tbody tr").first
        expect(first).to_contain_text("eve@globex.example")
        page.get_by_label("By", exact=True).select_option("task")
        first = page.get_by_role("table", name="Spend by task, dearest first").locator("tbody tr").first
        expect(first).to_contain_text("summarise")
        first.get_by_role("link").click()
        expect(page.get_by_label("Search")).to_have_value("task:summarise")
        expect(page.locator("#rows tr").first).to_be_visible()


def test_why_was_this_call_slow(browser: Any, gate: World) -> None:
    with visiting(browser, gate.url) as page:
        page.goto("/ui/exchanges")
        page.get_by_label("At least, ms").fill("6000")
        page.get_by_label("Search").fill("user:ben@acme.example task:summarise")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("min_ms=6000"))
        page.locator("#rows tr").filter(has_text="degraded").first.get_by_role("link").click()
        said = page.get_by_role("region", name="Where the time went")
        expect(said).to_contain_text(re.compile(r"It took [\d.]+ s: 6\.70 s waiting on purpose"))
        expect(said).to_contain_text("800 ms in 2 attempts that did not answer")
        expect(said.get_by_role("table", name="Attempts").locator("tbody tr")).to_have_count(3)
        expect(said.get_by_role("img", name=re.compile("Attempt 2: waited 5.50 s"))).to_be_visible()
        expect(page.get_by_role("region", name="With the same correlation id")).to_contain_text("extract")


def test_find_what_a_user_saw_and_erase_it(browser: Any, gate: World) -> None:
    teller = Teller(time.time(), random.Random(3))
    at = time.time() - 30
    secret = "the combination of the vault is seventeen"
    gate.record(
        [
            teller.exchange(at, "acme", "zoe", "chat", session="zoe-1", words=(secret, "I will not tell.")),
            teller.exchange(at + 1, "acme", "yan", "chat", session="yan-1", words=("good morning", "good morning")),
        ]
    )
    with visiting(browser, gate.url) as page:
        page.goto("/ui/exchanges?q=combination+vault")
        page.locator("#rows a").first.click()
        page.get_by_role("link", name="Conversation", exact=True).click()
        expect(page.get_by_role("list", name="The conversation, oldest first")).to_contain_text("seventeen")
        page.get_by_role("link", name="zoe@acme.example").click()
        page.get_by_role("link", name="Erase it…").click()
        expect(page.get_by_text("The ledger stays as it is")).to_be_visible()
        page.get_by_role("button", name="Erase").click()  # not without the box
        expect(page).to_have_url(re.compile("/ui/exchanges/erase"))
        page.get_by_label("Yes, erase it for good").check()
        page.get_by_role("button", name="Erase").click()
        expect(page.get_by_role("heading", name="Erased")).to_be_visible()
        page.goto("/ui/exchanges?q=combination+vault")
        expect(page.get_by_text("No exchange like that")).to_be_visible()
        page.goto("/ui/exchanges?q=user%3Ayan@acme.example")
        expect(page.locator("#rows tr")).to_have_count(1)  # somebody else's stay
    assert secret.encode() not in b"".join(path.read_bytes() for path in gate.folder.iterdir() if path.is_file())


def test_new_exchanges_come_in_by_themselves_and_are_told_aloud(browser: Any, gate: World) -> None:
    teller = Teller(time.time(), random.Random(4))
    with visiting(browser, gate.url) as page:
        page.goto("/ui/exchanges?q=user%3Aliv@acme.example")
        page.get_by_role("link", name="Follow live").click()
        expect(page.get_by_text("Nothing yet")).to_be_visible()
        others = [teller.exchange(time.time() - 1, "acme", name, "chat") for name in ("liv", "ned")]
        gate.record(others)
        expect(page.locator("#rows tr")).to_have_count(1)
        expect(page.locator("#rows tr")).to_contain_text("liv@acme.example")
        expect(page.get_by_text("Nothing yet")).to_be_hidden()
        expect(page.locator("#said-aloud")).to_have_text("1 new exchange")
        gate.record([teller.exchange(time.time() - 1, "acme", "liv", "chat")])
        expect(page.locator("#rows tr")).to_have_count(2)
        page.get_by_role("link", name="Stop following").click()
        expect(page.locator("#rows tr")).to_have_count(2)


def test_the_keyboard_is_enough(browser: Any, gate: World) -> None:
    with visiting(browser, gate.url) as page:
        page.goto("/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("g")
        page.keyboard.press("e")
        expect(page.get_by_role("heading", name="Exchanges", level=1)).to_be_visible()
        page.keyboard.press("/")
        expect(page.get_by_label("Search")).to_be_focused()


def test_the_colours_are_chosen_by_a_button_and_stay(browser: Any, gate: World) -> None:
    with visiting(browser, gate.url) as page:
        page.goto("/")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="Use dark colours").click()
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark != light
        page.goto("/ui/spend")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
        expect(page.get_by_role("button", name="Use light colours")).to_be_visible()


def test_a_plot_is_drawn_and_its_figures_are_a_table(browser: Any, gate: World) -> None:
    with visiting(browser, gate.url) as page:
        page.goto("/")
        tile = page.get_by_role("article", name="Exchanges")
        expect(tile.locator(".plot canvas")).to_have_count(1)
        tile.get_by_text("Figures").click()
        expect(tile.get_by_role("table", name="Exchanges, last 24 hours")).to_be_visible()
        drawn = tile.locator("canvas").evaluate(
            "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; "
            "return d.some((v, i) => i % 4 === 3 && v); }"
        )
        assert drawn


def test_the_csv_has_every_value_and_adds_up_to_the_page(browser: Any, gate: World) -> None:
    with visiting(browser, gate.url) as page:
        page.goto("/ui/spend?period=yesterday&by=user")
        answer = page.request.get(page.get_by_role("link", name="CSV").get_attribute("href"))
        assert "attachment" in answer.headers["content-disposition"]
        lines = list(csv.DictReader(io.StringIO(answer.body().decode())))
        shown = page.get_by_role("table", name="Spend by user, dearest first").locator("tbody tr")
        expect(shown).to_have_count(len(lines))
        exact = shown.first.locator("td span[title]").first.get_attribute("title")
        assert f"${lines[0]['cost_usd']}" == exact


HOSTILE_PATHS = ("/", "/ui/exchanges", "/ui/conversations", "/ui/spend?by=user", "/ui/spend?by=task&period=24h")


def test_hostile_texts_are_shown_and_do_nothing(browser: Any, tmp_path: Any) -> None:
    with world(tmp_path) as gate:
        now = time.time()
        gate.record(hostile(now))
        with visiting(browser, gate.url) as page:
            for path in HOSTILE_PATHS:
                page.goto(path)
                assert harmless(page), path
            page.goto("/ui/exchanges")
            links = [each.get_attribute("href") for each in page.locator("#rows a").all()]
            assert len(links) == len(HOSTILE)
            for link in links:
                page.goto(link)
                assert harmless(page), link
            page.get_by_role("link", name="Conversation", exact=True).click()
            expect(page.get_by_role("list", name="The conversation, oldest first")).to_be_visible()
            assert harmless(page)
            # A search for it finds it, and is as harmless.
            page.goto("/ui/exchanges")
            page.get_by_label("Search").fill(HOSTILE[0])
            page.keyboard.press("Enter")
            expect(page.get_by_label("Search")).to_have_value(HOSTILE[0])
            assert harmless(page)
        answer = page_text(gate, "/ui/spend.csv?by=user")
        assert not [
            line for line in csv.reader(io.StringIO(answer)) if line and line[0].startswith(("=", "+", "-", "@"))
        ]


def harmless(page: Any) -> bool:
    """Nothing ran, nothing was let in that could, nothing invisible is in it, and the layout holds."""
    assert page.evaluate("window.hacked") is None
    assert not page.locator("main :is(script, iframe, img, object, embed, a[href^='javascript'])").count()
    assert not re.search("[\u202e\u2066\x1b\u200b]", page.content())
    assert too_wide(page) == ""
    return True


def page_text(gate: World, path: str) -> str:
    from urllib.request import urlopen

    with urlopen(gate.url + path) as answer:
        return str(answer.read().decode())
