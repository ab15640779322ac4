"""Passwords: argon2id, the same time for names that are unknown, and growing waits for whoever keeps guessing."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from headgate.core.errors import ConfigError, RateExceeded, Unavailable

T = TypeVar("T")

SHORTEST, LONGEST = 12, 1_000
"""Characters of a password. Length is what makes it hard to guess; no other rule is asked of it (NIST SP 800-63B)."""
FREE_TRIES = 3
"""Failures in a row after which each next try has to wait: 1 s, 2 s, 4 s, up to:"""
LONGEST_WAIT = 300.0
FORGOTTEN_AFTER = 3_600.0
"""Seconds without a failure after which the earlier ones no longer count."""

_AT_ONCE = 2  # each takes 64 MB and 50 ms
_WAITING = 16  # beyond those, nobody waits for a turn
_KEPT = 10_000  # names, and addresses, whose failures are remembered
_TURN_SECONDS = 10.0


class Passwords:
    """Hashes and checks, two at a time: a flood of logins must not take the machine's memory."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """
        Args:
            hasher: with other costs than argon2-cffi's (RFC 9106's second choice: 64 MiB, 3 passes, 4 lanes).
        """
        self._hasher = hasher or PasswordHasher()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._queue = threading.BoundedSemaphore(_WAITING)
        self._nobody = ""  # the hash of no password, for names that are unknown

    def hash(self, password: str) -> str:
        """An argon2id hash, with its salt and costs.

        Raises:
            ConfigError: the password is too short or too long.
            Unavailable: too many are hashed now.
        """
        if not SHORTEST <= len(password) <= LONGEST:
            raise ConfigError(f"a password has {SHORTEST} to {LONGEST:,} characters")
        return self._in_turn(lambda: self._hasher.hash(password))

    def check(self, known: str | None, password: str) -> bool:
        """Whether it is the password of `known`, a hash; None: a name that is unknown, which takes as long.

        Raises:
            Unavailable: too many are checked now.
        """
        return self._in_turn(lambda: self._check(known, password[:LONGEST])) and known is not None

    def outdated(self, known: str) -> bool:
        """Whether a hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(known)

    def _check(self, known: str | None, password: str) -> bool:
        if not self._nobody:
            self._nobody = self._hasher.hash(secrets.token_hex(16))
        try:
            return self._hasher.verify(known or self._nobody, password.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            return False

    def _in_turn(self, work: Callable[[], T]) -> T:
        if not self._queue.acquire(blocking=False):
            raise Unavailable("Too many logins at once. Try again in a few seconds.")
        try:
            if not self._turns.acquire(timeout=_TURN_SECONDS):
                raise Unavailable("Too many logins at once. Try again in a few seconds.")
            try:
                return work()
            finally:
                self._turns.release()
        finally:
            self._queue.release()


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last: float = 0.0


class Patience:
    """How long names and addresses that keep failing have to wait. In this process's memory, bounded.

    A name that somebody else keeps guessing waits as well, for at most five minutes: the price of not being guessed.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """
        Args:
            now: seconds since the epoch.
        """
        self._now = now
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, name: str, address: str) -> None:
        """Before a try.

        Raises:
            RateExceeded: it comes too early; `retry_after` says when it does not.
        """
        now = self._now()
        with self._lock:
            wait = max(self._wait(key, now) for key in _keys(name, address))
        if wait > 0:
            raise RateExceeded(
                f"Too many failed logins. Wait {round(wait + 0.5)} seconds.", code="login_wait", retry_after=wait
            )

    def failed(self, name: str, address: str) -> None:
        """A try was wrong."""
        now = self._now()
        with self._lock:
            for key in _keys(name, address):
                found = self._failures.pop(key, None) or _Failures()
                if now - found.last > FORGOTTEN_AFTER:
                    found.count = 0
                found.count, found.last = found.count + 1, now
                self._failures[key] = found
            while len(self._failures) > _KEPT:
                self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """A try was right: the name's failures no longer count. The address's do, or one account would free it."""
        with self._lock:
            self._failures.pop(_keys(name, address)[0], None)

    def _wait(self, key: tuple[str, str], now: float) -> float:
        found = self._failures.get(key)
        if found is not None and found.last > now:
            found.last = now  # the clock went back: the wait is counted from now, and stays within the longest
        if found is None or found.count < FREE_TRIES or now - found.last > FORGOTTEN_AFTER:
            return 0.0
        # The exponent is bounded: the count is whatever a stranger makes it.
        wait = min(LONGEST_WAIT, 2.0 ** min(found.count - FREE_TRIES, 10))
        return float(found.last + wait - now)


def _keys(name: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("name", name[:64]), ("address", address)
