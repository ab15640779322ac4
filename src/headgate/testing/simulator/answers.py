"""What the simulator answers: deterministic from the seed and the request.

A last user turn that begins with ``say: `` is answered with the rest of it, ``tokens: N`` with exactly N tokens,
``stop: NAME`` with a text that ends so; a forced tool, or one whose name (or the word "tool") the turn mentions, is
called; everything else gets a seeded text.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from base64 import b64encode
from bisect import bisect_right
from itertools import accumulate

from headgate.testing.simulator.asked import Answer, Asked, Block, Tool
from headgate.testing.simulator.schema import instance
from headgate.testing.simulator.tokens import count, pieces, weight

# Ends in a non-ASCII character, so that going round never joins two ASCII runs; holds 2-, 3- and 4-byte characters,
# so that a stream cut anywhere cuts inside code points too.
_CORPUS = (
    "A headgate stands at the top of a canal and decides how much flows in. Le débit est réglé à l’écluse. "
    "When the river runs high 🌊 the keeper lowers the gate; in a dry summer it stays open day and night. "
    "水門は運河の入口に立つ。 Every field takes its turn, and a turn is counted in hours and in cubic metres. "
    "Über den Kanal führt eine schmale Brücke. The ledger by the door lists who drew water, when, and how much 📒. "
    "Nobody argues with the ledger, because everybody can read it. Кто открыл шлюз, тот и закрывает его. "
    "A broken paddle is mended the same day, and the neighbours upstream are told before the water stops 👩🏽‍🔧. "
    "So the canal has run for three hundred years — and so it runs today…"
)
_CYCLE = pieces(_CORPUS)
_SUMS = list(accumulate((weight(piece) for piece in _CYCLE), initial=0))
_STOP = re.compile(r"stop: *([a-z_]{1,40})")
_EXACTLY = re.compile(r"tokens: *(\d{1,6})")
_WORD_TOOL = re.compile(r"\btools?\b", re.IGNORECASE)
_HIDDEN_REFUSAL = "I can't help with that."


def dice(seed: int, body: bytes, choice: int = 0) -> random.Random:
    """The randomness of one answer: the same for the same seed, body and choice."""
    digest = hashlib.blake2b(body, digest_size=8, salt=b"%d" % choice, key=b"%d" % seed).digest()
    return random.Random(digest)  # noqa: S311 - answers, not secrets


def answer(asked: Asked, rng: random.Random, typical: int) -> Answer:
    """One choice for a request. `typical`: output tokens of a free answer, drawn from 50% to 150% of it."""
    if asked.stop in ("refusal", "filter"):
        return refused(asked, style="message" if asked.stop == "refusal" and asked.model.dialect == "openai" else "")
    if asked.stop == "tool":
        asked.must_call = asked.must_call or "any"
    made = _answer(asked, rng, typical)
    if asked.stop and asked.stop != "tool":
        made.stop = asked.stop
        made.stop_sequence = (asked.stops[0] if asked.stops else "\n\n") if asked.stop == "stop_sequence" else None
    return made


def _answer(asked: Asked, rng: random.Random, typical: int) -> Answer:
    left = asked.cap
    blocks: list[Block] = []
    hidden = 0
    if asked.thinking:
        if asked.thinking_shown or asked.model.dialect == "anthropic":
            blocks.append(_thinking(asked, rng, min(asked.thinking, left)))
            left -= blocks[0].tokens + blocks[0].extra
        else:
            hidden = min(asked.thinking, left)
            left -= hidden
    calls = _calls(asked)
    if calls:
        fitted = [block for block in (_tool_block(tool, rng) for tool in calls) if block.tokens + block.extra <= left]
        # A call that the cap would cut in two is left out whole: half an argument is of no use to anyone.
        stop = "tool" if len(fitted) == len(calls) and _fits(fitted, left) else "cap"
        while not _fits(fitted, left):
            fitted.pop()
        return Answer(blocks + fitted, stop, hidden=hidden)
    text, stop, stop_sequence = _text(asked, rng, typical, left)
    blocks.append(text)
    return Answer(blocks, stop, stop_sequence, hidden=hidden)


def wanted_stop(text: str) -> str:
    """The stop reason that a turn of the form ``stop: NAME`` asks for, in its vendor's words; else ""."""
    found = _STOP.match(text)
    return found[1] if found else ""


