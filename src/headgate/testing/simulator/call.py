"""One request to one of the simulated APIs: checked, struck by a fault, limited, and handed to its endpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from email.utils import formatdate
from urllib.parse import parse_qsl

import msgspec

from headgate.testing.simulator.asked import Event, Fail, Json
from headgate.testing.simulator.book import Record
from headgate.testing.simulator.delivery import Delivery
from headgate.testing.simulator.dialects import Dialect, Header
from headgate.testing.simulator.faults import BEFORE_GENERATION, Fault, error_of
from headgate.testing.simulator.generation import limited
from headgate.testing.simulator.limits import AnthropicLimits, OpenAILimits
from headgate.testing.simulator.prices import Counts
from headgate.testing.simulator.provider import GENERATING, Provider
from headgate.testing.simulator.routes import Route, find
from headgate.testing.simulator.scenario import Pace, Seen
from headgate.testing.simulator.wire import Message, Wire

_MAX_BODY = 32 * 1024 * 1024
_SIMULATED: Header = (b"x-headgate-simulated", b"true")
_HTML = b"<html><head><title>%d</title></head><body><center><h1>%d</h1></center><hr>simulated proxy</body></html>"
_AT_ONCE = Pace()
_decode = msgspec.json.Decoder().decode


class Call:
    """One request to one of the APIs.

    Attributes:
        dialect: the vendor's way with errors and headers.
        body, json: the request's body, b"" and {} where it has none or reads its own.
        query, ids: of its URL; `base_url` is what the client calls us.
        fault: what strikes it.
        limits: whose headers it gets, once that is known.
    """

    __slots__ = (
        "_queried",
        "base_url",
        "body",
        "dialect",
        "fault",
        "headers",
        "ids",
        "json",
        "limits",
        "provider",
        "query",
        "record",
        "wire",
    )

    def __init__(
        self, provider: Provider, wire: Wire, record: Record, dialect: Dialect, headers: dict[bytes, bytes]
    ) -> None:
        self.provider = provider
        self.wire = wire
        self.record = record
        self.dialect = dialect
        self.headers = headers
        self.body = b""
        self.json: Json = {}
        self.query: dict[str, str] = {}
        self._queried: list[tuple[str, str]] = []
        self.ids: Sequence[str] = ()
        self.base_url = ""
        self.fault: Fault | None = None
        self.limits: AnthropicLimits | OpenAILimits | None = None

    async def answer(self, scope: Message) -> None:
        """Answer it, with an error where that is the answer."""
        record = self.record
        self._queried = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
        self.query = dict(self._queried)
        host = self.headers.get(b"host", b"127.0.0.1").decode("latin-1")
        self.base_url = f"{scope.get('scheme', 'http')}://{host}"
        found = find(self.dialect.name, record.method, record.path)
        try:
            if found is not None and found[0].upload:
                await self._upload(*found)
                return
            await self._read(found[0] if found is not None else None)
            self._strike()
            if found is None:
                raise self._unknown()
            self.ids = found[1]
            self._count(found[0])
            await found[0].endpoint(self)
        except Fail as fail:
            await self._error(fail)

    async def _upload(self, route: Route, ids: Sequence[str]) -> None:
        """An endpoint that reads its own body. What is wrong with the head is said once the body has passed."""
        try:
            if not self.record.credential:
                raise self.dialect.unauthorized()
            self._strike()
            self.ids = ids
            self._count(route)
        except Fail:
            await self.wire.drain()
            raise
        await route.endpoint(self)

    async def _read(self, route: Route | None) -> None:
        body = await self.wire.body(route.max_body if route is not None else _MAX_BODY)
        if body is None:
            raise Fail(413, "request_too_large", "Request exceeds the maximum size")
        self.record.body_bytes = len(body)
        if not self.record.credential:
            raise self.dialect.unauthorized()
        self.body = body
        if route is not None and route.has_body:
            self.json = self._decoded(body)

    def _decoded(self, body: bytes) -> Json:
        try:
            decoded = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            message = f"The request body is not valid JSON: {error}"
            raise Fail(400, "invalid_request_error", message) from error
        if not isinstance(decoded, dict):
            raise Fail(400, "invalid_request_error", "The request body is not a JSON object.")
        record = self.record
        if isinstance(decoded.get("model"), str):
            record.model = decoded["model"]
        record.stream = decoded.get("stream") is True
        return decoded

    def _strike(self) -> None:
        record = self.record
        generates = record.path in GENERATING and record.method == "POST"
        seen = Seen(record.dialect, record.path, generates, record.model, record.stream, self.headers, self.body)
        rule = self.provider.script.strike(seen)
        if rule is None:
            return
        record.fault = rule.name or rule.fault.kind
        self.fault = rule.fault
        if self._fails_early(rule.fault):
            raise error_of(rule.fault, self.dialect.name)

    def _fails_early(self, fault: Fault) -> bool:
        """Before generation; an error event for a request that does not stream is an error answer."""
        if fault.kind == "failed":
            return self.record.path != "/v1/responses"
        return fault.kind in BEFORE_GENERATION or (fault.kind == "error_event" and not self.record.stream)

    def _unknown(self) -> Fail:
        kind = "not_found_error" if self.dialect.name == "anthropic" else "invalid_request_error"
        return Fail(404, kind, f"Not found: {self.record.method} {self.record.path} is not simulated")

    def _count(self, route: Route) -> None:
        """Count a request that generates nothing against its group's bucket."""
        provider = self.provider
        if not route.group or provider.scenario.limits.requests_per_minute is None:
            return
        now = provider.clock.now()
        self.limits = provider.limits.of(self.dialect.name, self.record.credential, f"/{route.group}", now)
        refused = self.limits.admit(0, 0, now)
        if refused is not None:
            raise limited(self, *refused)

    def delivery(self, counts: Counts, pace: Pace) -> Delivery:
        """How this request's answer goes out."""
        clock = self.provider.clock
        limits = self.limits

        def produced(tokens: int) -> None:
            if limits is not None:
                limits.produced(tokens, clock.now())

        return Delivery(
            self.wire,
            self.record,
            counts,
            self._common(),
            fault=self.fault,
            pace=pace,
            clock=clock,
            produced=produced,
        )

    async def send(self, body: bytes) -> None:
        """A JSON answer that is not billed, with whatever fault strikes it."""
        delivery = self.delivery(Counts(), _AT_ONCE)
        if self.fault is not None and self.fault.kind == "drop":
            await delivery.dropped(0, self.fault)
        await delivery.whole(body, 0)

    async def send_bytes(self, chunks: Iterable[bytes], kind: bytes, size: int | None = None) -> None:
        """An answer of many chunks that is not billed: a file, or lines. `size` is promised where it is known."""
        delivery = self.delivery(Counts(), _AT_ONCE)
        if self.fault is not None and self.fault.kind == "drop":
            await delivery.dropped(0, self.fault)
        head = [(b"content-type", kind)]
        if size is not None:
            head.append((b"content-length", b"%d" % size))
        await delivery.stream(_events(chunks), self.dialect, head)

    def queries(self, name: str) -> list[str]:
        """Every value of a query parameter that may be told several times, with or without brackets."""
        return [value for told, value in self._queried if told.removesuffix("[]") == name]

    def _common(self) -> list[Header]:
        dialect = self.dialect
        made = [_SIMULATED, (dialect.id_header, self.record.request_id.encode()), *dialect.common]
        if self.limits is not None:
            made.extend(self.limits.headers(self.provider.clock.now()))
        return made

    async def _error(self, fail: Fail) -> None:
        if fail.html:
            body, kind = _HTML % (fail.status, fail.status), b"text/html"
        else:
            body, kind = self.dialect.error(fail, self.record.request_id), b"application/json"
        self.record.ending = "error"
        self.record.status = fail.status
        headers = [*self._common(), *fail.headers, *self._told()]
        headers += [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        if self.wire.gone():
            return
        await self.wire.start(fail.status, headers)
        await self.wire.write(body, more=False)

    def _told(self) -> list[Header]:
        """The headers a fault adds to its error."""
        fault = self.fault
        if fault is None:
            return []
        told: list[Header] = []
        if fault.retry_after is not None:
            told.append((b"retry-after", f"{fault.retry_after:g}".encode()))
        if fault.retry_after_ms is not None:
            told.append((b"retry-after-ms", f"{fault.retry_after_ms:g}".encode()))
        if fault.retry_after_date is not None:
            when = formatdate(math.ceil(self.provider.clock.now() + fault.retry_after_date), usegmt=True)
            told.append((b"retry-after", when.encode()))
        if fault.should_retry is not None:
            told.append((b"x-should-retry", b"true" if fault.should_retry else b"false"))
        return told


def _events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Each chunk as an event; the last, known one late, is the terminal one."""
    before: bytes | None = None
    for chunk in chunks:
        if before is not None:
            yield Event(before)
        before = chunk
    if before is not None:
        yield Event(before, terminal=True)
