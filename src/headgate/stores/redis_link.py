"""One connection to Redis per process: what many threads and tasks ask at once goes over it together.

Whoever asks waits for the place's `timeout` at most. Where Redis fails, everybody is told so at once and without
asking, until it answers again; it is tried every second.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from headgate.stores.inbox import Inbox
from headgate.stores.redis_place import NO_ANSWER, RedisPlace, reason
from headgate.stores.redis_scripts import ALL, BEAT, Script
from headgate.stores.waiters import Waiter, wait_at_most, wake

if TYPE_CHECKING:
    import redis

Connection = Any
"""One of redis-py's (`redis.connection.AbstractConnection`), which has hardly any types."""
Arg = str | float
Tell = Callable[..., None]
"""Takes a name and fields: `core.ports.Log.event`."""

RETRY_SECONDS = 1.0
BEAT_SECONDS = 2.0
ALIVE_SECONDS = 10.0
"""After so long without a beat a replica is no longer counted."""
MOST_QUEUED = 10_000
"""Corrections not yet sent; beyond it they are dropped, and what they would have given back comes back with time."""

_MOST_AT_ONCE = 1000  # commands in one batch
_CLOSING_SECONDS = 1.0


class Command:
    """One script to run. `reply` is None until it has answered, and stays so where it does not."""

    __slots__ = ("args", "keys", "reply", "script", "waiter")

    def __init__(self, script: Script, keys: Sequence[str], args: Sequence[Arg], waiter: Waiter | None = None) -> None:
        self.script = script
        self.keys = keys
        self.args = args
        self.waiter = waiter
        self.reply: bytes | int | None = None


