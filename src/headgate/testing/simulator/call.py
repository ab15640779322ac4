"""One request to one of the simulated APIs: checked, struck by a fault, limited, answered, billed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl

import msgspec

from headgate.testing.simulator import anthropic_answers, anthropic_requests, openai_answers
from headgate.testing.simulator.answers import answer, dice, refused
from headgate.testing.simulator.asked import Answer, Asked, Fail, Json
from headgate.testing.simulator.book import Book, Record
from headgate.testing.simulator.delivery import Delivery
from headgate.testing.simulator.dialects import Dialect, Header
from headgate.testing.simulator.faults import BEFORE_GENERATION, Fault, error_of
from headgate.testing.simulator.limits import LimitBook
from headgate.testing.simulator.models import MODELS
from headgate.testing.simulator.promptcache import PromptCache
from headgate.testing.simulator.scenario import Scenario, Script, Seen
from headgate.testing.simulator.wire import Message, Wire

if TYPE_CHECKING:
    from headgate.core.ports import Clock

T = TypeVar("T")
_MAX_BODY = 32 * 1024 * 1024
_SIMULATED: Header = (b"x-headgate-simulated", b"true")
_GENERATES = ("/v1/messages", "/v1/chat/completions")
_COUNT = "/v1/messages/count_tokens"
_HTML = b"<html><head><title>%d</title></head><body><center><h1>%d</h1></center><hr>simulated proxy</body></html>"
_decode = msgspec.json.Decoder().decode


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

    def new_id(self, prefix: str) -> str:
        """The next id: the same sequence for the same seed."""
        self.ids += 1
        return f"{prefix}_{hashlib.blake2b(b'%d:%d' % (self.seed, self.ids), digest_size=12).hexdigest()}"

    def plan(self, asked: Asked, body: bytes, fault: Fault | None) -> list[Answer]:
        """Every choice of an answer."""
        typical = self.scenario.output_tokens
        if fault is None or fault.kind != "refusal":
            return [answer(asked, dice(self.seed, body, choice), typical) for choice in range(asked.choices)]
        if not fault.after_tokens:
            return [refused(asked, style=fault.style if asked.model.dialect == "openai" else "empty")]
        asked.cap = min(asked.cap, fault.after_tokens)
        asked.tools, asked.json = (), ""
        begun = answer(asked, dice(self.seed, body), fault.after_tokens * 2)
        begun.stop = "refusal"
        return [begun]


class Call:
    """One request to one of the APIs."""

    __slots__ = ("_dialect", "_headers", "_limits", "_provider", "_record", "_wire")

    def __init__(
        self, provider: Provider, wire: Wire, record: Record, dialect: Dialect, headers: dict[bytes, bytes]
    ) -> None:
        self._provider = provider
        self._wire = wire
        self._record = record
        self._dialect = dialect
        self._headers = headers
        self._limits: Callable[[], list[Header]] = list

    async def answer(self, scope: Message) -> None:
        """Answer it, with an error where that is the answer."""
        fault: Fault | None = None
        try:
            body = await self._wire.body(_MAX_BODY)
            if body is None:
                raise Fail(413, "request_too_large", "Request exceeds the maximum size")
            self._record.body_bytes = len(body)
            if not self._record.credential:
                raise self._dialect.unauthorized()
            decoded = self._decoded(scope["method"], body)
            fault = self._strike(scope["path"], body)
            if fault is not None and self._fails_early(fault):
                raise error_of(fault, self._dialect.name)
            await self._route(scope, decoded, body, fault)
        except Fail as fail:
            await self._error(fail, fault)

    def _decoded(self, method: str, body: bytes) -> Json:
        if method != "POST":
            return {}
        try:
            decoded = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            message = f"The request body is not valid JSON: {error}"
            raise Fail(400, "invalid_request_error", message) from error
        if not isinstance(decoded, dict):
            raise Fail(400, "invalid_request_error", "The request body is not a JSON object.")
        record = self._record
        if isinstance(decoded.get("model"), str):
            record.model = decoded["model"]
        record.stream = decoded.get("stream") is True
        return decoded

    def _strike(self, path: str, body: bytes) -> Fault | None:
        record = self._record
        generates = path in _GENERATES and record.method == "POST"
        seen = Seen(record.dialect, path, generates, record.model, record.stream, self._headers, body)
        rule = self._provider.script.strike(seen)
        if rule is None:
            return None
        record.fault = rule.name or rule.fault.kind
        return rule.fault

    def _fails_early(self, fault: Fault) -> bool:
        """Before generation; an error event for a request that does not stream is an error answer."""
        return fault.kind in BEFORE_GENERATION or (fault.kind == "error_event" and not self._record.stream)

    async def _route(self, scope: Message, decoded: Json, body: bytes, fault: Fault | None) -> None:
        path, method = scope["path"], self._record.method
        anthropic = self._dialect.name == "anthropic"
        if method == "POST" and path in _GENERATES:
            await self._generate(decoded, body, fault)
        elif method == "POST" and path == _COUNT:
            seed = self._provider.seed
            tokens = _typed(lambda: anthropic_requests.count_tokens(self._headers, decoded, seed))
            await self._json(b'{"input_tokens":%d}' % tokens)
        elif method == "GET" and path == "/v1/models":
            query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
            await self._json(anthropic_answers.models_page(query) if anthropic else openai_answers.models_page())
        elif method == "GET" and path.startswith("/v1/models/"):
            name = path.removeprefix("/v1/models/")
            found = MODELS.get(name)
            if found is None or found.dialect != self._dialect.name:
                raise self._dialect.missing(name)
            await self._json(anthropic_answers.model(found) if anthropic else openai_answers.model(found))
        else:
            kind = "not_found_error" if anthropic else "invalid_request_error"
            raise Fail(404, kind, f"Not found: {method} {path} is not simulated")

    async def _generate(self, decoded: Json, body: bytes, fault: Fault | None) -> None:
        provider, record, dialect, wire = self._provider, self._record, self._dialect, self._wire
        clock, seed, now = provider.clock, provider.seed, provider.clock.now()
        scope = record.credential
        asked = _typed(
            lambda: dialect.read(self._headers, decoded, scope=scope, cache=provider.cache, seed=seed, now=now)
        )
        answers = provider.plan(asked, body, fault)
        output = sum(a.tokens for a in answers)
        buckets = provider.limits.of(dialect.name, scope, asked.model.family, now)
        self._limits = lambda: buckets.headers(clock.now())
        record.user = asked.user
        counted = asked.counts.prompt
        if dialect.name == "anthropic":
            counted -= asked.counts.cache_read  # cache reads do not count against ITPM
        refused = buckets.admit(counted, asked.cap * asked.choices if asked.cap_told else output, now)
        if refused is not None:
            record.fault = "limit"
            raise self._limited(*refused)
        record.model_id, record.model_served = asked.model.id, asked.model.served
        asked.counts.reasoning = sum(a.thinking_tokens for a in answers)
        record.counts = asked.counts
        asked.commit_cache(now)
        delivery = Delivery(
            wire,
            record,
            asked.counts,
            self._common(),
            fault=fault,
            pace=provider.scenario.pace,
            clock=clock,
            produced=lambda tokens: buckets.produced(tokens, clock.now()),
        )
        if fault is not None and fault.kind == "drop":
            await delivery.dropped(output, fault)
        message_id = record.request_id[4:]
        if not asked.stream:
            await delivery.whole(dialect.message(asked, answers, answer_id=message_id, seed=seed, now=now), output)
            return
        per_event = max(1, provider.scenario.pace.tokens_per_event)
        events = dialect.events(asked, answers, answer_id=message_id, seed=seed, now=now, per_event=per_event)
        await delivery.stream(events, dialect.name, dialect.error_event)

    def _limited(self, what: str, seconds: float) -> Fail:
        fail = self._dialect.limited(what)
        fail.headers.append((b"retry-after", b"%d" % max(1, math.ceil(seconds))))
        if self._dialect.name == "openai":
            fail.headers.append((b"retry-after-ms", b"%d" % max(1, math.ceil(seconds * 1000))))
        return fail

    def _common(self) -> list[Header]:
        dialect = self._dialect
        identity = (dialect.id_header, self._record.request_id.encode())
        return [_SIMULATED, identity, *dialect.common, *self._limits()]

    async def _json(self, body: bytes) -> None:
        await self._respond(200, body, b"application/json", [])
        self._record.ending = "complete"

    async def _error(self, fail: Fail, fault: Fault | None) -> None:
        if fail.html:
            body, kind = _HTML % (fail.status, fail.status), b"text/html"
        else:
            body, kind = self._dialect.error(fail, self._record.request_id), b"application/json"
        self._record.ending = "error"
        await self._respond(fail.status, body, kind, [*fail.headers, *self._told(fault)])

    async def _respond(self, status: int, body: bytes, kind: bytes, more: list[Header]) -> None:
        self._record.status = status
        headers = [*self._common(), *more, (b"content-type", kind), (b"content-length", b"%d" % len(body))]
        if self._wire.gone():
            return
        await self._wire.start(status, headers)
        await self._wire.write(body, more=False)

    def _told(self, fault: Fault | None) -> list[Header]:
        """The headers a fault adds to its error."""
        if fault is None:
            return []
        told: list[Header] = []
        if fault.retry_after is not None:
            told.append((b"retry-after", f"{fault.retry_after:g}".encode()))
        if fault.retry_after_ms is not None:
            told.append((b"retry-after-ms", f"{fault.retry_after_ms:g}".encode()))
        if fault.retry_after_date is not None:
            when = formatdate(math.ceil(self._provider.clock.now() + fault.retry_after_date), usegmt=True)
            told.append((b"retry-after", when.encode()))
        if fault.should_retry is not None:
            told.append((b"x-should-retry", b"true" if fault.should_retry else b"false"))
        return told


def _typed(read: Callable[[], T]) -> T:
    """Read a request whose fields may be of any type: what trips the reading is the caller's mistake."""
    try:
        return read()
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        message = f"A field of the request body has the wrong type ({error})."
        raise Fail(400, "invalid_request_error", message) from error
