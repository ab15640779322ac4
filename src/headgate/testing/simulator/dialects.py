"""The APIs that generate, behind one shape, so that the application has no branches on them.

Two dialects, and three APIs: OpenAI's Chat Completions and Responses share credentials, limits and errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec

from headgate.testing.simulator import (
    anthropic_answers,
    anthropic_requests,
    openai_answers,
    openai_requests,
    responses_answers,
    responses_requests,
)
from headgate.testing.simulator.asked import Answer, Asked, Event, Fail, Json
from headgate.testing.simulator.promptcache import PromptCache
from headgate.testing.simulator.responses_store import ResponseStore, Stored

Header = tuple[bytes, bytes]


class Dialect(Protocol):
    """How one vendor's API speaks.

    Attributes:
        common, id_header: the headers of every response.
        malformed: an event of broken JSON.
        stops: our word for each way an answer may end, by the vendor's.
    """

    name: str
    id_header: bytes
    common: tuple[Header, ...]
    malformed: bytes
    stops: Mapping[str, str]

    def read(
        self, headers: Mapping[bytes, bytes], body: Json, *, scope: str, cache: PromptCache, seed: int, now: float
    ) -> Asked: ...

    def message(self, asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float) -> bytes: ...

    def events(
        self, asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float, per_event: int
    ) -> Iterator[Event]: ...

    def error(self, fail: Fail, request_id: str) -> bytes: ...

    def error_event(self, kind: str, message: str, sequence: int, /) -> bytes: ...

    def limited(self, what: str) -> Fail: ...

    def unauthorized(self) -> Fail: ...

    def missing(self, model: str) -> Fail: ...


class Anthropic:
    """Messages API, both versions."""

    name = "anthropic"
    id_header = b"request-id"
    common: tuple[Header, ...] = (
        (b"anthropic-organization-id", b"00000000-0000-4000-8000-5ead6a7e0000"),
        (b"anthropic-workspace-id", b"wrkspc_simulated"),
    )
    malformed = anthropic_answers.MALFORMED
    stops: Mapping[str, str] = anthropic_answers.STOPS
    read = staticmethod(anthropic_requests.read)
    message = staticmethod(anthropic_answers.message)
    events = staticmethod(anthropic_answers.events)
    error = staticmethod(anthropic_answers.error)
    error_event = staticmethod(anthropic_answers.error_event)

    @staticmethod
    def limited(what: str) -> Fail:
        """A bucket is empty."""
        text = f"This request would exceed your organization's rate limit of {what} per minute (simulated)."
        return Fail(429, "rate_limit_error", text)

    @staticmethod
    def unauthorized() -> Fail:
        """No credential."""
        return Fail(401, "authentication_error", "x-api-key header is required")

    @staticmethod
    def missing(model: str) -> Fail:
        """No such model."""
        return Fail(404, "not_found_error", f"model: {model}")


class OpenAIVendor:
    """What both of OpenAI's APIs share."""

    name = "openai"
    id_header = b"x-request-id"
    common: tuple[Header, ...] = (
        (b"openai-organization", b"headgate-simulator"),
        (b"openai-version", b"2020-10-01"),
        (b"openai-processing-ms", b"1"),
    )
    error = staticmethod(openai_answers.error)
    missing = staticmethod(openai_requests.missing)

    @staticmethod
    def limited(what: str) -> Fail:
        """A bucket is empty."""
        return Fail(429, what, f"Rate limit reached on {what} per minute (simulated).", code="rate_limit_exceeded")

    @staticmethod
    def unauthorized() -> Fail:
        """No credential."""
        text = "You didn't provide an API key. Provide it in an Authorization header using Bearer auth."
        return Fail(401, "invalid_request_error", text)


class OpenAI(OpenAIVendor):
    """Chat Completions API."""

    malformed = openai_answers.MALFORMED
    stops: Mapping[str, str] = openai_answers.STOPS
    message = staticmethod(openai_answers.message)
    events = staticmethod(openai_answers.events)
    error_event = staticmethod(openai_answers.error_event)

    @staticmethod
    def read(
        headers: Mapping[bytes, bytes], body: Json, *, scope: str, cache: PromptCache, seed: int, now: float
    ) -> Asked:
        """Check and count a request."""
        return openai_requests.read(body, scope=scope, cache=cache, now=now)


class Responses(OpenAIVendor):
    """Responses API: what it answers it keeps, where the request does not say otherwise."""

    malformed = responses_answers.MALFORMED
    stops: Mapping[str, str] = responses_answers.STOPS
    error_event = staticmethod(responses_answers.error_event)

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    def read(
        self, headers: Mapping[bytes, bytes], body: Json, *, scope: str, cache: PromptCache, seed: int, now: float
    ) -> Asked:
        """Check and count a request."""
        return responses_requests.read(body, scope=scope, cache=cache, store=self._store, seed=seed, now=now)

    def message(self, asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float) -> bytes:
        """A whole answer."""
        final = responses_answers.ended(asked, answers[0], answer_id=answer_id, seed=seed, now=now)
        self._keep(asked, final)
        return msgspec.json.encode(final)

    def events(
        self, asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float, per_event: int
    ) -> Iterator[Event]:
        """The answer as a stream."""
        final = responses_answers.ended(asked, answers[0], answer_id=answer_id, seed=seed, now=now)
        for event in responses_answers.events(
            asked, answers[0], answer_id=answer_id, seed=seed, now=now, per_event=per_event, final=final
        ):
            if event.terminal:
                self._keep(asked, final)
            yield event

    def _keep(self, asked: Asked, final: Json) -> None:
        if final["store"] and not final["background"]:
            self._store.keep(Stored(asked.scope, final, asked.items, asked.context))


ANTHROPIC: Dialect = Anthropic()
CHAT: Dialect = OpenAI()
