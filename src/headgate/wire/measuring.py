"""How much a request brings, for input limits: messages, tools, images, levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headgate.policy.guards.input_limits import Brought, InputLimits, estimated_tokens
from headgate.wire import jsontext
from headgate.wire.located import Members, loads
from headgate.wire.segments import Segment

_IMAGES = frozenset({"image", "image_url", "input_image", "computer_screenshot"})


def measure(limits: InputLimits, body: bytes, found: Sequence[Segment]) -> Brought:
    """What a body that its dialect's `read_request` has accepted brings, as far as the limits ask for it. Never raises.

    Args:
        found: the body's own `segments`.
    """
    brought = Brought()
    if limits.characters is not None:
        brought.characters = sum(len(each.text) for each in found)
    if limits.tokens is not None:
        brought.tokens = estimated_tokens(each.text for each in found)
    if limits.nesting is not None and jsontext.too_deep(body, limit=limits.nesting):
        brought.nesting = limits.nesting + 1  # how much deeper it is does not matter
    if not limits.of_structure:
        return brought
    try:
        top = loads(body)
    except (ValueError, RecursionError):
        return brought
    if type(top) is Members:
        for name, value in top:
            if type(value) is list:
                if name in ("messages", "input"):
                    brought.messages += len(value)
                elif name in ("tools", "functions"):
                    brought.tools += len(value)
        brought.images = _images(top) if limits.images is not None else 0
    return brought


def _images(top: Any) -> int:
    """Blocks that are pictures, at any depth: in messages, in documents, in what tools have answered."""
    count = 0
    open_nodes = [top]
    while open_nodes:
        node = open_nodes.pop()
        if type(node) is Members:
            count += any(name == "type" and type(value) is str and value in _IMAGES for name, value in node)
            open_nodes += [value for _, value in node if isinstance(value, list)]
        else:
            open_nodes += [each for each in node if isinstance(each, list)]
    return count
