"""`headgate lab retries`: what every strategy does follows from the limiter, and so do the table and the chart."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
from cli_commands import Run

from headgate.cli import lab_chart
from headgate.cli.lab_provider import Account, Arrived
from headgate.cli.lab_retries import NAMES
from headgate.cli.lab_run import Call, Outcome, Work, run
from headgate.cli.lab_strategies import STRATEGIES, Strategy
from headgate.cli.lab_time import LabLoop

RPM, SECONDS, CALLS, ATTEMPTS, NETWORK = 60, 20.0, 120, 4, 0.05
ROUND_TRIP = 2 * NETWORK
BY_NAME = {strategy.name: strategy for strategy in STRATEGIES}
_SMALL = ("--requests-per-minute", "30", "--seconds", "10", "--calls", "40", "--clients", "8")


def work(dialect: str = "anthropic", *, seed: int = 7, calls: int = CALLS, latency: float = 1.0) -> Work:
    """Six times what the limit lets through meanwhile, if not told otherwise."""
    return Work(Account(dialect, RPM, latency, NETWORK, seed), 60, calls, SECONDS, ATTEMPTS)


def made(name: str, plan: Work | None = None) -> Outcome:
    return run(BY_NAME[name], work() if plan is None else plan, lambda: None)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Every strategy, once."""
    return {name: made(name) for name in NAMES}


def attempts_of(outcome: Outcome) -> dict[int, list[Arrived]]:
    found: dict[int, list[Arrived]] = {}
    for each in outcome.arrived:
        found.setdefault(each.call, []).append(each)
    return found


def gaps(outcome: Outcome) -> list[list[float]]:
    """Of every call, the seconds between one attempt's arrival and the next one's."""
    return [[b.at - a.at for a, b in pairwise(each)] for each in attempts_of(outcome).values()]


