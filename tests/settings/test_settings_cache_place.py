"""`cache:`, the keys that say where answers are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.settings import load
from headgate.settings.cache_place import CachePlaceSettings

Read = Callable[..., CachePlaceSettings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_(text: str, **env: str) -> CachePlaceSettings:
        file = tmp_path / "headgate.yaml"
        file.write_text(text)
        return load(file, env=env).cache.place

    return read_


def test_memory_is_the_default(read: Read) -> None:
    assert read("cache: {default: 1h}").backend == "memory"
    assert read("cache: 1h").backend == "memory"


@pytest.mark.parametrize(
    "backend", ["sqlite", "redis://h:6379/1?prefix=x", "rediss://h", "memcached://h:11211", "memcached://[::1]"]
)
def test_every_place_can_be_named(read: Read, backend: str) -> None:
    assert read(f"cache: {{backend: '{backend}'}}").backend == backend


def test_shared_is_the_redis_that_replicas_share(read: Read) -> None:
    found = read("shared: redis://cache:6379/0\ncache: {backend: shared}")
    assert found.backend == "redis://cache:6379/0"


def test_shared_without_a_redis_is_a_mistake_that_says_what_to_write(read: Read) -> None:
    with pytest.raises(ConfigError, match=r"headgate.yaml:1:18: cache.backend.*shared: redis://host:6379/0"):
        read("cache: {backend: shared}")


@pytest.mark.parametrize(
    "backend", ["file", "mysql://h", "redis://", "memcached://", "memcached://h/1", "memcached://h?a=b", "off"]
)
def test_what_is_no_place_is_a_mistake_with_its_line(read: Read, backend: str) -> None:
    with pytest.raises(ConfigError, match=r"headgate.yaml:1:18: cache.backend"):
        read(f"cache: {{backend: '{backend}'}}")


@pytest.mark.parametrize("url", ["redis://u:canary@h", "rediss://:canary@h:1/0", "memcached://u:canary@h"])
def test_a_password_in_the_file_is_a_mistake_and_is_never_shown(read: Read, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"cache: {{backend: '{url}'}}")
    assert "canary" not in str(caught.value)


def test_a_password_in_a_variable_is_where_it_belongs_and_is_never_shown(read: Read) -> None:
    found = read("cache: {backend: env:CACHE_URL}", CACHE_URL="redis://u:canary@h")
    assert found.backend == "redis://u:canary@h"
    assert "canary" not in repr(found)


def test_sizes_times_and_the_secret_are_read(read: Read) -> None:
    found = read("cache: {backend: sqlite, memory: 0, disk: 2GiB, entry: 1MiB, secret: env:CACHE_SECRET}")
    assert (found.memory_seconds, found.disk_bytes, found.entry_bytes) == (0, 2 * 1024**3, 1024**2)
    assert str(found.secret) == "env:CACHE_SECRET"


@pytest.mark.parametrize(("key", "value"), [("memory", "2d"), ("disk", "1KiB"), ("entry", "65MiB"), ("memory", "soon")])
def test_a_value_out_of_range_or_an_unknown_key_is_a_mistake(read: Read, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"cache.{key}"):
        read(f"cache: {{backend: sqlite, {key}: {value}}}")


def test_the_size_of_a_file_that_there_is_not_is_a_mistake(read: Read) -> None:
    with pytest.raises(ConfigError, match=r"cache.disk.*sqlite only"):
        read("cache: {backend: memory, disk: 1GiB}")
