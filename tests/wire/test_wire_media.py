"""Images in a body: counted only where the vendor will see an image, and nothing else is media."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.wire import ANTHROPIC, OPENAI

DATA = "iVBORw0KGgo" * 50
INLINE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
BY_URL = {"type": "image", "source": {"type": "url", "url": "https://pictures.test/a.png"}}
QUOTED = len(DATA) + 2


def anthropic(*content: Any, **more: Any) -> tuple[bool, int, int]:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": list(content)}], **more}
    facts = ANTHROPIC.read_request("messages", json.dumps(body).encode())
    return facts.has_media, facts.images, facts.image_bytes


def chat(*content: Any) -> tuple[bool, int, int]:
    body = {"model": "m", "messages": [{"role": "user", "content": list(content)}]}
    facts = OPENAI.read_request("chat", json.dumps(body).encode())
    return facts.has_media, facts.images, facts.image_bytes


def test_text_has_no_images() -> None:
    assert anthropic({"type": "text", "text": "hello"}) == (False, 0, 0)


def test_images_in_the_body_are_counted_with_their_bytes() -> None:
    assert anthropic(INLINE) == (True, 1, QUOTED)
    assert anthropic({"type": "text", "text": "and"}, INLINE, INLINE) == (True, 2, 2 * QUOTED)


def test_images_in_the_result_of_a_tool_are_too() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [INLINE, {"type": "text", "text": "a chart"}]}
    assert anthropic(result, INLINE) == (True, 2, 2 * QUOTED)


@pytest.mark.parametrize(
    "beside",
    [
        BY_URL,
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": DATA}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "image", "source": {"type": "base64", "data": 7}},
        # An argument is billed as text, whatever it looks like.
        {"type": "tool_use", "id": "t", "name": "f", "input": INLINE},
    ],
)
def test_beside_media_of_other_kinds_no_image_is_counted(beside: Any) -> None:
    assert anthropic(beside) == (True, 0, 0)
    assert anthropic(INLINE, beside) == (True, 0, 0)


def test_what_looks_like_an_image_elsewhere_in_the_body_makes_none_count() -> None:
    assert anthropic(INLINE, tools=[{"name": "f", "input_schema": {"examples": [INLINE]}}]) == (True, 0, 0)
    assert anthropic(INLINE, system=[INLINE]) == (True, 0, 0)


def test_a_body_that_says_something_twice_has_no_images() -> None:
    image = json.dumps(INLINE)
    body = f'{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":[{image}],"content":[{image}]}}]}}'
    facts = ANTHROPIC.read_request("messages", body.encode())
    assert (facts.has_media, facts.images) == (True, 0)


def test_openais_data_urls_are_images_and_other_urls_are_not() -> None:
    url = f"data:image/png;base64,{DATA}"
    inside = {"type": "image_url", "image_url": {"url": url, "detail": "high"}}
    elsewhere = {"type": "image_url", "image_url": {"url": "https://pictures.test/a.png"}}
    assert chat(inside) == (True, 1, len(url) + 2)
    assert chat(elsewhere) == (True, 0, 0)
    assert chat(inside, elsewhere) == (True, 0, 0)
    assert chat(inside, {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}) == (True, 0, 0)


def test_responses_have_theirs_in_the_items() -> None:
    url = f"data:image/jpeg;base64,{DATA}"
    image = {"type": "input_image", "image_url": url}
    for item in ({"role": "user", "content": [image]}, {"type": "message", "role": "user", "content": [image]}):
        facts = OPENAI.read_request("responses", json.dumps({"model": "m", "input": [item]}).encode())
        assert (facts.has_media, facts.images, facts.image_bytes) == (True, 1, len(url) + 2)
    output = {"type": "function_call_output", "call_id": "c", "output": [image]}
    facts = OPENAI.read_request("responses", json.dumps({"model": "m", "input": [output]}).encode())
    assert (facts.has_media, facts.images) == (True, 0)
