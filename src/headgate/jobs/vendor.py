"""The vendors' batch APIs (wire-formats 1.7, 2.5), over our own upstream and with our own credential."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.caller import Caller
from headgate.core.errors import HeadgateError, UpstreamError
from headgate.core.exchange import Facts, Request, Route
from headgate.core.ports import Incoming, Outgoing, Timeouts
from headgate.engine.sending import headers_for
from headgate.jobs.requests import HEADERS, WAY_IN

if TYPE_CHECKING:
    from headgate.build import Built

TRIES = 6
_PATIENCE = Timeouts(first_byte=120.0, idle=120.0, total=1800.0, write=120.0)
_PAGES = 20  # of 100 batches each, that are looked through for one of ours
_MOST_WAIT = 60.0

Json = dict[str, Any]


class Refused(HeadgateError):
    """The vendor said no, and means it; the message is its own."""

    code = "provider_rejected"


class Unsure(HeadgateError):
    """It may have been done, or not."""

    code = "provider_error"


@dataclass(frozen=True, slots=True)
class Look:
    """A batch at its vendor.

    Attributes:
        ended: nothing more happens to it.
        files: where its results are, in paths behind the base URL.
        errors: (line from 1, why) of an input that the vendor could not use as a whole.
        size: requests in it.
        created: seconds since the epoch.
        mark: that we have put on it; "" where the vendor has no place for one.
    """

    id: str
    status: str
    ended: bool
    files: tuple[str, ...] = ()
    errors: tuple[tuple[int, str], ...] = ()
    size: int = 0
    created: float = 0.0
    mark: str = ""
    counted: Json = field(default_factory=dict)


class Vendor:
    """One provider's batches.

    Args:
        route: of the provider: its base URL and credential.
    """

    def __init__(self, built: Built, dialect: str, route: Route) -> None:
        self._ports = built.engine.ports
        self._route = route
        self.dialect = dialect

    async def create(self, mark: str, url: str, content: bytes, *, file_id: str = "") -> tuple[str, str]:
        """(batch id, file id) of a new batch. Once: nothing is sent again after a failure.

        Args:
            mark: found again by `find`.
            url: of all its requests.
            content: as `lines_of` makes it.
            file_id: of what was uploaded before; then `content` is not sent.

        Raises:
            Refused, Unsure.
        """
        if self.dialect == "anthropic":
            told = await self._post("/v1/messages/batches", content)
            return str(told["id"]), ""
        if not file_id:
            file_id = await self.upload(mark, content)
        asked = {
            "input_file_id": file_id,
            "endpoint": url,
            "completion_window": "24h",
            "metadata": {"headgate": mark},
        }
        told = await self._post("/batches", msgspec.json.encode(asked))
        return str(told["id"]), file_id

    async def upload(self, name: str, content: bytes) -> str:
        """OpenAI's: the file's id. Nothing is billed for it, so it may be done twice. Raises as `create`."""
        edge = f"headgate-{secrets.token_hex(8)}".encode()
        head = (
            b"--" + edge + b'\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--' + edge + b"\r\n"
            b'content-disposition: form-data; name="file"; filename="' + name.encode() + b'.jsonl"\r\n'
            b"content-type: application/jsonl\r\n\r\n"
        )
        kind = b"multipart/form-data; boundary=" + edge
        told = await self._post("/files", head + content + b"\r\n--" + edge + b"--\r\n", kind)
        return str(told["id"])

    async def look(self, batch_id: str) -> Look:
        """How far it is. Raises `Refused` where the vendor does not know it; waits while it cannot be asked."""
        return self._told(await self._get(f"{self._batches}/{batch_id}"))

    async def cancel(self, batch_id: str) -> None:
        """Have it end; one that has ended is left alone."""
        try:
            await self._post(f"{self._batches}/{batch_id}/cancel", b"")
        except (Refused, Unsure):
            return  # `look` tells whether it ends

    async def recent(self, since: float) -> list[Look]:
        """Batches made since then, newest first. Raises as `look`."""
        found: list[Look] = []
        after = ""
        for _ in range(_PAGES):
            key = "after_id" if self.dialect == "anthropic" else "after"
            told = await self._get(f"{self._batches}?limit=100" + (f"&{key}={after}" if after else ""))
            page = [self._told(each) for each in told.get("data", [])]
            found += [each for each in page if each.created >= since]
            if not page or not told.get("has_more") or page[-1].created < since:
                break
            after = page[-1].id
        return found

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a results file, as they come.

        Raises:
            Refused: the vendor does not have it any more.
            UpstreamError: the transfer broke; what was read stands, and it may be read again.
        """
        incoming = await self._send("GET", path, b"")
        try:
            if incoming.status >= 300:
                raise Refused(_message(await _all(incoming)) or f"HTTP {incoming.status}")
            rest = b""
            while piece := await incoming.read():
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    if line.strip():
                        yield line
            if rest.strip():
                yield rest
        finally:
            incoming.close()

    @property
    def _batches(self) -> str:
        return "/v1/messages/batches" if self.dialect == "anthropic" else "/batches"

    async def _post(self, path: str, body: bytes, kind: bytes = b"application/json") -> Json:
        try:
            incoming = await self._send("POST", path, body, kind)
            try:
                answer = await _all(incoming)
            finally:
                incoming.close()
        except UpstreamError as error:
            raise Unsure(error.message) from error
        if incoming.status >= 500 or incoming.status in (408, 429):
            raise Unsure(_message(answer) or f"HTTP {incoming.status}")
        if incoming.status >= 300:
            raise Refused(_message(answer) or f"HTTP {incoming.status}")
        return _object(answer)

    async def _get(self, path: str) -> Json:
        for tried in range(TRIES):
            try:
                incoming = await self._send("GET", path, b"")
                try:
                    answer = await _all(incoming)
                finally:
                    incoming.close()
                if incoming.status < 300:
                    return _object(answer)
                if incoming.status < 500 and incoming.status not in (408, 429):
                    raise Refused(_message(answer) or f"HTTP {incoming.status}")
                why = _message(answer) or f"HTTP {incoming.status}"
            except UpstreamError as error:
                why = error.message
            if tried + 1 < TRIES:
                await self._ports.clock.sleep(min(_MOST_WAIT, 2.0**tried * (0.5 + self._ports.random())))
        raise Unsure(f"the provider's batches cannot be asked about: {why}")

    async def _send(self, method: str, path: str, body: bytes, kind: bytes = b"application/json") -> Incoming:
        headers = [(b"content-type", kind), *(each for each in HEADERS[self.dialect] if each[0] != b"content-type")]
        request = Request(self.dialect, "stored", method, path, headers, body, Facts(), Caller(), WAY_IN)
        url = self._route.base_url + path
        outgoing = Outgoing(method, url, headers_for(request, self._route), body, _PATIENCE)
        return await self._ports.upstream.send(outgoing)

    def _told(self, told: Json) -> Look:
        return _anthropics(told) if self.dialect == "anthropic" else _openais(told)


