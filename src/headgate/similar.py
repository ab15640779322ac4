"""Answers to questions that are only alike (docs/similar.md): measured first, given when they were right often enough.

It sees every answer (`core.ports.Witness`), and in a thread of its own it works out what it would have answered, and
whether that was right. `AsyncSimilar` and `BlockingSimilar` are `core.ports.Similar` and `core.ports.Substitutes`.
"""

from __future__ import annotations

import json
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.background import Background
from headgate.core.cache import Kind, Stored
from headgate.core.errors import ConfigError, HeadgateError
from headgate.core.exchange import Exchange, Request
from headgate.core.ports import Substitute
from headgate.engine.blocking import run_blocking
from headgate.policy.comparing import Said, exact, plain, same_shape
from headgate.policy.shadowing import DIFFERENT, SAME, WATCHING
from headgate.policy.similar import LOCAL, PYTHON, Question, SimilarRules, may_answer, question_of
from headgate.policy.similarity_guard import differs, same_numbers
from headgate.shadowing import SIMILAR
from headgate.stores.opening import similar_file
from headgate.stores.shadow_file import Outcome, ShadowFile
from headgate.stores.similar_index import Entry, NoVector, SimilarIndex, cosine, unit
from headgate.wire import DIALECTS
from headgate.wire.said import said

if TYPE_CHECKING:
    from headgate.engine.engine import Engine
    from headgate.settings.model import Settings

Embedder = Callable[[list[str]], Sequence[Sequence[float]]]
"""Texts to vectors, one for each. Called in threads; what it raises is a miss."""

TASK = "similar"
"""What its comparisons are counted under."""
LOOK_SECONDS = 5.0
_MOST_VECTORS = 1_024
_MOST_BYTES = 256 * 1024  # of a request, and of an answer: what waits is kept in memory
_ENDPOINTS = frozenset({"messages", "chat", "responses"})


class Unembedded(Exception):
    """There are no vectors. `str()` says why, and nothing of the texts."""


