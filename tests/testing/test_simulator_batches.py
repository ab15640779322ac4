"""Both vendors' batches: the real SDKs against the simulator, over the simulator's own time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario, When
from headgate.testing.simulator.scenario import Batching

HAIKU = "claude-haiku-4-5"
LUNA = "gpt-6-luna"
CHAT = "/v1/chat/completions"


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 1_795_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class Bench:
    """A simulator that takes ten seconds to start a batch and two for each of its requests."""

    def __init__(self, server: SimulatorServer, hands: Hands) -> None:
        self.server, self.hands = server, hands
        self.claude = anthropic.Anthropic(base_url=server.url, api_key="fake", max_retries=0)
        self.gpt = openai.OpenAI(base_url=server.openai_url, api_key="fake", max_retries=0)

    def messages(self, *texts: str, **more: Any) -> Any:
        return self.claude.messages.batches.create(
            requests=[
                {
                    "custom_id": f"r{n}",
                    "params": {
                        "model": HAIKU,
                        "max_tokens": 100,
                        "messages": [{"role": "user", "content": text}],
                        **more,
                    },
                }
                for n, text in enumerate(texts)
            ]
        )

    def results(self, batch_id: str) -> dict[str, Any]:
        return {line.custom_id: line.result for line in self.claude.messages.batches.results(batch_id)}

    def lines(self, *texts: str, **more: Any) -> list[dict[str, Any]]:
        return [
            {
                "custom_id": f"r{n}",
                "method": "POST",
                "url": CHAT,
                "body": {"model": LUNA, "messages": [{"role": "user", "content": text}], **more},
            }
            for n, text in enumerate(texts)
        ]

    def batch(self, lines: list[dict[str, Any]], endpoint: Any = CHAT) -> openai.types.Batch:
        data = "\n".join(json.dumps(line) for line in lines).encode()
        file = self.gpt.files.create(file=("in.jsonl", data), purpose="batch")
        return self.gpt.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")

    def written(self, file_id: str | None) -> dict[str, Any]:
        assert file_id is not None
        return {(told := json.loads(line))["custom_id"]: told for line in self.gpt.files.content(file_id).iter_lines()}


@pytest.fixture
def bench() -> Iterator[Bench]:
    hands = Hands()
    with SimulatorServer(Scenario(batches=Batching(10, 2)), clock=hands) as server:
        yield Bench(server, hands)


def test_a_message_batch_is_worked_off_over_time_and_its_results_have_an_absolute_address(bench: Bench) -> None:
    made = bench.messages("say: one", "say: two", "say: three")
    assert (made.processing_status, made.results_url) == ("in_progress", None)
    bench.hands.time += 15.9
    running = bench.claude.messages.batches.retrieve(made.id)
    assert (running.processing_status, running.request_counts.processing) == ("in_progress", 3)
    bench.hands.time += 0.1
    ended = bench.claude.messages.batches.retrieve(made.id)
    assert (ended.processing_status, ended.request_counts.succeeded) == ("ended", 3)
    assert ended.results_url == f"{bench.server.url}/v1/messages/batches/{made.id}/results"
    got = bench.results(made.id)
    assert {name: one.message.content[0].text for name, one in got.items()} == {"r0": "one", "r1": "two", "r2": "three"}
    assert got["r0"].message.usage.service_tier == "batch"


def test_only_what_succeeded_is_billed_and_at_half_price(bench: Bench) -> None:
    made = bench.messages("tokens: 20", "tokens: 20")
    bad = bench.claude.messages.batches.create(
        requests=[{"custom_id": "bad", "params": {"model": "no-such-model", "max_tokens": 5, "messages": []}}]
    )
    bench.hands.time += 60
    lines = bench.server.invoice()["lines"]
    assert bench.results(bad.id)["bad"].error.error.type == "not_found_error"
    assert [(one["batch"], one["custom_id"], one["reported"]) for one in lines] == [
        (made.id, "r0", True),
        (made.id, "r1", True),
    ]
    # The prompt: 10 characters are 3 tokens, and 6 for its frame. Haiku 4.5 costs 1 and 5 USD per million.
    assert {one["cost_nano"] for one in lines} == {(9 * 1000 + 20 * 5000) // 2}
    assert len({one["request_id"] for one in lines}) == 2


def test_the_invoice_includes_a_batch_that_nobody_has_looked_at(bench: Bench) -> None:
    bench.messages("say: one", "say: two")
    assert bench.server.invoice()["lines"] == []
    bench.hands.time += 12
    assert len(bench.server.invoice()["lines"]) == 1
    bench.hands.time += 2
    assert bench.server.invoice()["total"]["lines"] == 2
    assert len(bench.server.requests()) == 1


def test_a_cancelled_batch_keeps_what_was_done_and_an_ended_one_can_be_deleted(bench: Bench) -> None:
    made = bench.messages("say: one", "say: two", "say: three")
    bench.hands.time += 13
    with pytest.raises(anthropic.BadRequestError, match="cancel it first"):
        bench.claude.messages.batches.delete(made.id)
    assert bench.claude.messages.batches.cancel(made.id).processing_status == "canceling"
    bench.hands.time += 1
    ended = bench.claude.messages.batches.retrieve(made.id)
    assert (ended.request_counts.succeeded, ended.request_counts.canceled) == (1, 2)
    assert [one.type for _, one in sorted(bench.results(made.id).items())] == ["succeeded", "canceled", "canceled"]
    with pytest.raises(anthropic.BadRequestError, match="already ended"):
        bench.claude.messages.batches.cancel(made.id)
    assert bench.claude.messages.batches.delete(made.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        bench.claude.messages.batches.retrieve(made.id)


def test_what_is_not_done_after_a_day_expires(bench: Bench) -> None:
    bench.server.load(Scenario(batches=Batching(0, 50_000)))
    made = bench.messages("say: one", "say: two")
    chat = bench.batch(bench.lines("say: one", "say: two"))
    bench.hands.time += 86_400
    assert [one.type for _, one in sorted(bench.results(made.id).items())] == ["succeeded", "expired"]
    done = bench.gpt.batches.retrieve(chat.id)
    assert done.status == "expired"
    assert bench.written(done.error_file_id)["r1"]["error"]["code"] == "batch_expired"
    assert list(bench.written(done.output_file_id)) == ["r0"]


def test_message_batches_are_listed_in_pages_newest_first(bench: Bench) -> None:
    made = [bench.messages("say: x").id for _ in range(5)]
    assert [batch.id for batch in bench.claude.messages.batches.list(limit=2)] == made[::-1]
    before = bench.claude.messages.batches.list(limit=2, before_id=made[0])
    assert [batch.id for batch in before.data] == [made[2], made[1]]


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([], "at least one"),
        ([{"custom_id": "not ok", "params": {}}], "custom_id"),
        ([{"custom_id": "a"}], "params"),
        ([{"custom_id": "a", "params": {}}] * 2, "unique"),
    ],
)
def test_a_message_batch_that_makes_no_sense_is_refused(bench: Bench, requests: Any, said: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=said):
        bench.claude.messages.batches.create(requests=requests)


def test_an_openai_batch_goes_from_file_to_file(bench: Bench) -> None:
    lines = bench.lines("say: one", "say: two")
    lines[1]["body"]["model"] = "no-such-model"
    made = bench.batch(lines)
    assert (made.status, made.output_file_id) == ("validating", None)
    bench.hands.time += 13
    running = bench.gpt.batches.retrieve(made.id)
    assert running.status == "in_progress"
    assert running.request_counts is not None
    assert running.request_counts.completed == 1
    bench.hands.time += 1
    done = bench.gpt.batches.retrieve(made.id)
    assert done.status == "completed"
    assert done.usage is not None
    answered, failed = bench.written(done.output_file_id), bench.written(done.error_file_id)
    response = answered["r0"]["response"]
    assert (response["status_code"], response["body"]["choices"][0]["message"]["content"]) == (200, "one")
    assert response["body"]["usage"]["total_tokens"] == done.usage.total_tokens
    assert (failed["r1"]["response"]["status_code"], answered["r0"]["error"]) == (404, None)
    (line,) = bench.server.invoice()["lines"]
    assert line["request_id"] == response["request_id"]
    usage = response["body"]["usage"]
    assert line["cost_nano"] == (usage["prompt_tokens"] * 100 + usage["completion_tokens"] * 500) // 2


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/responses", {"model": LUNA, "input": "say: hello"}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hello"}),
        ("/v1/moderations", {"input": "hello"}),
    ],
)
def test_every_endpoint_can_be_batched(bench: Bench, endpoint: str, body: dict[str, Any]) -> None:
    made = bench.batch([{"custom_id": "a", "method": "POST", "url": endpoint, "body": body}], endpoint)
    bench.hands.time += 20
    done = bench.gpt.batches.retrieve(made.id)
    assert bench.written(done.output_file_id)["a"]["response"]["status_code"] == 200
    assert len(bench.server.invoice()["lines"]) == (endpoint != "/v1/moderations")


def test_a_file_that_is_not_a_batch_fails_line_by_line(bench: Bench) -> None:
    lines: list[Any] = bench.lines("say: a", "say: b", "say: c")
    lines[1]["url"] = "/v1/responses"
    lines[2]["custom_id"] = "r0"
    made = bench.batch([*lines, "nonsense"])
    failed = bench.gpt.batches.retrieve(made.id)
    bench.hands.time += 10
    failed = bench.gpt.batches.retrieve(made.id)
    assert failed.status == "failed"
    assert failed.errors is not None
    told = [(error.line, error.code) for error in failed.errors.data or ()]
    assert told == [(2, "mismatched_endpoint"), (3, "duplicate_custom_id"), (4, "invalid_json_line")]
    assert bench.server.invoice()["lines"] == []


def test_an_openai_batch_is_cancelled_and_listed(bench: Bench) -> None:
    made = bench.batch(bench.lines("say: a", "say: b"))
    bench.hands.time += 12
    assert bench.gpt.batches.cancel(made.id).status == "cancelling"
    bench.hands.time += 1
    done = bench.gpt.batches.retrieve(made.id)
    assert done.status == "cancelled"
    assert list(bench.written(done.output_file_id)) == ["r0"]
    with pytest.raises(openai.ConflictError):
        bench.gpt.batches.cancel(made.id)
    more = bench.batch(bench.lines("say: c"))
    assert [batch.id for batch in bench.gpt.batches.list(limit=1)] == [more.id, made.id]


def test_without_a_timing_a_batch_has_ended_when_it_is_first_looked_at(headgate_simulator: SimulatorServer) -> None:
    bench = Bench(headgate_simulator, Hands())
    made = bench.messages("say: one")
    assert made.processing_status == "in_progress"
    assert bench.claude.messages.batches.retrieve(made.id).processing_status == "ended"
    assert bench.gpt.batches.retrieve(bench.batch(bench.lines("say: a")).id).status == "completed"


def test_answers_and_ids_do_not_depend_on_who_looks_when(bench: Bench) -> None:
    def played(looks: list[float]) -> Any:
        bench.server.reset()
        made = bench.messages("hello", "hello again", "goodbye")
        for seconds in looks:
            bench.hands.time += seconds
            bench.claude.messages.batches.retrieve(made.id)
        return {name: one.message for name, one in bench.results(made.id).items()}

    assert played([20]) == played([11, 2, 2, 5])


def test_rules_strike_the_requests_inside_a_batch_only_by_their_own_path(bench: Bench) -> None:
    rules = (
        Rule(Fault("overloaded"), Match(path="/batch/v1/*"), When(nth=(2,))),
        Rule(Fault("wrong_usage", usage="negative"), Match(path="/batch/v1/*"), When(nth=(3,))),
        Rule(Fault("server_error")),
    )
    bench.server.load(Scenario(rules=rules))
    made = bench.messages("say: a", "say: b", "say: c")
    got = bench.results(made.id)
    assert [got[name].type for name in ("r0", "r1", "r2")] == ["succeeded", "errored", "succeeded"]
    assert got["r1"].error.error.type == "overloaded_error"
    assert got["r2"].message.usage.output_tokens < 0
    assert [line["reported"] for line in bench.server.invoice()["lines"]] == [True, False]


def test_rules_strike_the_batches_own_endpoints(bench: Bench) -> None:
    bench.server.load(Scenario(rules=(Rule(Fault("rate_limit"), Match(path="/v1/*batches*")),)))
    with pytest.raises(anthropic.RateLimitError):
        bench.messages("say: a")
    with pytest.raises(openai.RateLimitError):
        bench.batch(bench.lines("say: a"))
    bench.server.load(Scenario(rules=(Rule(Fault("cut", after_events=1), Match(path="*/results")),)))
    made = bench.messages("say: a", "say: b")
    with pytest.raises(Exception, match=r"(?i)reset|closed|incomplete|disconnect|connection"):
        bench.results(made.id)
