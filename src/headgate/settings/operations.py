"""Sections about running: storage, shared state, keys, log, alerts, server, refusals' status."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from headgate.settings.budgets import BudgetReader
from headgate.settings.cache import read_seconds
from headgate.settings.fields import Context, Section
from headgate.settings.limits import LimitReader
from headgate.settings.model import KeySettings, ServerSettings, Settings, frozen
from headgate.settings.policies import DAY
from headgate.settings.secrets import SecretRef
from headgate.settings.tree import Scalar, Table
from headgate.settings.units import Unfit, one_of, seconds, size, split_url, switch, text_up_to, whole
from headgate.stores.redis_place import place_of

KEY_KEYS = ("name", "key", "tenant", "environment", "may_speak_for_tenants", "cache", "budgets", "limits")
SERVER_KEYS = (
    "host",
    "port",
    "max_body",
    "max_upload",
    "max_header",
    "max_header_count",
    "max_url",
    "header_timeout",
    "body_timeout",
    "write_timeout",
    "keep_alive",
    "drain",
    "public_url",
    "trusted_proxies",
)

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}|[{}]")
_PASSWORD = re.compile(r"[?&](ssl)?password=")
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,255}")


def read_storage(root: Section) -> str:
    """`storage:` as a URL, or "memory", with a warning."""
    found = _store_url(root, "storage", _storage, "sqlite:///headgate.db")
    if found == "memory":
        origin = root.context.origins.get(root.at("storage"), "")
        root.context.warnings.append(
            f"storage ({origin}) is memory: what is spent, keys made here and changed caps are lost when this process "
            "ends, however that happens. It is for tests and trials"
        )
    return found


def read_shared(root: Section) -> str:
    """`shared:`: memory, or a URL of Redis or Valkey."""
    return _store_url(root, "shared", _shared, "memory")


def _store_url(root: Section, key: str, check: Callable[[str], str], default: str) -> str:
    """A store's URL. A password in the file is a mistake; in the environment it is where it belongs."""
    node = root.table.entries.get(key)
    in_file = isinstance(node, Scalar) and node.where.line > 0 and not node.text.startswith("env:")

    def read(text: str) -> str:
        url = check(text)
        if in_file and not url.startswith("sqlite:") and _has_password(url):
            raise ValueError("a password in the file: put the URL into an environment variable and write env:NAME")
        return url

    return root.take_url(key, read, default)


def _has_password(url: str) -> bool:
    return ":" in url.partition("://")[2].rpartition("@")[0] or _PASSWORD.search(url) is not None


def _storage(text: str) -> str:
    if text.startswith("sqlite://"):
        path = text.removeprefix("sqlite:///")
        if path == text or not path or path.startswith(":") or "?" in path or path.endswith("/"):
            raise ValueError(
                "expected the path of a file, like sqlite:///headgate.db or sqlite:////var/lib/headgate.db"
            )
        for match in _PLACEHOLDER.finditer(path):
            if match[1] != "pid":
                raise ValueError("the only placeholder in a path is {pid}")
        return text
    if text == "memory":
        return text
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("expected sqlite:///path, postgresql://host/database or memory")
    rest = text.partition("://")[2]
    # Which hosts and options there may be is libpq's to say: several of them, a socket's folder, ...
    if not rest.strip("/") or any(ch <= " " for ch in rest):
        raise ValueError("expected postgresql://user:password@host:5432/database, without spaces")
    return f"postgresql://{rest}"


def _shared(text: str) -> str:
    if text == "memory":
        return text
    if not text.startswith(("redis://", "rediss://")):
        raise ValueError("expected memory, redis://host:port/0 or rediss://host:port/0")
    split_url(text, ("redis", "rediss"))
    place_of(text)
    return text


