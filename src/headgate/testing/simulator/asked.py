"""What a request asks for and what is answered, in one form for both dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate.testing.simulator.models import Model
from headgate.testing.simulator.prices import Counts
from headgate.testing.simulator.tokens import weight

Json = dict[str, Any]


class Fail(Exception):
    """An error the provider answers with. `kind` is the body's `type`; `code` and `param` as each vendor has them."""

    def __init__(
        self, status: int, kind: str, message: str, *, code: str = "", param: str = "", html: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.code = code
        self.param = param
        self.html = html
        self.headers: list[tuple[bytes, bytes]] = []


@dataclass(frozen=True, slots=True)
class Tool:
    """A client tool: its name and the JSON schema of its arguments."""

    name: str
    schema: Json


@dataclass(slots=True)
class Asked:
    """The facts of one request, checked.

    Attributes:
        cap: the most output tokens per choice.
        cap_told: the caller set it, rather than the model's maximum.
        text: the last user turn's text, "" where the last turn is a tool's result.
        must_call: tool choice: "" (free), "none", "any", or the one tool's name.
        json: "" (free text), "object" (any JSON object), "schema".
        thinking: the most thinking or hidden reasoning tokens, 0 for none; `thinking_shown` if the client sees them;
            `redacted` if it sees them encrypted.
        scope, request, items, context: Responses only: whose state it is, the body (which the answer echoes), the
            input with ids, and everything before and with it.
    """

    model: Model
    stream: bool
    cap: int
    counts: Counts
    cap_told: bool = True
    choices: int = 1
    text: str = ""
    tools: Sequence[Tool] = ()
    must_call: str = ""
    parallel_tools: bool = True
    json: str = ""
    schema: Json = field(default_factory=dict)
    stops: Sequence[str] = ()
    thinking: int = 0
    thinking_shown: bool = True
    include_usage: bool = False
    user: str = ""
    commit_cache: Callable[[float], None] = lambda _now: None
    stop: str = ""  # the ending that the turn or the scenario asked for, in our own word; "" leaves it to the answer
    redacted: bool = False
    scope: str = ""
    request: Json = field(default_factory=dict)
    items: Sequence[Json] = ()
    context: Sequence[Json] = ()


@dataclass(slots=True)
class Block:
    """One part of an answer. `kind`: thinking, redacted, text or tool. A tool's pieces are its arguments' JSON.

    `extra` is tokens billed with the block but not in its pieces: a tool's name, thinking that is not shown.
    """

    kind: str
    pieces: list[str]
    tokens: int
    extra: int = 0
    name: str = ""
    id: str = ""

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(self.pieces)

    def batches(self, size: int) -> Iterator[tuple[str, int]]:
        """(text, tokens) for each event of a stream with about `size` tokens in one."""
        batch: list[str] = []
        tokens = 0
        for piece in self.pieces:
            batch.append(piece)
            tokens += weight(piece)
            if tokens >= size:
                yield "".join(batch), tokens
                batch, tokens = [], 0
        if batch:
            yield "".join(batch), tokens


@dataclass(slots=True)
class Answer:
    """One choice. Its tokens include `hidden` reasoning.

    `stop`: end, cap, stop_sequence, tool, refusal; and on request pause, window, compaction, messages, steered, failed.
    """

    blocks: list[Block]
    stop: str
    stop_sequence: str | None = None
    hidden: int = 0
    refusal: str = ""  # the text of an OpenAI refusal, "" for a content filter
    code: str = ""  # of a failure
    message: str = ""

    @property
    def tokens(self) -> int:
        """Billed output tokens."""
        return self.hidden + sum(b.tokens + b.extra for b in self.blocks)

    @property
    def thinking_tokens(self) -> int:
        """The part of `tokens` that is thinking or reasoning."""
        return self.hidden + sum(b.tokens + b.extra for b in self.blocks if b.kind in ("thinking", "redacted"))


@dataclass(frozen=True, slots=True)
class Event:
    """One frame of a stream: its bytes, the output tokens it shows, and whether it carries the final usage."""

    frame: bytes
    tokens: int = 0
    usage: bool = False
    terminal: bool = False
