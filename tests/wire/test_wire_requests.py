"""Facts of request bodies, what is refused and in which words, and what a rewrite leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import BadRequest
from headgate.core.exchange import Facts
from headgate.wire import ANTHROPIC, DIALECTS, OPENAI, bodies

USER = {"role": "user", "content": "hi"}


def anthropic(**fields: Any) -> bytes:
    return json.dumps({"model": "claude-haiku-4-5", "max_tokens": 300, "messages": [USER], **fields}).encode()


def openai(**fields: Any) -> bytes:
    return json.dumps({"model": "gpt-4o", "messages": [USER], **fields}).encode()


def test_both_dialects_are_there_by_name() -> None:
    assert DIALECTS == {"anthropic": ANTHROPIC, "openai": OPENAI}


@pytest.mark.parametrize(
    ("dialect", "method", "path", "endpoint"),
    [
        ("anthropic", "POST", "/v1/messages", "messages"),
        ("anthropic", "POST", "/v1/messages/count_tokens", "count_tokens"),
        ("anthropic", "GET", "/v1/models", "models"),
        ("anthropic", "GET", "/v1/models/claude-haiku-4-5", "models"),
        ("anthropic", "GET", "/v1/messages", "other"),
        ("anthropic", "POST", "/v1/messages/batches", "stored"),
        ("openai", "POST", "/chat/completions", "chat"),
        ("openai", "POST", "/v1/chat/completions", "chat"),
        ("openai", "GET", "/models", "models"),
        ("openai", "GET", "/v1/models/org/name", "models"),
        ("openai", "POST", "/responses", "responses"),
        ("openai", "POST", "/v1/embeddings", "embeddings"),
        ("openai", "POST", "/moderations", "moderations"),
        ("openai", "GET", "/responses/resp_1", "stored"),
        ("openai", "POST", "/models", "other"),
    ],
)
def test_a_path_has_its_endpoint(dialect: str, method: str, path: str, endpoint: str) -> None:
    assert DIALECTS[dialect].endpoint(method, path) == endpoint


def test_anthropic_facts_are_read() -> None:
    body = anthropic(stream=True, system="be kind", metadata={"user_id": "u1"}, tools=[{"name": "t"}], new={"x": [1]})
    assert ANTHROPIC.read_request("messages", body) == Facts(
        model="claude-haiku-4-5", stream=True, max_output_tokens=300, user="u1", system=b'"be kind"', has_tools=True
    )


def test_anthropic_system_blocks_are_kept_as_they_were_written() -> None:
    body = anthropic().replace(b'"model"', b'"system": [ {"type":"text", "text":"a"} ], "model"')
    assert ANTHROPIC.read_request("messages", body).system == b'[ {"type":"text", "text":"a"} ]'


def test_a_token_count_needs_no_max_tokens_and_a_message_does() -> None:
    body = json.dumps({"model": "m", "messages": []}).encode()
    assert ANTHROPIC.read_request("count_tokens", body).model == "m"
    with pytest.raises(BadRequest, match="no `max_tokens`"):
        ANTHROPIC.read_request("messages", body)


def test_a_cap_of_zero_is_a_cap() -> None:
    assert ANTHROPIC.read_request("messages", anthropic(max_tokens=0)).max_output_tokens == 0
    assert OPENAI.read_request("chat", openai(max_completion_tokens=0)).max_output_tokens == 0


def test_openai_facts_are_read() -> None:
    leading = [{"role": "system", "content": "be"}, {"role": "developer", "content": [{"type": "text", "text": "x"}]}]
    body = openai(
        messages=[*leading, USER, {"role": "system", "content": "late"}],
        stream=True,
        stream_options={"include_usage": True},
        n=3,
        max_tokens=50,
        user="old",
        safety_identifier="new",
    )
    assert OPENAI.read_request("chat", body) == Facts(
        model="gpt-4o",
        stream=True,
        max_output_tokens=50,
        choices=3,
        user="new",
        system=b'"be"\n[{"type": "text", "text": "x"}]',
        include_usage=True,
    )


def test_openai_nulls_are_as_good_as_absent() -> None:
    body = openai(stream=None, n=None, max_tokens=None, stream_options=None, user=None, tools=None)
    assert OPENAI.read_request("chat", body) == Facts(model="gpt-4o")


@pytest.mark.parametrize("dialect", [ANTHROPIC, OPENAI])
@pytest.mark.parametrize("endpoint", ["models", "other"])
def test_endpoints_without_a_known_body_are_not_looked_at(dialect: Any, endpoint: str) -> None:
    assert dialect.read_request(endpoint, b"\xff not json") == Facts()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": 3}, "`model` must be a string, not an integer"),
        ({"model": None}, "`model` must be a string, not null"),
        ({"model": " "}, "`model` is empty"),
        ({"messages": "hi"}, "`messages` must be an array, not a string"),
        ({"stream": "yes"}, "`stream` must be true or false or null, not a string"),
        ({"max_tokens": -1}, "`max_tokens` must be an integer >= 0"),
        ({"max_tokens": "1"}, "`max_tokens` must be an integer(?: or null)?, not a string"),
        ({"max_tokens": True}, "`max_tokens` must be an integer(?: or null)?, not true or false"),
        ({"tools": {}}, "`tools` must be an array or null, not an object"),
    ],
)
def test_a_wrong_type_is_refused_by_name_in_both_dialects(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        ANTHROPIC.read_request("messages", anthropic(**fields))
    with pytest.raises(BadRequest, match=message):
        OPENAI.read_request("chat", openai(**fields))


@pytest.mark.parametrize("caps", [(1, 9_000), (9_000, 1)])
def test_of_two_output_caps_the_larger_counts_since_providers_differ_in_which_they_know(caps: tuple[int, int]) -> None:
    newer, older = caps
    asked = OPENAI.read_request("chat", openai(max_completion_tokens=newer, max_tokens=older))
    assert asked.max_output_tokens == 9_000


@pytest.mark.parametrize(("field", "value"), [("n", 0), ("n", 1.5), ("max_completion_tokens", -5)])
def test_openai_counts_are_checked(field: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=f"`{field}` must be an integer"):
        OPENAI.read_request("chat", openai(**{field: value}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"model": ?}', "invalid character at byte 10"),
        (b'{"model": "m",', "ends too early, at byte 14"),
        (b"", "ends too early, at byte 0"),
        (b"[]", "the request body must be an object, not an array"),
        (b'{"model":"m","messages":[],"x":"\xff"}', "not valid UTF-8 at byte 32"),
        (b'{"messages":[]}', "no `model`"),
        (b'{"model":"m","max_tokens":1}', "no `messages`"),
        (b'{"model":"m","max_tokens":1,"messages":[],"x":' + b"[" * 200 + b"]" * 200 + b"}", "deeper than 200"),
        (b'{"model":"m","max_tokens":1,"messages":[' + b"[" * 199 + b"]" * 199 + b"]}", "deeper than 200"),
        (b'{"model":"m","max_tokens":1,"messages":' + b"[" * 99999 + b"]" * 99999 + b"}", "deeper than 200"),
    ],
)
def test_a_body_that_cannot_be_understood_is_refused_with_the_place(body: bytes, message: str) -> None:
    for dialect, endpoint in ((ANTHROPIC, "messages"), (OPENAI, "chat")):
        with pytest.raises(BadRequest, match=message):
            dialect.read_request(endpoint, body)


def test_two_hundred_levels_are_not_too_deep() -> None:
    body = b'{"model":"m","max_tokens":1,"messages":[' + b"[" * 198 + b"]" * 198 + b"]}"
    assert ANTHROPIC.read_request("messages", body).model == "m"


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_body_raises_anything_but_a_bad_request(body: bytes) -> None:
    for dialect, endpoint in ((ANTHROPIC, "messages"), (ANTHROPIC, "count_tokens"), (OPENAI, "chat")):
        with pytest.raises(BadRequest):
            dialect.read_request(endpoint, body)


@pytest.mark.parametrize("kind", ["image", "document"])
def test_anthropic_media_is_seen_wherever_it_is(kind: str) -> None:
    block = {"type": "tool_result", "content": [{"type": kind, "source": {}}]}
    body = anthropic(messages=[{"role": "user", "content": [block]}])
    assert ANTHROPIC.read_request("messages", body).has_media
    hidden = body.replace(b'"type"', b'"typ\\u0065"').replace(
        kind.encode(), b"\\u00%x" % ord(kind[0]) + kind[1:].encode()
    )
    assert ANTHROPIC.read_request("messages", hidden).has_media


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_openai_media_is_seen(kind: str) -> None:
    assert OPENAI.read_request("chat", openai(messages=[{"role": "user", "content": [{"type": kind}]}])).has_media


def test_an_earlier_answers_audio_is_media() -> None:
    body = openai(messages=[{"role": "assistant", "audio": {"id": "a"}}], modalities=["text", "audio"])
    assert OPENAI.read_request("chat", body).has_media


def test_text_that_talks_about_an_image_is_no_media() -> None:
    words = '{"type":"image"} {"type": "file"}'
    assert not ANTHROPIC.read_request("messages", anthropic(system=words)).has_media
    assert not OPENAI.read_request("chat", openai(messages=[{"role": "user", "content": words}])).has_media


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "mcp_toolset"}]},
        {"mcp_servers": [{"url": "https://x.example"}]},
        {"container": "c"},
        {"thread": {"id": "t"}},
        {"previous_message_id": "msg_1"},
        {"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]},
    ],
)
def test_what_runs_or_is_kept_at_anthropic_is_server_side(fields: dict[str, Any]) -> None:
    assert ANTHROPIC.read_request("messages", anthropic(**fields)).server_side


@pytest.mark.parametrize(
    "tool", [{"name": "t"}, {"type": "custom", "name": "t"}, {"type": "bash_20250124", "name": "bash"}, 3, None]
)
def test_a_tool_that_the_caller_runs_is_not_server_side(tool: Any) -> None:
    assert not ANTHROPIC.read_request("messages", anthropic(tools=[tool], mcp_servers=[])).server_side


@pytest.mark.parametrize(
    "fields", [{"web_search_options": {}}, {"tools": [{"type": "web_search"}]}, {"search_parameters": {"mode": "on"}}]
)
def test_what_runs_at_openai_is_server_side(fields: dict[str, Any]) -> None:
    assert OPENAI.read_request("chat", openai(**fields)).server_side
    assert not OPENAI.read_request("chat", openai(tools=[{"type": "function"}, {"type": "custom"}])).server_side


def test_the_last_users_text_is_read_only_when_asked_for() -> None:
    turns = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "one"}, {"type": "image"}, {"type": "text", "text": "two"}],
        },
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": [{"type": "tool_result", "content": "x"}]},
    ]
    for dialect, endpoint, body in ((ANTHROPIC, "messages", anthropic), (OPENAI, "chat", openai)):
        assert dialect.read_request(endpoint, body(messages=turns), keep_text=True).user_message == "one\ntwo"
        assert dialect.read_request(endpoint, body(messages=turns)).user_message == ""


def test_a_rewrite_without_changes_is_the_same_object() -> None:
    body = anthropic()
    assert ANTHROPIC.rewrite("messages", body, ask_usage=True) is body
    assert OPENAI.rewrite("chat", body) is body


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"", b'{"stream_options":{"include_usage":true},%b}'),
        (b',"stream_options":null', b'{%b,"stream_options":{"include_usage":true}}'),
        (b',"stream_options" : {}', b'{%b,"stream_options" : {"include_usage":true}}'),
        (
            b',"stream_options":{"include_usage": false, "include_obfuscation":false}',
            b'{%b,"stream_options":{"include_usage": true, "include_obfuscation":false}}',
        ),
    ],
)
def test_asking_for_usage_changes_nothing_else(options: bytes, expected: bytes) -> None:
    members = (
        b'"model":"gpt-4o", "messages":[{"role":"user","content":"\\"stream_options\\""}], "x": {"stream_options": 1}'
    )
    body = b"{" + members + options + b"}"
    assert OPENAI.rewrite("chat", body, ask_usage=True) == expected % members
    renamed = OPENAI.rewrite("chat", body, ask_usage=True, model='b"c')
    assert renamed == (expected % members).replace(b'"gpt-4o"', b'"b\\"c"')


def test_two_models_cannot_be_rewritten() -> None:
    body = anthropic().replace(b'"max_tokens"', b'"model": "claude-opus-4-5", "max_tokens"')
    with pytest.raises(BadRequest, match="`model` more than once"):
        ANTHROPIC.rewrite("messages", body, model="claude-x")


@given(st.text(max_size=20), st.text(max_size=20), st.booleans())
def test_a_rewritten_request_has_the_new_model_and_else_the_same_facts(old: str, new: str, ask: bool) -> None:
    body = openai(model="x" + old, messages=[USER, {"role": "user", "content": old}], extra={"model": old})
    facts = OPENAI.read_request("chat", body)
    rewritten = OPENAI.rewrite("chat", body, model="y" + new, ask_usage=ask)
    changed = OPENAI.read_request("chat", rewritten)
    assert (changed.model, changed.include_usage) == ("y" + new, ask)
    assert changed.system == facts.system
    assert json.loads(rewritten)["extra"] == {"model": old}


@pytest.mark.parametrize("twice", ["model", "max_tokens", "stream"])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_key_that_decides_about_money_or_the_route_may_not_come_twice(twice: str, hidden: bool) -> None:
    values = {"model": '"m"', "max_tokens": "5", "stream": "false"}
    second = f"\\u{ord(twice[0]):04x}{twice[1:]}" if hidden else twice
    members = [*values.items(), ("messages", "[]"), (second, values[twice])]
    body = "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}"
    with pytest.raises(BadRequest, match=f"`{twice}` more than once"):
        ANTHROPIC.read_request("messages", body.encode())


def test_the_same_words_inside_messages_and_tools_are_no_duplicates() -> None:
    message = {"role": "user", "content": [{"type": "tool_result", "content": {"model": 1, "stream": 2}}]}
    body = json.dumps({"model": "m", "max_tokens": 5, "stream": True, "messages": [message, message]}).encode()
    assert ANTHROPIC.read_request("messages", body).stream is True


@pytest.mark.parametrize("endpoint", ["messages", "chat", "responses", "embeddings"])
def test_a_key_in_place_of_the_model_is_refused_and_not_repeated(endpoint: str) -> None:
    key = "sk-ant-" + "api03-" + "Zq9xW7vT5rP3nL1jH8gF6dS4aQ2zX0cV" * 2 + "-AbCdEfAA"
    dialect = ANTHROPIC if endpoint == "messages" else OPENAI
    body = {"model": key, "messages": [], "input": "x", "max_tokens": 1}
    with pytest.raises(BadRequest, match="looks like a credential") as caught:
        dialect.read_request(endpoint, json.dumps(body).encode())
    assert key[10:] not in str(caught.value)
    body["model"] = "ft:gpt-6.1-sol-2026-08-12:acme-incorporated::Ab12Cd34"
    assert dialect.read_request(endpoint, json.dumps(body).encode()).model == body["model"]


def test_a_model_longer_than_any_name_is_refused_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def label(text: str) -> str:
        looked.append(len(text))
        return text

    monkeypatch.setattr(bodies, "label", label)
    body = {"model": "a" * bodies.LONGEST_MODEL, "messages": [], "max_tokens": 1}
    assert ANTHROPIC.read_request("messages", json.dumps(body).encode()).model == body["model"]
    body["model"] = "sk-" * 1_000_000
    with pytest.raises(BadRequest, match="`model` has 3000000 characters; a model's name has at most 1024"):
        ANTHROPIC.read_request("messages", json.dumps(body).encode())
    assert looked == [bodies.LONGEST_MODEL]
