"""The log: one line of JSON per exchange, and nothing in it that should not be."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from hashlib import sha512
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_maker import Maker

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError, NoTurn, UpstreamRejected
from headgate.core.exchange import Ending, Exchange, Route
from headgate.core.secret import Secret
from headgate.stores import log as log_module
from headgate.stores.log import LineLog
from headgate.stores.log_key import log_key
from headgate.stores.log_line import MAX_TEXT_BYTES, timestamp, to_line
from headgate.stores.sqlite import SqliteLedger

OpenLog = Callable[..., LineLog]

# Issue 2, item 7.
PROMISED = [
    "timestamp",
    "event",
    "exchange_id",
    "request_id",
    "correlation_id",
    "session_id",
    "user_id",
    "key",
    "tenant",
    "task",
    "feature",
    "model_asked",
    "model_served",
    "system_prompt_hash",
    "stop_reason",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "attempts",
    "latency_ms",
    "ttft_ms",
    "cost_usd",
    "status_code",
    "error_type",
]


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[OpenLog]:
    opened: list[LineLog] = []

    def open_log(**options: Any) -> LineLog:
        log = LineLog(tmp_path / "headgate.log", key_file=tmp_path / "log.key", now=lambda: 1_800_000_000.5, **options)
        opened.append(log)
        return log

    yield open_log
    for log in opened:
        log.close()


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    text = (tmp_path / "headgate.log").read_text()
    return [json.loads(line, parse_float=Decimal) for line in text.split("\n") if line]


def test_a_line_has_every_promised_field(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    exchange = make.exchange(system=b"You are kind.")
    make.failed(make.attempt(exchange))
    make.attempt(exchange)
    log = logs()
    log.write(make.answered(exchange, cost=1_500_000_001))
    log.flush()
    (line,) = lines(tmp_path)
    assert set(PROMISED) <= set(line)
    assert (line["user_message"], line["response_text"]) == ("", "")
    key = log_key(tmp_path / "log.key")
    expected = {
        "timestamp": "2027-01-15T08:00:01.750Z",
        "event": "exchange",
        "exchange_id": exchange.id,
        "request_id": "req_1",
        "correlation_id": "c-1",
        "session_id": "s-17",
        "user_id": "ada",
        "key": "k1",
        "tenant": "acme",
        "task": "summarise",
        "feature": "",
        "model_asked": "claude-haiku-4-5",
        "model_served": "claude-haiku-4-5-20251001",
        "system_prompt_hash": hmac.new(key, b"You are kind.", hashlib.sha256).hexdigest(),
        "stop_reason": "end_turn",
        "input_tokens": 10,
        "output_tokens": 50,
        "cache_read_tokens": 20,
        "cache_write_tokens": 70,
        "attempts": 2,
        "latency_ms": Decimal("750.0"),
        "cost_usd": Decimal("1.500000001"),
        "status_code": 200,
        "error_type": "",
        "client_retries": 1,
        "ending": "complete",
    }
    assert {name: line[name] for name in expected} == expected


def test_bodies_are_written_whole_or_redacted_or_not_at_all(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    secret = "".join(("sk", "-ant-", "api03-", sha512(b"a key").hexdigest()[:93], "AA"))
    said = f"hello, write to ada.lovelace@example.org, the key is {secret}"
    exchange = make.exchange(user_message=said)
    exchange.response_text = "general"
    make.attempt(exchange)
    make.answered(exchange)
    for bodies in ("off", "redacted", "full"):
        log = logs(bodies=bodies)
        log.write(exchange)
        log.close()
    off, redacted, full = lines(tmp_path)
    assert "user_message" not in off
    assert redacted["user_message"].startswith("hello, write to [email], the key is [")
    assert redacted["response_text"] == "general"
    assert secret not in str(redacted)
    assert (full["user_message"], full["response_text"]) == (said, "general")


def test_a_refusal_says_why(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    log = logs()
    error = UpstreamRejected("no such model", kind="missing", status=404)
    log.write(make.ended(make.exchange(), Ending.FAILED, status=404, error=error))
    log.flush()
    (line,) = lines(tmp_path)
    assert (line["error_type"], line["error_kind"], line["status_code"]) == ("provider_rejected", "missing", 404)
    assert "error_cause" not in line
    assert "waited_ms" not in line


def test_a_call_that_had_no_turn_says_why_and_how_long_it_waited(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    log = logs()
    error = NoTurn("left alone", kind="open", cause="money", retry_after=9.0)
    exchange = make.ended(make.exchange(), Ending.FAILED, status=503, error=error)
    exchange.waited = 1.5
    log.write(exchange)
    log.flush()
    (line,) = lines(tmp_path)
    told = (line["error_type"], line["error_kind"], line["error_cause"], line["waited_ms"])
    assert told == ("provider_busy", "open", "money", 1500 + sum(a.waited for a in exchange.attempts) * 1000)
    assert (line["ttft_ms"], line["request_id"], line["cost_usd"]) == (None, "", 0)


def test_no_canary_reaches_the_log_or_the_ledger(
    logs: OpenLog, ledgers: Callable[..., SqliteLedger], make: Maker, tmp_path: Path
) -> None:
    canary = "-".join(["canary", "never", "log", "me"])
    exchange = make.exchange(body=f'{{"x": "{canary}"}}'.encode(), system=canary.encode(), user_message=canary)
    exchange.request.headers = [(b"x-api-key", canary.encode()), (b"authorization", b"Bearer " + canary.encode())]
    exchange.response_text = canary
    attempt = make.attempt(
        exchange, route=Route("acme", "m", "anthropic", "https://acme.example", credential=Secret(canary))
    )
    attempt.error = UpstreamRejected(canary, kind="auth", body=canary.encode(), headers=[(b"x", canary.encode())])
    make.ended(exchange, Ending.FAILED, error=attempt.error)
    log, ledger = logs(bodies="off"), ledgers()
    log.write(exchange)
    ledger.blocking().settle(exchange)
    ledger.keys.create("dev")
    ledger.flush()
    log.flush()
    for file in tmp_path.iterdir():
        assert canary.encode() not in file.read_bytes(), file.name
    assert len(lines(tmp_path)) == 1


def test_events_other_than_exchanges_are_lines_too(logs: OpenLog, tmp_path: Path) -> None:
    log = logs()
    log.event("denied", status_code=401, error_type="invalid_api_key", event="spoofed", timestamp="spoofed")
    log.flush()
    assert lines(tmp_path) == [
        {
            "timestamp": "2027-01-15T08:00:00.500Z",
            "event": "denied",
            "status_code": 401,
            "error_type": "invalid_api_key",
        }
    ]


@given(st.dictionaries(st.text(max_size=5), st.text(st.characters(), max_size=30), max_size=5))
def test_any_text_gives_one_line_that_reads_back_and_moves_no_cursor(fields: dict[str, str]) -> None:
    line = to_line(fields)
    assert json.loads(line) == fields
    text = line.decode()
    assert len(text.splitlines()) == 1
    assert not [c for c in text if ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F or c in "\u2028\u2029\u202e\u2066"]


def test_a_lone_surrogate_is_escaped(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    log = logs()
    log.write(make.ended(make.exchange(caller=Caller(user="a\ud800b")), Ending.REFUSED))
    log.flush()
    assert lines(tmp_path)[0]["user_id"] == "a\ud800b"
    assert lines(tmp_path)[0]["cost_usd"] == 0


def test_a_long_text_is_cut_and_ends_in_an_ellipsis(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    log = logs(bodies="full")
    exchange = make.exchange(user_message="é" * MAX_TEXT_BYTES, caller=Caller(tags={"t": "x" * 100_000}))
    log.write(make.ended(exchange, Ending.REFUSED))
    log.flush()
    (line,) = lines(tmp_path)
    assert line["user_message"] == "é" * (MAX_TEXT_BYTES // 2) + "…"
    assert len(line["tags"]["t"]) == MAX_TEXT_BYTES + 1
    assert line["exchange_id"] == exchange.id


def test_lines_that_share_most_of_their_fields_tell_their_own(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    log = logs()
    for user, tenant, cost in (("ada", "acme", 7), ("b\u202eob", "acme", 10**9), ("ada", "z\u202eeta", 2_500_000_000)):
        exchange = make.exchange(caller=Caller(user=user, tenant=tenant))
        make.attempt(exchange)
        log.write(make.answered(exchange, cost=cost))
    log.flush()
    found = [(line["user_id"], line["tenant"], line["cost_usd"]) for line in lines(tmp_path)]
    assert found == [
        ("ada", "acme", Decimal("7E-9")),
        ("b\u202eob", "acme", 1),
        ("ada", "z\u202eeta", Decimal("2.5")),
    ]
    assert "\u202e" not in (tmp_path / "headgate.log").read_text()


def test_what_does_not_fit_the_queue_is_dropped_and_reported(
    logs: OpenLog, make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logs(max_queued=3)
    overflown: list[Exchange] = []
    log.overflow.append(overflown.append)
    stuck, entered = threading.Event(), threading.Event()
    write_lines = LineLog._write_lines

    def slow(self: LineLog) -> None:
        entered.set()
        stuck.wait(10)
        write_lines(self)

    monkeypatch.setattr(LineLog, "_write_lines", slow)
    log.write(make.ended(make.exchange(), Ending.REFUSED))
    entered.wait(10)
    for _ in range(10):
        log.write(make.ended(make.exchange(), Ending.REFUSED))
    assert log.health()["dropped"] == len(overflown) == 8
    stuck.set()
    log.flush()
    found = lines(tmp_path)
    assert [line["event"] for line in found].count("exchange") == 3
    assert sum(line["dropped"] for line in found if line["event"] == "log_dropped") == 8


def test_every_watcher_sees_each_batch_and_its_events_stand_behind_the_lines(
    logs: OpenLog, make: Maker, tmp_path: Path
) -> None:
    log = logs()
    seen: list[int] = []
    log.watchers.append(lambda batch: [("first", {"exchanges": len(batch)})] if batch else [])
    log.watchers.append(lambda batch: seen.append(len(batch)) or [])  # type: ignore[func-returns-value]
    log.write(make.ended(make.exchange(), Ending.REFUSED))
    log.flush()
    assert seen == [1]
    assert [line["event"] for line in lines(tmp_path)] == ["exchange", "first"]


def test_bodies_that_wait_are_bounded_in_bytes(logs: OpenLog, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_QUEUED_BYTES", 1_000)
    log = logs()
    log.write(make.ended(make.exchange(body=b"x" * 1_001), Ending.REFUSED))
    assert log.health()["dropped"] == 1


def test_a_disk_that_fails_drops_lines_says_so_and_recovers(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    (tmp_path / "headgate.log").mkdir()
    log = logs()
    log.write(make.ended(make.exchange(), Ending.REFUSED))
    log.flush()
    assert log.health()["ok"] is False
    assert "cannot be written" in log.health()["last_error"]
    (tmp_path / "headgate.log").rmdir()
    log.write(make.ended(make.exchange(), Ending.REFUSED))
    log.flush()
    assert [line["event"] for line in lines(tmp_path)] == ["exchange", "log_dropped"]
    assert log.health()["ok"] is True


def test_a_log_that_was_moved_away_is_made_anew(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    log = logs()
    for _ in range(2):
        log.write(make.ended(make.exchange(), Ending.REFUSED))
        log.flush()
        (tmp_path / "headgate.log").rename(tmp_path / f"moved-{len(list(tmp_path.iterdir()))}")
    assert all(len(file.read_text().splitlines()) == 1 for file in tmp_path.glob("moved-*"))
    assert len(list(tmp_path.glob("moved-*"))) == 2


def test_the_log_and_its_key_are_for_their_owner_only(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    log = logs()
    log.write(make.ended(make.exchange(), Ending.REFUSED))
    log.flush()
    log_key(tmp_path / "log.key")
    assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}


def test_standard_output_gets_the_lines_without_a_path(
    make: Maker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = LineLog(None, key_file=tmp_path / "log.key")
    exchange = make.ended(make.exchange(), Ending.REFUSED)
    log.write(exchange)
    log.close()
    assert json.loads(capfd.readouterr().out)["exchange_id"] == exchange.id


def test_a_closed_log_takes_nothing_and_complains_to_nobody(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    log = logs()
    log.close()
    log.close()
    log.write(make.ended(make.exchange(), Ending.REFUSED))
    log.flush()
    assert not (tmp_path / "headgate.log").exists()


def test_a_forked_child_writes_its_own_lines_and_not_its_parents(logs: OpenLog, make: Maker, tmp_path: Path) -> None:
    log = logs()
    log.write(make.ended(make.exchange(), Ending.REFUSED))
    child = os.fork()
    if child == 0:
        log.write(make.ended(make.exchange(), Ending.REFUSED))
        log.flush()
        os._exit(0)
    os.waitpid(child, 0)
    log.flush()
    found = [line["exchange_id"] for line in lines(tmp_path)]
    assert len(found) == len(set(found)) == 2


def test_the_key_is_made_once_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    first = log_key(path)
    assert len(first) == 32
    assert log_key(path) == first
    assert list(tmp_path.iterdir()) == [path]
    for damaged in ("", "zz", "00"):
        path.write_text(damaged)
        with pytest.raises(ConfigError, match="damaged"):
            log_key(path)


@pytest.mark.parametrize(
    ("moment", "text"), [(0.0, "1970-01-01T00:00:00.000Z"), (1_800_000_000.9996, "2027-01-15T08:00:00.999Z")]
)
def test_a_timestamp_is_iso_8601_in_utc(moment: float, text: str) -> None:
    assert timestamp(moment) == text