def test_the_options_name_the_strategies_there_are() -> None:
    assert tuple(strategy.name for strategy in STRATEGIES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_no_strategy_gets_more_through_than_the_bucket_holds_and_refills(
    name: str, outcomes: dict[str, Outcome]
) -> None:
    let_in = [each.at for each in outcomes[name].arrived if not each.refused]
    first = outcomes[name].arrived[0].at
    assert all(number <= RPM + (at - first) * RPM / 60 + 1e-6 for number, at in enumerate(let_in, 1))


@pytest.mark.parametrize("name", NAMES)
def test_every_attempt_is_either_a_calls_answer_or_a_429(name: str, outcomes: dict[str, Outcome]) -> None:
    found = outcomes[name]
    assert found.upstream == found.completed + found.refused
    for number, attempts in attempts_of(found).items():
        assert [each.refused for each in attempts[:-1]] == [True] * (len(attempts) - 1)
        assert attempts[-1].refused is not found.calls[number].completed


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_call_is_given_up_after_its_last_attempt_and_not_before(name: str, outcomes: dict[str, Outcome]) -> None:
    most = 1 if name == "none" else ATTEMPTS
    found = outcomes[name]
    assert found.completed < CALLS
    for number, attempts in attempts_of(found).items():
        assert len(attempts) <= most
        assert found.calls[number].completed or len(attempts) == most


def test_without_retries_what_is_answered_is_what_the_limit_let_through(outcomes: dict[str, Outcome]) -> None:
    found = outcomes["none"]
    assert found.upstream == CALLS
    assert found.refused == CALLS - found.completed
    let_through = RPM + (found.arrived[-1].at - found.arrived[0].at) * RPM / 60
    assert let_through - 1 <= found.completed <= let_through
    assert found.wasted == pytest.approx(found.refused * ROUND_TRIP)


def test_fixed_waits_are_a_second(outcomes: dict[str, Outcome]) -> None:
    found = [gap for each in gaps(outcomes["fixed"]) for gap in each]
    assert found
    assert all(gap == pytest.approx(1.0 + ROUND_TRIP) for gap in found)


def test_exponential_waits_double(outcomes: dict[str, Outcome]) -> None:
    found = gaps(outcomes["exponential"])
    assert max(map(len, found)) == ATTEMPTS - 1
    for each in found:
        assert each == pytest.approx([wait + ROUND_TRIP for wait in (1.0, 2.0, 4.0)][: len(each)])


def test_jitter_spreads_the_same_waits_between_a_second_and_the_whole(outcomes: dict[str, Outcome]) -> None:
    seconds = [each[1] - ROUND_TRIP for each in gaps(outcomes["jitter"]) if len(each) > 1]
    assert all(1.0 - 1e-6 <= wait <= 2.0 + 1e-6 for wait in seconds)
    assert len({round(wait, 6) for wait in seconds}) > 5


def test_retry_after_waits_what_the_provider_says_to_the_millisecond_where_it_says_them() -> None:
    told = made("retry-after", work("openai"))
    assert told.refused
    waits = [gap - ROUND_TRIP for each in gaps(told) for gap in each]
    assert all(0.0 < wait <= 1.0 + 1e-6 for wait in waits)
    assert any(wait < 0.9 for wait in waits)  # `retry-after` alone has whole seconds


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_paced_calls_are_all_answered_nearly_unrefused_and_in_nearly_the_ideal_time(dialect: str) -> None:
    found = made("paced", work(dialect))
    assert found.completed == CALLS
    assert found.refused <= 0.01 * found.upstream
    assert found.times_ideal is not None
    assert 1.0 <= found.times_ideal <= 1.10
    assert not found.broken


def test_a_paced_run_whose_first_headers_come_late_misses_the_promise_and_says_so() -> None:
    found = made("paced", work(calls=180, latency=30.0))
    assert found.completed == 180
    assert found.broken


@pytest.mark.parametrize("name", NAMES)
def test_below_the_limit_every_strategy_does_the_same(name: str) -> None:
    found = made(name, work(calls=8))
    assert (found.completed, found.upstream, found.refused, found.wasted) == (8, 8, 0, 0.0)
    assert found.times_ideal == pytest.approx(1.0)


def test_a_seed_gives_the_same_run_to_the_last_attempt_and_another_one_another() -> None:
    one, again, other = made("jitter"), made("jitter"), made("jitter", work(seed=8))
    assert one.arrived == again.arrived
    assert one.calls == again.calls
    assert one.arrived != other.arrived


def test_an_experiment_leaves_the_global_random_numbers_as_they_were() -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    made("jitter", work(calls=2))
    assert random.random() == expected


def test_the_ideal_is_what_the_limit_allows_or_what_the_clients_can_do_whichever_is_later() -> None:
    account = Account("anthropic", RPM, 1.0, NETWORK, 7)
    by_limit = Work(account, CALLS, CALLS, SECONDS, ATTEMPTS)
    assert by_limit.ideal == pytest.approx((CALLS - RPM) / (RPM / 60) + 1.0 + ROUND_TRIP)
    one_by_one = Work(account, 1, CALLS, SECONDS, ATTEMPTS)
    assert one_by_one.ideal == pytest.approx(one_by_one.due()[0] + CALLS * (1.0 + ROUND_TRIP))


def test_a_single_client_is_as_quick_as_it_can_be() -> None:
    alone = Work(Account("anthropic", RPM, 1.0, NETWORK, 7), 1, 20, 5.0, ATTEMPTS)
    found = run(BY_NAME["paced"], alone, lambda: None)
    assert (found.completed, found.refused) == (20, 0)
    assert found.times_ideal == pytest.approx(1.0)


def outcome(strategy: Strategy, arrived: list[Arrived], calls: list[Call]) -> Outcome:
    return Outcome(strategy, work(calls=len(calls)), calls, arrived)


def test_wasted_is_from_each_refused_attempt_to_the_next_or_to_its_answer() -> None:
    arrived = [Arrived(0, 1.0, True), Arrived(1, 2.0, False), Arrived(0, 4.0, True), Arrived(0, 9.0, False)]
    answered = [Call(0, 0, 1.0, 10.0, True), Call(1, 1, 2.0, 3.0, True)]
    assert outcome(BY_NAME["fixed"], arrived, answered).wasted == pytest.approx(8.0)
    given_up = outcome(BY_NAME["fixed"], arrived[:3], [Call(0, 0, 1.0, 4.1), answered[1]])
    assert given_up.wasted == pytest.approx(3.0 + ROUND_TRIP)
    assert given_up.times_ideal is None
    assert (given_up.completed, given_up.per_call) == (1, 1.5)


def test_where_nothing_was_answered_there_is_no_time_to_an_answer() -> None:
    found = outcome(BY_NAME["none"], [Arrived(0, 1.0, True)], [Call(0, 0, 1.0, 1.1)])
    assert found.answered_after(0.95) is None


def test_the_labs_time_passes_only_while_everybody_waits() -> None:
    async def sleeper(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return asyncio.get_running_loop().time()

    async def all_of_them() -> list[float]:
        return await asyncio.gather(sleeper(3600), sleeper(86_400 * 30), sleeper(0.25))

    with asyncio.Runner(loop_factory=LabLoop) as runner:
        assert runner.run(all_of_them()) == pytest.approx([3600, 86_400 * 30, 0.25])


def test_the_labs_time_stands_still_while_another_thread_works_for_it() -> None:
    async def together() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LabLoop)
        done = loop.create_future()
        worker = threading.Thread(target=lambda: loop.call_soon_threadsafe(done.set_result, None))

        def settle() -> None:
            if worker.ident is None:
                worker.start()
            worker.join()

        loop.settle = settle
        timer = loop.call_later(60, done.cancel)
        await done
        timer.cancel()
        return loop.time()

    with asyncio.Runner(loop_factory=LabLoop) as runner:
        assert runner.run(together()) == 0.0


def test_json_has_the_experiment_and_every_strategy_and_its_numbers_add_up(run: Run) -> None:
    done = run("lab", "retries", *_SMALL, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["simulated"] is True
    assert found["promise_kept"] is True
    assert (found["calls"], found["clients"], found["requests_per_minute"], found["overload"]) == (40, 8, 30, 8.0)
    assert [row["strategy"] for row in found["strategies"]] == list(NAMES)
    for row in found["strategies"]:
        assert set(row) == {
            "strategy",
            "what",
            "calls",
            "completed",
            "given_up",
            "upstream_calls",
            "upstream_per_call",
            "refused",
            "refused_share",
            "wasted_seconds",
            "answered_after_p50_seconds",
            "answered_after_p95_seconds",
            "finished_seconds",
            "times_ideal",
        }
        assert row["completed"] + row["given_up"] == row["calls"] == 40
        assert row["upstream_calls"] == row["completed"] + row["refused"]
        assert row["upstream_per_call"] == pytest.approx(row["upstream_calls"] / 40)
        assert (row["times_ideal"] is None) == (row["given_up"] > 0)
    assert "\x1b" not in done.stdout + done.stderr


def test_the_table_says_what_is_simulated_and_shows_only_the_strategies_asked_for(run: Run) -> None:
    done = run("lab", "retries", *_SMALL, "--strategy", "paced", "--strategy", "none")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(NAMES)] == ["none", "paced"]
    assert "40 of 40" in done.stdout
    assert "Simulated: the provider, and the time" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_the_exit_code_tells_that_the_promise_was_missed(run: Run) -> None:
    slow = ("--strategy", "paced", "--requests-per-minute", "60", "--calls", "60", "--seconds", "20", "--latency", "30")
    done = run("lab", "retries", *slow)
    assert done.returncode == 1, done.stderr
    assert "misses its promise" in done.stdout


def test_the_charts_are_an_svg_with_its_words_and_a_png_and_the_same_each_time(
    outcomes: dict[str, Outcome], tmp_path: Path
) -> None:
    for name in ("one.svg", "two.svg", "one.png"):
        lab_chart.save_chart(list(outcomes.values()), tmp_path / name)
    words = "".join(ET.parse(tmp_path / "one.svg").getroot().itertext())
    for word in (*NAMES, "ideal end", "seconds (simulated)", "calls answered", "refused (429)"):
        assert word in words
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    picture = (tmp_path / "one.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    assert width > height > 500


def test_a_chart_is_saved_where_it_was_asked_for(run: Run, tmp_path: Path) -> None:
    done = run("lab", "retries", *_SMALL, "--strategy", "none", "--chart", "retries.svg")
    assert done.returncode == 0, done.stderr
    assert "The chart is in retries.svg" in done.stdout
    assert ET.parse(tmp_path / "retries.svg").getroot().tag.endswith("svg")


def test_without_matplotlib_a_chart_is_refused_before_anything_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_chart, "find_spec", lambda _name: None)
    done = run("lab", "retries", "--chart", "retries.svg")
    assert done.returncode == 2
    assert "pip install 'headgate[lab]'" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--calls", "3", "--overload", "2"), "--calls and --overload"),
        (("--chart", "retries.pdf"), ".svg or .png"),
        (("--chart", "nowhere/retries.svg"), "no folder nowhere"),
        (("--requests-per-minute", "100000"), "20,000 is the most"),
        (("--strategy", "hope"), "hope"),
        (("--clients", "0"), "--clients"),
        (("--seconds", "nan"), "not a number"),
        (("--dialect", "latin"), "latin"),
    ],
)
def test_misuse_ends_with_2_and_a_sentence(run: Run, arguments: tuple[str, ...], said: str) -> None:
    done = run("lab", "retries", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_lab_without_a_chart_imports_no_matplotlib() -> None:
    script = (
        "import sys\n"
        "from headgate.cli.main import run\n"
        "from headgate.cli.group import cli\n"
        "run(cli, ['lab', 'retries', '--strategy', 'none', '--calls', '2', '--json'])\n"
        "sys.exit('matplotlib' in sys.modules or 'numpy' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0
