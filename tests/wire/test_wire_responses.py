"""Facts of Responses requests and of whole answers, with bodies that the openai SDK's own types accept."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import CompactedResponse, Response, Tool

from headgate.core.errors import BadRequest
from headgate.core.exchange import Facts
from headgate.core.usage import Usage
from headgate.wire import OPENAI
from headgate.wire.dialect import Answer, ProviderError

USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {
        "cached_tokens": 60,
        "cache_write_tokens": 30,
        "cache_write_tokens_details": {"ttl_30m_tokens": 20, "ttl_12h_tokens": 10},
    },
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 12},
    "total_tokens": 120,
}
COUNTED = Usage(10, 60, 20, 10, output_tokens=20, reasoning_tokens=12, service_tier="priority")
TEXT = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
MESSAGE = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [TEXT]}
REASONING = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}


def create(**fields: Any) -> bytes:
    return json.dumps({"model": "gpt-6-luna", "input": "hi", **fields}).encode()


def facts(**fields: Any) -> Facts:
    return OPENAI.read_request("responses", create(**fields))


def answer(**fields: Any) -> bytes:
    told = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-6-luna",
        "output": [REASONING, MESSAGE],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "service_tier": "priority",
        "usage": USAGE,
        **fields,
    }
    return json.dumps(told).encode()


def read(body: bytes) -> Answer:
    return OPENAI.read_answer("responses", body)[0]


def test_the_facts_of_a_request_are_read() -> None:
    leading = [{"role": "developer", "content": "be"}, {"type": "message", "role": "system", "content": []}]
    found = facts(
        input=[*leading, {"role": "user", "content": "hi"}, {"role": "system", "content": "late"}],
        instructions="kind",
        stream=True,
        max_output_tokens=50,
        user="old",
        safety_identifier="new",
        background=True,
        store=False,
        newer={"x": [1]},
    )
    assert (found.model, found.stream, found.max_output_tokens, found.choices) == ("gpt-6-luna", True, 50, 1)
    assert (found.user, found.system, found.background) == ("new", b'"kind"\n"be"\n[]', True)
    assert (found.has_media, found.server_side, found.keeps) == (False, False, False)


def test_nulls_are_as_good_as_absent() -> None:
    names = (
        "instructions tools stream background max_output_tokens user safety_identifier previous_response_id "
        "conversation prompt context_management"
    )
    assert facts(**dict.fromkeys(names.split())) == facts()
    assert facts().max_output_tokens is None


def test_a_request_may_have_no_input_of_its_own() -> None:
    assert OPENAI.read_request("responses", b'{"model":"m","prompt":{"id":"p"}}').server_side


@pytest.mark.parametrize(
    ("body", "hint"), [('{"model":"m","input":null}', "required$"), ('{"model":"m","messages":[]}', "chat")]
)
def test_a_request_without_an_input_or_anything_to_go_on_from_is_refused(body: str, hint: str) -> None:
    with pytest.raises(BadRequest, match=hint):
        OPENAI.read_request("responses", body.encode())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": 3}, "`model` must be a string, not an integer"),
        ({"model": ""}, "`model` is empty"),
        ({"input": 3}, "`input` must be a string or an array"),
        ({"input": {}}, "`input` must be a string or an array"),
        ({"stream": "yes"}, "`stream` must be true or false or null, not a string"),
        ({"max_output_tokens": -1}, "`max_output_tokens` must be an integer >= 0"),
        ({"background": 1}, "`background` must be true or false or null, not an integer"),
        ({"tools": {}}, "`tools` must be an array or null, not an object"),
    ],
)
def test_a_wrong_type_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        facts(**fields)


@pytest.mark.parametrize("twice", ["model", "max_output_tokens", "stream"])
def test_a_key_that_decides_about_money_or_the_route_may_not_come_twice(twice: str) -> None:
    values = {"model": '"m"', "max_output_tokens": "5", "stream": "false", "input": '"hi"'}
    body = "{" + ",".join(f'"{n}":{v}' for n, v in [*values.items(), (twice, values[twice])]) + "}"
    with pytest.raises(BadRequest, match=f"`{twice}` more than once"):
        OPENAI.read_request("responses", body.encode())


def test_input_that_nests_too_deep_is_refused() -> None:
    for body in (b'{"model":"m","input":' + b"[" * 300 + b"]" * 300 + b"}", b'{"model":"m","input":' + b"[" * 99_999):
        with pytest.raises(BadRequest):
            OPENAI.read_request("responses", body)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_body_raises_anything_but_a_bad_request(body: bytes) -> None:
    for endpoint in ("responses", "embeddings"):
        with pytest.raises(BadRequest):
            OPENAI.read_request(endpoint, body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "role", "id", "content", "text", "tools", "x"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_as_input_or_tools_is_read_or_refused(value: Any) -> None:
    for fields in ({"input": value}, {"input": [value]}, {"tools": [value]}, {"instructions": value}):
        try:
            found = OPENAI.read_request("responses", create(**fields), keep_text=True)
        except BadRequest:
            assert fields == {"input": value}
        else:
            assert found.model == "gpt-6-luna"


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"context_management": [{"type": "compaction"}]},
        {"search_parameters": {"mode": "on"}},
        {"plugins": [{"id": "web"}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"id": "msg_1"}]},
        {"input": [{"type": None, "id": "msg_1"}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]},
        {"input": [{"type": "additional_tools", "role": "developer", "tools": [{"type": "mcp"}]}]},
        {"input": [3, {"type": "item_reference", "id": "msg_1"}]},
    ],
)
def test_what_refers_to_the_providers_state_is_server_side(fields: dict[str, Any]) -> None:
    assert facts(**fields).server_side


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [TEXT], "id": "msg_1", "type": "message"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "additional_tools", "tools": [{"type": "function", "name": "f"}]},
        {"type": "newer", "id": "x_1"},
    ],
)
def test_what_a_request_brings_itself_is_not_server_side(item: dict[str, Any]) -> None:
    assert not facts(input=[item]).server_side


CALLERS = {"function", "custom", "namespace", "local_shell", "apply_patch", "computer", "computer_use_preview"}
SDKS_TOOLS = sorted(
    {name for kind in get_args(get_args(Tool)[0]) for name in get_args(kind.model_fields["type"].annotation)}
)


@pytest.mark.parametrize("kind", SDKS_TOOLS)
def test_every_tool_of_the_sdk_runs_here_or_there(kind: str) -> None:
    assert facts(tools=[{"type": "function"}, {"type": kind}]).server_side == (kind not in CALLERS)


@pytest.mark.parametrize(
    ("tool", "there"),
    [
        ({"type": "shell", "environment": {"type": "local"}}, False),
        ({"type": "shell", "environment": {"type": "container_auto"}}, True),
        ({"type": "shell"}, True),
        ({"type": "tool_search", "execution": "client"}, False),
        ({"type": "tool_search", "execution": "server"}, True),
        ({"type": "newer"}, True),
        ({}, True),
    ],
)
def test_a_tool_that_can_run_on_either_side_says_where(tool: dict[str, Any], there: bool) -> None:
    assert facts(tools=[tool]).server_side is there


@pytest.mark.parametrize("kind", ["input_image", "input_file", "input_audio", "computer_screenshot"])
def test_media_are_seen_wherever_they_are(kind: str) -> None:
    part = {"type": kind, "x": 1}
    for item in (
        {"role": "user", "content": [part]},
        {"type": "function_call_output", "call_id": "c", "output": [part]},
    ):
        assert facts(input=[item]).has_media
    hidden = create(input=[{"role": "user", "content": [part]}]).replace(kind.encode(), b"\\u0069" + kind[1:].encode())
    assert OPENAI.read_request("responses", hidden).has_media == kind.startswith("i")
    assert not facts(input=json.dumps(part)).has_media


def test_the_last_users_text_is_read_only_when_asked_for() -> None:
    turns = [
        {"role": "user", "content": [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]},
        {"role": "assistant", "content": "ok"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
    ]
    assert OPENAI.read_request("responses", create(input=turns), keep_text=True).user_message == "one\ntwo"
    assert OPENAI.read_request("responses", create(), keep_text=True).user_message == "hi"
    assert facts(input=turns).user_message == ""


def test_a_rewrite_changes_the_model_and_nothing_else() -> None:
    body = b'{"input": [{"model":"x"}],  "model" : "a", "n":1.50}'
    assert OPENAI.rewrite("responses", body, model='b"c') == body.replace(b'"a"', b'"b\\"c"')
    assert OPENAI.rewrite("responses", body) is body


def test_an_answer_of_the_sdks_type_is_read_with_every_class_of_token() -> None:
    assert Response.model_validate_json(answer()).usage is not None
    found, text = OPENAI.read_answer("responses", answer(), keep_text=True)
    assert (found, text) == (Answer(COUNTED, "gpt-6-luna", "completed"), "Hello")
    assert OPENAI.read_answer("responses", answer())[1] == ""


def test_a_compacted_answer_is_counted_as_a_response() -> None:
    item = {"id": "cmp_1", "type": "compaction", "encrypted_content": "x"}
    body = {"id": "resp_1", "object": "response.compaction", "created_at": 1, "output": [item], "usage": USAGE}
    CompactedResponse.model_validate(body)
    assert OPENAI.endpoint("POST", "/responses/compact") == "responses"
    assert read(json.dumps(body).encode()).usage == Usage(10, 60, 20, 10, output_tokens=20, reasoning_tokens=12)


@pytest.mark.parametrize("reason", ["max_output_tokens", "max_messages", "content_filter", "steered", "newer"])
def test_an_incomplete_answer_says_why_and_is_no_error(reason: str) -> None:
    body = answer(status="incomplete", incomplete_details={"reason": reason})
    assert reason == "newer" or Response.model_validate_json(body)
    assert read(body) == Answer(COUNTED, "gpt-6-luna", reason)


def test_a_refusal_is_the_text_of_the_answer() -> None:
    body = answer(output=[{**MESSAGE, "content": [{"type": "refusal", "refusal": "No."}]}])
    assert OPENAI.read_answer("responses", body, keep_text=True)[1] == "No."


def test_a_failed_answer_is_an_error_beside_what_it_used() -> None:
    failed = answer(status="failed", error={"code": "server_error", "message": "m"})
    Response.model_validate_json(failed)
    assert read(failed) == Answer(COUNTED, "gpt-6-luna", "failed", ProviderError("", "server_error", "m"))
    silent = read(answer(status="failed", usage=None)).error
    assert silent == ProviderError("server_error", "", "the response failed, and does not say why")
    assert read(b'{"error":{"type":"t","code":7,"message":"m"}}').error == ProviderError("t", "7", "m")


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_an_answer_that_goes_on_in_the_background_has_no_usage_and_is_no_error(status: str) -> None:
    body = answer(status=status, output=[], usage=None, background=True)
    assert read(body) == Answer(None, "gpt-6-luna", status)


@pytest.mark.parametrize("usage", [None, {}, [], "x", {"input_tokens": 3}])
def test_a_usage_without_both_counts_is_none(usage: Any) -> None:
    assert read(answer(usage=usage)).usage is None


def test_a_usage_of_something_else_than_counts_says_so() -> None:
    usage = read(answer(usage={"input_tokens": -1, "output_tokens": 1})).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.output_tokens, usage.bad) == (0, 1, True)


@pytest.mark.parametrize(
    ("fields", "searches"),
    [
        ({}, 0),
        ({"output": [MESSAGE, {"type": "web_search_call"}, 3, {"type": "web_search_call"}]}, 2),
        ({"output": [{"type": "web_search_call"}], "tool_usage": {"web_search": {"num_requests": 4}}}, 4),
        ({"output": [{**MESSAGE, "content": [{"type": "output_text", "text": '"web_search_call"'}]}]}, 0),
        ({"output": None}, 0),
    ],
)
def test_searches_are_counted_once(fields: dict[str, Any], searches: int) -> None:
    usage = read(answer(**fields)).usage
    assert usage is not None
    assert usage.web_searches == searches


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"{" * 9999, b'"x"'])
def test_what_is_no_answer_is_an_error(body: bytes) -> None:
    error = read(body).error
    assert error is not None
    assert error.type == "malformed_answer"


@pytest.mark.parametrize(
    ("method", "path", "endpoint"),
    [
        ("POST", "/responses", "responses"),
        ("POST", "/v1/responses", "responses"),
        ("GET", "/responses/resp_1", "stored"),
        ("DELETE", "/v1/responses/resp_1", "stored"),
        ("POST", "/responses/resp_1/cancel", "stored"),
        ("GET", "/responses/resp_1/input_items", "stored"),
        ("POST", "/responses/input_tokens", "count_tokens"),
        ("GET", "/responses", "other"),
        ("POST", "/completions", "other"),
        ("POST", "/images/generations", "other"),
    ],
)
def test_a_path_has_its_endpoint(method: str, path: str, endpoint: str) -> None:
    assert OPENAI.endpoint(method, path) == endpoint
