"""Names that callers give their calls (user, session, tags, ...): kept as they come, but for credentials in them.

A label lands in every row of the ledger and the log, in spans and on pages. A key that was put into one by mistake
would be in all of them, so it is taken out where the label comes in.
"""

from __future__ import annotations

from hashlib import sha256

SHORTEST = 20
"""Characters; of a vendor's key."""
_DIGEST = 8
"""Hexadecimal digits that tell two keys apart; of a value that is drawn, they give nothing away."""
_PLAIN = "0123456789abcdef-"
"""Of UUIDs and the like, which most sessions are: nothing in them is a key of a known form."""

_harmless: set[str] = set()  # looked at, and no key in them: users and tags come again with every call
_MOST = 1024
_KEPT = 256  # characters of those


def label(text: str) -> str:
    """The text, with each key of a known vendor replaced by its kind and a digest: `[openai_key:1f0c93ab]`.

    Personal data stays: a user may well be called by a mail address, and it is the owner's choice.
    """
    if len(text) < SHORTEST or text in _harmless or not text.strip(_PLAIN):
        return text
    from headgate.policy.guards.secrets_vendors import vendor_keys  # its patterns are read where a label is long

    found = sorted((span.start, span.end, span.type) for span in vendor_keys(text))
    if not found:
        if len(text) <= _KEPT:
            if len(_harmless) >= _MOST:
                _harmless.clear()
            _harmless.add(text)
        return text
    parts: list[str] = []
    place = 0
    for start, end, kind in found:
        if start >= place:
            digest = sha256(text[start:end].encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
            parts += (text[place:start], f"[{kind}:{digest}]")
        place = max(place, end)
    return "".join(parts) + text[place:]
