"""Secrets that follow the place they are kept in: read ahead of time, read again in the background, never on a request.

A value changed in its store is used by new attempts within `every` seconds, and at once after a provider answered 401
to the old one. While a store cannot be asked the last good value stays. A secret that was deleted stops being used.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from headgate.core.secret import Secret
from headgate.settings.secrets import SecretRef
from headgate.settings.secrets_kept import NEVER, Kept, LiveSecret, Tell

EVERY_SECONDS = 300.0
"""How often a store is asked. AWS bills 0.05 USD for 10,000 calls: one secret costs 4 cents a month."""

START_SECONDS = 10.0
"""How long the start waits for the stores."""

FORCED_SECONDS = 10.0
"""The least time between two looks that a provider's 401 asked for: a caller cannot make us flood a store."""


class SecretKeeper:
    """Every secret of one configuration. Thread-safe; a forked child goes on with what its parent knew.

    Args:
        env: where `env:` references and the stores' own access are read.
        every: seconds between two looks into a store, > 0; files are looked at every 10 s at least.
        now: seconds since the epoch.
        tell: told of every change of state, by any thread; not during `open`, whose caller asks for the `problem`s.

    Attributes:
        asleep: there is something to follow, and no thread of this process does: the next use wakes it.
        closed: no more looks.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        every: float = EVERY_SECONDS,
        now: Callable[[], float] = time.time,
        tell: Tell | None = None,
    ) -> None:
        self._env = env
        self._every = every
        self._now = now
        self._tell = tell
        self._kept: dict[tuple[SecretRef, str], Kept] = {}
        self._of: dict[Secret, Kept] = {}
        self.closed = False
        self.asleep = False
        self._lock = threading.Lock()
        self._following = False
        self._bell = threading.Event()
        self._ring_at_end = weakref.finalize(self, self._bell.set)
        _keepers.add(self)

    def get(self, ref: SecretRef) -> LiveSecret:
        """The secret of a reference, the same one each time. It has no value before `open`."""
        key = (ref, ref.base)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = Kept(ref, LiveSecret(self), self._every)
            self._of[kept.secret] = kept
        return kept.secret

    def open(self, seconds: float = START_SECONDS) -> None:
        """Read what has not been read yet, the stores at the same time. What cannot be read has a `problem` then.

        Args:
            seconds: how long to wait for the stores; a later answer is taken all the same.
        """
        readers = []
        for kept in [kept for kept in self._kept.values() if not kept.seen]:
            if kept.ref.local:
                self._look_first(kept)
                continue
            where = f"{kept.ref.where}: " if kept.ref.where else ""
            kept.problem = f"{where}{kept.ref} cannot be read: the store did not answer within {seconds:g} s"
            # In threads that nobody has to wait for: a key store may ask a person.
            reader = threading.Thread(target=self._look_late, args=(kept,), name="headgate-secret", daemon=True)
            reader.start()
            readers.append(reader)
        deadline = time.monotonic() + seconds
        for reader in readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        self._rest()

    def problem(self, secret: Secret) -> str:
        """What is wrong with it, for people, "" if nothing; beside a value: why it may be out of date."""
        kept = self._of.get(secret)
        return "" if kept is None else kept.problem

    def watch(self, secret: LiveSecret, changed: Callable[[], None], *, follow: bool = False) -> None:
        """Call `changed` after every change of the value, in whatever thread found it; it must not wait.

        Args:
            follow: from now on, because nobody will reveal the secret.
        """
        self._of[secret].watchers.append(changed)
        if follow:
            self.wake()

    def renewed(self, secret: Secret, since: float) -> bool | None:
        """Whether the value is another one than at `since`; None where only a look can tell (`renew`)."""
        kept = self._of.get(secret)
        if kept is None:
            return False
        if kept.changed > since:
            return bool(kept.secret)
        return False if self._now() - kept.forced < FORCED_SECONDS else None

    def renew(self, secret: Secret, since: float) -> bool:
        """A provider answered 401: look at once, at most every 10 s. Blocks for as long as the store takes.

        Args:
            since: when the refused attempt began, in seconds since the epoch.

        Returns:
            Whether there is another value now.
        """
        kept = self._of.get(secret)
        if kept is None:
            return False
        known = self.renewed(secret, since)
        if known is None:
            with kept.lock:
                known = self.renewed(secret, since)  # another thread may have been first
                if known is None:
                    known = kept.look(self._env, self._now, self._tell) and bool(kept.secret)
                    kept.forced = self._now()
        if not known:
            kept.refused(self._now())
            self._follow()
        return known

    def health(self) -> dict[str, Any]:
        """`missing`: references without a value; `stale`: those whose place cannot be looked at. Never a value."""
        all_ = list(self._kept.values())
        missing = [str(kept.ref) for kept in all_ if kept.problem and not kept.secret]
        stale = [str(kept.ref) for kept in all_ if kept.problem and kept.secret]
        return {"ok": not missing and not stale, "secrets": len(all_), "missing": missing, "stale": stale}

    def close(self) -> None:
        """Stop following. Values stay as they are. Idempotent."""
        self.closed = True
        self.asleep = False
        self._bell.set()

    def refresh_due(self) -> float | None:
        """Look at what is due; in how many seconds something is due again, None = never."""
        next_due = NEVER
        for kept in list(self._kept.values()):
            now = self._now()
            if kept.due > now:
                next_due = min(next_due, kept.due)
            elif kept.lock.acquire(blocking=False):
                try:
                    kept.look(self._env, self._now, self._tell)
                finally:
                    kept.lock.release()
                next_due = min(next_due, kept.due)
            else:
                next_due = min(next_due, now + 1.0)  # somebody looks just now, or hangs
        return None if next_due == NEVER else max(0.01, next_due - self._now())

    def _look_first(self, kept: Kept) -> None:
        with kept.lock:
            kept.look(self._env, self._now, None)

    def _look_late(self, kept: Kept) -> None:
        self._look_first(kept)
        self._rest()  # perhaps long after the start: from here on it is followed

    # One thread per process, from the first use on: what is not used opens no connection and starts no thread.

    def wake(self) -> None:
        """Follow from now on, in this process."""
        self.asleep = False
        self._follow()

    def _rest(self) -> None:
        """Sleep until a secret is used; but what has no value is not used, and is followed at once."""
        moving = [kept for kept in self._kept.values() if kept.due < NEVER]
        if any(kept.problem for kept in moving):
            self.wake()
        else:
            self.asleep = bool(moving) and not self.closed and not self._following

    def _follow(self) -> None:
        with self._lock:
            if self.closed or all(kept.due == NEVER for kept in self._kept.values()):
                return
            if not self._following:
                self._following = True
                told = (weakref.ref(self), self._bell)
                threading.Thread(target=_follow, args=told, name="headgate-secrets", daemon=True).start()
        self._bell.set()

    def after_fork(self) -> None:
        """In the child: nobody follows, and nobody holds a lock."""
        followed = self._following and not self.closed
        self._lock = threading.Lock()
        self._following = False
        self._ring_at_end.detach()  # the parent's bell may be locked for ever here
        self._bell = threading.Event()
        self._ring_at_end = weakref.finalize(self, self._bell.set)
        for kept in self._kept.values():
            kept.lock = threading.Lock()
        if followed and any(kept.watchers or kept.problem for kept in self._kept.values()):
            self.wake()
        else:
            self._rest()


def _follow(keeper_of: weakref.ref[SecretKeeper], bell: threading.Event) -> None:
    """Keeps no keeper alive that nobody has any more."""
    wait: float | None = 0.0
    while True:
        bell.wait(wait)
        bell.clear()
        keeper = keeper_of()
        if keeper is None or keeper.closed:
            return
        wait = keeper.refresh_due()
        del keeper


class BlockingCredentials:
    """`core.ports.Credentials` for threads."""

    __slots__ = ("_keeper",)

    def __init__(self, keeper: SecretKeeper) -> None:
        self._keeper = keeper

    async def renew(self, credential: Secret, since: float) -> bool:
        """See `core.ports.Credentials`. Never suspends."""
        return self._keeper.renew(credential, since)


class AsyncCredentials:
    """`core.ports.Credentials` for event loops: a store is asked in a worker thread."""

    __slots__ = ("_keeper",)

    def __init__(self, keeper: SecretKeeper) -> None:
        self._keeper = keeper

    async def renew(self, credential: Secret, since: float) -> bool:
        """See `core.ports.Credentials`."""
        if self._keeper.renewed(credential, since) is not None:
            return self._keeper.renew(credential, since)  # does not look
        from anyio import to_thread

        return await to_thread.run_sync(self._keeper.renew, credential, since, abandon_on_cancel=True)


_keepers: weakref.WeakSet[SecretKeeper] = weakref.WeakSet()


def _after_fork() -> None:
    for keeper in list(_keepers):
        keeper.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
