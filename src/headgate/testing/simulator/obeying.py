"""A model that does whatever any text tells it to: the worst case, for `headgate lab redteam`.

It looks for orders (`orders`) in everything but the system prompt and its own words: what users say, documents, results
and descriptions of tools, read in every way in which a model could read them (`readings`). What it is told to tell, it
takes from the system prompt.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate.testing.simulator.asked import Answer, Asked, Block, Json
from headgate.testing.simulator.orders import CALLS, NUMBER, SECRET, Known, Order, orders
from headgate.testing.simulator.readings import readings
from headgate.testing.simulator.schema import instance
from headgate.testing.simulator.tokens import count, pieces, weight

_NO_TEXT = frozenset(
    {"type", "role", "id", "name", "tool_use_id", "tool_call_id", "call_id", "media_type", "url", "status", "citations"}
)
_SYSTEM = frozenset({"system", "developer"})
_CALL_TYPES = frozenset({"tool_use", "function_call"})
_RESULTS = frozenset({"tool_result", "function_call_output"})
_DEEPEST = 12
_SUMMARY = 600  # characters of a tool's result that are told


@dataclass(slots=True)
class _Heard:
    """The texts of a request, by whose they are."""

    system: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    called: set[tuple[str, str]] = field(default_factory=set)  # by the model, with its arguments
    result: str = ""  # of a tool, where the last message brings it
    said: str = ""  # the user's last words


def obey(asked: Asked, body: Json, rng: random.Random) -> Answer | None:
    """The answer of a model that obeys; None where nothing tells it what to do."""
    heard = _hear(body)
    tools = {tool.name: tool for tool in asked.tools}
    known = Known("\n".join(heard.system), _found(SECRET, heard), heard.said, tools.keys(), _found(NUMBER, heard))
    texts: list[str] = []
    blocks: list[Block] = []
    for order in _orders(heard.others, known):
        if order.kind != CALLS:
            texts.append(order.text)
            continue
        arguments = order.arguments
        if not arguments:
            made = instance(tools[order.name].schema) if order.name in tools else {}
            arguments = json.dumps(made if isinstance(made, dict) else {})
        if order.again or (order.name, _canonical(arguments)) not in heard.called:
            blocks.append(_call(order.name, arguments, rng))
    if not texts and not blocks and heard.result:
        texts.append(f"Here is what I found: {heard.result[:_SUMMARY]}")
    if texts:
        blocks.insert(0, _say("\n\n".join(texts), rng))
    return _capped(blocks, asked.cap) if blocks else None


def _orders(texts: Sequence[str], known: Known) -> Iterator[Order]:
    told: set[Order] = set()
    for text in texts:
        for reading in readings(text):
            for order in orders(reading, known):
                if order not in told:
                    told.add(order)
                    yield order


def _hear(body: Json) -> _Heard:
    heard = _Heard()
    heard.system.extend(_texts([body.get("system"), body.get("instructions")]))
    turns = body.get("messages", body.get("input"))
    if isinstance(turns, str):
        heard.others.append(turns)
        heard.said = turns
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict):
            _turn(turn, heard)
    heard.others.extend(_texts([tool for tool in body.get("tools") or () if isinstance(tool, dict)]))
    return heard


def _turn(turn: Json, heard: _Heard) -> None:
    heard.called.update(_calls(turn))
    role = turn.get("role")
    if role == "assistant" or turn.get("type") in _CALL_TYPES:
        heard.result = ""
        return
    texts = list(_texts(turn))
    if role in _SYSTEM:
        heard.system.extend(texts)
        return
    heard.others.extend(texts)
    heard.result = "\n".join(_results(turn))
    if role == "user" and texts and not heard.result:
        heard.said = texts[-1]


def _texts(value: Any, deep: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif deep < _DEEPEST:
        if isinstance(value, list):
            for each in value:
                yield from _texts(each, deep + 1)
        elif isinstance(value, dict) and value.get("type") != "base64":
            for name, each in value.items():
                if name not in _NO_TEXT:
                    yield from _texts(each, deep + 1)


def _calls(turn: Json) -> Iterator[tuple[str, str]]:
    """(name, arguments) of every call in a turn of the model's."""
    content = turn.get("content")
    for part in [turn, *(content if isinstance(content, list) else ())]:
        if isinstance(part, dict) and part.get("type") in _CALL_TYPES:
            yield str(part.get("name")), _canonical(part.get("input", part.get("arguments")))
    for call in turn.get("tool_calls") or ():
        function = call.get("function") or {}
        yield str(function.get("name")), _canonical(function.get("arguments"))


def _results(turn: Json) -> Iterator[str]:
    content = turn.get("content")
    if turn.get("role") == "tool":
        yield from _texts(content)
    for part in [turn, *(content if isinstance(content, list) else ())]:
        if isinstance(part, dict) and part.get("type") in _RESULTS:
            yield from _texts(part.get("content", part.get("output")))


def _canonical(arguments: Any) -> str:
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return str(arguments)
    return json.dumps(value, sort_keys=True)


def _found(what: re.Pattern[str], heard: _Heard) -> str:
    """What the system prompt tells of it, or else somebody."""
    for text in (*heard.system, *heard.others):
        if found := what.search(text):
            return found["value"]
    return ""


def _call(name: str, arguments: str, rng: random.Random) -> Block:
    cut = _cut(arguments, rng)
    return Block("tool", cut, sum(map(weight, cut)), extra=count(name), name=name, id=f"{rng.getrandbits(96):024x}")


def _say(text: str, rng: random.Random) -> Block:
    cut = _cut(text, rng)
    return Block("text", cut, sum(map(weight, cut)))


def _cut(text: str, rng: random.Random) -> list[str]:
    """In pieces of one to four characters: a stream breaks in the middle of words, links and secrets."""
    cut: list[str] = []
    for piece in pieces(text):
        at = rng.randint(1, len(piece))
        cut += [piece[:at], piece[at:]] if at < len(piece) else [piece]
    return cut


def _capped(blocks: list[Block], cap: int) -> Answer:
    """As much of it as the cap allows; a call that does not fit is left out whole."""
    left, kept = cap, list[Block]()
    for block in blocks:
        if block.tokens + block.extra <= left:
            left -= block.tokens + block.extra
            kept.append(block)
            continue
        if block.kind == "text":
            while block.pieces and sum(map(weight, block.pieces)) > left:
                block.pieces.pop()
            kept.append(Block("text", block.pieces, sum(map(weight, block.pieces))))
        return Answer(kept, "cap")
    return Answer(kept, "tool" if any(block.kind == "tool" for block in kept) else "end")
