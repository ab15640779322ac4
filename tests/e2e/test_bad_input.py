"""Bad input: a clear error in the caller's dialect, a row where money or access was involved, nothing sent upstream."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from e2e_world import Gateway, only  # it lies beside this file

import headgate
from headgate.gateway.auth import KeyRecord, digest
from headgate.gateway.limits import Limits
from headgate.testing.server import SimulatorServer

KEY = "-".join(("hg", "test", "0" * 24))  # built from pieces: it is no secret, and must not look like one
OTHER = "-".join(("hg", "other", "1" * 24))
DIALECTS = ("anthropic", "openai")
MODELS = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}
PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("bad-input")
    keys = {KEY: KeyRecord("test", "test", tenant="acme"), OTHER: KeyRecord("other", "other", tenant="globex")}
    limits = Limits(body_bytes=256 * 1024)
    with Gateway(folder, sim.url, sim.openai_url, keys=keys, limits=limits) as made:
        yield made


@pytest.fixture(scope="module")
def keyless(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("keyless"), sim.url, sim.openai_url) as made:
        yield made


class Rewriting(httpx2.BaseTransport):
    """Sends what the SDK asked for with another body, path or headers: what a broken client would send."""

    def __init__(self, *, body: bytes | None = None, path: str = "", headers: dict[str, str] | None = None) -> None:
        self._inner = httpx2.HTTPTransport()
        self._body = body
        self._path = path
        self._headers = headers or {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = httpx2.Headers(request.headers)
        body = request.read() if self._body is None else self._body
        headers["content-length"] = str(len(body))
        headers.update(self._headers)
        url = request.url.copy_with(raw_path=self._path.encode()) if self._path else request.url
        return self._inner.handle_request(
            httpx2.Request(request.method, url, headers=headers, content=body, extensions=request.extensions)
        )

    def close(self) -> None:
        self._inner.close()


def refused(
    dialect: str, url: str, *, key: str = KEY, model: str = "", body: bytes | None = None, path: str = "", **sent: Any
) -> Any:
    """The error that the dialect's own SDK raises for a request like this."""
    http = httpx2.Client(transport=Rewriting(body=body, path=path, headers=sent.pop("headers", None)))
    messages: Any = [{"role": "user", "content": "hi"}]
    model = model or MODELS[dialect]
    create: Any = openai.OpenAI(api_key=key, base_url=f"{url}/v1", http_client=http).chat.completions.create
    if dialect == "anthropic":
        create = anthropic.Anthropic(api_key=key, base_url=url, http_client=http).messages.create
        sent["max_tokens"] = 9
    with http, pytest.raises((anthropic.APIStatusError, openai.APIStatusError)) as caught:
        create(model=model, messages=messages, **sent)
    error: Any = caught.value
    assert type(error).__module__.partition(".")[0] == dialect
    assert error.response.headers["x-should-retry"] == "false"
    assert "Traceback" not in error.response.text
    return error


def code(error: Any) -> str:
    """Headgate's code, as `headgate.refusal` reads it."""
    found = headgate.refusal(error)
    assert found is not None
    return found.code


