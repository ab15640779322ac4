"""The call that `headgate explain` is about: a request as a way in would hand it to the engine, without sending it."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import click

from headgate.settings.fields import suggestion

if TYPE_CHECKING:
    from headgate.core.errors import Refusal
    from headgate.core.exchange import Headers, Request
    from headgate.engine.plan import Policies
    from headgate.gateway.auth import KeyRecord, KeyRing
    from headgate.policy.routing import Router
    from headgate.settings.model import Settings

MAX_FILE = 1024**3
PROMPT_BYTES = 1_000
CAP = 1_024  # tokens; Anthropic's dialect wants a cap, so a call made from flags has one

# What only one dialect has at the top level of a body (wire-formats 1.3 and 2.1).
_ONLY_OPENAI = frozenset(
    {"input", "max_completion_tokens", "response_format", "stream_options", "n", "max_output_tokens", "instructions"}
)
_ONLY_ANTHROPIC = frozenset({"system", "stop_sequences", "thinking", "anthropic_version", "mcp_servers"})
_OPENAI_NAMES = ("gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-", "omni-moderation")


@dataclass(frozen=True, slots=True)
class Told:
    """What the command line says. `body` is the file's, or None: then the flags make one."""

    body: bytes | None
    model: str | None
    max_tokens: int | None
    stream: bool
    prompt: int | None  # bytes of text
    dialect: str | None
    path: str | None
    key: str | None
    timeout: float | None  # seconds
    in_process: bool
    headers: tuple[tuple[str, str], ...]  # attribution: ("x-headgate-user", "ada"), ...


@dataclass(slots=True)
class Call:
    """The call, and where it comes from. `refusal`: the way in would turn it away."""

    dialect: str
    guessed: str  # why this dialect, "" if it was told
    path: str
    body: bytes
    key_origin: str = ""
    assumed_cap: bool = False  # the output cap is `CAP`, because the flags name none
    keys: int = 0  # how many the gateway takes, configured and stored
    request: Request | None = None
    refusal: Refusal | None = None


def read_body(name: str) -> bytes:
    """A request file's bytes; ``-`` is standard input.

    Raises:
        click.UsageError: it cannot be read.
    """
    if name == "-":
        return sys.stdin.buffer.read(MAX_FILE)
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise click.UsageError(f"the request file {name} cannot be read: {error.strerror}") from None


def make_call(told: Told, settings: Settings, policies: Policies) -> Call:
    """The call as the gateway, or in process the transport, would read it: by their own code.

    Raises:
        click.UsageError: there is no key of that name.
    """
    fields = _fields(told.body)
    model = told.model or str(fields.get("model") or "")
    dialect, guessed = told.dialect or "", ""
    if not dialect:
        dialect, guessed = guess(fields, model, told.path or "", settings)
    path = told.path or _path(dialect, fields, model)
    assumed = told.body is None and told.max_tokens is None and dialect == "anthropic"
    if assumed:
        told = replace(told, max_tokens=CAP)
    body = _made(told, dialect, path) if told.body is None else told.body
    call = Call(dialect, guessed, path, body, assumed_cap=assumed)
    headers = _headers(told, dialect)
    if told.in_process:
        _in_process(call, headers, policies.router)
    else:
        _gateway(call, headers, told.key, settings, policies.router)
    if call.request is not None:
        call.dialect = call.request.dialect
    return call


def guess(fields: dict[str, Any], model: str, path: str, settings: Settings) -> tuple[str, str]:
    """(dialect, why)."""
    if path:
        if "/messages" in path or path.startswith("/anthropic/"):
            return "anthropic", "its path"
        if path.startswith(("/openai/", "/v1/")):
            return "openai", "its path"
    for dialect, names in (("openai", _ONLY_OPENAI), ("anthropic", _ONLY_ANTHROPIC)):
        found = sorted(names & fields.keys())
        if found:
            return dialect, f"`{found[0]}` in the body"
    routes = settings.models.get(model)
    if routes:
        return settings.providers[routes[0].provider].dialect, f"the routes of {model}"
    for mark in ("/", ":"):
        provider, found_mark, _ = model.partition(mark)
        if found_mark and provider in settings.providers:
            return settings.providers[provider].dialect, f"provider {provider}"
    if model.startswith("claude"):
        return "anthropic", "the model's name"
    if model.startswith(_OPENAI_NAMES):
        return "openai", "the model's name"
    return "openai", "nothing speaks for the other: --dialect says it"


