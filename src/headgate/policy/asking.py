"""What an exchange has asked, as a key under which answers are kept beside the cache. No I/O, no clock."""

from __future__ import annotations

from hashlib import sha256

from headgate.core.exchange import Request
from headgate.policy.caching import LARGEST_REQUEST, partition_of, read_body

ANSWERED = frozenset({"messages", "chat", "responses"})
_CHANGING_HEADERS = frozenset({b"anthropic-beta", b"anthropic-version", b"openai-beta"})


def circumstances(request: Request, *, per_user: bool = False) -> tuple[object, ...] | None:
    """Everything that decides about an answer beside the body: whose it is, and under which rules it was given. The
    rules of guards are by key and task, so nobody gets by this what its own would have stopped.

    Returns:
        None where no answer is kept: it is no text, the provider keeps something of it, several are wanted at once,
        or with `per_user` no user is told.
    """
    facts, caller = request.facts, request.caller
    if request.endpoint not in ANSWERED or len(request.body) > LARGEST_REQUEST or request.approval:
        return None
    if facts.state or facts.keeps or facts.server_side or facts.background or facts.choices > 1:
        return None
    if per_user and not caller.user:
        return None
    return (
        partition_of(request),
        caller.key,
        caller.task,
        caller.user if per_user else "",
        request.provider,
        "" if request.direct is None else request.direct.base_url,
        request.dialect,
        request.endpoint,
        request.path,
        sorted(field for field in request.headers if field[0] in _CHANGING_HEADERS),
        facts.model,
        (facts.stream, facts.stream and facts.include_usage),
    )


def key_of(request: Request, *, per_user: bool = False) -> str:
    """16 hex digits of whose answers they are, a colon, and 64 of what was asked; "" where none is kept.

    Args:
        request: as it came in.
        per_user: each user's answers are only that user's.
    """
    told = circumstances(request, per_user=per_user)
    if told is None:
        return ""
    read = read_body(request.dialect, request.body)
    if not read.digest or read.keeps:
        return ""
    return f"{told[0]}:{sha256(repr((*told, read.digest)).encode('utf-8', 'surrogatepass')).hexdigest()}"
