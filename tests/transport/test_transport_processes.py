"""Threads, forks, ends of processes: the gate in a program's life."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import pytest

import headgate
from headgate import Gate
from headgate.testing.server import SimulatorServer

ASK: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "say: hi"}],
}


def client(gate: Gate, sim: SimulatorServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=sim.url, api_key="fake", http_client=gate.client())


def test_threads_share_a_client_and_each_has_its_own_last_and_caller(
    gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    shared = client(gate, headgate_simulator)

    def one(number: int) -> str:
        with headgate.caller(user=f"u{number % 4}"):
            shared.messages.create(**ASK)
            with shared.messages.stream(**ASK) as stream:
                stream.get_final_message()
        return headgate.last().exchange_id

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(24)))
    assert len(set(found)) == 24
    rows = gate.usage(by=("user",)).rows
    assert {row.by["user"]: row.amounts.exchanges for row in rows} == {f"u{n}": 12 for n in range(4)}
    assert gate.usage().total.cost_nano == headgate_simulator.invoice()["total"]["cost_nano"]


def test_a_new_thread_starts_without_a_caller_and_without_a_last(gate: Gate) -> None:
    with headgate.caller(user="ada"), ThreadPoolExecutor(1) as pool:
        from headgate.transport.context import current_caller

        assert pool.submit(lambda: (current_caller().user, headgate.last())).result() == ("", None)


def python(code: str, *arguments: str) -> dict[str, Any]:
    """What a program of its own printed, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_children_keep_ledgers_of_their_own(headgate_simulator: SimulatorServer, tmp_path: Path) -> None:
    code = """
        import json, os, sys, anthropic, headgate
        url, storage = sys.argv[1:]
        gate = headgate.Gate.load(storage=storage, env={})
        client = anthropic.Anthropic(base_url=url, api_key="fake", http_client=gate.client())
        ask = dict(model="claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": "say: hi"}])
        client.messages.create(**ask)
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                ok = client.messages.create(**ask).content[0].text == "hi"
                ok = ok and gate.usage().total.exchanges == 1
                gate.close()
                os._exit(0 if ok else 1)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        client.messages.create(**ask)
        print(json.dumps({"children": codes, "parent": gate.usage().total.exchanges}))
        gate.close()
    """
    found = python(code, headgate_simulator.url, f"sqlite:///{tmp_path}/ledger-{{pid}}.db")
    assert found == {"children": [0, 0, 0], "parent": 2}
    assert len(list(tmp_path.glob("ledger-*.db"))) == 4
    assert len(headgate_simulator.requests()) == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_stream_that_a_child_inherits_is_its_parents_to_read_and_to_settle(
    headgate_simulator: SimulatorServer, tmp_path: Path
) -> None:
    code = """
        import json, os, sys, anthropic, headgate
        url, storage = sys.argv[1:]
        gate = headgate.Gate.load(storage=storage, env={})
        client = anthropic.Anthropic(base_url=url, api_key="fake", http_client=gate.client())
        ask = dict(model="claude-haiku-4-5", max_tokens=20000, messages=[{"role": "user", "content": "tokens: 20000"}])
        streams = [client.messages.create(stream=True, **ask) for _ in range(2)]
        child = os.fork()
        if child == 0:
            streams.pop().close()
            streams.clear()
            found = gate.usage().total.exchanges
            gate.close()
            os._exit(found)
        in_child = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for stream in streams:
            list(stream)
        told = gate.usage(by=("ending",)).rows
        print(json.dumps({"child": in_child, "parent": [[row.by["ending"], row.amounts.exchanges] for row in told]}))
        gate.close()
    """
    found = python(code, headgate_simulator.url, f"sqlite:///{tmp_path}/ledger-{{pid}}.db")
    assert found == {"child": 0, "parent": [["complete", 2]]}


def test_a_program_that_just_ends_leaves_its_books_written(headgate_simulator: SimulatorServer, tmp_path: Path) -> None:
    code = """
        import sys, anthropic, headgate
        url, storage = sys.argv[1:]
        gate = headgate.Gate.load(storage=storage, env={})
        client = anthropic.Anthropic(base_url=url, api_key="fake", http_client=gate.client())
        client.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": "hi"}])
        print("{}")
    """
    storage = f"sqlite:///{tmp_path}/headgate.db"
    python(code, headgate_simulator.url, storage)
    with Gate.load(storage=storage, env={}) as gate:
        total = gate.usage().total
    assert (total.exchanges, total.held_nano) == (1, 0)
    assert total.cost_nano == headgate_simulator.invoice()["total"]["cost_nano"]
    lines = [json.loads(line) for line in (tmp_path / "headgate.db.log.jsonl").read_text().splitlines()]
    assert [line["status_code"] for line in lines if line["event"] == "exchange"] == [200]


def test_the_log_has_one_line_for_each_exchange_with_the_status_its_caller_got(
    make_gate: Callable[..., Gate], headgate_simulator: SimulatorServer, tmp_path: Path
) -> None:
    gate = make_gate(storage=f"sqlite:///{tmp_path}/logged.db")
    told = client(gate, headgate_simulator)
    told.messages.create(**ASK)
    headgate_simulator.load("outage")
    with pytest.raises(anthropic.APIStatusError):
        told.messages.create(**ASK)
    with pytest.raises(anthropic.BadRequestError):
        told.messages.create(**{**ASK, "model": "claude-made-up"})
    gate.flush()
    lines = [json.loads(line) for line in (tmp_path / "logged.db.log.jsonl").read_text().splitlines()]
    found = [(line["status_code"], line["attempts"]) for line in lines if "exchange_id" in line]
    assert found == [(200, 1), (503, 4), (400, 0)]


def test_a_gate_that_makes_no_call_leaves_nothing_behind(tmp_path: Path) -> None:
    with Gate.load(storage=f"sqlite:///{tmp_path}/unused.db", env={}) as gate:
        gate.client().close()
    assert list(tmp_path.iterdir()) == []
