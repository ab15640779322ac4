"""`metrics:` and `traces:`: what is told about the traffic, and to whom (docs/metrics.md, docs/tracing.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headgate.settings.fields import Section
from headgate.settings.secrets import SCHEMES, SecretRef
from headgate.settings.tree import Scalar, Table
from headgate.settings.units import Unfit, basis_points, one_of, seconds, split_url, switch, text_up_to, whole

METRICS_KEYS = ("enabled", "token", "models", "tasks", "tenants", "otlp", "headers", "every")
TRACES_KEYS = ("to", "headers", "sample", "errors", "names", "usage", "content", "openinference", "service", "resource")

Headers = Mapping[str, "SecretRef | str"]
"""By lower-case name; a value is a reference to a secret, or plain text."""

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = frozenset({"content-type", "content-length", "content-encoding", "host", "connection", "transfer-encoding"})
_text = text_up_to(500)


def _none() -> Mapping[str, SecretRef | str]:
    return MappingProxyType({})


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """What is counted, and who may read it."""

    enabled: bool = True
    token: SecretRef | None = None  # lets in whoever reads `/metrics`; None: only keys that may see everything
    models: int = 100  # 1..10,000 values of the label `model`; the others are "other"
    tasks: int = 50  # 1..10,000 likewise, beside the configured ones
    tenants: int = 0  # 0..10,000 values of the label `tenant`; 0 = there is no such label
    otlp: str = field(default="", repr=False)  # http(s) URL of a collector; "" = they are sent nowhere
    headers: Headers = field(default_factory=_none, repr=False)  # for it
    every_seconds: float = 60.0  # 1..1 h between two times that they are sent


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where spans go, which, and what is in them."""

    to: str = field(default="", repr=False)  # http(s) URL of a collector; "" = there are no traces
    headers: Headers = field(default_factory=_none, repr=False)  # for it
    sample_basis_points: int = 1_000  # 0..10,000 of the exchanges that begin a trace
    errors: bool = True  # those that fail are kept, whatever the sample says
    names: str = "latest"  # "latest" | "1.36": of `telemetry.names`
    usage: str = "auto"  # "auto" | "always" | "never": whether attempts say `gen_ai.usage.*`
    content: bool = False  # the last turn and the answer, as the log keeps them
    openinference: bool = False  # its names, too
    service: str = "headgate"  # `service.name`
    resource: Mapping[str, str] = field(default_factory=_nothing)  # more attributes of the resource


def read_metrics(root: Section) -> MetricsSettings:
    """`metrics:`, a switch or a mapping."""
    default = MetricsSettings()
    if isinstance(root.table.entries.get("metrics"), Scalar):
        return MetricsSettings(enabled=root.take("metrics", switch, default.enabled))
    section = root.section("metrics", METRICS_KEYS)
    return MetricsSettings(
        enabled=section.take("enabled", switch, default.enabled),
        token=section.secret("token"),
        models=section.take("models", whole(1, 10_000), default.models),
        tasks=section.take("tasks", whole(1, 10_000), default.tasks),
        tenants=section.take("tenants", whole(0, 10_000), default.tenants),
        otlp=section.take_url("otlp", _collector, default.otlp),
        headers=_headers(section),
        every_seconds=section.take("every", seconds(1, 3600), default.every_seconds),
    )


def read_traces(root: Section, *, bodies: bool) -> TraceSettings:
    """`traces:`, `off` or a mapping.

    Args:
        bodies: the log keeps texts, so that there are some to tell.
    """
    default = TraceSettings()
    if isinstance(root.table.entries.get("traces"), Scalar):
        root.take("traces", _off, "off")
        return default
    section = root.section("traces", TRACES_KEYS)
    if section.given and "to" not in section.table.entries:
        section.wrong("to", "is missing: the URL of a collector, like http://127.0.0.1:4318")
    content = section.take("content", switch, default.content)
    if content and not bodies:
        section.wrong("content", "there are no texts to tell: log.bodies is off")
    return TraceSettings(
        to=section.take_url("to", _collector, default.to),
        headers=_headers(section),
        sample_basis_points=section.take("sample", _share, default.sample_basis_points),
        errors=section.take("errors", switch, default.errors),
        names=section.take("names", one_of(("latest", "1.36")), default.names),
        usage=section.take("usage", one_of(("auto", "always", "never")), default.usage),
        content=content,
        openinference=section.take("openinference", switch, default.openinference),
        service=section.take("service", _text, default.service),
        resource=_texts(section, "resource"),
    )


def _off(text: str) -> str:
    word = one_of(("off", "on"))(text)
    if word == "on":
        raise Unfit("expected off, or a mapping with `to`: the URL of a collector, like http://127.0.0.1:4318")
    return word


def _share(text: str) -> int:
    return 0 if text in ("0", "0%") else basis_points(text)


def _collector(text: str) -> str:
    """A collector's URL, without a credential: that belongs under `headers`, as a reference."""
    url = split_url(text, ("http", "https"))
    if url.username is not None or url.query or url.fragment:
        raise Unfit("expected a collector's URL without a credential, a ? and a #; credentials go under headers")
    return text.rstrip("/")


def _headers(section: Section) -> Headers:
    told = section.section("headers", _names(section, "headers"))
    found: dict[str, SecretRef | str] = {}
    for name in told.table.entries:
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            told.wrong(name, "is no header that can be set here")
            continue
        node = told.table.entries[name]
        if isinstance(node, Scalar) and node.text.partition(":")[0] in SCHEMES:
            reference = told.secret(name)
            if reference is not None:
                found[name.lower()] = reference
        else:
            found[name.lower()] = told.take(name, _value, "", show=False)
    return MappingProxyType(found)


def _value(text: str) -> str:
    if not text or len(text) > 500 or not (text.isascii() and text.isprintable()):
        raise Unfit("expected a header's value in printable ASCII, or a reference to a secret, like env:NAME")
    return text


def _texts(section: Section, key: str) -> Mapping[str, str]:
    told = section.section(key, _names(section, key))
    return MappingProxyType({name: told.take(name, _text, "") for name in told.table.entries})


def _names(section: Section, key: str) -> tuple[str, ...]:
    """Whatever is written there: the names are the user's own."""
    node = section.table.entries.get(key)
    return tuple(node.entries) if isinstance(node, Table) else ()