def _fields(body: bytes | None) -> dict[str, Any]:
    """The body's top level, for guessing only: what is wrong with it, its dialect's own reader says."""
    try:
        found = json.loads(body or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _path(dialect: str, fields: dict[str, Any], model: str) -> str:
    if dialect == "anthropic":
        return "/v1/messages"
    if "messages" not in fields and "input" in fields:
        embeds = "embedding" in model or "encoding_format" in fields
        return "/v1/embeddings" if embeds else "/v1/responses"
    return "/v1/chat/completions"


def _made(told: Told, dialect: str, path: str) -> bytes:
    """The plainest body with what the flags say."""
    text = "x" * (PROMPT_BYTES if told.prompt is None else told.prompt)
    body: dict[str, Any] = {"model": told.model}
    if "/responses" in path or "/embeddings" in path:
        body["input"] = text
    else:
        body["messages"] = [{"role": "user", "content": text}]
    if told.max_tokens is not None:
        cap = "max_output_tokens" if "/responses" in path else "max_completion_tokens"
        body["max_tokens" if dialect == "anthropic" else cap] = told.max_tokens
    if told.stream:
        body["stream"] = True
    return json.dumps(body).encode()


def _headers(told: Told, dialect: str) -> list[tuple[bytes, bytes]]:
    found = [(name.encode(), value.encode()) for name, value in told.headers if value]
    if told.timeout is not None:
        found.append((b"x-headgate-timeout", f"{told.timeout:g}".encode()))
    if dialect == "anthropic":
        found.append((b"anthropic-version", b"2023-06-01"))
    return [*found, (b"content-type", b"application/json")]


def _in_process(call: Call, headers: Headers, router: Router) -> None:
    """As the transport under an SDK at its default base URL."""
    from headgate.core.caller import Caller
    from headgate.transport.reading import Bases, read_head

    provider = router.defaults[call.dialect]
    path = call.path.removeprefix("/v1") if call.dialect == "openai" else call.path
    url = router.providers[provider].base_url + path
    head = read_head(Bases(router.providers), "POST", url, headers, Caller())
    call.request, call.refusal = head.request(call.body, Caller(), keep=False)


def _gateway(
    call: Call, headers: list[tuple[bytes, bytes]], key: str | None, settings: Settings, router: Router
) -> None:
    """As the gateway, with a caller whose key is the named one."""
    from headgate.core.errors import Refusal
    from headgate.gateway.entrance import read_head

    ring, presented, call.key_origin = _ring(key, settings)
    call.keys = len(settings.keys) + sum(stored.revoked is None for stored in _stored(settings))
    where = urlsplit(call.path)
    scope = {
        "method": "POST",
        "path": where.path,
        "raw_path": quote(where.path, safe="/:%").encode(),
        "query_string": where.query.encode(),
        "headers": [(b"host", b"localhost"), *presented, *headers],
    }
    try:
        head = read_head(scope, ring, router.providers)
    except Refusal as refusal:
        call.refusal = refusal
        return
    call.request, call.refusal = head.request(call.body, keep_text=False)


def _ring(key: str | None, settings: Settings) -> tuple[KeyRing, list[tuple[bytes, bytes]], str]:
    """A ring with the named key's record under a throw-away secret: the key's own is neither known nor needed."""
    from headgate.gateway.auth import KeyRing, digest

    ring = KeyRing(loopback=True)
    if key is None:
        return ring, [], ""
    record, origin, revoked = _record(key, settings)
    secret = secrets.token_hex(32)
    ring.add(digest(secret), record, revoked=revoked)
    return ring, [(b"x-api-key", secret.encode())], origin


def _record(name: str, settings: Settings) -> tuple[KeyRecord, str, bool]:
    from headgate.gateway.auth import KeyRecord

    for place, key in enumerate(settings.keys):
        if key.name == name:
            record = KeyRecord(key.name, key.name, key.tenant, key.environment, key.may_speak_for_tenants)
            return record, settings.origins.get(f"keys[{place}]", "default"), False
    stored = _stored(settings)
    valid = [k for k in stored if name in (k.id, k.name) and k.revoked is None]
    for k in valid or [k for k in stored if name in (k.id, k.name)]:
        record = KeyRecord(k.id, k.name, k.tenant, k.environment, k.may_speak_for_tenants)
        return record, "ledger", k.revoked is not None
    known = [key.name for key in settings.keys] + [k.name for k in stored if k.revoked is None]
    raise click.UsageError(f"there is no key named {name!r}{suggestion(name, known, label='keys')}")


def _stored(settings: Settings) -> list[Any]:
    """The ledger's keys, without making a ledger where there is none."""
    if "{pid}" in settings.storage:
        return []
    from headgate.stores.opening import stored_keys

    return list(stored_keys(settings.storage))