class Similar:
    """What both colours share.

    Args:
        embed: the program's own, where the rules say `PYTHON`; the model, where they say `LOCAL`.
        now: seconds since the epoch.
        draw: uniformly from [0, 1).
        tell: the log's `event`.
    """

    def __init__(
        self,
        rules: SimilarRules,
        index: SimilarIndex,
        file: ShadowFile,
        background: Background,
        *,
        embed: Embedder | None = None,
        now: Callable[[], float],
        draw: Callable[[], float],
        tell: Callable[..., None],
    ) -> None:
        self.rules = rules
        self.index = index
        self.embed = embed
        self.draw = draw
        self._file = file
        self._background = background
        self._now = now
        self._tell = tell
        self._vectors: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._look_at = 0.0
        self._trusted = self._down = self._warned = False
        self.blocking: BlockingSimilar | None = None  # what the thread asks with

    def trusted(self) -> bool:
        """Whether it may answer, as of at most 5 s ago."""
        now = self._now()
        if not self._look_at:  # once, and in place
            self._look_at = now + LOOK_SECONDS
            self._look()
        elif now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._background.offer(self._look)
        return self._trusted

    def _look(self) -> None:
        rules = self.rules
        try:
            counted = self._file.tally(TASK, rules.embedder, WATCHING).counted
        except ConfigError as error:
            self._trusted = False
            self._tell("similar_unavailable", error=error.message)
            return
        before, self._trusted = self._trusted, may_answer(rules, counted)
        if before and not self._trusted:
            self._tell("similar_back", compared=counted.compared, different=counted.different)
        if rules.answers and not self._trusted and not self._warned:
            self._warned = True
            self._tell("similar_not_trusted", compared=counted.compared, different=counted.different, until=rules.until)

    def forget(self, prefix: str) -> int:
        """Drop the answers of partitions that begin so; "" = all. Vectors are forgotten with any of them."""
        with self._lock:
            self._vectors.clear()
        return self.index.forget(prefix)

    def wants(self, exchange: Exchange) -> bool:
        """See `core.ports.Witness`."""
        request = exchange.request
        return request.endpoint in _ENDPOINTS and len(request.body) <= _MOST_BYTES and exchange.recalled is None

    def saw(self, exchange: Exchange, answer: Substitute) -> None:
        """See `core.ports.Witness`."""
        asked, last = exchange.original, exchange.last
        if asked is None or last is None or len(answer.body) > _MOST_BYTES:
            return
        now = self._now()
        kind: Kind = "stream" if asked.facts.stream else "whole"
        stored = Stored(
            kind,
            answer.status,
            tuple(answer.headers),
            answer.body,
            now,
            now + self.rules.keep_seconds,
            model=last.model_served or last.route.model,
            provider=last.route.provider,
            stop_reason=last.stop_reason,
            usage=last.usage,
            cost_nano=exchange.cost_nano,
            price_version=last.price_version,
            exchange_id=exchange.id,
        )
        self._background.offer(lambda: self._learn(asked, stored))

    def _learn(self, asked: Request, stored: Stored) -> None:
        question, real = question_of(asked, per_user=self.rules.per_user), self._said(asked, stored)
        if question is None or real is None or real.calls:
            return
        assert self.blocking is not None  # set when it was built
        try:
            vector = run_blocking(self.blocking.vectors(asked, [question.text]))[0]
            found = self.match(question, vector)
            if found is not None:
                self._compare(asked, stored, real, *found)
            self.index.put(question.partition, Entry(question.text, vector, stored))
        except Unembedded:
            return  # it is told

    def _compare(self, asked: Request, stored: Stored, real: Said, score: float, entry: Entry) -> None:
        """What would have been answered, against what was."""
        if plain(entry.text) == "" or entry.stored.exchange_id == stored.exchange_id:
            return
        would = self._said(asked, entry.stored)
        if would is None:
            return
        same = exact(would, real) or same_shape(would, real)
        if not same and same_numbers(would.text, real.text) and would.text.strip() and real.text.strip():
            assert self.blocking is not None
            one, other = run_blocking(self.blocking.vectors(asked, [would.text, real.text]))
            same = cosine(one, other) >= self.rules.alike
        result = SAME if same else DIFFERENT
        self._file.note(
            Outcome(self._now(), TASK, self.rules.embedder, WATCHING, result, exchange=stored.exchange_id,
                    live_nano=stored.cost_nano)
        )  # fmt: skip
        self._tell("similar", result=result, score=round(score, 4), exchange=stored.exchange_id,
                   would=entry.stored.exchange_id)  # fmt: skip
        self._look()

    def _said(self, asked: Request, stored: Stored) -> Said | None:
        return said(DIALECTS[asked.dialect], asked.endpoint, asked.facts, stored.body, stored.stop_reason)

    def match(self, question: Question, vector: Any) -> tuple[float, Entry] | None:
        """The nearest answer to a question that differs from this one in nothing that can be told."""
        for score, entry in self.index.nearest(question.partition, vector, self.rules.threshold):
            if not differs(question.text, entry.text):
                return score, entry
        return None

    def known(self, texts: Sequence[str]) -> list[Any]:
        """The vectors that are remembered; None for others."""
        with self._lock:
            return [self._vectors.get(text) for text in texts]

    def remember(self, texts: Sequence[str], vectors: Sequence[Any]) -> None:
        """Vectors of texts. The embedder is up."""
        self._down = False
        with self._lock:
            self._vectors.update(zip(texts, vectors, strict=True))
            while len(self._vectors) > _MOST_VECTORS:
                self._vectors.popitem(last=False)

    def down(self, why: str) -> None:
        """The embedder does not answer: told once, until it does again."""
        if not self._down:
            self._down = True
            self._tell("embedder_unavailable", embedder=self.rules.embedder, error=why)


