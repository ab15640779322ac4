"""Sections about the provider's side: providers, prices, virtual models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from headgate.settings.fields import Context, Section, suggestion
from headgate.settings.model import DRAIN_SECONDS, DRAIN_USD_NANO, RATE_KEYS, ProviderSettings, Rates, RouteName, frozen
from headgate.settings.secrets import SecretRef
from headgate.settings.traffic import PROVIDER_TRAFFIC_KEYS, read_breaker, read_ceilings, read_concurrency, read_timers
from headgate.settings.tree import Items, Node, Scalar, Where, kind, shown
from headgate.settings.units import base_url, money, one_of, percentage, seconds, split_url, switch, usd

DIALECTS = ("anthropic", "openai")
PROVIDER_KEYS = (
    "dialect",
    "base_url",
    "api_key",
    "price",
    "discount",
    "on_disconnect",
    "drain",
    "bills_to_end",
    "proxy",
    *PROVIDER_TRAFFIC_KEYS,
)

# (base_url, its SDK's variable for it, its SDK's variable for the key), by name, which is also the dialect's.
BUILT_IN = {
    "anthropic": ("https://api.anthropic.com", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
    "openai": ("https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY"),
}

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0"})  # noqa: S104 (compared with, not bound to)

_rate = money(10**6, 1_000_000, unit="USD per million tokens")
_search_rate = money(10**9, 1_000_000, unit="USD per 1,000 searches")


def read_providers(root: Section, server: tuple[str, int]) -> Mapping[str, ProviderSettings]:
    """`providers:`, with anthropic and openai whether they are named or not. `server` is our own (host, port)."""
    entries = {name: (node, path) for name, node, path in root.named("providers")}
    found: dict[str, ProviderSettings] = {}
    for name in (*BUILT_IN, *(n for n in entries if n not in BUILT_IN)):
        node, path = entries.get(name, (None, f"providers.{name}"))
        section = Section(root.context, node, path, PROVIDER_KEYS)
        if not _NAME.fullmatch(name):
            root.context.wrong_name(path, "a provider's name is lower-case letters, digits, - and _")
        found[name] = _provider(section, name, server)
    return frozen(found)


def _provider(section: Section, name: str, server: tuple[str, int]) -> ProviderSettings:
    if name in BUILT_IN:
        dialect = section.take("dialect", one_of(DIALECTS), name)
        if dialect != name:
            section.wrong("dialect", f"{name} speaks {name}: give a provider of another dialect another name")
            dialect = name
        url = section.take_url("base_url", base_url, "") or _sdk_base_url(section, name, server)
        default_key: SecretRef | None = SecretRef("env", BUILT_IN[name][2], where=f"providers.{name}.api_key")
    else:
        dialect = section.take("dialect", one_of(DIALECTS), "")
        url = section.take_url("base_url", base_url, "")
        default_key = None
        for key, example in (("dialect", "anthropic or openai"), ("base_url", "https://host or http://host:port/v1")):
            if key not in section.table.entries:
                section.wrong(key, f"a provider of your own needs {key}: {example}")
    api_key = section.secrets("api_key", default_key)
    on_disconnect = section.take("on_disconnect", one_of(("close", "drain")), "close")
    drain_seconds, drain_usd_nano = _drain(section, on_disconnect)
    _advise(section, dialect, url, with_key=api_key is not None)
    requests_per_minute, tokens_per_minute, pacing = read_ceilings(section)
    breaker, slow_seconds = read_breaker(section)
    return ProviderSettings(
        name=name,
        dialect=dialect,
        base_url=url,
        api_key=api_key,
        price=read_price(section.context, section.node("price"), section.at("price")),
        on_disconnect=on_disconnect,
        bills_to_end=section.take("bills_to_end", switch, False),
        drain_seconds=drain_seconds,
        drain_usd_nano=drain_usd_nano,
        discount_basis_points=_discount(section),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        pacing=pacing,
        concurrency=read_concurrency(section),
        timeouts=read_timers(section),
        breaker=breaker,
        slow_seconds=slow_seconds,
        proxy=section.take_url("proxy", _proxy, ""),
    )


def _drain(section: Section, on_disconnect: str) -> tuple[float, int]:
    """`drain: {seconds: 30, usd: 0.10}`: how long an abandoned answer is read on, and what that may cost."""
    if "drain" in section.table.entries and on_disconnect != "drain":
        section.wrong("drain", "means nothing without `on_disconnect: drain`: add it, or remove this")
    caps = section.section("drain", ("seconds", "usd"))
    return (
        caps.take("seconds", seconds(0.1, 3600), DRAIN_SECONDS),
        caps.take("usd", usd, DRAIN_USD_NANO),
    )


def _discount(section: Section) -> int:
    """`discount: 12.5%`, off the price book's rates."""
    entries = section.table.entries
    if "discount" in entries and "price" in entries:
        section.wrong(
            "discount", "means nothing beside `price`, which is your own already: write that with it taken off"
        )
    return section.take("discount", percentage(9_999, like="12.5%"), 0)