def read_keys(root: Section, budgets: BudgetReader, limits: LimitReader) -> tuple[KeySettings, ...]:
    """`keys:`, a list. Names are unique."""
    found: list[KeySettings] = []
    first: dict[str, str] = {}
    for node, path in root.items("keys"):
        section = Section(root.context, node, path, KEY_KEYS)
        name = section.take("name", text_up_to(128), "")
        key = section.secret("key")
        for missing, example in (("name", "name: dev"), ("key", "key: env:HEADGATE_KEY")):
            if missing not in section.table.entries and isinstance(node, Table):
                section.wrong(missing, f"is missing, like {example}")
        if name and name in first:
            section.wrong("name", f"two keys have this name; the other is at {first[name]}")
        first.setdefault(name, root.context.origins.get(f"{path}.name", ""))
        found.append(
            KeySettings(
                name=name,
                key=key or SecretRef("env", ""),  # only beside a mistake
                tenant=section.take("tenant", text_up_to(200), ""),
                environment=section.take("environment", text_up_to(200), ""),
                may_speak_for_tenants=section.take("may_speak_for_tenants", switch, False),
                cache_seconds=read_seconds(section, "cache", None),
                budgets=budgets.read(section, key=name),
                limits=limits.read(section, key=name),
            )
        )
    _one_secret_each(root.context, found)
    return tuple(found)


def _one_secret_each(context: Context, keys: list[KeySettings]) -> None:
    seen: dict[SecretRef, int] = {}
    for number, key in enumerate(keys):
        if key.key.name and seen.setdefault(key.key, number) != number:
            other = keys[seen[key.key]].name
            context.wrong(
                f"keys[{number}].key", f"key {other!r} refers to the same secret: who calls could not be told"
            )


def read_secrets(root: Section) -> float:
    """`secrets: {refresh: 5m}`, in seconds."""
    section = root.section("secrets", ("refresh",))
    return section.take("refresh", seconds(1, DAY), Settings().secrets_refresh_seconds)


def _public_url(text: str) -> str:
    url = split_url(text, ("http", "https"))
    if url.username is not None or url.query or url.fragment:
        raise Unfit("expected the address that people use, like https://llm.example.com, without ? and #")
    return text.rstrip("/")


def read_server(root: Section) -> ServerSettings:
    """`server:`."""
    section = root.section("server", SERVER_KEYS)
    default = ServerSettings()
    timeout = seconds(0.1, 3600)
    return ServerSettings(
        host=section.take("host", _host, default.host),
        port=section.take("port", whole(0, 65535), default.port),
        public_url=section.take("public_url", _public_url, default.public_url),
        max_body_bytes=section.take("max_body", size(1024, 1024**3), default.max_body_bytes),
        max_upload_bytes=section.take("max_upload", size(1024, 1024**4), default.max_upload_bytes),
        max_header_bytes=section.take("max_header", size(1024, 1024**2), default.max_header_bytes),
        max_header_count=section.take("max_header_count", whole(10, 10_000), default.max_header_count),
        max_url_bytes=section.take("max_url", size(256, 64 * 1024), default.max_url_bytes),
        header_timeout_seconds=section.take("header_timeout", timeout, default.header_timeout_seconds),
        body_timeout_seconds=section.take("body_timeout", timeout, default.body_timeout_seconds),
        write_timeout_seconds=section.take("write_timeout", timeout, default.write_timeout_seconds),
        keep_alive_seconds=section.take("keep_alive", timeout, default.keep_alive_seconds),
        drain_seconds=section.take("drain", seconds(1, 3600, zero=True), default.drain_seconds),
        trusted_proxies=section.texts("trusted_proxies", _network),
    )


def _network(text: str) -> str:
    """An address or a network of addresses, as CIDR."""
    import ipaddress

    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise Unfit("expected an IP address or a network in CIDR notation, like 10.0.0.7 or 10.0.0.0/8") from None


def _host(text: str) -> str:
    host = text.removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(host):
        raise Unfit("expected a host name or an address to listen on, like 127.0.0.1, ::1 or 0.0.0.0")
    return host


def read_refusal_status(root: Section) -> Mapping[str, int]:
    """`refusal_status: {budget: 402}` (decisions 10)."""
    section = root.section("refusal_status", ("budget",))
    status = section.take("budget", one_of(("402", "429")), "")
    return frozen({"budget": int(status)} if status else {})
