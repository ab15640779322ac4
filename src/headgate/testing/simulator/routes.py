"""Which endpoint a method and a path lead to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.testing.simulator import (
    anthropic_batches,
    files,
    generation,
    listings,
    openai_batches,
    stored_responses,
    usage_reports_anthropic,
    usage_reports_openai,
)

if TYPE_CHECKING:
    from headgate.testing.simulator.call import Call

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint.

    Attributes:
        path: its segments; "*" stands for an id.
        dialect: "anthropic" or "openai".
        group: which bucket of requests it counts against, "" for none; what generates has its model's.
        has_body: a JSON body is read; an upload reads its own.
        max_body: bytes.
    """

    method: str
    path: tuple[str, ...]
    dialect: str
    endpoint: Callable[[Call], Awaitable[None]]
    group: str = ""
    has_body: bool = False
    upload: bool = False
    max_body: int = 32 * _MB


def _route(
    line: str,
    dialect: str,
    endpoint: Callable[[Call], Awaitable[None]],
    group: str = "",
    *,
    body: bool = False,
    upload: bool = False,
    max_body: int = 32 * _MB,
) -> Route:
    method, path = line.split()
    return Route(method, tuple(path.split("/")), dialect, endpoint, group, body, upload, max_body)


_ALL = (
    _route("POST /v1/messages", "anthropic", generation.generate, body=True),
    _route("POST /v1/chat/completions", "openai", generation.generate, body=True),
    _route("POST /v1/responses", "openai", generation.generate, body=True),
    _route("POST /v1/embeddings", "openai", generation.generate, body=True),
    _route("POST /v1/moderations", "openai", generation.generate, body=True),
    _route("POST /v1/messages/count_tokens", "anthropic", listings.count_tokens, "count_tokens", body=True),
    _route("GET /v1/models", "anthropic", listings.anthropic_models),
    _route("GET /v1/models/*", "anthropic", listings.anthropic_model),
    _route("GET /v1/models", "openai", listings.openai_models),
    _route("GET /v1/models/*", "openai", listings.openai_model),
    _route("POST /v1/responses/input_tokens", "openai", stored_responses.count_tokens, "count_tokens", body=True),
    _route("GET /v1/responses/*", "openai", stored_responses.retrieve, "responses"),
    _route("DELETE /v1/responses/*", "openai", stored_responses.delete, "responses"),
    _route("POST /v1/responses/*/cancel", "openai", stored_responses.cancel, "responses"),
    _route("GET /v1/responses/*/input_items", "openai", stored_responses.input_items, "responses"),
    _route(
        "POST /v1/messages/batches", "anthropic", anthropic_batches.create, "batches", body=True, max_body=256 * _MB
    ),
    _route("GET /v1/messages/batches", "anthropic", anthropic_batches.list_all, "batches"),
    _route("GET /v1/messages/batches/*", "anthropic", anthropic_batches.retrieve, "batches"),
    _route("DELETE /v1/messages/batches/*", "anthropic", anthropic_batches.delete, "batches"),
    _route("POST /v1/messages/batches/*/cancel", "anthropic", anthropic_batches.cancel, "batches"),
    _route("GET /v1/messages/batches/*/results", "anthropic", anthropic_batches.results, "batches"),
    _route("POST /v1/batches", "openai", openai_batches.create, "batches", body=True),
    _route("GET /v1/batches", "openai", openai_batches.list_all, "batches"),
    _route("GET /v1/batches/*", "openai", openai_batches.retrieve, "batches"),
    _route("POST /v1/batches/*/cancel", "openai", openai_batches.cancel, "batches"),
    _route("GET /v1/files", "anthropic", files.list_anthropic, "files"),
    _route("GET /v1/files", "openai", files.list_openai, "files"),
    _route("GET /v1/organizations/usage_report/messages", "anthropic", usage_reports_anthropic.usage),
    _route("GET /v1/organizations/cost_report", "anthropic", usage_reports_anthropic.costs),
    _route("GET /v1/organization/usage/completions", "openai", usage_reports_openai.completions),
    _route("GET /v1/organization/usage/embeddings", "openai", usage_reports_openai.embeddings),
    _route("GET /v1/organization/costs", "openai", usage_reports_openai.costs),
    *(
        route
        for dialect in ("anthropic", "openai")
        for route in (
            _route("POST /v1/files", dialect, files.upload, "files", upload=True),
            _route("GET /v1/files/*", dialect, files.metadata, "files"),
            _route("GET /v1/files/*/content", dialect, files.content, "files"),
            _route("DELETE /v1/files/*", dialect, files.delete, "files"),
        )
    ),
)


def find(dialect: str, method: str, path: str) -> tuple[Route, Sequence[str]] | None:
    """The endpoint, and the ids in its path; None where there is none."""
    segments = tuple(path.split("/"))
    for route in _ALL:
        if route.method == method and route.dialect == dialect and len(route.path) == len(segments):
            ids = [told for meant, told in zip(route.path, segments, strict=True) if meant == "*"]
            if all(meant in ("*", told) for meant, told in zip(route.path, segments, strict=True)) and all(ids):
                return route, ids
    return None
