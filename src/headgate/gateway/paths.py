"""A path of the gateway to a dialect, a provider and the path behind the provider's base URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from headgate.core.errors import BadRequest, NotServed
from headgate.core.exchange import Headers, Route

_OPENAI = (
    "/v1/chat/",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/batches",
    "/v1/completions",
    "/v1/decisions",
)


# What a provider is asked for in the other dialect, and Headgate translates.
_CROSSING = {
    ("openai", "v1/messages"): ("anthropic", "/v1/messages"),
    ("openai", "messages"): ("anthropic", "/v1/messages"),
    ("anthropic", "v1/chat/completions"): ("openai", "/chat/completions"),
    ("anthropic", "chat/completions"): ("openai", "/chat/completions"),
}

# Letters, digits, "-", "_", "~" (RFC 3986, section 2.3), and the slash; "." is looked for before.
_NEEDLESS = re.compile(r"%(?:4[1-9A-Fa-f]|5[0-9Aa]|6[1-9A-Fa-f]|7[0-9Aa]|3[0-9]|2[DdFf]|5[Ff]|7[Ee])")


# The SDKs escape the slash of a model's name, `provider/model`.
_SLASH_IN_MODEL = re.compile(r"(/models/[^/%]*)%2[Ff]")


@dataclass(slots=True)
class Target:
    """`provider` is "" where the model decides."""

    dialect: str
    path: str
    provider: str = ""


def target(raw_path: bytes, query: bytes, headers: Headers, providers: Mapping[str, Route]) -> Target | None:
    """Where a request goes; None for a path that is not the data plane's.

    Raises:
        BadRequest: dot segments, which a provider could resolve to another path than the one that was checked.
        NotServed: /p/ with a provider that is not configured.
    """
    path = raw_path.decode("ascii", "replace")
    if "/." in path or "%2e" in path or "%2E" in path:
        raise BadRequest("the path holds dot segments")
    if "%" in path and _NEEDLESS.search(_SLASH_IN_MODEL.sub(r"\1/", path)):
        # A provider would read it as the plain path, and we would not know what it is about.
        raise BadRequest("the path escapes characters that need no escape: write them as they are")
    tail = f"?{query.decode('latin-1')}" if query else ""
    if path.startswith("/v1/"):
        path = _once(path)
        if path.startswith("/v1/messages"):
            return Target("anthropic", path + tail)
        if path.startswith(_OPENAI) or not any(n == b"anthropic-version" for n, _ in headers):
            return Target("openai", path[3:] + tail)
        return Target("anthropic", path + tail)
    for prefix, dialect in (("/anthropic/", "anthropic"), ("/openai/", "openai")):
        if path.startswith(prefix):
            return Target(dialect, _behind_base(dialect, path[len(prefix) - 1 :]) + tail)
    if path.startswith("/p/"):
        name, _, rest = path[3:].partition("/")
        route = providers.get(name)
        if route is None:
            known = ", ".join(sorted(providers))
            raise NotServed(f"there is no provider named {name[:64]!r}; configured: {known}", code="no_provider")
        if (route.dialect, rest) in _CROSSING:
            return Target(*_CROSSING[route.dialect, rest], route.provider)
        return Target(route.dialect, _behind_base(route.dialect, "/" + rest) + tail, route.provider)
    return None


def missing_version(path: str) -> bool:
    """It is the data plane's, but for the /v1 that OpenAI's SDK has in its base URL."""
    return f"/v1{path}".startswith((*_OPENAI, "/v1/messages", "/v1/models"))


def _once(path: str) -> str:
    """Without the second /v1 of an Anthropic SDK whose base URL ends in /v1, which the SDK adds itself."""
    return path[3:] if path.startswith("/v1/v1/") else path


def _behind_base(dialect: str, path: str) -> str:
    # An OpenAI base URL ends in /v1 already; Anthropic's does not.
    path = _once(path)
    return path.removeprefix("/v1") if dialect == "openai" and path.startswith("/v1/") else path


def spoken_dialect(raw_path: bytes, headers: Headers) -> str:
    """The dialect to answer an error in, where the path could not be read."""
    if b"/messages" in raw_path or raw_path.startswith(b"/anthropic/"):
        return "anthropic"
    return "anthropic" if any(n == b"anthropic-version" for n, _ in headers) else "openai"
