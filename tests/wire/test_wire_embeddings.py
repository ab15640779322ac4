"""Embeddings and Moderations: what is read of them, and that the rest is nobody's business."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import CreateEmbeddingResponse, ModerationCreateResponse

from headgate.core.errors import BadRequest
from headgate.core.exchange import Facts
from headgate.core.usage import Usage
from headgate.wire import OPENAI
from headgate.wire.dialect import Answer, ProviderError

MODEL = "text-embedding-3-small"


def request(**fields: Any) -> Facts:
    return OPENAI.read_request("embeddings", json.dumps({"model": MODEL, "input": "hi", **fields}).encode())


def answer(vector: Any = (0.5, -0.25), **fields: Any) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return json.dumps({"object": "list", "data": data, "model": MODEL, "usage": usage, **fields}).encode()


def read(body: bytes) -> Answer:
    return OPENAI.read_answer("embeddings", body)[0]


@pytest.mark.parametrize("told", ["hi", ["a", "b"], [1, 2, 3], [[1, 2], [3]], [], None, {"x": 1}])
def test_any_input_is_read_with_a_cap_of_no_output(told: Any) -> None:
    found = request(input=told, user="u", dimensions=3, encoding_format="base64")
    assert found == Facts(model=MODEL, max_output_tokens=0, user="u")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"input":"x"}', "no `model`"),
        (b'{"model":3,"input":"x"}', "`model` must be a string"),
        (b'{"model":"a","input":"x","model":"b"}', "`model` more than once"),
        (b'{"model":"m","input":' + b"[" * 300 + b"]" * 300 + b"}", "deeper than 200"),
        (b"[]", "must be an object"),
    ],
)
def test_a_body_that_cannot_be_understood_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        OPENAI.read_request("embeddings", body)


@pytest.mark.parametrize("vector", [[0.5, -0.25], "AAAAPwAAgL4=", []])
def test_floats_and_base64_are_counted_alike(vector: Any) -> None:
    if isinstance(vector, list):
        CreateEmbeddingResponse.model_validate_json(answer(vector))
    assert read(answer(vector)) == Answer(Usage(7), MODEL)


def test_a_megabyte_of_vectors_is_counted() -> None:
    body = answer([[0.123456789] * 100_000])
    assert read(body) == Answer(Usage(7), MODEL)


@pytest.mark.parametrize("usage", [None, {}, [], {"total_tokens": 7}])
def test_an_answer_without_its_count_has_none(usage: Any) -> None:
    assert read(answer(usage=usage)) == Answer(None, MODEL)


@pytest.mark.parametrize("count", [-1, "7", 1.5])
def test_an_answer_with_something_else_in_place_of_its_count_says_so(count: Any) -> None:
    assert read(answer(usage={"prompt_tokens": count})) == Answer(Usage(bad=True), MODEL)


def test_an_error_in_place_of_vectors_is_an_error() -> None:
    assert read(b'{"error":{"message":"m","type":"t","code":"c"}}').error == ProviderError("t", "c", "m")
    assert read(b'{"error":"a sentence"}').error == ProviderError(message="a sentence")
    found = read(b"<html>").error
    assert found is not None
    assert found.type == "malformed_answer"


def test_a_moderation_needs_no_model() -> None:
    assert OPENAI.endpoint("POST", "/v1/moderations") == "moderations"
    assert OPENAI.read_request("moderations", b'{"input":[{"type":"image_url"}]}') == Facts()
    assert OPENAI.read_request("moderations", b'{"input":"x","model":"omni-moderation-latest"}').model == (
        "omni-moderation-latest"
    )
    for body in (b"", b"[]", b'"x"', b"{"):
        with pytest.raises(BadRequest, match="not a JSON object"):
            OPENAI.read_request("moderations", body)


def test_a_moderations_answer_has_nothing_to_count() -> None:
    body = b'{"id":"modr-1","model":"omni-moderation-2024-09-26","results":[]}'
    assert ModerationCreateResponse.model_validate_json(body).results == []
    assert OPENAI.read_answer("moderations", body) == (Answer(), "")