class RedisLink:
    """The connection, its thread, and what is known of Redis. The thread starts with the first use, in each process.

    Args:
        place: where Redis is.
        tell: told `shared_lost` and `shared_back`, from any thread; must not wait.
        clock: seconds that never run backwards.
        retry_seconds: until a Redis that failed is tried again.
        now: what scripts take for the time, in seconds since the epoch; None: Redis's own clock. For tests.

    Attributes:
        up: Redis is taken to answer; False: do not ask.
        replicas: that shared it when it was last asked, this one among them; >= 1.
    """

    def __init__(
        self,
        place: RedisPlace,
        *,
        tell: Tell,
        clock: Callable[[], float] = time.monotonic,
        retry_seconds: float = RETRY_SECONDS,
        now: Callable[[], float] | None = None,
    ) -> None:
        self.place = place
        self.replicas = 1
        self._tell = tell
        self._clock = clock
        self._now = now
        self._retry_seconds = retry_seconds
        self._last_error = ""
        self._dropped = 0
        self._closed = False
        self._lost_at = 0.0
        self._forget()
        _links.add(self)

    def _forget(self) -> None:
        """Begin as in a new process."""
        self.up = True  # until it has been asked
        self.id = secrets.token_hex(8)
        self._inbox: Inbox[Command] = Inbox()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._client: redis.Redis | None = None
        self._connection: Connection | None = None
        self._busy_since: float | None = None
        self._retry_at = self._beat_at = float("-inf")

    async def answer(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg], new_waiter: Callable[[], Waiter]
    ) -> bytes | int | None:
        """Run a script; None = Redis did not answer in time, or is known not to. Never raises.

        A script that answers too late has been run all the same: what it took comes back with time.
        """
        if not self.up or self._closed:
            return None
        waiter = new_waiter()
        command = Command(script, keys, args, waiter)
        self._put(command)
        await wait_at_most(waiter, self.place.timeout)
        if command.reply is None:
            self._late()
        return command.reply

    def post(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> None:
        """Queue a script whose answer nobody needs. Never waits, never raises."""
        if not self.up or self._closed:
            return
        if len(self._inbox.items) >= MOST_QUEUED:
            self._dropped += 1
            return
        self._put(Command(script, keys, args))

    @property
    def time(self) -> str:
        """What scripts are told of the time."""
        return "" if self._now is None else f"{self._now() * 1e6:.0f}"

    def key(self, *parts: str) -> str:
        """A key of ours. `parts` must not be anybody's name."""
        return f"{{{self.place.prefix}}}:{':'.join(parts)}"

    def health(self) -> dict[str, Any]:
        """What is known, without asking: `ok`, `shared`, `replicas`, `dropped` corrections, `last_error` or None."""
        up = self.up and not self._closed
        error = "closed" if self._closed else self._last_error
        told = {"ok": up, "shared": self.place.name, "replicas": self.replicas, "dropped": self._dropped}
        return {**told, "last_error": None if up else error}

    def close(self) -> None:
        """Send what is queued, take leave of the other replicas, and hang up. At most a second. Idempotent."""
        if self._closed:
            return
        self._closed = True
        thread = self._thread
        if thread is not None:
            self._inbox.put_hurried(Command(*self._beat()))  # wakes it
            thread.join(_CLOSING_SECONDS)

    def _put(self, command: Command) -> None:
        if self._thread is None:
            self._start()
        self._inbox.put_hurried(command)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="headgate-shared", daemon=True)
                thread.start()
                self._thread = thread

    def _late(self) -> None:
        """Somebody has waited in vain: where Redis has kept us waiting as long, nobody else need."""
        busy_since = self._busy_since
        if self.up and busy_since is not None and self._clock() - busy_since >= self.place.timeout:
            self._lose(NO_ANSWER)

    def _lose(self, why: str) -> None:
        with self._lock:
            first, self.up = self.up, False
            self._last_error = why
            self._retry_at = self._clock() + self._retry_seconds
            if first:
                self._lost_at = self._clock()
        if first and not self._closed:
            self._tell("shared_lost", shared=self.place.name, reason=why, share=f"1/{self.replicas}")

    def _serve(self) -> None:
        inbox = self._inbox
        while not self._closed or inbox.items:
            now = self._clock()
            inbox.linger(max(0.0, (self._beat_at if self.up else self._retry_at) - now))
            batch = inbox.take()
            if not self.up:
                _wake(batch)
                if self._closed:
                    break
                if self._clock() >= self._retry_at:
                    self._try_again()
                continue
            for first in range(0, len(batch), _MOST_AT_ONCE):
                part = batch[first : first + _MOST_AT_ONCE]
                (self._send if self.up else _wake)(part)
            if self.up and self._clock() >= self._beat_at:
                self._send([])
        self._leave()

    def _try_again(self) -> None:
        try:
            self._connect()
        except Exception as error:  # redis-py's, the socket's, TLS's: whichever, it is of no use now
            self._hang_up()
            self._lose(reason(error))
            return
        with self._lock:
            self.up = True
            self._last_error = ""
            lost = self._clock() - self._lost_at
        self._tell("shared_back", shared=self.place.name, seconds=round(lost, 3), replicas=self.replicas)

    def _connect(self) -> Connection:
        """A new connection, our scripts on the server, and us among the replicas."""
        self._hang_up()
        self._client = self.place.client()
        connection = self._client.connection_pool.get_connection()
        _load(connection)
        (alive,) = self._run(connection, [Command(*self._beat())])
        self._beaten(alive)
        self._connection = connection
        return connection

    def _beat(self) -> tuple[Script, list[str], list[Arg]]:
        return BEAT, [self.key("replicas")], [self.time, self.id, ALIVE_SECONDS]

    def _beaten(self, alive: Any) -> None:
        if isinstance(alive, BaseException):
            raise alive
        self.replicas = max(1, int(alive))
        self._beat_at = self._clock() + BEAT_SECONDS

    def _send(self, batch: list[Command]) -> None:
        """Run all, and wake who waits. An error that one gets is everybody's: it is Redis that says no."""
        beat = Command(*self._beat()) if self._clock() >= self._beat_at else None
        commands = [*batch, beat] if beat is not None else batch
        self._busy_since = self._clock()
        wrong: BaseException | None = None
        try:
            replies = self._run(self._connection or self._connect(), commands)
            for command, reply in zip(commands, replies, strict=True):
                if isinstance(reply, BaseException):
                    wrong = reply
                else:
                    command.reply = reply
            if beat is not None and beat.reply is not None:
                self._beaten(beat.reply)
        except Exception as error:  # as in `_try_again`
            wrong = error
        self._busy_since = None
        if wrong is not None:
            self._hang_up()
            self._lose(reason(wrong))
        _wake(batch)

    def _run(self, connection: Connection, commands: Sequence[Command]) -> list[Any]:
        """The replies, in order; errors of the server among them. Scripts that it has forgotten are loaded again."""
        from redis.exceptions import NoScriptError

        told = [("EVALSHA", each.script.sha, len(each.keys), *each.keys, *each.args) for each in commands]
        replies = pipelined(connection, told)
        forgotten = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if forgotten:
            _load(connection)
            for i, reply in zip(forgotten, pipelined(connection, [told[i] for i in forgotten]), strict=True):
                replies[i] = reply
        return replies

    def _leave(self) -> None:
        connection = self._connection
        if connection is not None and self.up:
            try:
                pipelined(connection, [("ZREM", self.key("replicas"), self.id)])
            except Exception as error:  # the others will miss our beats instead
                self._last_error = reason(error)
        self._hang_up()

    def _hang_up(self) -> None:
        self._connection = None
        client, self._client = self._client, None
        if client is not None:
            client.connection_pool.disconnect()


def _load(connection: Connection) -> None:
    for said in pipelined(connection, [("SCRIPT", "LOAD", script.text) for script in ALL]):
        if isinstance(said, BaseException):
            raise said


def pipelined(connection: Connection, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """All in one go. redis-py's own pipelines take twice as long for it."""
    from redis.exceptions import ResponseError

    connection.send_packed_command(connection.pack_commands(commands))
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


def _wake(batch: Iterable[Command]) -> None:
    wake([command.waiter for command in batch if command.waiter is not None])


_links: weakref.WeakSet[RedisLink] = weakref.WeakSet()


def _after_fork() -> None:
    for link in _links:
        link._forget()  # the thread is not here, and the connection is the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
