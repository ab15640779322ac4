"""How much a request brings."""

from __future__ import annotations

import json
from typing import Any

from headgate.policy.guards.input_limits import Brought, InputLimits
from headgate.wire.measuring import measure
from headgate.wire.segments import segments

ALL = InputLimits(characters=1, tokens=1, images=0, nesting=3, messages=1, tools=1)


def brought(dialect: str, endpoint: str, body: dict[str, Any], limits: InputLimits = ALL) -> Brought:
    raw = json.dumps(body).encode()
    return measure(limits, raw, segments(dialect, endpoint, raw))


def test_everything_that_has_a_limit_is_measured() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}}
    blocks = [image, {"type": "text", "text": "abcd"}, {"type": "tool_result", "content": [image]}]
    body = {"messages": [{"role": "user", "content": blocks}], "tools": [{"name": "f", "description": "efgh"}]}
    assert brought("anthropic", "messages", body) == Brought(8, 2, images=2, nesting=4, messages=1, tools=1)


def test_items_functions_and_both_spellings_of_images_count() -> None:
    parts = [{"type": "input_image", "image_url": "https://a.example/x.png"}]
    found = brought("openai", "responses", {"input": [{"role": "user", "content": parts}, {"type": "reasoning"}]})
    assert (found.images, found.messages, found.tools) == (1, 2, 0)
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    found = brought("openai", "chat", {"messages": [{"role": "user", "content": parts}], "functions": [{}, {}]})
    assert (found.images, found.messages, found.tools) == (1, 1, 2)


def test_a_text_that_talks_about_images_and_brackets_brings_none() -> None:
    body = {"messages": [{"role": "user", "content": '{"type": "image"} [[[[[['}]}
    found = brought("openai", "chat", body)
    assert (found.images, found.nesting) == (0, 0)


def test_what_has_no_limit_is_not_measured() -> None:
    body = {"messages": [{"role": "user", "content": "abcd"}]}
    assert brought("openai", "chat", body, InputLimits()) == Brought()
    assert brought("openai", "chat", body, InputLimits(characters=9)) == Brought(characters=4)
