"""A tool call waits for a person, and an unmodified SDK has it with the same request: both ways in, streamed or not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from e2e_world import Gateway, lines, rows  # it lies beside this file

import headgate
from headgate import Gate
from headgate.build import Built
from headgate.core.approvals import Parked, State
from headgate.testing.server import SimulatorServer

OVERRIDES: dict[str, Any] = {
    "guards": {"profile": "standard", "tools": {"approve": ["send_email"], "allow": ["search"], "block": ["shell"]}}
}
SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
TURNS: Any = [{"role": "user", "content": "write to her"}]


class World:
    """A simulator, and both ways in to it."""

    def __init__(self, sim: SimulatorServer, gateway: Gateway, gate: Gate) -> None:
        self.sim = sim
        self.gate = gate
        self.built = {"gateway": gateway.built, "in-process": gate.built}
        self.urls = {"gateway": (gateway.url, f"{gateway.url}/v1"), "in-process": (sim.url, sim.openai_url)}

    def client(self, way: str, vendor: str) -> Any:
        http: dict[str, Any] = {"http_client": self.gate.client()} if way == "in-process" else {}
        url = self.urls[way][vendor == "openai"]
        kind = anthropic.Anthropic if vendor == "anthropic" else openai.OpenAI
        return kind(api_key="not-a-key", base_url=url, max_retries=0, **http)


def make_gate(folder: Path, sim: SimulatorServer) -> Gate:
    env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
    return Gate.load(env=env, storage=f"sqlite:///{folder / 'own.db'}", **OVERRIDES)


def make_gateway(folder: Path, sim: SimulatorServer) -> Gateway:
    return Gateway(folder, sim.url, sim.openai_url, overrides=OVERRIDES)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("approvals")
    with SimulatorServer() as sim, make_gateway(folder, sim) as gateway, make_gate(folder, sim) as gate:
        yield World(sim, gateway, gate)


class Call:
    """One kind of call that a model answers with `send_email`, and what its SDK makes of the answer."""

    def __init__(self, client: Any, kind: str, *, stream: bool, marker: str) -> None:
        self.client, self.kind, self.stream = client, kind, stream
        self.turns = [{"role": "user", "content": f"write to her ({marker})"}]

    def __call__(self, tool: str = "send_email", **headers: str) -> tuple[str, list[dict[str, Any]]]:
        """(text, arguments of the calls) of the answer."""
        return getattr(self, f"_{self.kind}")(tool, {"extra_headers": headers})  # type: ignore[no-any-return]

    def _messages(self, tool: str, more: Any) -> Any:
        asked: Any = {
            "model": "claude-haiku-4-5",
            "max_tokens": 300,
            "messages": self.turns,
            "tools": [{"name": tool, "input_schema": SCHEMA}],
            "tool_choice": {"type": "tool", "name": tool},
            **more,
        }
        if self.stream:
            with self.client.messages.stream(**asked) as stream:
                message = stream.get_final_message()
        else:
            message = self.client.messages.create(**asked)
        calls = [block.input for block in message.content if block.type == "tool_use"]
        assert message.stop_reason == ("tool_use" if calls else "end_turn")
        return "".join(block.text for block in message.content if block.type == "text"), calls

    def _chat(self, tool: str, more: Any) -> Any:
        asked: Any = {
            "model": "gpt-6-luna",
            "messages": self.turns,
            "tools": [{"type": "function", "function": {"name": tool, "parameters": SCHEMA}}],
            "tool_choice": {"type": "function", "function": {"name": tool}},
            **more,
        }
        if self.stream:
            with self.client.chat.completions.stream(**asked) as stream:
                completion = stream.get_final_completion()
        else:
            completion = self.client.chat.completions.create(**asked)
        (choice,) = completion.choices
        calls = [json.loads(call.function.arguments) for call in choice.message.tool_calls or ()]
        assert choice.finish_reason == ("tool_calls" if calls else "stop")
        return choice.message.content or "", calls

    def _responses(self, tool: str, more: Any) -> Any:
        asked: Any = {
            "model": "gpt-6-luna",
            "input": self.turns,
            "tools": [{"type": "function", "name": tool, "parameters": SCHEMA, "strict": False}],
            "tool_choice": {"type": "function", "name": tool},
            **more,
        }
        if self.stream:
            with self.client.responses.stream(**asked) as stream:
                response = stream.get_final_response()
        else:
            response = self.client.responses.create(**asked)
        calls = [json.loads(item.arguments) for item in response.output if item.type == "function_call"]
        return response.output_text, calls


KINDS = {"messages": "anthropic", "chat": "openai", "responses": "openai"}


def waiting(built: Built) -> Parked:
    """The newest."""
    built.ledger.flush()
    return built.approvals.list()[0]


@pytest.mark.parametrize("way", ["gateway", "in-process"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_approved_call_is_had_by_the_sdk_with_the_same_request(
    world: World, kind: str, stream: bool, way: str
) -> None:
    call = Call(world.client(way, KINDS[kind]), kind, stream=stream, marker=f"{kind}{stream}{way}")
    text, calls = call()
    assert calls == []
    parked, store = waiting(world.built[way]), world.built[way].approvals
    assert parked.id in text
    assert "waits for a person" in text
    sent = len(world.sim.requests())
    again = {"x-headgate-approval": parked.id}
    text, calls = call(**again)
    assert (parked.id in text, calls) == (True, [])
    assert store.approve(parked.id, arguments={"to": "bob@acme.example"}).made
    text, calls = call(**again)
    assert (text, calls) == ("", [{"to": "bob@acme.example"}])
    assert len(world.sim.requests()) == sent
    with pytest.raises((anthropic.BadRequestError, openai.BadRequestError), match="used once"):
        call(**again)


def test_a_whole_answer_has_its_token_in_a_header_and_in_process_beside_it(world: World) -> None:
    call = Call(world.client("in-process", "anthropic"), "messages", stream=False, marker="token")
    call()
    last = headgate.last()
    assert last is not None
    (parked,) = last.approvals
    assert (parked.call.name, parked.token[:4]) == ("send_email", "hga_")
    world.gate.built.ledger.flush()
    world.gate.approvals.approve(parked.id)
    with headgate.caller(approval=parked.token):
        _, calls = call()
    assert calls == [json.loads(parked.call.arguments)]

    client = world.client("gateway", "anthropic")
    asked: Any = {
        "model": "claude-haiku-4-5",
        "max_tokens": 300,
        "messages": TURNS,
        "tools": [{"name": "send_email", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "send_email"},
    }
    token = client.messages.with_raw_response.create(**asked).headers["x-headgate-approval"]
    built = world.built["gateway"]
    found = waiting(built)
    built.approvals.deny(found.id, note="not to her")
    message = client.messages.create(**asked, extra_headers={"x-headgate-approval": token})
    assert "denied by a person" in message.content[0].text
    assert "not to her" in message.content[0].text
    for changed in ({"x-headgate-approval": token[:-1] + ("a" if token[-1] != "a" else "b")}, {}):
        more = {**asked, **({} if changed else {"max_tokens": 301})}
        with pytest.raises(anthropic.BadRequestError, match="no approval for this call"):
            client.messages.create(**more, extra_headers={"x-headgate-approval": token, **changed})


def test_a_blocked_tool_is_denied_in_the_answer_and_an_allowed_one_goes_out(world: World) -> None:
    call = Call(world.client("gateway", "anthropic"), "messages", stream=True, marker="blocked")
    text, calls = call("shell")
    assert "shell" in text
    assert calls == []
    text, calls = call("search")
    assert (text, len(calls)) == ("", 1)


def test_of_ten_who_want_it_at_once_one_has_it_and_it_cost_nothing(world: World) -> None:
    call = Call(world.client("gateway", "openai"), "chat", stream=False, marker="ten")
    call()
    built = world.built["gateway"]
    parked = waiting(built)
    built.approvals.approve(parked.id)

    def want(_: int) -> int:
        try:
            _, calls = call(**{"x-headgate-approval": parked.id})
        except openai.BadRequestError:
            return 0
        return len(calls)

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(want, range(10))) == [0] * 9 + [1]
    assert built.approvals.get(parked.id).state is State.USED  # type: ignore[union-attr]  # it is there
    path = Path(built.ledger.name)
    built.ledger.flush()
    served = [row for row in rows(path, "exchanges") if row["attempts"] == 0 and row["ending"] == "complete"]
    assert served
    assert {row["cost_nano"] for row in served} == {0}
    built.log.flush()
    events = [line["event"] for line in lines(Path(f"{path}.log.jsonl"))]
    assert {"approval_parked", "approval_decided"} <= set(events)


def test_a_webhook_approves_a_call_with_other_arguments(tmp_path: Path, world: World) -> None:
    told: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["content-length"])))
            answer = b'{"decision": "edit", "arguments": {"to": "bob@acme.example"}}'
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    tools = {"approve": ["send_email"], "key": "env:APPROVALS_KEY", "webhook": {"url": url, "secret": "env:HOOK"}}
    env = {"ANTHROPIC_BASE_URL": world.sim.url, "APPROVALS_KEY": "k" * 32, "HOOK": "shared"}
    with Gate.load(env=env, storage=f"sqlite:///{tmp_path / 'own.db'}", guards={"tools": tools}) as gate:
        decided = threading.Event()
        decide = gate.approvals.decide

        def deciding(*arguments: Any) -> Any:
            found = decide(*arguments)
            decided.set()
            return found

        hook = gate.built.hook
        assert hook is not None
        hook._decide = deciding
        client = anthropic.Anthropic(api_key="not-a-key", base_url=world.sim.url, http_client=gate.client())
        call = Call(client, "messages", stream=False, marker="webhook")
        call()
        last = headgate.last()
        assert last is not None
        assert decided.wait(20)
        _, calls = call(**{"x-headgate-approval": last.approvals[0].token})
    assert calls == [{"to": "bob@acme.example"}]
    assert json.loads(told[0])["tool"] == "send_email"
    assert not (tmp_path / "own.db.approvalkey").exists()
    server.shutdown()
    server.server_close()


def test_a_call_still_waits_after_a_restart_and_its_token_holds(tmp_path: Path, world: World) -> None:
    with make_gateway(tmp_path, world.sim) as gateway:
        client = anthropic.Anthropic(api_key="not-a-key", base_url=gateway.url, max_retries=0)
        call = Call(client, "messages", stream=True, marker="restart")
        call()
        parked = waiting(gateway.built)
        token = gateway.built.approvals.blocking().token(parked)
    with make_gateway(tmp_path, world.sim) as gateway:
        assert gateway.built.approvals.approve(parked.id).made
        call.client = anthropic.Anthropic(api_key="not-a-key", base_url=gateway.url, max_retries=0)
        _, calls = call(**{"x-headgate-approval": token})
        assert calls == [json.loads(parked.call.arguments)]
    key = tmp_path / "gateway.db.approvalkey"
    assert key.stat().st_mode & 0o777 == 0o600
