"""Who a call is attributed to, and what the request's own headers ask of us. Shared by every way in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

from headgate.core.caller import Caller
from headgate.core.errors import BadRequest
from headgate.core.exchange import Headers
from headgate.policy.labels import label

MAX_VALUE = 256  # characters of a user, session, ... kept: they land in every row
MAX_TAGS = 16
_LOOKED_AT = 4 * MAX_VALUE  # a key that the cut would shorten is found whole
MAX_TOKENS = 2_048  # characters of approvals' tokens
MAX_TIMEOUT = 86_400.0  # seconds

_FIELDS = {
    b"x-headgate-user": "user",
    b"helicone-user-id": "user",
    b"x-litellm-end-user-id": "user",
    b"x-headgate-session": "session",
    b"helicone-session-id": "session",
    b"x-headgate-task": "task",
    b"x-headgate-feature": "feature",
    b"x-headgate-tenant": "tenant",
}
_ALIASES = frozenset({b"helicone-user-id", b"x-litellm-end-user-id", b"helicone-session-id"})
_FIRST = b"xht"  # every header that is read here begins with one of these
_PLAIN = frozenset({b"host", b"te", b"x-api-key"})
_SDK_TIMEOUTS = frozenset({b"x-stainless-timeout", b"x-stainless-read-timeout"})


@dataclass(slots=True)
class Asked:
    """What a request's headers say besides the dialect's own.

    Attributes:
        caller: the way in's, with what the headers add.
        headers: what goes on to the provider: ours are taken out, the rest is untouched.
        timeout: seconds, an upper bound on the whole exchange, or None.
        patience: seconds, an upper bound on every silence, or None: the SDK's own timeout, which is between two reads.
        client_retries: how often the caller's SDK has sent this call before.
        batch: whether the call has priority "batch", after the interactive ones; None = not told.
        on_cut: "error", "buffer" or "restart", what is wanted of a stream that breaks off; "" = not told.
        approval: tokens of parked tool calls, as they were sent; "" = none.
        cache: "off", "refresh" or "only", what is wanted of kept answers; "" = not told.
        webhook: who is to be told of a deferred answer, by the configuration's name; "" = nobody.
    """

    caller: Caller
    headers: list[tuple[bytes, bytes]]
    correlation_id: str = ""
    timeout: float | None = None
    patience: float | None = None
    client_retries: int = 0
    batch: bool | None = None
    on_cut: str = ""
    approval: str = ""
    cache: str = ""
    webhook: str = ""


def asked(headers: Headers, caller: Caller, *, may_name_tenant: bool) -> Asked:
    """Read the control and attribution headers (product.md, "Gateway").

    `x-headgate-…` wins over an alias; an empty value says nothing. A tenant is taken only from a caller that may speak
    for tenants; from others it is refused, because a bill on the wrong tenant is worse than none.

    Raises:
        BadRequest: a value that cannot be used, by the header's name.
    """
    found: dict[str, str] = {}
    aliases: dict[str, str] = {}
    out = Asked(caller, [])
    tags = b""
    keep = out.headers.append
    for header in headers:
        name, value = header
        if name[0] not in _FIRST or name in _PLAIN:
            keep(header)
            continue
        if name.startswith(b"x-headgate-"):
            if name in _FIELDS:
                text = _text(value)
                if text:  # else an empty header would take a call off its tenant's bill
                    found[_FIELDS[name]] = text
            elif name == b"x-headgate-timeout":
                out.timeout = _least(out.timeout, _seconds(name, value))
            elif name == b"x-headgate-correlation-id":
                out.correlation_id = _text(value)
            elif name == b"x-headgate-tags":
                tags = value
            elif name == b"x-headgate-priority":
                out.batch = _is_batch(value)
            elif name == b"x-headgate-on-cut":
                out.on_cut = _on_cut(value)
            elif name == b"x-headgate-approval":
                out.approval = _tokens(value)
            elif name == b"x-headgate-cache":
                out.cache = _cache(value)
            elif name == b"x-headgate-webhook":
                out.webhook = _text(value)
            continue
        if name in _ALIASES:
            aliases.setdefault(_FIELDS[name], _text(value))
            continue
        if name.startswith(b"x-stainless-"):
            if name in _SDK_TIMEOUTS:
                out.patience = _least(out.patience, _lenient_seconds(value))
            elif name == b"x-stainless-retry-count" and value.isdigit() and len(value) < 6:
                out.client_retries = int(value)
        elif name == b"traceparent" and not out.correlation_id:
            out.correlation_id = _trace_id(value)
        keep(header)
    for field, text in aliases.items():
        if text:
            found.setdefault(field, text)
    if found.get("tenant") and found["tenant"] != caller.tenant and not may_name_tenant:
        raise BadRequest(
            "x-headgate-tenant: this key may not speak for other tenants. Leave the header out, or use a key that may.",
            code="tenant_not_allowed",
            status_hint=403,
        )
    if found or tags:
        out.caller = replace(caller, **found, **({"tags": _tags(tags, caller)} if tags else {}))  # type: ignore[arg-type]  # every field named in _FIELDS is a str
    return out


def with_user(caller: Caller, user: str) -> Caller:
    """The body's user (`metadata.user_id`, `safety_identifier`, `user`), where no header has named one."""
    return caller if caller.user or not user else replace(caller, user=label(user[:_LOOKED_AT])[:MAX_VALUE])


