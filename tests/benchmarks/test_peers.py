"""The peers' and the money benchmark: what can run without LiteLLM, and without a measurement."""

import ast
import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from benchmarks.burst import CALLS, CHAT, MESSAGES, Outcome
from benchmarks.money_books import Books
from benchmarks.paid_provider import Provider
from benchmarks.peers import budgets, litellm, traffic
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import burst, money, money_kills, paid_provider
from headgate.testing.server import SimulatorServer

CENT = 10_000_000


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_costs_what_the_benchmark_says_and_fits_its_output_cap(
    simulator: SimulatorServer, call: burst.Call
) -> None:
    provider = Provider(simulator.url)
    provider.reset()
    outcome = burst.burst(int(simulator.url.rpartition(":")[2]), call, 3)

    assert (outcome.through, outcome.refused, outcome.failed) == (3, 0, 0), outcome
    assert len(outcome.latencies) == 3
    invoice = provider.invoice()
    assert invoice["cost_nano"] == 3 * call.cost_nano
    assert call.cost_nano == pytest.approx(2_000_000, rel=0.01)
    assert invoice["output_tokens"] == 3 * call.output < 3 * call.cap


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (429, b"{}", True),
        (402, b"{}", True),
        (422, b'{"error": {"type": "budget_exceeded"}}', True),
        (422, b'{"error": {"type": "invalid"}}', False),
        (500, b'{"error": {"type": "budget_exceeded"}}', False),
        (503, b"{}", False),
        (0, b"budget_exceeded", False),
    ],
)
def test_only_a_no_for_want_of_money_is_a_refusal(status: int, body: bytes, expected: bool) -> None:
    assert burst.is_refusal(status, body) is expected


@given(st.binary(max_size=200), st.integers(0, 400))
def test_an_answer_that_ends_before_its_body_has_no_status(body: bytes, kept: int) -> None:
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    assert burst.parse_status(whole) == 200
    if kept < len(whole):
        assert burst.parse_status(whole[:kept]) == 0


def test_a_chunked_answer_without_its_last_chunk_has_no_status() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert burst.parse_status(head + b"2\r\n{}\r\n0\r\n\r\n") == 200
    assert burst.parse_status(head + b"2\r\n{}\r\n") == 0


def test_callers_whose_connection_breaks_are_counted_as_failed() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def played() -> Outcome:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.to_thread(burst.burst, port, CHAT, 4, patience=10.0)

    outcome = asyncio.run(played())

    assert (outcome.through, outcome.refused, outcome.failed) == (0, 0, 4)
    assert outcome.statuses == {0: 4}


def test_a_row_tells_overspending_from_money_that_refused_callers_could_have_had() -> None:
    outcome = Outcome(through=2, refused=8, seconds=1.0)
    under = budgets.row("x", CHAT, CENT, outcome, {"cost_nano": 2 * CHAT.cost_nano, "lines": 2}, 0.001)
    assert (under.overspent, under.unused, under.wrongly_refused) == (0, CENT - 2 * CHAT.cost_nano, 3)
    assert under.cpu_micros == pytest.approx(100)

    over = budgets.row("x", CHAT, CENT, Outcome(through=10), {"cost_nano": 10 * CHAT.cost_nano, "lines": 10}, 0.0)
    assert (over.overspent, over.unused, over.wrongly_refused) == (9_980_000, 0, 0)
    assert over.of_cap == pytest.approx(1.998)
    assert "$0.00998" in budgets.table([over])


@pytest.mark.parametrize("told", ["0", "-1", "0.001", "nan", "inf", "a dollar"])
def test_a_budget_that_is_no_whole_number_of_cents_is_refused(told: str) -> None:
    with pytest.raises(SystemExit):
        budgets.parser().parse_args(["--budget", told])


@given(st.integers(1, 10**9))
def test_a_cap_is_written_as_the_decimal_that_it_is(cents: int) -> None:
    nano = cents * CENT
    assert budgets.parser().parse_args(["--budget", paid_provider.usd(nano)]).budget == [nano]


