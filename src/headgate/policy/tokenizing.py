"""Exact prompt counts for OpenAI's models, with the `[tokens]` extra (tiktoken) and a vocabulary that is already here.

tiktoken fetches a vocabulary from the internet the first time it is asked for one. Nothing here ever lets it: only a
file that is in its cache, and has the right digest, is used. Put it there once, where there is a network:
``python -c "import tiktoken; tiktoken.get_encoding('o200k_base')"`` with TIKTOKEN_CACHE_DIR set, and set the same
variable where Headgate runs. Without it, estimates are calibrated ones, and say so (`exact` is False).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

# By vocabulary: the name of tiktoken's cache file (SHA-1 of where it fetches it), and the file's SHA-256.
_FILES = {
    "o200k_base": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
_PER_MESSAGE = _PRIMING = 3  # OpenAI's cookbook, "How to count tokens with tiktoken", section 6
_PER_NAME = 1


class Encoder(Protocol):
    """As much of `tiktoken.Encoding` as is needed."""

    def encode_ordinary(self, text: str) -> Sequence[int]:
        """The tokens of a text; what looks like a special token is text."""
        ...


_lock = threading.Lock()
_known: dict[str, Encoder | None] = {}


def count_messages(model: str, messages: object) -> int | None:
    """Prompt tokens of a chat of plain texts; None where they cannot be counted exactly.

    Args:
        model: as OpenAI knows it; tiktoken has to know its vocabulary.
        messages: of Chat Completions, decoded. Media, tool calls and unknown fields cannot be counted.
    """
    if not isinstance(messages, list) or not messages:
        return None
    texts: list[str] = []
    framing = _PRIMING
    for message in messages:
        if not isinstance(message, Mapping) or not message.keys() <= {"role", "content", "name"}:
            return None
        content = _text(message.get("content"))
        role, name = message.get("role"), message.get("name")
        if content is None or not isinstance(role, str) or not (name is None or isinstance(name, str)):
            return None
        framing += _PER_MESSAGE
        texts += (role, content)
        if name is not None:
            framing += _PER_NAME
            texts.append(name)
    encoder = encoder_for(model)
    return None if encoder is None else framing + sum(len(encoder.encode_ordinary(text)) for text in texts)


def encoder_for(model: str) -> Encoder | None:
    """The model's vocabulary; None where tiktoken, its name for it, or the vocabulary's file is not here."""
    with _lock:
        if model not in _known:
            if len(_known) > 256:  # names come from callers
                _known.clear()
            _known[model] = _load(model)
        return _known[model]


def _load(model: str) -> Encoder | None:
    try:
        import tiktoken
    except ImportError:
        return None
    try:
        name = tiktoken.encoding_name_for_model(model)
    except KeyError:
        return None
    if not _is_here(name):
        return None
    found: Encoder = tiktoken.get_encoding(name)
    return found


def _is_here(name: str) -> bool:
    """Whether tiktoken will find the vocabulary in its cache: else it would fetch it."""
    known = _FILES.get(name)
    if known is None:
        return False
    told = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    folder = Path(tempfile.gettempdir(), "data-gym-cache") if told is None else Path(told)
    if told == "":  # tiktoken's way to say: no cache
        return False
    try:
        return hashlib.sha256((folder / known[0]).read_bytes()).hexdigest() == known[1]
    except OSError:
        return False


def _text(content: Any) -> str | None:
    """A message's text; None where it is more than text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = []
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            return None
        parts.append(part["text"])
    return "".join(parts) if len(parts) == 1 else None  # how several are joined is not documented