def _anthropics(told: Json) -> Look:
    counted = told.get("request_counts") or {}
    ended = told.get("processing_status") == "ended"
    name = str(told.get("id", ""))
    return Look(
        name,
        str(told.get("processing_status", "")),
        ended,
        (f"/v1/messages/batches/{name}/results",) if ended else (),
        size=sum(count for count in counted.values() if isinstance(count, int)),
        created=_moment(told.get("created_at")),
        counted=counted,
    )


_OVER = ("completed", "failed", "expired", "cancelled")


def _openais(told: Json) -> Look:
    status = str(told.get("status", ""))
    files = [told.get("output_file_id"), told.get("error_file_id")]
    wrong = (told.get("errors") or {}).get("data") or []
    return Look(
        str(told.get("id", "")),
        status,
        status in _OVER,
        tuple(f"/files/{each}/content" for each in files if each) if status in _OVER else (),
        tuple((int(each.get("line") or 0), str(each.get("message") or "")) for each in wrong),
        int((told.get("request_counts") or {}).get("total") or 0),
        float(told.get("created_at") or 0),
        str((told.get("metadata") or {}).get("headgate") or ""),
    )


def _moment(told: object) -> float:
    try:
        return datetime.fromisoformat(str(told)).timestamp()
    except ValueError:
        return 0.0


async def _all(incoming: Incoming) -> bytes:
    body = bytearray()
    while piece := await incoming.read():
        body += piece
    return bytes(body)


def _object(body: bytes) -> Json:
    try:
        told = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Unsure("the provider's answer about a batch is no JSON") from error
    if not isinstance(told, dict):
        raise Unsure("the provider's answer about a batch is no JSON object")
    return told


def _message(body: bytes) -> str:
    """A vendor's own words about an error."""
    try:
        error = msgspec.json.decode(body).get("error")
        return str(error.get("message") or "")[:500] if isinstance(error, dict) else ""
    except (msgspec.DecodeError, AttributeError):
        return ""
