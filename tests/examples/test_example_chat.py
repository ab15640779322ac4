"""The chat example in a real browser, in front of the simulator."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from playwright import sync_api

import headgate
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Rule, Scenario

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def _install(folder: Path) -> None:
    """On CI only, where a skip would be a test that nobody runs. Workers wait for each other."""
    folder.mkdir(exist_ok=True)
    with (folder / "chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _chromium() is None:
            subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=300)
            told = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
            subprocess.run(told, check=False, timeout=600, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def browser(pytestconfig: pytest.Config) -> Iterator[Any]:
    """The system's Chromium; playwright's own download is not needed."""
    found = _chromium()
    if found is None and os.environ.get("CI") == "true":
        _install(pytestconfig.rootpath / ".pytest_cache")
        found = _chromium()
        assert found, "Chromium cannot be installed here"
    if found is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    sync_api.expect.set_options(timeout=60_000)  # five seconds are not enough on a busy machine
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def app(workplace: Path, example: Callable[[str], ModuleType]) -> ModuleType:
    return example("chat_app/app.py")


@pytest.fixture
def site(app: ModuleType) -> Iterator[str]:
    """The application on a loopback port, as `uvicorn app:app` serves it."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app.app, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    listening.close()
    assert not thread.is_alive()


@pytest.fixture
def page(browser: Any, site: str) -> Iterator[Any]:
    """The page, opened. What it asks of anybody but its own server, or throws, fails the test."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(90_000)
    wrong: list[str] = []
    page.on("request", lambda request: None if request.url.startswith((site, "data:")) else wrong.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(site)
    yield page
    context.close()
    assert not wrong


def send(page: Any, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.get_by_role("button", name="Send").click()


def said(page: Any) -> Any:
    return page.locator(".assistant").last


def left(sim: SimulatorServer) -> str:
    """How the provider saw the only exchange end, as soon as it has."""
    until = time.monotonic() + 60
    while sim.simulator.requests(0) == [] and time.monotonic() < until:
        time.sleep(0.02)
    return str(sim.requests(60)[-1]["ending"])


def test_the_answer_appears_while_it_is_being_written(page: Any, headgate_simulator: SimulatorServer) -> None:
    text = "one \N{WATER WAVE} two three four five six seven eight nine ten"
    headgate_simulator.load(Scenario(rules=(Rule(Fault("stall", seconds=None, after_events=6)),)))
    send(page, f"say: {text}")
    sync_api.expect(said(page)).not_to_be_empty()
    part = said(page).text_content()
    assert text.startswith(part)
    assert part != text  # the provider is stalled in the middle, and the page shows what there is
    sync_api.expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.get_by_role("button", name="Stop").click()
    headgate_simulator.load(None)
    send(page, f"say: {text}")
    sync_api.expect(said(page)).to_have_text(text)
    sync_api.expect(page.get_by_role("button", name="Send")).to_be_enabled()


@pytest.mark.parametrize("silent", [False, True], ids=["in mid-answer", "before the first word"])
def test_stop_ends_the_providers_answer_at_once(page: Any, silent: bool, headgate_simulator: SimulatorServer) -> None:
    fault = Fault("slow_first_token", seconds=60) if silent else Fault("stall", seconds=None, after_events=6)
    headgate_simulator.load(Scenario(rules=(Rule(fault),)))
    send(page, "tokens: 200")
    if silent:
        sync_api.expect(page.get_by_role("status")).to_have_text("Thinking…")
        while not headgate_simulator.simulator.requests(0):
            page.wait_for_timeout(20)
    else:
        sync_api.expect(said(page)).not_to_be_empty()
    page.get_by_role("button", name="Stop").click()
    sync_api.expect(page.locator(".note")).to_have_text("Stopped.")
    assert left(headgate_simulator) == "abandoned"
    sync_api.expect(page.get_by_label("Your message")).to_have_value("tokens: 200" if silent else "")


def test_an_outage_is_a_sentence_and_the_question_can_be_sent_again(
    page: Any, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("server_error", status=500, retry_after_ms=1)),)))
    send(page, "hello there")
    alert = page.get_by_role("alert")
    sync_api.expect(alert).to_have_text("The assistant is not available right now. Please try again in a few minutes.")
    sync_api.expect(page.get_by_label("Your message")).to_have_value("hello there")
    headgate_simulator.load(None)
    send(page, "say: back again")
    sync_api.expect(said(page)).to_have_text("back again")


def test_an_answer_that_breaks_off_says_so_below_what_there_is(page: Any, headgate_simulator: SimulatorServer) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("cut", after_events=8)),)))
    send(page, "tokens: 200")
    sync_api.expect(page.get_by_role("alert")).to_have_text("The answer broke off. Please try again.")
    assert said(page).text_content()


def test_what_a_model_writes_is_text_and_never_markup(page: Any) -> None:
    send(page, "say: <img src=x onerror=alert(1)><b>bold</b>")
    sync_api.expect(said(page)).to_have_text("<img src=x onerror=alert(1)><b>bold</b>")
    assert page.locator("#turns img, #turns b").count() == 0


def test_the_key_stays_on_the_server(page: Any, site: str) -> None:
    seen: list[str] = []
    page.on("response", lambda response: seen.append(f"{response.all_headers()} {response.text()}"))
    send(page, "say: hi")
    sync_api.expect(said(page)).to_have_text("hi")
    page.reload()
    page.wait_for_load_state("networkidle")
    assert len(seen) >= 4
    assert not [each for each in seen if "simulated-key-of-the-server" in each]


def test_each_visitor_is_told_apart_in_the_ledger(
    page: Any, browser: Any, site: str, workplace: Path, headgate_simulator: SimulatorServer
) -> None:
    send(page, "say: hi")
    sync_api.expect(said(page)).to_have_text("hi")
    other = browser.new_page()
    other.goto(site)
    send(other, "say: hi")
    sync_api.expect(said(other)).to_have_text("hi")
    visitors = {each.context.cookies()[0]["value"] for each in (page, other)}
    other.close()
    from headgate.stores.reader import Reader

    until = time.monotonic() + 60
    while time.monotonic() < until:
        report = Reader(workplace / "headgate.db").usage(by=("user", "task"), since=None, until=None)
        if report.total.exchanges == 2 and not report.total.held_nano:
            break
        time.sleep(0.05)
    assert {row.by["user"] for row in report.rows} == visitors
    assert {row.by["task"] for row in report.rows} == {"chat"}
    assert report.total.cost_nano == headgate_simulator.invoice()["total"]["cost_nano"]


def test_a_conversation_without_end_is_refused_before_it_costs_anything(
    site: str, headgate_simulator: SimulatorServer
) -> None:
    import httpx2

    turns = [{"role": "user", "content": "x"}] * 41
    assert httpx2.post(f"{site}/chat", json={"turns": turns}).status_code == 422
    assert headgate_simulator.requests() == []


def test_each_refusal_has_a_sentence_of_its_own(app: ModuleType) -> None:
    refusals = [
        headgate.Refusal("secret detail", code=code, status_hint=status)
        for code, status in [("budget_exceeded", 429), ("rate_exceeded", 429), ("content_blocked", 400)]
    ]
    said = {app.sentence(refusal) for refusal in refusals}
    assert len(said) == 3
    assert not [each for each in said if "secret detail" in each]
    assert app.remark("max_tokens")
    assert app.remark("end_turn") == ""