def _valid(dialect: str, **more: Any) -> dict[str, Any]:
    return {"model": MODELS[dialect], "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **more}


BAD_BODIES = {
    "nothing": b"",
    "no JSON": b"please answer",
    "cut JSON": b'{"model": "claude-haiku-4-5", "messages": [',
    "a list": b"[]",
    "no model": b'{"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}',
    "a model that is a number": b'{"model":7,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}',
    "messages that are text": b'{"model":"gpt-6-luna","max_tokens":9,"messages":"hi"}',
    "stream that is text": b'{"model":"gpt-6-luna","max_tokens":9,"stream":"yes","messages":[]}',
    "bad UTF-8": b'{"model":"gpt-6-luna","max_tokens":9,"messages":[{"role":"user","content":"\xff\xfe"}]}',
    "deep nesting": b'{"model":"gpt-6-luna","messages":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_body_that_cannot_be_read_is_a_400_with_a_row_and_goes_nowhere(
    what: str, dialect: str, gateway: Gateway, sim: SimulatorServer
) -> None:
    before = len(sim.requests())
    error = refused(dialect, gateway.url, body=BAD_BODIES[what])
    assert isinstance(error, anthropic.BadRequestError | openai.BadRequestError)
    assert code(error) == "invalid_request"
    row = gateway.exchange(error.response.headers["x-headgate-exchange"])
    assert (row["ending"], row["status"], row["error_code"], row["attempts"]) == ("refused", 400, "invalid_request", 0)
    assert (row["key"], row["tenant"], row["cost_nano"]) == ("test", "acme", 0)
    assert len(sim.requests()) == before


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_model_without_a_price_is_refused_with_a_row_before_anything_is_sent(
    dialect: str, gateway: Gateway, sim: SimulatorServer
) -> None:
    before = len(sim.requests())
    error = refused(dialect, gateway.url, model="no-such-model")
    assert code(error) == "unknown_price"
    assert "no-such-model" in str(error)
    row = gateway.exchange(error.response.headers["x-headgate-exchange"])
    assert (row["ending"], row["model_asked"], row["attempts"]) == ("refused", "no-such-model", 0)
    assert len(sim.requests()) == before


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_model_that_only_the_provider_does_not_know_is_the_providers_own_404(dialect: str, gateway: Gateway) -> None:
    # It has a price with us, but the simulator has never heard of it.
    name = {"anthropic": "claude-3-haiku-20240307", "openai": "gpt-3.5-turbo"}[dialect]
    error = refused(dialect, gateway.url, model=name)
    assert isinstance(error, anthropic.NotFoundError | openai.NotFoundError)
    assert headgate.refusal(error) is None
    row = gateway.exchange(error.response.headers["x-headgate-exchange"])
    assert (row["ending"], row["status"], row["attempts"], row["cost_nano"]) == ("failed", 404, 1, 0)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("hg-" + "nobody-" + "2" * 24, "invalid_api_key"),
        ("sk-" + "ant-" + "x" * 20, "invalid_api_key"),
        (" ", "missing_api_key"),
    ],
)
def test_without_a_valid_key_the_sdk_raises_its_authentication_error_and_the_log_says_who_tried(
    dialect: str, key: str, expected: str, gateway: Gateway
) -> None:
    before = len(gateway.lines())
    headers = {"authorization": f"Bearer {key}".strip(), "x-api-key": key.strip()}
    error = refused(dialect, gateway.url, headers=headers)
    assert isinstance(error, anthropic.AuthenticationError | openai.AuthenticationError)
    assert code(error) == expected
    line = only(gateway.lines()[before:])
    assert (line["event"], line["error_type"], line["status_code"]) == ("denied", expected, 401)
    assert line["peer"] == "127.0.0.1"
    assert not key.strip() or key.strip() not in json.dumps(line) + error.response.text


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_revoked_key_is_denied_from_the_next_call_on(dialect: str, gateway: Gateway) -> None:
    key = "-".join(("hg", "short", dialect, "3" * 24))
    gateway.ring.add(digest(key), KeyRecord(f"short-{dialect}", "short-lived"))
    headers = {"x-api-key": key}
    answer = httpx2.post(f"{gateway.url}{PATHS[dialect]}", headers=headers, json=_valid(dialect))
    assert answer.status_code in (200, 400)  # no anthropic-version: the simulator's affair
    gateway.ring.revoke(f"short-{dialect}")
    assert code(refused(dialect, gateway.url, key=key)) == "invalid_api_key"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_oversized_body_is_a_413_before_it_is_read(dialect: str, gateway: Gateway, sim: SimulatorServer) -> None:
    before = len(sim.requests())
    error = refused(dialect, gateway.url, body=json.dumps(_valid(dialect, user="x" * 300_000)).encode())
    assert error.status_code == 413
    assert "262144" in str(error)
    assert len(sim.requests()) == before


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_body_in_an_unknown_coding_is_a_415_that_says_what_to_do(dialect: str, gateway: Gateway) -> None:
    packed = gzip.compress(json.dumps(_valid(dialect)).encode())
    error = refused(dialect, gateway.url, body=packed, headers={"content-encoding": "lzma"})
    assert error.status_code == 415
    assert "content-encoding" in str(error)
    row = gateway.exchange(error.response.headers["x-headgate-exchange"])
    assert (row["ending"], row["error_code"]) == ("refused", "unsupported_encoding")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("dots", ["/v1/../v1", "/p/openai/..", "/v1/%2e%2e/v1", "/v1/%2E./v1", "/v1/."])
