"""Ids of what a provider keeps: answers, conversations, containers, files, batches. Found in raw bytes.

Looked for only where a request or an endpoint says that state is involved, so an ordinary call pays nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_MAX_BODY = 1024 * 1024  # bytes looked at; ids of state come early, and an upload's content is none
_MOST = 1000

# A member that refers to state, as a string or as an object with an `id` (wire-formats 1.3, 2.1). Inside a string its
# quotes would be escaped, and it would not match.
_REFERENCE = re.compile(
    rb'"(?:previous_response_id|previous_message_id|container|conversation|thread|input_file_id|file_id|response_id)"'
    rb'\s*:\s*(?:"([^"\\]{1,256})"|\{[^{}]*?"id"\s*:\s*"([^"\\]{1,256})")'
)
_MADE = re.compile(
    rb'"id"\s*:\s*"((?:resp_|msg_|conv_|thread_|container_|cntr_|file-|file_|batch_|msgbatch_|vs_|upload_)'
    rb'[^"\\]{1,256})"'
)
_IN_PATH = re.compile(
    r"/(?:responses|conversations|containers|files|uploads|vector_stores|batches|messages/batches)/([^/?#]{1,256})"
)
_NO_IDS = frozenset({"input_tokens", "compact"})


def referred(body: bytes) -> tuple[str, ...]:
    """The ids that a request body refers to, in order."""
    return tuple(
        (found[1] or found[2]).decode("utf-8", "replace") for found in _some(_REFERENCE.finditer(body[:_MAX_BODY]))
    )


def in_path(path: str) -> tuple[str, ...]:
    """The ids that a path names."""
    return tuple(name for name in _IN_PATH.findall(path) if name not in _NO_IDS)


def made(answer: bytes) -> tuple[str, ...]:
    """The ids that an answer tells of, whole or the beginning of a stream; those of a list too."""
    return tuple(found[1].decode("utf-8", "replace") for found in _some(_MADE.finditer(answer[:_MAX_BODY])))


_RESULTS = re.compile(rb'("results_url"\s*:\s*")[^"\\]*?(/v1/messages/batches/[^"\\/]{1,256}/results")')


def relocated(answer: bytes, own_url: str) -> bytes:
    """An answer whose links to batch results lead to `own_url` instead of past us (decisions 15).

    The SDKs follow them with the credential they have, which is ours.
    """
    if b'"results_url"' not in answer:
        return answer
    own = own_url.encode()
    return _RESULTS.sub(lambda found: found[1] + own + found[2], answer)


def _some(found: Iterator[re.Match[bytes]]) -> Iterator[re.Match[bytes]]:
    for count, match in enumerate(found):
        if count == _MOST:
            return
        yield match
