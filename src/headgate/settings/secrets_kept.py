"""One secret that is looked at again and again: its value now, and what a failed look means. No thread, no clock."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from headgate.core.errors import ConfigError
from headgate.core.secret import Secret
from headgate.settings.secrets import SecretMissing, SecretRef

LOCAL_SECONDS = 10.0
"""How often files are looked at: a mounted secret is renewed in place, and reading one costs microseconds."""

RETRY_SECONDS = (5.0, 60.0)
"""The first and the longest pause before a store that could not be asked is asked again; doubled in between."""

CONFIRM_SECONDS = 1.0
"""A secret is gone when it is missing twice, this far apart: whoever replaces a file may delete it first."""

REST_SECONDS = 60.0
"""How long a key that its provider refused stands back behind the provider's other keys."""

NEVER = math.inf

Tell = Callable[..., None]
"""Called as `tell(event, reference=..., reason=..., in_use=...)`; see `stores.log.LineLog.event`."""


class Follower(Protocol):
    """Who keeps secrets up to date."""

    asleep: bool  # it does not yet, in this process

    def wake(self) -> None:
        """Begin."""
        ...


class LiveSecret(Secret):
    """A secret whose value may be another one each time. Empty, and so false, while there is none.

    Attributes:
        value: as `reveal`, for its keeper: without waking anybody.
        rejected: its provider answered 401 to the value it has; the provider's other keys go first.
    """

    __slots__ = ("__weakref__", "_follower", "rejected")

    def __init__(self, follower: Follower) -> None:
        super().__init__("")
        self._follower = follower
        self.rejected = False

    def reveal(self) -> str:
        """The value as it is now; "" where there is none. Never waits."""
        if self._follower.asleep:
            self._follower.wake()
        return self._value

    @property
    def value(self) -> str:
        return self._value

    def put(self, value: str) -> None:
        """For its keeper: the value, not refused by anybody yet."""
        self._value = value
        self.rejected = False

    # By identity: the value is another one tomorrow.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self) >> 4


class Kept:
    """One secret, and what is known of it. Hold `lock` around `look`. Times are seconds since the epoch.

    Attributes:
        due: when to look again, `NEVER` for what nobody outside can change.
        changed: when the value became what it is.
        forced: when the last look that a refusal asked for ended.
        problem: in words, "" = none; beside a value: why that may be out of date.
        watchers: called after a change of the value, by whoever looked.
    """

    __slots__ = (
        "_every",
        "_failures",
        "_misses",
        "_told",
        "changed",
        "due",
        "forced",
        "lock",
        "problem",
        "ref",
        "secret",
        "seen",
        "watchers",
    )

    def __init__(self, ref: SecretRef, secret: LiveSecret, every: float) -> None:
        self.ref = ref
        self.secret = secret
        self.lock = threading.Lock()
        self.seen = False  # looked at, at least once
        self.due = NEVER
        self.changed = -math.inf
        self.forced = -math.inf
        self.problem = ""
        self.watchers: list[Callable[[], None]] = []
        self._every = NEVER if ref.scheme == "env" else min(every, LOCAL_SECONDS) if ref.local else every
        self._failures = 0  # in a row: the place could not be looked at
        self._misses = 0  # in a row: it was looked at, and there is none
        self._told = ""  # the state that was told last, "" = all is well

    def look(self, env: Mapping[str, str], now: Callable[[], float], tell: Tell | None) -> bool:
        """Look where the secret is kept. May block for seconds; never raises.

        Returns:
            Whether the value changed.
        """
        self.seen = True
        before = self.secret.value
        try:
            value = self.ref.resolve(env).reveal()
        except SecretMissing as error:
            self._missing(error.message, now(), tell)
        except ConfigError as error:
            self._out_of_reach(error.message, now(), tell)
        except Exception as error:  # a store's client failed in its own way; whoever follows must live
            self._out_of_reach(f"{self.ref} cannot be read: {type(error).__name__}", now(), tell)
        else:
            self._found(value, now(), tell)
        if self.secret.value == before:
            return False
        self.changed = now()
        for changed in self.watchers:
            changed()
        return True

    def refused(self, now: float) -> None:
        """Its provider refused the value, and there is no other: stand back for a while."""
        self.secret.rejected = True
        self.due = min(self.due, now + REST_SECONDS)

    def _found(self, value: str, now: float, tell: Tell | None) -> None:
        had = self.secret.value
        if value != had or now - self.forced >= REST_SECONDS:
            self.secret.put(value)
        self._failures = self._misses = 0
        self.problem = ""
        self.due = now + self._every
        if had and value != had:
            self._tell(tell, "secret_rotated")
        if self._told:
            self._tell(tell, "secret_back")
            self._told = ""

    def _missing(self, message: str, now: float, tell: Tell | None) -> None:
        self._failures = 0
        self._misses += 1
        if self.secret.value and self._misses < 2:
            self.due = now + CONFIRM_SECONDS
            return
        self.secret.put("")
        self.problem = message
        self.due = now + (min(self._every, RETRY_SECONDS[1]) if self._every < NEVER else NEVER)
        self._tell_once(tell, "secret_missing")

    def _out_of_reach(self, message: str, now: float, tell: Tell | None) -> None:
        first, longest = RETRY_SECONDS
        self.problem = message
        self.due = now + min(self._every, first * 2.0**self._failures, longest)
        self._failures = min(self._failures + 1, 10)
        self._tell_once(tell, "secret_out_of_reach")

    def _tell_once(self, tell: Tell | None, state: str) -> None:
        if tell is not None and self._told != state:
            self._told = state
            self._tell(tell, state, self.problem)

    def _tell(self, tell: Tell | None, event: str, reason: str = "") -> None:
        if tell is not None:
            tell(event, reference=str(self.ref), reason=reason, in_use=bool(self.secret.value))
