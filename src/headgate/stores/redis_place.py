"""Redis or Valkey: the place that `shared:` names, connections to it, and what its errors say."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    import redis

TIMEOUT = 0.25
"""Seconds for a connection, and for an answer. A call waits no longer for Redis before its own process decides."""

NO_ANSWER = "it did not answer in time"

DEFAULT_PREFIX = "headgate"

_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_INSTALL = 'redis://… needs the package redis: pip install "headgate[redis]"'
_EXPECTED = "expected redis://host:port/0 or rediss://host:port/0"
_CODE = re.compile(r"[A-Z]{2,32}")


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """Where shared state is.

    Attributes:
        name: for people; without user, password and options.
        prefix: of every key, in braces: a cluster's hash tag, so that one script may touch several.
        url, options: for redis-py; they may hold a password.
        timeout: seconds for each step, and for whoever waits.
    """

    name: str
    prefix: str
    url: str = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    timeout: float = TIMEOUT

    def client(self) -> redis.Redis:
        """A client with one connection that is made when first used."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return Redis.from_url(
            self.url,
            max_connections=1,
            socket_connect_timeout=self.timeout,
            socket_timeout=self.timeout,
            # Sent again, a script would take twice; who asks has no time for it either.
            retry=Retry(NoBackoff(), 0),
            client_name="headgate",
            protocol=2,
            **self.options,
        )


def redis_place(url: str, setting: str = "shared") -> RedisPlace:
    """As `place_of`, for use by what `setting` names.

    Raises:
        ConfigError: it is no such URL, or redis-py is not installed.
    """
    try:
        place = place_of(url)
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from None
    _redis(setting)
    return place


def place_of(url: str) -> RedisPlace:
    """The place that a URL names: ``redis://user:password@host:6379/0?prefix=headgate``; ``rediss://`` for TLS.

    Raises:
        ValueError: it is no such URL. Never repeats it: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ValueError(_EXPECTED)
    number = parts.path.strip("/")
    if number and not (number.isascii() and number.isdigit() and len(number) <= 5):
        raise ValueError("what follows the host is the number of a database, like redis://host:6379/0")
    prefix, options = _options(parts.query)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    name = f"{parts.scheme}://{host}:{port}/{number or 0}"
    return RedisPlace(name, prefix, parts._replace(query="", fragment="").geturl(), options)


def _options(query: str) -> tuple[str, dict[str, Any]]:
    prefix, options = DEFAULT_PREFIX, {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key == "prefix":
            if not _PREFIX.fullmatch(value):
                raise ValueError("prefix has 1 to 64 letters, digits, dots, dashes and underscores")
            prefix = value
        elif key in _FILES:
            options[key] = value
        else:
            # The key may be anything, too: a password with a question mark in it ends here.
            raise ValueError(f"the options of its URL are prefix, {', '.join(_FILES)}; it has another one")
    return prefix, options


def _redis(setting: str) -> Any:
    try:
        import redis
    except ImportError:
        raise ConfigError(f"{setting}: {_INSTALL}") from None
    return redis


def reason(error: BaseException) -> str:
    """Why Redis is of no use now, in words of ours: what it says may repeat what it was told."""
    from redis import exceptions

    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
        return "it does not accept this user, password or what they are used for"
    if isinstance(error, exceptions.ReadOnlyError):
        return "it is a read-only replica"
    if isinstance(error, exceptions.BusyLoadingError):
        return "it is still loading its data"
    if isinstance(error, exceptions.OutOfMemoryError):
        return "its memory is full"
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return NO_ANSWER
    if isinstance(error, exceptions.ResponseError):
        code = str(error).partition(" ")[0]
        return f"it answers {code if _CODE.fullmatch(code) else 'with an error'}"
    return "no connection to it"