def _text(value: bytes) -> str:
    return label(value.decode("utf-8", "replace").strip()[:_LOOKED_AT])[:MAX_VALUE]


def _seconds(name: bytes, value: bytes) -> float:
    seconds = _lenient_seconds(value)
    if seconds is None:
        raise BadRequest(f"{name.decode()}: {_text(value)!r} is not a number of seconds above 0 (at most 86400)")
    return seconds


def _lenient_seconds(value: bytes) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return None  # an SDK without a timeout says "None"
    return seconds if 0 < seconds <= MAX_TIMEOUT else None


def _on_cut(value: bytes) -> str:
    wanted = _text(value)
    if wanted not in ("", "error", "buffer", "restart"):
        raise BadRequest(f"x-headgate-on-cut: {wanted!r} is none of 'error', 'buffer' and 'restart'")
    return wanted


def _cache(value: bytes) -> str:
    wanted = _text(value)
    if wanted not in ("", "off", "refresh", "only"):
        raise BadRequest(f"x-headgate-cache: {wanted!r} is none of 'off', 'refresh' and 'only'")
    return wanted


def _tokens(value: bytes) -> str:
    if len(value) > MAX_TOKENS:
        raise BadRequest(f"x-headgate-approval: more than {MAX_TOKENS} characters")
    return value.decode("ascii", "replace").strip()


def _is_batch(value: bytes) -> bool | None:
    priority = _text(value)
    if priority not in ("", "interactive", "batch"):
        raise BadRequest(f"x-headgate-priority: {priority!r} is neither 'interactive' nor 'batch'")
    return priority == "batch" if priority else None


def _least(first: float | None, second: float | None) -> float | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)


def _trace_id(value: bytes) -> str:
    # W3C trace context: version-traceid-parentid-flags.
    parts = value.split(b"-")
    return parts[1].decode("ascii", "replace") if len(parts) >= 4 and len(parts[1]) == 32 else ""


def _tags(value: bytes, caller: Caller) -> MappingProxyType[str, str]:
    tags = dict(caller.tags)
    for pair in _split(value):
        name, mark, text = pair.partition("=")
        if not mark or not name.strip():
            raise BadRequest("x-headgate-tags: expected `name=value, name=value`")
        tags[label(name.strip())[:64]] = label(text.strip())[:MAX_VALUE]
    if len(tags) > MAX_TAGS:
        raise BadRequest(f"x-headgate-tags: more than {MAX_TAGS} tags")
    return MappingProxyType(tags)


def _split(value: bytes) -> list[str]:
    return [pair for pair in value.decode("utf-8", "replace").split(",") if pair.strip()]
