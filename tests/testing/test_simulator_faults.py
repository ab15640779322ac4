"""Every fault, as the real SDKs see it, and what is billed for it."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Rule, Scenario, When

HAIKU = "claude-haiku-4-5"
LUNA = "gpt-6-luna"
# 325 characters are 82 tokens, with 3 for the message and 3 for the prompt 88; the answer has 80, four in each event.
PROMPT = [{"role": "user", "content": "say: " + "four" * 80}]


class Pair:
    """Both SDKs at one simulator, with one fault on every request."""

    def __init__(self, server: SimulatorServer, retries: int = 0) -> None:
        self.server = server
        self.anthropic = anthropic.Anthropic(base_url=server.url, api_key="fake", max_retries=retries)
        self.openai = openai.OpenAI(base_url=server.openai_url, api_key="fake", max_retries=retries)

    def fault(self, kind: str, **told: Any) -> None:
        self.server.load(Scenario(rules=(Rule(Fault(kind, **told)),)))

    def message(self) -> anthropic.types.Message:
        return self.anthropic.messages.create(model=HAIKU, max_tokens=300, messages=PROMPT)  # type: ignore[arg-type]

    def events(self) -> list[Any]:
        """The events of a stream until it ends or breaks; what broke it is kept in `error`."""
        self.error: Exception | None = None
        got: list[Any] = []
        stream = self.anthropic.messages.create(model=HAIKU, max_tokens=300, messages=PROMPT, stream=True)  # type: ignore[arg-type]
        try:
            for event in stream:
                got.append(event)
        except Exception as error:
            self.error = error
        return got

    def completion(self) -> openai.types.chat.ChatCompletion:
        return self.openai.chat.completions.create(model=LUNA, messages=PROMPT)  # type: ignore[call-overload,no-any-return]

    def chunks(self) -> list[Any]:
        self.error = None
        got: list[Any] = []
        options = {"include_usage": True}
        try:
            for chunk in self.openai.chat.completions.create(
                model=LUNA,
                messages=PROMPT,
                stream=True,
                stream_options=options,  # type: ignore[call-overload]
            ):
                got.append(chunk)
        except Exception as error:
            self.error = error
        return got

    def line(self) -> dict[str, Any]:
        (line,) = self.server.invoice()["lines"]
        return line


@pytest.fixture
def pair(headgate_simulator: SimulatorServer) -> Pair:
    return Pair(headgate_simulator)


def told_by(pair: Pair, of: str) -> Any:
    """The typed error that one SDK raises."""
    kind = (anthropic if of == "anthropic" else openai).APIStatusError
    with pytest.raises(kind) as caught:
        (pair.message if of == "anthropic" else pair.completion)()
    assert pair.server.invoice()["total"]["cost_nano"] == 0
    assert pair.server.requests()[0]["ending"] == "error"
    return caught.value


def test_a_429_with_retry_after_is_a_rate_limit_error_in_both_sdks(pair: Pair) -> None:
    pair.fault("rate_limit", retry_after=7)
    error = told_by(pair, "anthropic")
    assert isinstance(error, anthropic.RateLimitError)
    assert error.response.headers["retry-after"] == "7"
    pair.fault("rate_limit", retry_after_ms=250, should_retry=True)
    other = told_by(pair, "openai")
    assert isinstance(other, openai.RateLimitError)
    assert other.code == "rate_limit_exceeded"
    assert other.response.headers["retry-after-ms"] == "250"
    assert other.response.headers["x-should-retry"] == "true"


def test_a_429_may_name_no_wait_or_an_http_date(pair: Pair) -> None:
    pair.fault("rate_limit")
    assert "retry-after" not in told_by(pair, "anthropic").response.headers
    pair.fault("rate_limit", retry_after_date=30)
    date = parsedate_to_datetime(told_by(pair, "openai").response.headers["retry-after"])
    assert 0 <= date.timestamp() - pair.server.simulator.clock.now() <= 31


def test_a_429_for_money_carries_the_vendors_code(pair: Pair) -> None:
    pair.fault("spend_limit")
    error = told_by(pair, "anthropic")
    assert error.status_code == 429
    assert error.body["error"]["details"]["error_code"] == "enforced_spend_limit_reached"
    pair.fault("spend_limit")
    assert told_by(pair, "openai").code == "insufficient_quota"
    pair.fault("spend_limit", status=400)
    assert "You have reached your specified API usage limits" in told_by(pair, "anthropic").message
    pair.fault("spend_limit", code="credit_balance_exhausted")
    assert told_by(pair, "openai").code == "credit_balance_exhausted"


def test_overload_is_529_at_one_vendor_and_503_at_the_other(pair: Pair) -> None:
    pair.fault("overloaded")
    assert isinstance(told_by(pair, "anthropic"), anthropic.InternalServerError)
    pair.fault("overloaded", retry_after=2)
    error = told_by(pair, "openai")
    assert (error.status_code, error.code) == (503, "server_is_overloaded")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_may_be_an_html_page(pair: Pair, status: int) -> None:
    pair.fault("server_error", status=status, html=True)
    error = told_by(pair, "anthropic")
    assert error.status_code == status
    assert error.response.headers["content-type"] == "text/html"
    assert error.response.headers["x-headgate-simulated"] == "true"


def test_auth_faults_are_the_sdks_own_classes(pair: Pair) -> None:
    pair.fault("auth")
    assert isinstance(told_by(pair, "anthropic"), anthropic.AuthenticationError)
    pair.fault("auth")
    assert told_by(pair, "openai").code == "invalid_api_key"
    pair.fault("auth", status=403)
    assert isinstance(told_by(pair, "openai"), openai.PermissionDeniedError)
    pair.fault("error", status=413, type="request_too_large", message="too big")
    assert told_by(pair, "anthropic").body["error"] == {"type": "request_too_large", "message": "too big"}


def test_a_drop_before_the_headers_is_a_connection_error_and_is_billed_only_if_generated(pair: Pair) -> None:
    pair.fault("drop")
    with pytest.raises(anthropic.APIConnectionError):
        pair.message()
    assert pair.server.invoice()["lines"] == []
    pair.fault("drop", generated=True, how="fin")
    with pytest.raises(openai.APIConnectionError):
        pair.completion()
    line = pair.line()
    assert (line["ending"], line["reported"], line["cost_nano"]) == ("dropped", False, 88 * 100 + 80 * 500)


@pytest.mark.parametrize(("how", "raised"), [("reset", httpx2.ReadError), ("fin", httpx2.RemoteProtocolError)])
def test_a_cut_stream_bills_its_input_and_the_events_it_wrote(pair: Pair, how: str, raised: type[Exception]) -> None:
    pair.fault("cut", after_events=6, how=how)  # start, block start, ping and three deltas of four tokens
    got = pair.events()
    assert isinstance(pair.error, raised)
    assert [event.type for event in got] == ["message_start", "content_block_start"] + ["content_block_delta"] * 3
    line = pair.line()
    assert (line["ending"], line["reported"]) == ("cut", False)
    assert line["usage"]["output_tokens"] == 12
    assert line["cost_nano"] == 88 * 1000 + 12 * 5000
    pair.fault("cut", after_events=3, how=how)  # the role and two chunks
    assert len(pair.chunks()) == 3
    assert isinstance(pair.error, openai.APIConnectionError)
    assert pair.line()["cost_nano"] == 88 * 100 + 8 * 500


def test_a_cut_json_answer_is_a_connection_error_and_billed_whole(pair: Pair) -> None:
    for kind in ("cut", "truncate", "no_terminal"):
        pair.fault(kind)
        with pytest.raises(anthropic.APIConnectionError):
            pair.message()
        line = pair.line()
        assert (line["ending"], line["reported"], line["usage"]["output_tokens"]) == ("cut", False, 80)


def test_a_stream_may_end_without_its_terminal_event(pair: Pair) -> None:
    pair.fault("no_terminal")
    assert pair.events()[-1].type == "content_block_stop"
    assert pair.error is None
    assert (pair.line()["reported"], pair.line()["usage"]["output_tokens"]) == (False, 80)
    pair.fault("no_terminal", keep_usage=True)
    assert pair.events()[-1].type == "message_delta"
    assert (pair.line()["ending"], pair.line()["reported"]) == ("cut", True)
    pair.fault("no_terminal")
    assert all(chunk.usage is None for chunk in pair.chunks())


def test_an_error_event_is_billed_only_after_content(pair: Pair) -> None:
    pair.fault("error_event", after_events=0)
    assert pair.events() == []
    assert pair.error.type == "overloaded_error"  # type: ignore[union-attr]  # the SDK's APIStatusError
    assert pair.server.invoice()["lines"] == []
    pair.fault("error_event", after_events=5, type="api_error")
    assert len(pair.events()) == 4  # the ping is not handed on
    assert pair.error.type == "api_error"  # type: ignore[union-attr]
    assert pair.line()["usage"]["output_tokens"] == 8
    pair.fault("error_event", after_events=2)
    assert len(pair.chunks()) == 2
    assert isinstance(pair.error, openai.APIError)
    pair.fault("error_event")
    assert told_by(pair, "anthropic").status_code == 529


def test_a_malformed_event_is_in_the_way_of_an_otherwise_whole_stream(pair: Pair) -> None:
    pair.fault("malformed_event", after_events=4)
    pair.events()
    assert isinstance(pair.error, ValueError)
    pair.fault("malformed_event", after_events=2)
    pair.chunks()
    assert pair.error is not None
    assert pair.line()["ending"] in ("complete", "abandoned")


def test_a_refusal_is_a_complete_answer(pair: Pair) -> None:
    pair.fault("refusal")
    message = pair.message()
    assert (message.stop_reason, message.content, message.usage.output_tokens) == ("refusal", [], 0)
    assert pair.line()["reported"]
    pair.fault("refusal", after_tokens=12)
    assert pair.events()[-2].delta.stop_reason == "refusal"
    assert pair.line()["usage"]["output_tokens"] == 12
    pair.fault("refusal")
    assert pair.completion().choices[0].finish_reason == "content_filter"
    pair.fault("refusal", style="message")
    choice = pair.completion().choices[0]
    assert (choice.finish_reason, choice.message.content) == ("stop", None)
    assert choice.message.refusal


def test_a_slow_first_token_and_a_stall_end_well_where_the_client_waits(pair: Pair) -> None:
    late = {"kind": "slow_first_token"}
    for told in ({**late, "before": "headers"}, {**late, "before": "content"}, {"kind": "stall"}):
        pair.fault(**told, seconds=0.02)
        assert pair.events()[-1].type == "message_stop"
        assert pair.message().stop_reason == "end_turn"


def test_the_sdks_default_retries_get_through_a_burst(headgate_simulator: SimulatorServer) -> None:
    both = Pair(headgate_simulator, retries=2)
    burst = Rule(Fault("rate_limit", retry_after_ms=1), when=When(first=2))
    headgate_simulator.load(Scenario(rules=(burst,)))
    assert both.message().stop_reason == "end_turn"
    seen = headgate_simulator.requests()
    assert [r["status"] for r in seen] == [429, 429, 200]
    assert [r["headers"]["x-stainless-retry-count"] for r in seen] == ["0", "1", "2"]
    assert headgate_simulator.invoice()["total"]["lines"] == 1


def test_a_client_that_leaves_a_stream_is_billed_what_was_written(pair: Pair) -> None:
    pair.fault("stall", after_events=6)
    stream = pair.anthropic.messages.create(model=HAIKU, max_tokens=300, messages=PROMPT, stream=True)  # type: ignore[arg-type]
    got = [next(stream) for _ in range(5)]
    assert got[-1].type == "content_block_delta"
    stream.close()
    line = pair.line()
    assert (line["ending"], line["reported"], line["usage"]["output_tokens"]) == ("abandoned", False, 12)
    assert line["cost_nano"] == 88 * 1000 + 12 * 5000


def test_a_client_that_leaves_before_a_json_answer_is_billed_its_input(pair: Pair) -> None:
    for seconds in (0.1, 2, 20):  # on a busy machine the first may be over before the simulator has read the request
        pair.fault("slow_first_token", seconds=3600)
        impatient = pair.anthropic.with_options(timeout=seconds)
        with pytest.raises(anthropic.APITimeoutError):
            impatient.messages.create(model=HAIKU, max_tokens=300, messages=PROMPT)  # type: ignore[arg-type]
        if pair.server.invoice()["lines"]:
            break
    line = pair.line()
    assert (line["ending"], line["cost_nano"]) == ("abandoned", 88 * 1000)