class BlockingSimilar:
    """For threads."""

    def __init__(self, shared: Similar) -> None:
        self._shared = shared
        self.engine: Engine | None = None  # of the same colour, for an embedder at an endpoint

    async def recall(self, exchange: Exchange) -> Stored | None:
        """See `core.ports.Similar`."""
        shared = self._shared
        if not (shared.rules.answers and shared.trusted()):
            return None
        if shared.draw() * 10_000 < shared.rules.check_basis_points:
            return None  # it goes to the provider, and is compared
        return await self._found(exchange)

    async def find(self, exchange: Exchange, why: str) -> Substitute | None:
        """See `core.ports.Substitutes`."""
        stored = await self._found(exchange) if self._shared.trusted() else None
        return None if stored is None else Substitute(stored.status, stored.headers, stored.body)

    async def _found(self, exchange: Exchange) -> Stored | None:
        shared, asked = self._shared, exchange.original
        if asked is None or exchange.findings or exchange.request.endpoint not in _ENDPOINTS:
            return None
        question = question_of(asked, per_user=shared.rules.per_user)
        if question is None or not shared.index.has(question.partition):
            return None
        try:
            vector = (await self.vectors(asked, [question.text]))[0]
        except Unembedded:
            return None
        found = shared.match(question, vector)
        return None if found is None else found[1].stored

    async def vectors(self, asked: Request, texts: list[str]) -> list[Any]:
        """Unit vectors of texts, by whatever embeds. Raises Unembedded, which is told."""
        shared = self._shared
        known = shared.known(texts)
        missing = [text for text, vector in zip(texts, known, strict=True) if vector is None]
        if missing:
            try:
                raw = await (self._asked(asked, missing) if shared.embed is None else self._called(missing))
                fresh = [unit(each) for each in raw]
                if len(fresh) != len(missing):
                    raise NoVector("the embedder has not given one vector for each text")
            except (Unembedded, NoVector) as error:
                shared.down(str(error))
                raise Unembedded(str(error)) from None
            shared.remember(missing, fresh)
            by_text = dict(zip(missing, fresh, strict=True))
            known = [by_text.get(text, vector) for text, vector in zip(texts, known, strict=True)]
        return known

    async def _called(self, texts: list[str]) -> Sequence[Sequence[float]]:
        embed = self._shared.embed
        assert embed is not None  # looked at when it was built
        try:
            return embed(texts)
        except Exception as error:  # it is the program's own, and may raise anything
            raise Unembedded(type(error).__name__) from None

    async def _asked(self, asked: Request, texts: list[str]) -> list[list[float]]:
        """By the embeddings endpoint of a provider, as an exchange of its own."""
        body = json.dumps({"model": self._shared.rules.embedder, "input": texts, "encoding_format": "float"}).encode()
        request = Request(
            "openai",
            "embeddings",
            "POST",
            "/embeddings",
            [(b"content-type", b"application/json")],
            body,
            DIALECTS["openai"].read_request("embeddings", body),
            replace(asked.caller, task=SIMILAR + asked.caller.task, user="", session=""),
            asked.way_in,
            timeout=self._shared.rules.timeout_seconds,
            on_our_own="similar",
        )
        engine = self.engine
        assert engine is not None  # set when it was built
        pieces = []
        try:
            reply = await engine.open(engine.begin(request))
            try:
                while piece := await reply.read():
                    pieces.append(piece)
            finally:
                reply.close()
        except HeadgateError as error:
            raise Unembedded(error.code) from None
        return _vectors(b"".join(pieces))


class AsyncSimilar(BlockingSimilar):
    """For event loops: the program's own embedder works in a thread."""

    async def _called(self, texts: list[str]) -> Sequence[Sequence[float]]:
        import anyio
        from anyio import to_thread

        embed = self._shared.embed
        assert embed is not None  # looked at when it was built
        found: Sequence[Sequence[float]] | None = None
        try:
            with anyio.move_on_after(self._shared.rules.timeout_seconds):
                found = await to_thread.run_sync(embed, texts, abandon_on_cancel=True)
        except Exception as error:  # it is the program's own, and may raise anything
            raise Unembedded(type(error).__name__) from None
        if found is None:
            raise Unembedded("timeout")
        return found


def _vectors(body: bytes) -> list[list[float]]:
    """Those of an embeddings answer, by their index (wire-formats 2.2)."""
    try:
        listed = json.loads(body)["data"]
        return [each["embedding"] for each in sorted(listed, key=lambda each: each["index"])]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unembedded("the embedder's answer cannot be read") from None


def similar_of(
    settings: Settings,
    background: Background,
    embed: Embedder | None,
    *,
    now: Callable[[], float],
    tell: Callable[..., None],
) -> Similar | None:
    """What a configuration asks for; None where nothing is. Opens nothing.

    Raises:
        ConfigError: numpy, or the program's own embedder, is not there.
    """
    rules = settings.similar
    if rules is None:
        return None
    if find_spec("numpy") is None:
        raise ConfigError("similar: needs numpy: pip install 'headgate[semantic]'")
    if (rules.embedder == PYTHON) != (embed is not None):
        raise ConfigError(
            "similar.embedder: `python` needs the program's own, Gate.load(..., embedder=...), and that needs `python`"
        )
    if rules.embedder.startswith(LOCAL):
        from headgate.stores.local_model import LocalModel

        embed = LocalModel(Path(rules.embedder.removeprefix(LOCAL)))
    index, file = SimilarIndex(rules.entries, now=now), ShadowFile(similar_file(settings.storage))
    return Similar(rules, index, file, background, embed=embed, now=now, draw=random.random, tell=tell)