def test_dot_segments_are_refused_whatever_they_would_resolve_to(
    dialect: str, dots: str, gateway: Gateway, sim: SimulatorServer
) -> None:
    before = len(sim.requests())
    path = dots + PATHS[dialect].removeprefix("/v1")
    connection = HTTPConnection(gateway.url.removeprefix("http://"))  # sends a path as it is given
    with closing(connection):
        connection.request("POST", path, json.dumps(_valid(dialect)), {"x-api-key": KEY})
        answer = connection.getresponse()
        said = json.loads(answer.read())
    assert answer.status == 400
    assert "dot segments" in said["error"]["message"]
    assert said["headgate"]["code"] == "invalid_request"
    assert len(sim.requests()) == before


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_path_nobody_serves_is_the_dialects_404(dialect: str, gateway: Gateway) -> None:
    error = refused(dialect, gateway.url, path="/elsewhere")
    assert isinstance(error, anthropic.NotFoundError | openai.NotFoundError)
    assert code(error) == "not_found"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_provider_nobody_configured_is_named_beside_those_there_are(dialect: str, gateway: Gateway) -> None:
    error = refused(dialect, gateway.url, path=f"/p/nobody{PATHS[dialect]}")
    assert code(error) == "no_provider"
    assert "anthropic, openai" in str(error)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [({"host": "evil.example"}, "foreign_host"), ({"origin": "https://evil.example"}, "foreign_origin")],
)
def test_without_keys_a_web_page_is_kept_out(
    dialect: str, headers: dict[str, str], expected: str, keyless: Gateway, sim: SimulatorServer
) -> None:
    before, lines = len(sim.requests()), len(keyless.lines())
    error = refused(dialect, keyless.url, headers=headers)
    assert isinstance(error, anthropic.PermissionDeniedError | openai.PermissionDeniedError)
    assert code(error) == expected
    assert "access-control-allow-origin" not in error.response.headers
    assert only(keyless.lines()[lines:])["error_type"] == expected
    assert len(sim.requests()) == before


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_key_cannot_bill_another_tenant(dialect: str, gateway: Gateway, sim: SimulatorServer) -> None:
    before = len(sim.requests())
    error = refused(dialect, gateway.url, extra_headers={"x-headgate-tenant": "globex"})
    assert isinstance(error, anthropic.PermissionDeniedError | openai.PermissionDeniedError)
    assert code(error) == "tenant_not_allowed"
    row = gateway.exchange(error.response.headers["x-headgate-exchange"])
    assert (row["tenant"], row["ending"], row["status"]) == ("acme", "refused", 403)
    assert len(sim.requests()) == before


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "inf"])
def test_a_timeout_that_is_no_number_is_named(dialect: str, value: str, gateway: Gateway) -> None:
    error = refused(dialect, gateway.url, extra_headers={"x-headgate-timeout": value})
    assert error.status_code == 400
    assert "x-headgate-timeout" in str(error)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_in_process_bad_input_is_the_same_error_with_the_same_row(
    dialect: str, sim: SimulatorServer, tmp_path: Path
) -> None:
    env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
    before = len(sim.requests())
    with headgate.Gate.load(env=env, storage=f"sqlite:///{tmp_path / 'own.db'}") as gate:
        messages: Any = [{"role": "user", "content": "hi"}]
        create: Any = openai.OpenAI(
            api_key="k", base_url=sim.openai_url, http_client=gate.client()
        ).chat.completions.create
        if dialect == "anthropic":
            create = anthropic.Anthropic(api_key="k", base_url=sim.url, http_client=gate.client()).messages.create
        with pytest.raises((anthropic.BadRequestError, openai.BadRequestError)) as caught:
            create(model="no-such-model", max_tokens=9, messages=messages)
        assert code(caught.value) == "unknown_price"
        total = gate.usage(ending="refused").total
        assert (total.exchanges, total.attempts, total.cost_nano) == (1, 0, 0)
    assert len(sim.requests()) == before


def test_a_key_revoked_between_two_calls_of_one_connection_is_refused(sim: SimulatorServer, tmp_path: Path) -> None:
    keys = {KEY: KeyRecord("test", "test", tenant="acme")}
    body = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]})
    head = {"x-api-key": KEY, "content-type": "application/json", "anthropic-version": "2023-06-01"}
    with Gateway(tmp_path, sim.url, sim.openai_url, keys=keys) as made:
        host, _, port = made.url.removeprefix("http://").partition(":")
        with closing(HTTPConnection(host, int(port), timeout=10)) as connection:
            said = []
            for turn in range(3):
                if turn == 2:
                    made.ring.revoke("test")
                connection.request("POST", "/v1/messages", body, head)
                answer = connection.getresponse()
                answer.read()
                said.append(answer.status)
    assert said == [200, 200, 401]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("bomb", ["[", '{"a":'])
def test_a_json_bomb_is_a_400_with_the_reason(dialect: str, bomb: str, gateway: Gateway) -> None:
    closing_ = "]" if bomb == "[" else "}"
    good = _valid(dialect)
    body = json.dumps({**good, "metadata": "DEPTH"}).replace('"DEPTH"', bomb * 9000 + "1" + closing_ * 9000).encode()
    error = refused(dialect, gateway.url, body=body)
    assert error.status_code == 400
    assert "nests deeper" in str(error)


@pytest.mark.parametrize(
    ("dialect", "body", "hint"),
    [
        (
            "anthropic",
            {"max_completion_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
            "chat/completions",
        ),
        ("anthropic", {"messages": [{"role": "system", "content": "be"}]}, "chat/completions"),
        ("openai", {"input": "hi"}, "/v1/responses"),
    ],
)
def test_a_body_of_another_dialect_is_told_where_it_belongs(
    dialect: str, body: dict[str, Any], hint: str, gateway: Gateway
) -> None:
    error = refused(dialect, gateway.url, body=json.dumps({"model": MODELS[dialect], **body}).encode())
    assert error.status_code == 400
    assert hint in str(error)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_method_that_the_path_does_not_have_is_the_providers_own_error(dialect: str, gateway: Gateway) -> None:
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    with closing(HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request("DELETE", PATHS[dialect], headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
    assert answer.status in (404, 405)
    assert said["error"]["message"]
