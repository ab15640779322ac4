"""Ids of what a provider keeps: answers, conversations, containers, files, batches. Found in raw bytes.

Looked for only where a request or an endpoint says that state is involved, so an ordinary call pays nothing. Any JSON
string that is such an id counts, whatever key it stands at: APIs gain new places for ids faster than a list of them.
"""

from __future__ import annotations

import contextlib
import json
import re

_PREFIXES = "resp_|msg_|conv_|thread_|container_|cntr_|file-|file_|batch_|msgbatch_|vs_|upload_|chatcmpl-"
_ID = re.compile(rb'"((?:%b)[A-Za-z0-9_.:-]{1,256})"' % _PREFIXES.encode())
_IN_PATH = re.compile(
    r"/(?:responses|conversations|containers|files|uploads|vector_stores|batches|messages/batches|chat/completions)"
    r"/([^/?#]{1,256})"
)
_NO_IDS = frozenset({"input_tokens", "compact"})
_LIST = re.compile(r"/(?:conversations|containers|files|uploads|vector_stores|batches|chat/completions)/?(?:\?|$)")
_MOST = 10_000  # ids of one body
_RESULTS = re.compile(rb'("results_url"\s*:\s*")([^"]{1,2048})(")')
_RESULTS_PATH = re.compile(rb"/v1/messages/batches/[^/]{1,256}/results$")


def referred(body: bytes) -> tuple[str, ...]:
    """The ids in a JSON body, each once, in order. An escape could hide one, so a body with any is written out anew."""
    if b"\\u" in body or b"\\/" in body:
        with contextlib.suppress(ValueError, RecursionError):  # no JSON: then nothing in it is hidden either
            body = json.dumps(json.loads(body), ensure_ascii=False).encode("utf-8", "replace")
    found = dict.fromkeys(match[1].decode() for match, _ in zip(_ID.finditer(body), range(_MOST), strict=False))
    return tuple(found)


def in_path(path: str) -> tuple[str, ...]:
    """The ids that a path names."""
    return tuple(name for name in _IN_PATH.findall(path) if name not in _NO_IDS)


def lists_all(method: str, path: str) -> bool:
    """Whether a request asks for everything of a kind that an account has."""
    return method == "GET" and _LIST.search(path) is not None


def relocated(answer: bytes, own_url: str) -> bytes:
    """An answer whose links to batch results lead to `own_url` instead of past us (decisions 15).

    The SDKs follow them with the credential they have, which is ours.
    """
    if b'"results_url"' not in answer:
        return answer
    own = own_url.encode()

    def led_back(found: re.Match[bytes]) -> bytes:
        path = _RESULTS_PATH.search(found[2].replace(b"\\/", b"/"))
        return found[0] if path is None else found[1] + own + path[0] + found[3]

    return _RESULTS.sub(led_back, answer)
