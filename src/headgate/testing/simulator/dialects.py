"""The two dialects behind one shape, so that the application has no branches on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from headgate.testing.simulator import anthropic_answers, anthropic_requests, openai_answers, openai_requests
from headgate.testing.simulator.asked import Answer, Asked, Event, Fail, Json
from headgate.testing.simulator.promptcache import PromptCache

Header = tuple[bytes, bytes]


class Dialect(Protocol):
    """How one vendor speaks. `common` and `id_header` are the headers of every response."""

    name: str
    id_header: bytes
    common: tuple[Header, ...]

    def read(
        self, headers: Mapping[bytes, bytes], body: Json, *, scope: str, cache: PromptCache, seed: int, now: float
    ) -> Asked: ...

    def message(self, asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float) -> bytes: ...

    def events(
        self, asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float, per_event: int
    ) -> Iterator[Event]: ...

    def error(self, fail: Fail, request_id: str) -> bytes: ...

    def error_event(self, kind: str, message: str) -> bytes: ...

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


class OpenAI:
    """Chat Completions API."""

    name = "openai"
    id_header = b"x-request-id"
    common: tuple[Header, ...] = (
        (b"openai-organization", b"headgate-simulator"),
        (b"openai-version", b"2020-10-01"),
        (b"openai-processing-ms", b"1"),
    )
    message = staticmethod(openai_answers.message)
    events = staticmethod(openai_answers.events)
    error = staticmethod(openai_answers.error)
    error_event = staticmethod(openai_answers.error_event)
    missing = staticmethod(openai_requests.missing)

    @staticmethod
    def read(
        headers: Mapping[bytes, bytes], body: Json, *, scope: str, cache: PromptCache, seed: int, now: float
    ) -> Asked:
        """Check and count a request."""
        return openai_requests.read(body, scope=scope, cache=cache, now=now)

    @staticmethod
    def limited(what: str) -> Fail:
        """A bucket is empty."""
        return Fail(429, what, f"Rate limit reached on {what} per minute (simulated).", code="rate_limit_exceeded")

    @staticmethod
    def unauthorized() -> Fail:
        """No credential."""
        text = "You didn't provide an API key. Provide it in an Authorization header using Bearer auth."
        return Fail(401, "invalid_request_error", text)


DIALECTS: dict[str, Dialect] = {"anthropic": Anthropic(), "openai": OpenAI()}
