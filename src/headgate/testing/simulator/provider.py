"""Everything that one run of a scenario keeps between requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from headgate.testing.simulator.answers import answer, dice, refused, wanted_stop
from headgate.testing.simulator.asked import Answer, Asked, Fail, Json
from headgate.testing.simulator.batches import BatchStore
from headgate.testing.simulator.book import Book
from headgate.testing.simulator.dialects import ANTHROPIC, CHAT, Dialect, Responses
from headgate.testing.simulator.embeddings import Embeddings, Moderations
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.filestore import FileStore
from headgate.testing.simulator.limits import LimitBook
from headgate.testing.simulator.obeying import obey
from headgate.testing.simulator.openai_batches import write_files
from headgate.testing.simulator.promptcache import PromptCache
from headgate.testing.simulator.responses_store import ResponseStore
from headgate.testing.simulator.scenario import Scenario, Script

if TYPE_CHECKING:
    from headgate.core.ports import Clock

T = TypeVar("T")
GENERATING = ("/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1/embeddings")
"""The paths that a rule without a path looks at: what is billed at once."""


@dataclass(slots=True)
class Plan:
    """One request, read and answered, before anything of it is sent."""

    dialect: Dialect
    asked: Asked
    answers: list[Answer]

    @property
    def output(self) -> int:
        """Billed output tokens of the whole answer."""
        return sum(one.tokens for one in self.answers)


@dataclass(slots=True)
class Provider:
    """Everything that one run of a scenario keeps between requests."""

    seed: int
    clock: Clock
    scenario: Scenario
    book: Book
    script: Script
    limits: LimitBook
    cache: PromptCache
    ids: int = 0
    responses: ResponseStore = field(default_factory=ResponseStore)
    files: FileStore = field(default_factory=FileStore)
    batches: BatchStore = field(default_factory=BatchStore)
    apis: Mapping[str, Dialect] = field(init=False)

    def __post_init__(self) -> None:
        self.apis = {
            "/v1/messages": ANTHROPIC,
            "/v1/chat/completions": CHAT,
            "/v1/responses": Responses(self.responses),
            "/v1/embeddings": Embeddings(),
            "/v1/moderations": Moderations(),
        }

    def new_id(self, prefix: str) -> str:
        """The next id: the same sequence for the same seed."""
        self.ids += 1
        return f"{prefix}_{hashlib.blake2b(b'%d:%d' % (self.seed, self.ids), digest_size=12).hexdigest()}"

    def advance(self) -> None:
        """Let everything that works in the background be as far as it is now."""
        now = self.clock.now()
        self.responses.advance(now)
        self.batches.advance(self, now, lambda batch: write_files(self, batch))

    def plan(
        self, path: str, headers: Mapping[bytes, bytes], decoded: Json, body: bytes, scope: str, fault: Fault | None
    ) -> Plan:
        """Read a request to one of the `apis`, and answer it.

        Raises:
            Fail: it is refused.
        """
        dialect, now = self.apis[path], self.clock.now()
        asked = typed(lambda: dialect.read(headers, decoded, scope=scope, cache=self.cache, seed=self.seed, now=now))
        answers = self._answers(dialect, asked, decoded, body, fault) if asked.model.kind == "chat" else []
        asked.counts.reasoning = sum(one.thinking_tokens for one in answers)
        return Plan(dialect, asked, answers)

    def _answers(self, dialect: Dialect, asked: Asked, decoded: Json, body: bytes, fault: Fault | None) -> list[Answer]:
        """Every choice of an answer."""
        typical = self.scenario.output_tokens
        if fault is not None and fault.kind in ("refusal", "failed"):
            return [self._broken_off(asked, body, fault)]
        if fault is not None and fault.kind == "says":
            asked.text, asked.json, asked.tools = f"say: {fault.message}", "", ()
        elif self.scenario.obey and not asked.json:
            obeyed = [obey(asked, decoded, dice(self.seed, body, choice)) for choice in range(asked.choices)]
            if obeyed[0] is not None:
                return [each for each in obeyed if each is not None]
        wanted = wanted_stop(asked.text)
        if wanted and wanted not in dialect.stops:
            raise Fail(400, "invalid_request_error", f"stop: one of {', '.join(dialect.stops)}")
        if fault is not None and fault.kind == "stop_reason":
            wanted = fault.reason
        asked.stop = dialect.stops.get(wanted, "")
        return [answer(asked, dice(self.seed, body, choice), typical) for choice in range(asked.choices)]

    def _broken_off(self, asked: Asked, body: bytes, fault: Fault) -> Answer:
        """An answer that ends in a refusal or a failure after some tokens."""
        if not fault.after_tokens:
            if fault.kind == "failed":
                return Answer([], "failed", code=fault.code, message=fault.message)
            return refused(asked, style=fault.style if asked.model.dialect == "openai" else "empty")
        asked.cap = min(asked.cap, fault.after_tokens)
        asked.tools, asked.json = (), ""
        begun = answer(asked, dice(self.seed, body), fault.after_tokens * 2)
        begun.stop, begun.code, begun.message = fault.kind, fault.code, fault.message
        return begun


def typed(read: Callable[[], T]) -> T:
    """Read a request whose fields may be of any type: what trips the reading is the caller's mistake."""
    try:
        return read()
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        message = f"A field of the request body has the wrong type ({error})."
        raise Fail(400, "invalid_request_error", message) from error
