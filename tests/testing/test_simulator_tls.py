"""TLS: certificates that must be refused, and handshakes that hang or break, connection by connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from headgate.core.errors import ConfigError
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Rule, Scenario, TlsRule, When, load_scenario


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatorServer]:
    with SimulatorServer(tls=True) as server:
        yield server


@pytest.fixture
def server(shared: SimulatorServer) -> SimulatorServer:
    shared.load(None)
    return shared


def get(server: SimulatorServer, **told: Any) -> httpx2.Response:
    """One request on a connection of its own."""
    with httpx2.Client(verify=server.client_context(), **told) as client:
        return client.get(f"{server.url}/v1/models", headers={"authorization": "Bearer fake"})


def test_both_sdks_are_served_over_tls_streams_included(server: SimulatorServer) -> None:
    with httpx2.Client(verify=server.client_context()) as client:
        claude = anthropic.Anthropic(base_url=server.url, api_key="fake", max_retries=0, http_client=client)
        turn: Any = [{"role": "user", "content": "say: hello"}]
        with claude.messages.stream(model="claude-haiku-4-5", max_tokens=50, messages=turn) as stream:
            assert stream.get_final_text() == "hello"
        gpt = openai.OpenAI(base_url=server.openai_url, api_key="fake", max_retries=0, http_client=client)
        assert gpt.responses.create(model="gpt-6-luna", input="say: hello").output_text == "hello"


@pytest.mark.parametrize(
    ("fault", "said"), [("self_signed", "self.signed"), ("expired", "expired"), ("wrong_host", "not valid for")]
)
def test_a_bad_certificate_is_refused_for_what_is_wrong_with_it(server: SimulatorServer, fault: str, said: str) -> None:
    server.load(Scenario(tls=(TlsRule(fault, When(nth=(1,))),)))
    with pytest.raises(httpx2.ConnectError, match=said):
        get(server)
    assert get(server).status_code == 200
    assert len(server.requests()) == 1


@pytest.mark.parametrize("fault", ["close", "reset"])
def test_a_handshake_that_breaks_in_the_middle_is_a_connection_error(server: SimulatorServer, fault: str) -> None:
    server.load(Scenario(tls=(TlsRule(fault),)))
    with pytest.raises((httpx2.ConnectError, httpx2.ReadError)):
        get(server)


def test_a_handshake_that_stalls_lasts_until_the_client_gives_up(server: SimulatorServer) -> None:
    server.load(Scenario(tls=(TlsRule("stall", When(first=1)),)))
    with pytest.raises(httpx2.ConnectTimeout):
        get(server, timeout=0.2)
    assert get(server).status_code == 200


def test_a_fault_of_http_still_breaks_an_encrypted_connection(server: SimulatorServer) -> None:
    server.load(Scenario(rules=(Rule(Fault("cut", after_events=3)),)))
    with httpx2.Client(verify=server.client_context()) as client:
        gpt = openai.OpenAI(base_url=server.openai_url, api_key="fake", max_retries=0, http_client=client)
        with pytest.raises((openai.APIConnectionError, httpx2.HTTPError)):
            list(gpt.responses.create(model="gpt-6-luna", input="tokens: 60", stream=True))


def test_what_a_client_sends_with_its_last_handshake_message_is_not_lost(server: SimulatorServer) -> None:
    port = int(server.url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        server.client_context().wrap_socket(raw, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(b"GET /_sim/requests HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert tls.recv(15) == b"HTTP/1.1 200 OK"


def test_addresses_in_answers_are_encrypted_too(server: SimulatorServer) -> None:
    with httpx2.Client(verify=server.client_context()) as client:
        claude = anthropic.Anthropic(base_url=server.url, api_key="fake", max_retries=0, http_client=client)
        params: Any = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        made = claude.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
        ended = claude.messages.batches.retrieve(made.id)
        assert ended.results_url is not None
        assert ended.results_url.startswith("https://127.0.0.1:")


def test_without_tls_there_is_no_authority_to_trust(headgate_simulator: SimulatorServer) -> None:
    with pytest.raises(RuntimeError, match="tls=True"):
        headgate_simulator.client_context()


def test_a_server_that_stops_ends_stalled_handshakes() -> None:
    with SimulatorServer(Scenario(tls=(TlsRule("stall"),)), tls=True) as server:
        stuck = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
        stuck.settimeout(10)
        stuck.sendall(b"\x16")
    with stuck, contextlib.suppress(ConnectionError):
        assert stuck.recv(1) == b""


def test_a_scenario_file_names_tls_faults_and_mistakes_in_them() -> None:
    made = load_scenario("tls:\n  - expired\n  - {fault: stall, when: {every: 3}}\n")
    assert made.tls == (TlsRule("expired"), TlsRule("stall", When(every=3)))
    with pytest.raises(ConfigError) as caught:
        load_scenario("tls: [sslv3, {fault: close, match: {}}]\n")
    assert "tls[0].fault: unknown TLS fault 'sslv3'" in str(caught.value)
    assert "tls[1]" in str(caught.value)


def test_the_default_trust_store_refuses_the_simulators_authority(server: SimulatorServer) -> None:
    with httpx2.Client(verify=ssl.create_default_context()) as client, pytest.raises(httpx2.ConnectError):
        client.get(server.url)
