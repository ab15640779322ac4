"""The interface of a dialect: what the engine asks of `wire/anthropic.py` and `wire/openai.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from headgate.core.exchange import Facts, Headers
from headgate.core.usage import Usage

UNREADABLE = frozenset({"malformed_event", "event_too_large", "not_translatable"})
"""Types of errors inside a stream that its provider knows nothing of: it goes on writing, and billing."""


@dataclass(frozen=True, slots=True)
class ProviderError:
    """A provider's error body or error event, read leniently: every field may be empty."""

    type: str = ""
    code: str = ""
    message: str = ""
    request_id: str = ""


@dataclass(slots=True)
class Answer:
    """What a complete JSON answer says about itself. Immutable by convention."""

    usage: Usage | None = None
    model: str = ""  # the model that served
    stop_reason: str = ""
    error: ProviderError | None = None  # a 200 that carries an error body (wire-formats 2.4, 3)


class Meter(Protocol):
    """Watches one stream, incrementally. Any cut of the bytes gives the same result.

    Attributes:
        usage: counts so far, None until the provider reported any. `usage_final` says whether they are the last word.
        model, stop_reason: as reported, "" until then.
        started: content has been seen (life-cycle frames, pings and comments are not content).
        ended: the terminal event has been seen; what follows it is not the answer's.
        over: the provider has come to its answer's end; with `ended` False or True, where what is handed on is another
            thing than what is read.
        error: an error event inside the stream, or a fault of ours with it (one of `UNREADABLE`).
        content_bytes: an upper bound on the UTF-8 bytes of generated content seen so far (text, thinking, tool
            arguments), for the estimate of a cut stream.
        wide_bytes, beyond_bytes: those of it in characters of two and three, and of four, bytes of UTF-8.
        sealed_bytes: those of it that stand for thinking which was not shown (signatures, encrypted reasoning).
        kinds: bits of `wire.stream`: THINKING was shown, TOOLS were called.
    """

    usage: Usage | None
    usage_final: bool
    model: str
    stop_reason: str
    started: bool
    ended: bool
    error: ProviderError | None
    content_bytes: int
    wide_bytes: int
    beyond_bytes: int
    sealed_bytes: int
    kinds: int

    @property
    def over(self) -> bool: ...

    def feed(self, piece: bytes) -> bytes:
        """Take the next piece as it came; return what to hand on.

        Whole frames, as they came: a partial one waits for its rest, a usage chunk only we asked for is dropped, and
        so is what follows the terminal event. What cannot be read sets `error` (type "malformed_event" or
        "event_too_large"), and its bytes pass.
        """
        ...

    def finish(self) -> bytes:
        """The stream ended: return what was still held back. Afterwards `ended` is final."""
        ...

    def text(self) -> str:
        """The answer's visible text so far; "" unless the meter was made with `keep_text`."""
        ...


class Dialect(Protocol):
    """One provider dialect. Stateless; one instance serves all."""

    name: str

    def endpoint(self, method: str, path: str) -> str:
        """The endpoint's name for a path behind the base URL, without its query.

        "messages", "chat", "responses", "embeddings" (priced); "count_tokens", "models", "moderations" (free); "stored"
        (what a provider keeps: answers, files, batches; JSON about it is read for ids and links); "other".
        """
        ...

    def read_request(self, endpoint: str, body: bytes, *, keep_text: bool = False) -> Facts:
        """Facts of a request body.

        Raises:
            BadRequest: malformed JSON, bad UTF-8, wrong types or a missing `model`/`messages`; the message names the
                field and, for a syntax error, the byte.
        """
        ...

    def rewrite(
        self,
        endpoint: str,
        body: bytes,
        *,
        model: str | None = None,
        ask_usage: bool = False,
        output_cap: int | None = None,
        newest: bool = True,
    ) -> bytes:
        """Splice the raw bytes (decisions 15): another model name, `stream_options.include_usage`, an output cap;
        nothing else.

        Args:
            output_cap: tokens per choice, for a body that has no cap, or only larger ones.
            newest: the provider is the vendor itself, and knows its newest members.
        """
        ...

    def read_answer(self, endpoint: str, body: bytes, *, keep_text: bool = False) -> tuple[Answer, str]:
        """Facts of a complete 2xx JSON body, and its text. Lenient: what is missing stays empty."""
        ...

    def meter(self, endpoint: str, facts: Facts, *, keep_text: bool = False, strict: bool = False) -> Meter:
        """A meter for one stream of this endpoint.

        Args:
            strict: its end has to be told as the vendor tells it. Compatible providers leave out some of that.
        """
        ...

    def read_error(self, body: bytes) -> ProviderError:
        """A provider's error body: an object, an array of one, a string, or not JSON at all."""
        ...

    def request_id(self, headers: Headers) -> str:
        """The provider's request id from its response headers."""
        ...

    def error_body(self, status: int, code: str, message: str, exchange_id: str, *, unit: str = "") -> bytes:
        """Our own error in this dialect's format, as JSON bytes. `code` is Headgate's, in the field its SDK exposes.

        Args:
            unit: "requests" or "tokens", of a rate that was exceeded; "" = it is about no rate.
        """
        ...

    def error_event(self, code: str, message: str, exchange_id: str, *, behind: Meter | None = None) -> bytes:
        """Our own error as the dialect's SSE frame, for a stream that has already begun.

        `behind` is that stream's meter, where there is one: some endpoints have a form of their own.
        """
        ...