def _proxy(text: str) -> str:
    split_url(text, ("http", "https"))
    return text


def _sdk_base_url(section: Section, name: str, server: tuple[str, int]) -> str:
    """What the vendor's SDK would use: its variable, else the vendor's host."""
    default, variable, _ = BUILT_IN[name]
    context = section.context
    given = context.env.get(variable, "").strip()
    if not given:
        return default
    try:
        url = base_url(given)
        host = split_url(given, ("http", "https"))
    except ValueError as error:
        context.mistakes.add(Where(variable), section.at("base_url"), str(error))
        return default
    if (host.port or 0) == server[1] and (host.hostname in _LOCAL or host.hostname == server[0]):
        # The variable is meant for the application's SDK; a gateway that followed it would call itself for ever.
        context.warnings.append(f"{variable} points at this gateway itself and is not used for provider {name}")
        return default
    context.origins[section.at("base_url")] = variable
    return url


_OPENAI_HOST = "api.openai.com"


def _advise(section: Section, dialect: str, url: str, *, with_key: bool) -> None:
    if not url:
        return
    origin = section.context.origins.get(section.at("base_url"), "")
    if dialect == "anthropic" and url.endswith("/v1"):
        section.context.warnings.append(
            f"{section.at('base_url')} ({origin}) ends in /v1, and the Anthropic dialect adds /v1 itself: remove it"
        )
    host = split_url(url, ("http", "https"))
    if dialect == "openai" and host.hostname == _OPENAI_HOST and not host.path:
        section.context.warnings.append(
            f"{section.at('base_url')} ({origin}) does not end in /v1, and OpenAI's dialect adds none: add it"
        )
    if host.scheme == "http" and host.hostname not in _LOCAL and with_key:
        section.context.warnings.append(
            f"{section.at('base_url')} ({origin}) is http: its credential travels unencrypted; use https"
        )


def read_price(context: Context, node: Node | None, path: str) -> Literal["free"] | Rates | None:
    """`free`, or rates by token class; None where nothing usable is written."""
    if isinstance(node, Scalar) and node.text.lower() == "free":
        return "free"
    if node is None or (isinstance(node, Scalar) and node.live):
        return None
    if isinstance(node, Scalar | Items):
        context.mistakes.add(
            node.where,
            path,
            f"expected `free`, or {{input: 3, output: 15}} in USD per million tokens, not {kind(node)}",
        )
        return None
    section = Section(context, node, path, RATE_KEYS)
    rates: dict[str, Decimal] = {}
    for key in RATE_KEYS:
        if key in section.table.entries:
            rates[key] = section.take(key, _search_rate if key == "web_search" else _rate, Decimal(0))
        elif key in ("input", "output"):
            section.wrong(key, "is missing: USD per million tokens, 0 if it costs nothing")
    return frozen(rates)


def read_prices(root: Section, providers: Mapping[str, ProviderSettings]) -> Mapping[str, Literal["free"] | Rates]:
    """`prices:` by provider/model."""
    found: dict[str, Literal["free"] | Rates] = {}
    for name, node, path in root.named("prices"):
        try:
            route = route_name(name, providers)
        except ValueError as error:
            root.context.wrong_name(path, str(error))
            continue
        price = read_price(root.context, node, path)
        if price is not None:
            found[str(route)] = price
    return frozen(found)


def route_name(text: str, providers: Mapping[str, ProviderSettings]) -> RouteName:
    """`provider/model` or `provider:model` of a provider we know. Raises ValueError."""
    match = re.match(r"([^/:]*)[/:](.+)", text)
    if match is None or text != text.strip() or " " in text or len(text) > 300:
        raise ValueError(f"expected provider/model, like anthropic/claude-haiku-4-5, not {shown(text)}")
    provider, model = match[1], match[2]
    if provider not in providers:
        hint = suggestion(provider, tuple(providers), label="providers")
        raise ValueError(f"no provider is named {shown(provider)}{hint}")
    return RouteName(provider, model)


def check_routes(context: Context, node: Node, path: str, routes: tuple[RouteName, ...]) -> None:
    """What a virtual model's routes are to each other; `node` is where they are written."""
    empty = node.null if isinstance(node, Scalar) else isinstance(node, Items) and not node.items
    if empty:
        context.wrong(path, "a virtual model needs at least one route, like [anthropic/claude-haiku-4-5]")
    if len(set(routes)) < len(routes):
        context.wrong(path, "names one route twice: a route is retried anyway, as `retry` says")