def refused(asked: Asked, *, style: str) -> Answer:
    """A refusal. `style`: "empty" (no content: Anthropic's, and OpenAI's content filter) or "message"."""
    if style != "message":
        return Answer([], "refusal")
    parts = pieces(_HIDDEN_REFUSAL)
    return Answer([Block("text", parts, count(_HIDDEN_REFUSAL))], "refusal", refusal=_HIDDEN_REFUSAL)


def signature(seed: int, shown: str) -> str:
    """The signature of a thinking block: it must come back with the same text."""
    return b64encode(hashlib.blake2b(shown.encode("utf-8", "surrogatepass"), key=b"sig%d" % seed).digest()).decode()


def sealed(seed: int, block_id: str) -> str:
    """The data of a redacted thinking block, or a reasoning item's encrypted content."""
    return f"{block_id}.{signature(seed, block_id)}"


def unsealed(seed: int, data: object) -> bool:
    """Whether `data` is what :func:`sealed` made."""
    return isinstance(data, str) and data == sealed(seed, data.partition(".")[0])


def _fits(blocks: list[Block], left: int) -> bool:
    return sum(b.tokens + b.extra for b in blocks) <= left


def _thinking(asked: Asked, rng: random.Random, most: int) -> Block:
    text, tokens = _corpus(rng, min(most, rng.randint(12, 48)))
    if asked.redacted:
        return Block("redacted", [], 0, extra=tokens, id=f"{rng.getrandbits(96):024x}")
    if not asked.thinking_shown:
        return Block("thinking", [], 0, extra=tokens)
    return Block("thinking", text, tokens)


def _calls(asked: Asked) -> list[Tool]:
    if not asked.tools or asked.must_call == "none":
        return []
    if asked.must_call and asked.must_call != "any":
        return [tool for tool in asked.tools if tool.name == asked.must_call]
    named = [tool for tool in asked.tools if tool.name and tool.name in asked.text]
    if not named and (asked.must_call == "any" or _WORD_TOOL.search(asked.text)):
        named = [asked.tools[0]]
    return named if asked.parallel_tools else named[:1]


def _tool_block(tool: Tool, rng: random.Random) -> Block:
    arguments = instance(tool.schema)
    text = json.dumps(arguments if isinstance(arguments, dict) else {}, ensure_ascii=False, separators=(",", ":"))
    return Block(
        "tool", pieces(text), count(text), extra=count(tool.name), name=tool.name, id=f"{rng.getrandbits(96):024x}"
    )


def _text(asked: Asked, rng: random.Random, typical: int, left: int) -> tuple[Block, str, str | None]:
    whole: list[str] | None = None
    if asked.json:
        value = instance(asked.schema) if asked.json == "schema" else {"answer": "sample"}
        whole = pieces(json.dumps(value, ensure_ascii=False))
    elif asked.text.startswith("say: "):
        whole = pieces(asked.text[5:])
    stop_sequence = None
    if whole is None:
        exactly = _EXACTLY.match(asked.text)
        wanted = int(exactly[1]) if exactly else rng.randint(max(1, typical // 2), max(1, typical * 3 // 2))
        parts, tokens = _corpus(rng, min(wanted, left))
        stop = "cap" if wanted > left else "end"
    else:
        parts, tokens, stop = _cut(whole, left)
    if asked.stops:
        found = [(at, s) for s in asked.stops if s and (at := "".join(parts).find(s)) >= 0]
        if found:
            at, stop_sequence = min(found)
            text = "".join(parts)[:at]
            parts, tokens, stop = pieces(text), count(text), "stop_sequence"
    return Block("text", parts, tokens), stop, stop_sequence


def _cut(whole: list[str], left: int) -> tuple[list[str], int, str]:
    tokens = 0
    for index, piece in enumerate(whole):
        if tokens + weight(piece) > left:
            return whole[:index], tokens, "cap"
        tokens += weight(piece)
    return whole, tokens, "end"


def _corpus(rng: random.Random, wanted: int) -> tuple[list[str], int]:
    """Pieces of the corpus from a random place on: exactly `wanted` tokens."""
    start = rng.randrange(len(_CYCLE))
    laps, rest = divmod(_SUMS[start] + wanted, _SUMS[-1])
    end = bisect_right(_SUMS, rest) - 1
    parts = _CYCLE[start:end] if not laps else _CYCLE[start:] + _CYCLE * (laps - 1) + _CYCLE[:end]
    if _SUMS[end] < rest:  # the next piece weighs two, and only one is wanted
        parts = [*parts, "…"]
    return parts, wanted
