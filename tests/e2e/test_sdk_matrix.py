"""The real SDKs, sync and async, streamed and not, through both ways in, against the simulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e_sdks import ERRORS, Seen, Way, body, call  # it lies beside this file
from e2e_world import Gateway, lines, rows  # it lies beside this file

import headgate
from headgate import Gate
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Rule, Scenario, When

WAYS = ("gateway", "in-process")
pytestmark = [
    pytest.mark.parametrize("way", WAYS),
    pytest.mark.parametrize("colour", ["sync", "async"]),
    pytest.mark.parametrize("sdk", ["anthropic", "openai"]),
]
both_kinds = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass
class Matrix:
    """Both ways in with their ledgers; `attempts: 4` and, under `<way>-1`, `attempts: 1`."""

    sim: SimulatorServer
    ways: dict[str, Way]
    ledgers: dict[str, tuple[Path, Any]]

    def rows(self, way: str, table: str) -> list[dict[str, Any]]:
        path, built = self.ledgers[way]
        built.ledger.flush()
        return rows(path, table)

    def exchange(self, way: str, seen: Seen) -> dict[str, Any]:
        headers = seen.headers if seen.headers is not None else seen.error.response.headers
        return next(row for row in self.rows(way, "exchanges") if row["id"] == headers["x-headgate-exchange"])

    def line(self, way: str, seen: Seen) -> dict[str, Any]:
        path, built = self.ledgers[way]
        built.log.flush()
        wanted = seen.headers["x-headgate-exchange"]
        return next(
            line for line in lines(path.with_name(f"{path.name}.log.jsonl")) if line.get("exchange_id") == wanted
        )


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    ways: dict[str, Way] = {}
    ledgers: dict[str, tuple[Path, Any]] = {}
    with SimulatorServer() as sim:
        opened: list[Any] = []
        for suffix, attempts in (("", 4), ("-1", 1)):
            folder = tmp_path_factory.mktemp(f"matrix{suffix}")
            # Every test breaks the same two providers: what one of them has seen must not be another's affair.
            told: dict[str, Any] = {
                "retry": {"attempts": attempts, "budget": "off"},
                "providers": {name: {"breaker": "off"} for name in ("anthropic", "openai")},
            }
            gateway = Gateway(folder, sim.url, sim.openai_url, overrides=told).__enter__()
            env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
            storage = f"sqlite:///{folder / 'own.db'}"
            gate = Gate.load(env=env, storage=storage, wait=lambda state: 0.0, **told)
            opened += [gateway, gate]
            ways[f"gateway{suffix}"] = Way(gateway.url)
            ways[f"in-process{suffix}"] = Way(sim.url, gate)
            ledgers[f"gateway{suffix}"] = (folder / "gateway.db", gateway.built)
            ledgers[f"in-process{suffix}"] = (folder / "own.db", gate.built)
        yield Matrix(sim, ways, ledgers)
        for one in opened:
            one.__exit__(None, None, None)


@pytest.fixture(autouse=True)
def healthy(matrix: Matrix) -> None:
    matrix.sim.load("healthy")


def failing(fault: Fault, times: int = 0) -> Scenario:
    return Scenario(name="failing", rules=(Rule(fault, when=When(times=times)),))


@both_kinds
def test_an_answer_is_the_one_a_direct_call_gets(sdk: str, colour: str, way: str, stream: bool, matrix: Matrix) -> None:
    told = body(sdk, "Tell me of the canal.", stream=stream)
    direct = call(Way(matrix.sim.url), sdk, colour, told)
    seen = call(matrix.ways[way], sdk, colour, told)
    assert len(direct.text()) > 20
    assert (seen.text(), seen.stop(), seen.tokens()) == (direct.text(), direct.stop(), direct.tokens())
    assert len(seen.events) == len(direct.events)
    row = matrix.exchange(way, seen)
    assert (row["input_tokens"], row["output_tokens"]) == seen.tokens()
    assert (row["ending"], row["status"], row["stream"], row["estimated"]) == ("complete", 200, int(stream), 0)
    assert row["cost_nano"] == matrix.sim.invoice()["lines"][-1]["cost_nano"] > 0


@both_kinds
def test_a_tool_call_comes_whole(sdk: str, colour: str, way: str, stream: bool, matrix: Matrix) -> None:
    if sdk == "anthropic":
        more: dict[str, Any] = {
            "tools": [{"name": "weather", "description": "the weather", "input_schema": TOOL}],
            "tool_choice": {"type": "tool", "name": "weather"},
        }
    else:
        more = {
            "tools": [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
        }
    told = body(sdk, "What is the weather?", stream=stream, **more)
    seen = call(matrix.ways[way], sdk, colour, told)
    direct = call(Way(matrix.sim.url), sdk, colour, told)
    assert "city" in json.loads(_arguments(seen))
    assert _arguments(seen) == _arguments(direct)
    assert seen.stop() == direct.stop()
    assert matrix.exchange(way, seen)["stop_reason"] == seen.stop()


def _arguments(seen: Seen) -> str:
    if seen.answer is not None:
        if hasattr(seen.answer, "choices"):
            return seen.answer.choices[0].message.tool_calls[0].function.arguments
        return json.dumps(next(block.input for block in seen.answer.content if block.type == "tool_use"))
    parts = []
    for event in seen.events:
        if hasattr(event, "choices"):
            for choice in event.choices:
                parts += [tool.function.arguments or "" for tool in choice.delta.tool_calls or ()]
        elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            parts.append(event.delta.partial_json)
    return "".join(parts)


@both_kinds
def test_structured_output_is_valid(sdk: str, colour: str, way: str, stream: bool, matrix: Matrix) -> None:
    schema = {**TOOL, "additionalProperties": False}
    if sdk == "anthropic":
        more: dict[str, Any] = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    else:
        more = {
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
        }
    seen = call(matrix.ways[way], sdk, colour, body(sdk, "Where?", stream=stream, **more))
    assert set(json.loads(seen.text())) == {"city"}


@both_kinds
@pytest.mark.parametrize("why", ["cap", "stop", "refusal"])
def test_each_stop_reason_reaches_the_caller_and_the_ledger(
    sdk: str, colour: str, way: str, stream: bool, why: str, matrix: Matrix
) -> None:
    expected = {
        "cap": {"anthropic": "max_tokens", "openai": "length"},
        "stop": {"anthropic": "stop_sequence", "openai": "stop"},
        "refusal": {"anthropic": "refusal", "openai": "content_filter"},
    }[why][sdk]
    more: dict[str, Any] = {}
    if why == "cap":
        more = {"max_tokens" if sdk == "anthropic" else "max_completion_tokens": 2}
    elif why == "stop":
        more = {"stop_sequences": ["two"]} if sdk == "anthropic" else {"stop": ["two"]}
    else:
        matrix.sim.load(failing(Fault("refusal")))
    seen = call(matrix.ways[way], sdk, colour, body(sdk, "say: one two three", stream=stream, **more))
    assert seen.stop() == expected
    row = matrix.exchange(way, seen)
    assert (row["stop_reason"], row["ending"], row["attempts"]) == (expected, "complete", 1)


@both_kinds
def test_our_headers_are_beside_the_providers(sdk: str, colour: str, way: str, stream: bool, matrix: Matrix) -> None:
    told = body(sdk, "say: hi", stream=stream, extra_headers={"x-headgate-correlation-id": "c-17"})
    seen = call(matrix.ways[way], sdk, colour, told)
    headers = seen.headers
    request = matrix.sim.requests()[-1]
    id_header = "request-id" if sdk == "anthropic" else "x-request-id"
    limits = "anthropic-ratelimit-requests-limit" if sdk == "anthropic" else "x-ratelimit-limit-requests"
    direct = call(Way(matrix.sim.url), sdk, colour, body(sdk, "say: hi", stream=stream)).headers
    assert headers[id_header] == request["request_id"] == matrix.exchange(way, seen)["request_id"]
    assert headers.get(limits) == direct.get(limits)
    assert {name for name in direct if "ratelimit" in name} <= set(headers)
    assert headers["x-headgate-attempts"] == "1"
    assert headers["x-headgate-correlation-id"] == "c-17"
    assert headers["x-headgate-simulated"] == "true"
    assert headers["x-headgate-model"]
    assert float(headers["x-headgate-overhead-ms"]) >= 0
    assert headers["x-headgate-waited-ms"] == "0"
    assert ("x-headgate-cost-usd" in headers) is not stream
    if not stream and sdk == "anthropic":
        assert seen.answer._request_id == request["request_id"]


BY_STATUS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    413: {"anthropic": "RequestTooLargeError", "openai": "APIStatusError"},
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: {"anthropic": "ServiceUnavailableError", "openai": "InternalServerError"},
    529: {"anthropic": "OverloadedError", "openai": "InternalServerError"},
}


def _class(sdk: str, status: int) -> Any:
    name = BY_STATUS[status]
    return getattr(ERRORS[sdk], name if isinstance(name, str) else name[sdk])


@both_kinds
@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_the_callers_own_mistake_is_the_providers_own_error_and_is_not_retried(
    sdk: str, colour: str, way: str, stream: bool, status: int, matrix: Matrix
) -> None:
    matrix.sim.load(failing(Fault("error", status=status, message="your mistake")))
    told = body(sdk, "hi", stream=stream)
    seen = call(matrix.ways[way], sdk, colour, told)
    assert isinstance(seen.error, _class(sdk, status))
    assert seen.error.status_code == status
    assert "your mistake" in str(seen.error)
    assert headgate.refusal(seen.error) is None
    assert len(matrix.sim.requests()) == 1
    assert seen.error.request_id == matrix.sim.requests()[0]["request_id"]
    row = matrix.exchange(way, seen)
    assert (row["ending"], row["status"], row["attempts"], row["cost_nano"]) == ("failed", status, 1, 0)


@both_kinds
@pytest.mark.parametrize("status", [429, 500, 529])
def test_where_the_caller_owns_the_retries_the_providers_error_is_passed_on_untouched(
    sdk: str, colour: str, way: str, stream: bool, status: int, matrix: Matrix
) -> None:
    fault = Fault("error", status=status, retry_after=2, message="theirs", type="some_error")
    matrix.sim.load(failing(fault))
    told = body(sdk, "hi", stream=stream)
    direct = call(Way(matrix.sim.url), sdk, colour, told, max_retries=0).error
    seen = call(matrix.ways[f"{way}-1"], sdk, colour, told, max_retries=0).error
    assert type(seen) is type(direct) is _class(sdk, status)
    assert seen.response.headers["retry-after"] == "2"  # and so long the pace lets nobody go: the next case waits
    assert seen.response.headers.get("x-should-retry") == direct.response.headers.get("x-should-retry")
    ours, theirs = json.loads(seen.response.content), json.loads(direct.response.content)
    assert {**ours, "request_id": ""} == {**theirs, "request_id": ""}


@both_kinds
def test_an_sdk_at_its_defaults_does_not_multiply_our_retries(
    sdk: str, colour: str, way: str, stream: bool, matrix: Matrix
) -> None:
    matrix.sim.load("outage")
    seen = call(matrix.ways[way], sdk, colour, body(sdk, "hi", stream=stream))
    assert isinstance(seen.error, _class(sdk, 503))
    assert seen.error.response.headers["x-should-retry"] == "false"
    assert seen.error.response.headers["x-headgate-attempts"] == "4"
    assert "The AI service is not available right now" in str(seen.error)
    assert len(matrix.sim.requests()) == 4
    row = matrix.exchange(way, seen)
    assert (row["ending"], row["attempts"], row["status"], row["cost_nano"]) == ("failed", 4, 503, 0)


@both_kinds
def test_a_failure_that_passes_is_never_seen(sdk: str, colour: str, way: str, stream: bool, matrix: Matrix) -> None:
    matrix.sim.load(failing(Fault("rate_limit", retry_after_ms=1), times=2))
    seen = call(matrix.ways[way], sdk, colour, body(sdk, "say: at last", stream=stream))
    assert seen.error is None
    assert seen.text() == "at last"
    assert seen.headers["x-headgate-attempts"] == "3"
    assert [r["status"] for r in matrix.sim.requests()] == [429, 429, 200]


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_stream_that_breaks_off_raises_a_typed_error_after_its_text(
    sdk: str, colour: str, way: str, how: str, matrix: Matrix
) -> None:
    matrix.sim.load(failing(Fault("cut", after_events=6, how=how)))
    seen = call(matrix.ways[way], sdk, colour, body(sdk, "tokens: 60", stream=True))
    assert isinstance(seen.error, ERRORS[sdk].APIError)
    assert seen.text()
    assert "broke off" in str(seen.error)
    assert len(matrix.sim.requests()) == 1
    row = next(row for row in matrix.rows(way, "exchanges") if row["id"] == seen.headers["x-headgate-exchange"])
    assert (row["ending"], row["estimated"]) == ("cut", 1)
    assert row["cost_nano"] >= matrix.sim.invoice()["lines"][0]["cost_nano"]


def test_a_refusal_of_ours_is_known_by_its_code(sdk: str, colour: str, way: str, matrix: Matrix) -> None:
    seen = call(matrix.ways[way], sdk, colour, {**body(sdk, "hi"), "model": "no-such-model"})
    found = headgate.refusal(seen.error)
    assert isinstance(found, headgate.Refusal)
    assert found.code == "unknown_price"
    assert found.exchange_id == seen.error.response.headers["x-headgate-exchange"]
    assert not matrix.sim.requests()


def test_the_callers_timeout_ends_the_exchange(sdk: str, colour: str, way: str, matrix: Matrix) -> None:
    matrix.sim.load(failing(Fault("slow_first_token", seconds=30)))
    for seconds in ("0.15", "2", "20"):  # on a busy machine the first may be over before the provider has heard of it
        told = body(sdk, "hi", extra_headers={"x-headgate-timeout": seconds})
        seen = call(matrix.ways[way], sdk, colour, told)
        if matrix.sim.requests():
            break
    assert seen.error.status_code == 504
    assert json.loads(seen.error.response.content)["headgate"]["code"] == "provider_timeout"
    assert seen.error.response.headers["x-should-retry"] == "false"
    assert matrix.sim.requests()[-1]["ending"] == "abandoned"


def test_a_caller_that_is_retrying_already_is_seen_in_the_log(sdk: str, colour: str, way: str, matrix: Matrix) -> None:
    told = body(sdk, "say: hi", extra_headers={"x-stainless-retry-count": "2"})
    seen = call(matrix.ways[way], sdk, colour, told)
    assert matrix.exchange(way, seen)["client_retries"] == 2
    assert matrix.line(way, seen)["client_retries"] == 2


def test_attribution_by_header_and_by_body_reaches_the_ledger(sdk: str, colour: str, way: str, matrix: Matrix) -> None:
    own = {"metadata": {"user_id": "ada"}} if sdk == "anthropic" else {"safety_identifier": "ada"}
    extra = {"x-headgate-session": "s-1", "x-headgate-task": "summarise"}
    seen = call(matrix.ways[way], sdk, colour, body(sdk, "say: hi", extra_headers=extra, **own))
    row = matrix.exchange(way, seen)
    assert (row["user"], row["session"], row["task"], row["way_in"]) == ("ada", "s-1", "summarise", way)
    assert not [name for name in matrix.sim.requests()[-1]["headers"] if name.startswith("x-headgate-")]


def test_models_can_be_listed(sdk: str, colour: str, way: str, matrix: Matrix) -> None:
    there = matrix.ways[way]

    async def listed() -> Any:
        async with there.http("async") as http:
            return await there.client(sdk, "async", http).models.list()

    if colour == "sync":
        with there.http("sync") as http:
            found = there.client(sdk, "sync", http).models.list()
    else:
        found = asyncio.run(listed())
    ids = [model.id for model in found.data]
    assert any(name.startswith("claude" if sdk == "anthropic" else "gpt") for name in ids)
