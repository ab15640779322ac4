"""Secrets in a text: by published shapes, by what is around them, and by the names they are given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from headgate.core.guards import Span
from headgate.policy.guards.secrets_assigned import assigned_secrets
from headgate.policy.guards.secrets_structures import structured_secrets
from headgate.policy.guards.secrets_vendors import VENDORS, vendor_keys
from headgate.policy.guards.spans_resolved import SEEN_BACK, resolved

SECRET_KINDS: tuple[str, ...] = (
    "private_key",
    *dict.fromkeys(each.kind for each in VENDORS),
    "discord_bot_token",
    "aws_secret_key",
    "azure_storage_key",
    "jwt",
    "url_password",
    "basic_credentials",
    "bearer_token",
    "password",
    "assigned_secret",
)
"""Every type that `find_secrets` gives a span, the most specific first."""

_RANK = {kind: place for place, kind in enumerate(SECRET_KINDS)}


def find_secrets(text: str) -> list[Span]:
    """The secrets in a text, sorted, without overlaps; the value only, not the name that it is given.

    One that has begun and is not at its end yet (a JWT, a private key) is found too, as far as it goes.
    """
    return resolved(_all(text), _rank)


def _rank(kind: str) -> int:
    return _RANK.get(kind, len(_RANK))


def _all(text: str) -> Iterator[Span]:
    yield from vendor_keys(text)
    yield from structured_secrets(text)
    yield from assigned_secrets(text)


@dataclass(frozen=True, slots=True)
class SecretsRecogniser:
    """`find_secrets` as a `Recogniser`."""

    name: str = "secrets"

    def find(self, text: str) -> list[Span]:
        """See `find_secrets`."""
        return find_secrets(text)


_OPEN = re.compile(
    r"(?:-----(?:BEGIN|END)[A-Z0-9 ]*-{0,5}"  # the head of a PEM block, until its key has begun
    r"(?:\s|\\+[nr]?|[\"'>|#+])*[A-Za-z0-9+/=\-]*(?:: ?[^\n]*)?"
    r"|-{1,5}(?:B(?:E(?:G(?:I)?)?)?|E(?:N)?)?|\S+)\Z"
)


def tail_start(text: str) -> int:
    """The index from which the end of a text that grows could still be, or become, part of a secret.

    Never further back than `SEEN_BACK` characters: of a secret that is longer than that, its first 64 characters are
    enough for `find_secrets` to find it. Whoever looks at the rest later needs the 80 characters before it too, for the
    name that a value is given.
    """
    low = max(0, len(text) - SEEN_BACK)
    found = _OPEN.search(text, low)
    return found.start() if found else len(text)