@pytest.mark.parametrize("kind", litellm.KINDS)
def test_litellm_is_told_its_budgets_and_not_to_retry(kind: str) -> None:
    told = litellm.config(kind, "http://127.0.0.1:1", [CHAT, MESSAGES], [CENT, 100 * CENT])

    assert told["litellm_settings"] == told["router_settings"] == {"num_retries": 0}
    models = {each["model_name"]: each["litellm_params"] for each in told["model_list"]}
    if kind == "deployment":
        assert models[litellm.alias(CHAT, CENT)]["max_budget"] == 0.01
        assert len(models) == 4
    else:
        assert set(models) == {CHAT.model, MESSAGES.model}
        assert ("fail_closed_budget_enforcement" in told["general_settings"]) is (kind == "key-strict")


def test_litellms_door_reads_the_cap_that_a_key_is_made_with() -> None:
    assert litellm.key(CENT, "chat").split("-")[2] == "0.01"
    assert litellm.key(None, "warm").split("-")[2] == "none"
    door = (litellm.HERE / "litellm_auth.py").read_text()
    assert 'api_key.split("-")[2]' in door
    assert '_NO_CAP = "none"' in door
    ast.parse(door)


def test_litellm_and_all_it_needs_are_pinned_with_hashes() -> None:
    lines = litellm.REQUIREMENTS.read_text().splitlines()
    pinned = [line for line in lines if line and line[0].isalnum()]
    assert all("==" in line and line.endswith("\\") for line in pinned)
    assert any(line.startswith(f"litellm=={litellm.version()} ") for line in pinned)


def test_headgate_is_configured_with_the_budget_on_the_callers_key_only(tmp_path: Path) -> None:
    written = paid_provider.written_config(tmp_path, "http://127.0.0.1:1", [{"usd": "0.01"}], 8484)
    keys = {key["name"]: key for key in json.loads(written.read_text())["keys"]}
    assert keys["bench"]["budgets"] == [{"usd": "0.01"}]
    assert "budgets" not in keys["free"]


def test_a_gateway_that_was_killed_is_judged_by_the_invoice() -> None:
    found = money_kills.Found()
    fine = Books(cost=500, estimated=100, held=0, accounts=500, dearest_hold=10, exchanges=3)
    found.check(fine, billed=400, where="a")
    assert found.wrong == []

    bad = Books(cost=300, estimated=0, held=7, accounts=299, dearest_hold=10, exchanges=3)
    found.check(bad, billed=money_kills.CAP + 1, where="b")
    assert found.wrong == [
        "b: overspent 1",
        f"b: missing {money_kills.CAP + 1 - 300}",
        "b: held 7",
        "b: astray 1",
    ]
    assert found.checks == 2


def test_a_part_of_the_money_benchmark_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        money.parser().parse_args(["speed"])
    assert refused.value.code == 2
    assert "kills" in capsys.readouterr().err


def test_litellms_other_route_is_its_fallback_and_its_limit_is_its_own_rpm(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Mapping[str, object]] = []

    @contextlib.contextmanager
    def started(root: Path, name: str, config: Mapping[str, object]) -> Iterator[litellm.Proxy]:
        told.append(config)
        yield litellm.Proxy(4000, None)  # type: ignore[arg-type]  # no process

    monkeypatch.setattr(litellm, "started", started)
    with contextlib.ExitStack() as stack:
        url = traffic._base_url(stack, Path(), "litellm", "http://a.test", "http://b.test", rpm=120)
    assert url == "http://127.0.0.1:4000/v1"
    models = {each["model_name"]: each["litellm_params"] for each in told[0]["model_list"]}
    assert (models["m"]["api_base"], models["m"]["rpm"]) == ("http://a.test/v1", 120)
    assert told[0]["router_settings"] == {"fallbacks": [{"m": ["other"]}]}
