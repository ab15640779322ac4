"""Signatures of webhooks, as https://www.standardwebhooks.com says: `webhook-id`, `webhook-timestamp` and
`webhook-signature`, the last of which is ``v1,`` and the base64 of the HMAC-SHA-256 of ``id.timestamp.body``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from headgate.core.errors import ConfigError
from headgate.core.secret import Secret

_PREFIX = "whsec_"


def signature(secret: Secret, name: str, stamp: str, body: bytes, *, path: str = "guards.tools.webhook.secret") -> str:
    """The value of `webhook-signature`.

    Args:
        secret: any text, or ``whsec_`` and base64.
        name: `webhook-id`.
        stamp: `webhook-timestamp`.
        path: where the secret is written, for a mistake in it.

    Raises:
        ConfigError: the secret begins as one in base64 does, and is none.
    """
    text = secret.reveal()
    key = text.encode()
    if text.startswith(_PREFIX):
        try:
            key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ConfigError(f"{path}: whsec_ has to be followed by base64") from None
    mac = hmac.digest(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac).decode()}"


def signed(
    secret: Secret, name: str, now: float, body: bytes, *, path: str = "guards.tools.webhook.secret"
) -> dict[str, str]:
    """The headers of a webhook's call. Args: see `signature`; `now`: seconds since the epoch."""
    stamp = str(int(now))
    return {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": stamp,
        "webhook-signature": signature(secret, name, stamp, body, path=path),
    }
