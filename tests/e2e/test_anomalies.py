"""Anomalies from end to end: real SDKs, the simulator, and what is found in the log."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from e2e_world import Gateway, lines, only  # it lies beside this file

import headgate
from headgate import Gate
from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Headers, Request, Route
from headgate.core.money import NANO_PER_USD
from headgate.core.usage import Usage
from headgate.gateway.auth import KeyRecord
from headgate.policy.anomalies import LEARNING_CALLS, Anomalies, Anomaly, Rules
from headgate.policy.usual import DAY, DAYS_BACK, FEWEST_CALLS, LOOP_CALLS
from headgate.stores.reader import Amounts, UsageReport, UsageRow
from headgate.stores.sqlite import SqliteLedger
from headgate.testing.server import SimulatorServer
from headgate.watch import MOST_PER_HOUR, MOST_WAITING, Watch, days_before

SERVED = "claude-haiku-4-5-20251001"  # what the simulator answers for claude-haiku-4-5
SECONDS = 30.0  # for what takes milliseconds


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


def gate_of(sim: SimulatorServer, folder: Path, **overrides: object) -> Gate:
    env = {
        "ANTHROPIC_BASE_URL": sim.url,
        "OPENAI_BASE_URL": sim.openai_url,
        "ANTHROPIC_API_KEY": "provider-key",
        "OPENAI_API_KEY": "provider-key",
        "HEADGATE_STORAGE": f"sqlite:///{folder / 'h.db'}",
    }
    return Gate.load(env=env, **overrides)


def client_of(sim: SimulatorServer, gate: Gate) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url=sim.url, http_client=gate.client())


def ask(client: anthropic.Anthropic, text: str, model: str = "claude-haiku-4-5") -> anthropic.types.Message:
    return client.messages.create(model=model, max_tokens=4000, messages=[{"role": "user", "content": text}])


def anomalies(gate: Gate, folder: Path) -> list[dict[str, Any]]:
    """What the log has of them, once everything was looked at."""
    gate.flush()
    assert gate.built.watch is not None
    assert gate.built.watch.wait(SECONDS)
    gate.flush()
    assert gate.built.watch.health()["last_error"] == ""
    return [line for line in lines(folder / "h.db.log.jsonl") if line["event"].startswith("anomal")]


def test_a_call_that_takes_far_more_tokens_than_the_users_others_is_in_the_log(
    sim: SimulatorServer, tmp_path: Path
) -> None:
    with gate_of(sim, tmp_path) as gate:
        client = client_of(sim, gate)
        heard: list[Anomaly] = []
        assert gate.built.watch is not None
        gate.built.watch.callbacks.append(heard.append)
        with headgate.caller(user="ada", tenant="acme", session="s-17", task="summarise"):
            for n in range(FEWEST_CALLS + 2):
                ask(client, f"tokens: {300 + n % 3}")
            assert anomalies(gate, tmp_path) == []
            large = ask(client, "tokens: 2500")
        with headgate.caller(user="bob", tenant="acme"):
            ask(client, "tokens: 2500")  # his first
        found = only(anomalies(gate, tmp_path))
        assert gate.built.watch.counts() == {"tokens_jump": 1, "muted": 0}
        told = only(heard)
    seen = large.usage.input_tokens + large.usage.output_tokens
    assert seen == found["seen_tokens"] == told.seen > 2500
    assert 300 < found["usual_tokens"] < 330
    blamed, after = [
        line for line in lines(tmp_path / "h.db.log.jsonl") if line.get("exchange_id") == found["exchange_id"]
    ]
    assert (blamed["event"], after) == ("exchange", found)
    assert blamed["output_tokens"] == 2500
    same = ("tenant", "user_id", "session_id", "task", "provider")
    assert {name: found[name] for name in same} == {name: blamed[name] for name in same}
    assert (found["kind"], found["model"]) == ("tokens_jump", SERVED)


def test_a_stream_through_the_gateway_is_looked_at_too(sim: SimulatorServer, tmp_path: Path) -> None:
    keys = {"hg-test-key": KeyRecord("key-1", "app", tenant="acme")}
    with Gateway(tmp_path, sim.url, sim.openai_url, keys=keys) as gateway:
        client = openai.OpenAI(api_key="hg-test-key", base_url=f"{gateway.url}/v1", max_retries=0)

        def stream(text: str) -> None:
            chunks = client.chat.completions.create(
                model="gpt-6-luna",
                messages=[{"role": "user", "content": text}],
                stream=True,
                max_completion_tokens=4000,
            )
            assert list(chunks)

        for _ in range(FEWEST_CALLS):
            stream("tokens: 200")
        stream("tokens: 3000")
        gateway.built.log.flush()
        assert gateway.built.watch is not None
        assert gateway.built.watch.wait(SECONDS)
        found = only([line for line in gateway.lines() if line["event"] == "anomaly"])
    assert (found["kind"], found["key"], found["tenant"]) == ("tokens_jump", "key-1", "acme")


def test_an_agent_in_a_loop_is_told_once_with_its_session(sim: SimulatorServer, tmp_path: Path) -> None:
    with gate_of(sim, tmp_path) as gate:
        client = client_of(sim, gate)
        turns: list[Any] = [{"role": "user", "content": "say: I call the tool"}]
        with headgate.caller(session="s-17"):
            for _ in range(LOOP_CALLS + 5):
                client.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=turns)
                turns += [
                    {"role": "assistant", "content": "I call the tool"},
                    {"role": "user", "content": "say: I call the tool"},
                ]
        found = only(anomalies(gate, tmp_path))
    assert (found["kind"], found["session_id"], found["seen_calls"]) == ("agent_loop", "s-17", LOOP_CALLS)


def test_a_session_that_burns_is_told_with_its_spending_and_the_cap(sim: SimulatorServer, tmp_path: Path) -> None:
    with gate_of(sim, tmp_path, anomalies={"session_usd": "0.01", "session_window": "5m"}) as gate:
        client = client_of(sim, gate)
        for session in ("s-17", "s-18"):
            with headgate.caller(session=session):
                for _ in range(3 if session == "s-17" else 1):
                    ask(client, "tokens: 1500")
        found = only(anomalies(gate, tmp_path))
        spent = gate.usage(session="s-17").total.cost_nano / NANO_PER_USD
    assert (found["kind"], found["session_id"], found["usual_usd"]) == ("session_spend", "s-17", "0.01")
    assert 0.01 < float(found["seen_usd"]) <= spent


def past(days_ago: int, calls: int, nano: int, *, tenant: str = "acme", model: str = SERVED) -> Iterator[Exchange]:
    """What an earlier process has written to the ledger."""
    noon = (time.time() // DAY - days_ago) * DAY + DAY / 2
    for number in range(calls):
        asked = Request(
            *("anthropic", "messages", "POST", "/v1/messages", (), b"{}", Facts(model=model)),
            *(Caller(tenant=tenant), "gateway"),
        )
        route = Route("anthropic", "", "anthropic", "https://api.anthropic.example")
        attempt = Attempt(1, route, noon, bound_nano=nano, sent=True, ended=noon + 1, status=200)
        attempt.usage, attempt.model_served, attempt.cost_nano = Usage(10, output_tokens=10), model, nano
        started = noon + number
        exchange_id = f"ex_{int(started * 1000):012x}{days_ago:08x}{number:08x}"
        yield Exchange(exchange_id, asked, started, [attempt], Ending.COMPLETE, None, started + 1, 200)


def write(path: Path, exchanges: Sequence[Exchange]) -> None:
    ledger = SqliteLedger(f"sqlite:///{path}")
    port = ledger.blocking()
    for each in exchanges:
        port.settle(each)
    ledger.close()


def test_a_model_and_a_days_spending_are_compared_with_what_the_ledger_says_of_the_days_before(
    sim: SimulatorServer, tmp_path: Path
) -> None:
    usual = 10 * NANO_PER_USD
    before = [each for days_ago in (2, 3, 4) for each in past(days_ago, 10, usual // 10)]
    write(tmp_path / "h.db", before)
    opus = {"anthropic/claude-opus-5-5": {"input": 100, "output": 10_000}}  # USD per million tokens
    with gate_of(sim, tmp_path, prices=opus) as gate:
        client = client_of(sim, gate)
        with headgate.caller(tenant="acme"):
            ask(client, "tokens: 20")
            assert anomalies(gate, tmp_path) == []
            ask(client, "tokens: 1200", "claude-opus-5-5")
            assert [each["kind"] for each in anomalies(gate, tmp_path)] == ["new_model"]
            ask(client, "tokens: 1200", "claude-opus-5-5")
        found = anomalies(gate, tmp_path)
        today = gate.usage(days=1).total.cost_nano
    assert [(each["kind"], each.get("tenant", "")) for each in found] == [
        ("new_model", "acme"),
        ("daily_spend", "acme"),
        ("daily_spend", ""),
    ]
    assert found[0]["provider"] == "anthropic"
    assert found[0]["model"].startswith("claude-opus-5-5")
    assert {each["usual_usd"] for each in found[1:]} == {"10"}
    assert {float(each["seen_usd"]) for each in found[1:]} == {today / NANO_PER_USD}


def test_the_first_calls_after_a_restart_are_judged_once_the_ledger_was_read(tmp_path: Path) -> None:
    served = LEARNING_CALLS + 1
    asked, answer = threading.Event(), threading.Event()

    class Slow:
        def usage(self, **asked_for: Any) -> UsageReport:
            asked.set()
            assert answer.wait(SECONDS)
            by = {"tenant": "acme", "provider": "anthropic", "model": SERVED}
            amounts = Amounts(exchanges=served, cost_nano=5, input_tokens=9)
            return UsageReport(amounts, [UsageRow(by, amounts)])

    told: list[tuple[str, dict[str, Any]]] = []
    watch = Watch(Rules(), began=time.time(), history=Slow, tell=lambda name, **fields: told.append((name, fields)))
    exchanges = [*past(0, 1, 5), *past(0, 1, 5, model="new")]
    assert watch.look(exchanges) == ()
    assert asked.wait(SECONDS)
    assert told == []
    assert not watch.wait(0)
    answer.set()
    assert watch.wait(SECONDS)
    name, fields = only(told)
    assert (name, fields["kind"], fields["model"]) == ("anomaly", "new_model", "new")
    watch.close()


def test_exchanges_that_wait_keep_no_body_in_memory_and_their_number_is_bounded() -> None:
    answer = threading.Event()

    class Slow:
        def usage(self, **asked_for: Any) -> UsageReport:
            assert answer.wait(SECONDS)
            return UsageReport(Amounts())

    watch = Watch(Rules(), began=time.time(), history=Slow)
    waiting = next(past(0, 1, 5))
    waiting.request.body, waiting.response_text = b"x" * 1000, "y" * 1000
    secret: Headers = ((b"x-any", b"value"),)
    waiting.request.headers = secret
    watch.look([waiting])
    for _ in range(MOST_WAITING // 1_000 + 1):
        watch.look([waiting] * 1_000)
    assert len(watch._waiting) == MOST_WAITING
    kept = watch._waiting[0]
    assert (kept.request.body, kept.response_text, kept.request.headers) == (b"", "", ())
    assert waiting.request.body
    answer.set()
    assert watch.wait(SECONDS)
    assert not watch._waiting


def test_the_ledger_is_read_day_by_day() -> None:
    began = 20_800 * DAY + 100.0
    asked: list[tuple[float, float]] = []

    class Recorder:
        def usage(self, *, by: Sequence[str] = (), since: float | None = None, until: float | None = None) -> Any:
            assert since is not None
            assert until is not None
            asked.append((since, until))
            return UsageReport(Amounts())

    assert len(list(days_before(Recorder(), began))) == DAYS_BACK + 1
    assert asked[0] == (20_800 * DAY, began)
    assert asked[1:] == [((20_800 - n) * DAY, (20_801 - n) * DAY) for n in range(1, DAYS_BACK + 1)]
    rests = iter([True, True, False])
    assert len(list(days_before(Recorder(), began, lambda took: next(rests)))) == 3


def test_closing_ends_the_reading_of_the_ledger() -> None:
    asked: list[float] = []

    class Closing:
        def usage(self, *, by: Sequence[str] = (), since: float | None = None, until: float | None = None) -> Any:
            asked.append(since or 0.0)
            watch.close()
            return UsageReport(Amounts())

    watch = Watch(Rules(), began=time.time(), history=Closing)
    watch.look([next(past(0, 1, 5))])
    assert watch.wait(SECONDS)
    assert len(asked) == 1


def test_a_ledger_that_cannot_be_read_is_said_and_the_watch_goes_on_without() -> None:
    def broken() -> Any:
        raise ConfigError("the ledger is not one")

    watch = Watch(Rules(session_nano=4), began=time.time(), history=broken)
    caller = Caller(session="s-17")
    one, two = past(0, 2, 3)
    one.request.caller = two.request.caller = caller
    watch.look([one])
    assert watch.wait(SECONDS)
    assert watch.health()["last_error"] == "the days before could not be read: the ledger is not one"
    assert [fields["kind"] for _, fields in watch.look([two])] == ["session_spend"]


def test_a_flood_of_anomalies_is_cut_and_counted() -> None:
    watch = Watch(Rules(session_nano=1), began=time.time())
    flood = list(past(0, MOST_PER_HOUR + 50, 5))
    for number, each in enumerate(flood):
        each.request.caller = Caller(session=f"s-{number}")
    events = watch.look(flood)
    assert [name for name, _ in events] == ["anomaly"] * MOST_PER_HOUR + ["anomalies_muted"]
    assert watch.counts() == {"session_spend": MOST_PER_HOUR, "muted": 50}
    later = next(past(0, 1, 5))
    later.request.caller = Caller(session="later")
    later.started = later.ended = later.started + 3 * 3600.0
    assert [name for name, _ in watch.look([later])] == ["anomaly"]


def test_a_callback_that_raises_stops_neither_the_others_nor_the_log() -> None:
    watch = Watch(Rules(session_nano=1), began=time.time())
    heard: list[str] = []

    def broken(anomaly: Anomaly) -> None:
        raise RuntimeError("no network")

    watch.callbacks += [broken, lambda anomaly: heard.append(anomaly.kind)]
    each = next(past(0, 1, 5))
    each.request.caller = Caller(session="s-17")
    assert [name for name, _ in watch.look([each])] == ["anomaly"]
    assert heard == ["session_spend"]
    assert watch.health()["last_error"] == "RuntimeError: no network"


def test_an_exchange_that_cannot_be_looked_at_costs_no_line_of_the_log(
    sim: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(self: Anomalies, exchanges: Any) -> Any:
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(Anomalies, "look_at", spoilt)
    with gate_of(sim, tmp_path) as gate:
        ask(client_of(sim, gate), "tokens: 5")
        gate.flush()
        assert gate.built.watch is not None
        assert gate.built.watch.wait(SECONDS)
        assert "a mistake of ours" in gate.built.watch.health()["last_error"]
    assert [line["event"] for line in lines(tmp_path / "h.db.log.jsonl")] == ["exchange"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_watches_on_its_own() -> None:
    watch = Watch(Rules(session_nano=1), began=time.time())
    each = next(past(0, 1, 5))
    each.request.caller = Caller(session="s-17")
    read, write_end = os.pipe()
    with watch._lock:  # as another thread of the parent might
        child = os.fork()
        if child == 0:
            try:
                os.write(write_end, json.dumps([fields["kind"] for _, fields in watch.look([each])]).encode())
            finally:
                os._exit(0)
    os.close(write_end)
    with os.fdopen(read) as pipe:
        assert json.loads(pipe.read()) == ["session_spend"]
    os.waitpid(child, 0)


def test_switched_off_nothing_is_watched(sim: SimulatorServer, tmp_path: Path) -> None:
    with gate_of(sim, tmp_path, anomalies="off") as gate:
        assert gate.built.watch is None
        assert gate.built.log.watchers == []
        ask(client_of(sim, gate), "tokens: 5")
    assert [line["event"] for line in lines(tmp_path / "h.db.log.jsonl")] == ["exchange"]
