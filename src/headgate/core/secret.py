"""A credential that does not print itself."""

from __future__ import annotations

import hashlib
import hmac


class Secret:
    """A string that shows as ``Secret(***)`` everywhere but in :meth:`reveal`.

    Not a ``str`` subclass on purpose: formatting, logging and serialising one must not leak it.
    """

    __slots__ = ("_value",)

    rejected: bool = False  # its provider has refused it just now; see `settings.secrets_kept`

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The credential itself. Call it only where the bytes go on the wire."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(hashlib.sha256(self._value.encode()).digest())

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is not serialised")
