"""Marks in the prompts of an application: `headgate.untrusted`, `headgate.isolation_note`."""

from __future__ import annotations

import secrets
from typing import Literal

from headgate.policy.guards import provenance
from headgate.transport.context import current_caller

Mode = Literal["xml", "datamark", "encode"]

_KEY = secrets.token_bytes(32)


def untrusted(
    text: str, source: str = "document", *, mode: Mode = "xml", session: str | None = None, key: bytes | None = None
) -> str:
    """Mark a text that is not yours, and not your user's, before it goes into a prompt: a web page, a file, a mail.

    The model can tell it from instructions (put `isolation_note` into the system prompt), and Headgate's guards take it
    for what it is: a document, whose words are data. Both in process and through the gateway.

        prompt = f"Summarise this page:\\n{headgate.untrusted(page, source='web')}"

    Args:
        text: anything; what looks like such a mark in it is escaped.
        source: where it is from, up to 64 characters.
        mode: "xml" (delimiters), "datamark" (and a mark between all words), "encode" (and in base64). The latter two
            are harder to be fooled by, and cost more tokens.
        session: the delimiters are random for each session, and always the same in it. Default: that of
            `headgate.caller`.
        key: a secret, at least 16 bytes, that several processes share for them to use the same delimiters. Default:
            each process has one of its own.

    Raises:
        ValueError: no such mode, or the key is too short.
    """
    return provenance.mark(text, source, mode, _delimiters(session, key))


def isolation_note(*, mode: Mode = "xml", session: str | None = None, key: bytes | None = None) -> str:
    """The sentences of a system prompt that say what is marked by `untrusted`: data, and never an instruction.

    Put them at the end of the system prompt: what comes before can then be cached by the provider for all sessions.
    Arguments and errors as those of `untrusted`, and the same values.
    """
    return provenance.note(mode, _delimiters(session, key))


def _delimiters(session: str | None, key: bytes | None) -> provenance.Delimiters:
    if key is not None and len(key) < provenance.MIN_KEY:
        raise ValueError(f"key must have at least {provenance.MIN_KEY} bytes, not {len(key)}")
    return provenance.delimiters(key or _KEY, current_caller().session if session is None else session)
