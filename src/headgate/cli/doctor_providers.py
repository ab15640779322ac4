"""Whether the providers can be reached, as the gateway would reach them: name, connection, TLS, key, models, clock."""

from __future__ import annotations

import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from headgate.cli.doctor_models import Use, listed, retiring, used
from headgate.cli.doctor_report import NOTE, OK, PROBLEM, SKIPPED, WARNING, Advance, Finding
from headgate.cli.doctor_secrets import references
from headgate.core.errors import ConfigError, HeadgateError

if TYPE_CHECKING:
    from headgate.core.exchange import Headers
    from headgate.core.ports import Outgoing
    from headgate.core.secret import Secret
    from headgate.settings.model import ProviderSettings, Settings
    from headgate.upstream.http1 import Origin

MAX_ANSWER = 8 * 1024 * 1024
SKEW_SECONDS = 30.0
"""A difference to the provider's `Date` above this is a warning: waits that are told as a date come out wrong, and
certificates and signed credentials begin to fail at minutes."""

_EXPIRY_DAYS = 14
_VERSION = (b"anthropic-version", b"2023-06-01")


@dataclass(slots=True)
class Probe:
    """What one provider said. Times are seconds."""

    provider: str
    url: str
    secret: Secret | None
    status: int = 0
    error: str = ""
    dns: float | None = None
    connect: float | None = None
    took: float | None = None
    expires: float | None = None  # of its certificate, seconds since the epoch
    skew: float | None = None  # their clock minus ours
    models: dict[str, str] = field(default_factory=dict)  # id to its retirement date, "" = none told
    proxied: bool = False


def check_providers(
    settings: Settings, env: Mapping[str, str], *, seconds: float, today: date, advance: Advance
) -> Iterator[Finding]:
    """Ask every provider whose key is there, and those of the configuration that want none, at the same time.

    Args:
        seconds: for each provider, all in all about three times this at worst.
    """
    probes: list[Probe] = []
    for name, provider in settings.providers.items():
        try:
            secrets = [reference.resolve(env) for reference in references(provider.api_key)]
        except ConfigError:
            yield Finding("providers", SKIPPED, f"{name}: not asked, because its key is not there")
            continue
        probes.append(Probe(name, _models_url(provider), secrets[0] if secrets else None))
    done = _all(probes, settings, seconds, advance)
    uses = used(settings)
    for probe in done:
        yield from _judge(probe, uses, today)
    skews = sorted(p.skew for p in done if p.skew is not None)
    if skews:
        yield _clock(skews[len(skews) // 2])


def _models_url(provider: ProviderSettings) -> str:
    return provider.base_url + ("/v1/models?limit=1000" if provider.dialect == "anthropic" else "/models")


def _all(probes: Sequence[Probe], settings: Settings, seconds: float, advance: Advance) -> list[Probe]:
    """Run them in daemon threads: a resolver that hangs must not hold up the end of the command."""
    answered: queue.SimpleQueue[Probe] = queue.SimpleQueue()

    def ask(probe: Probe) -> None:
        try:
            _ask(probe, settings.providers[probe.provider], seconds)
        except HeadgateError as error:
            probe.error = error.message
        except (OSError, ValueError) as error:
            from headgate.upstream.faults import reason_of

            probe.error = reason_of(error)
        answered.put(probe)

    for probe in probes:
        threading.Thread(target=ask, args=(probe,), daemon=True, name=f"doctor-{probe.provider}").start()
    deadline = time.monotonic() + 3 * seconds + 1
    waiting = {probe.provider for probe in probes}
    while waiting:
        advance(len(probes) - len(waiting), len(probes))
        try:
            waiting.discard(answered.get(timeout=max(0.0, deadline - time.monotonic())).provider)
        except queue.Empty:
            break
    late = f"no answer within {3 * seconds + 1:g} s"
    # A thread that is late may still write into its probe: what is judged is another one.
    return [Probe(p.provider, p.url, None, error=late) if p.provider in waiting else p for p in probes]


def _ask(probe: Probe, provider: ProviderSettings, seconds: float) -> None:
    from headgate.engine.blocking import run_blocking
    from headgate.upstream.choose import blocking_upstream
    from headgate.upstream.environment import proxy_for
    from headgate.upstream.http1 import parse_url

    origin = parse_url(probe.url).origin
    probe.proxied = bool(provider.proxy or proxy_for(origin))
    if not probe.proxied:
        _reach(probe, origin, seconds)
    upstream = blocking_upstream(proxy=provider.proxy or None)
    try:
        begun, wall = time.monotonic(), time.time()
        incoming = run_blocking(upstream.send(_outgoing(probe, provider, seconds)))
        probe.took = time.monotonic() - begun
        probe.status = incoming.status
        probe.skew = _skew(incoming.headers, wall + probe.took / 2)
        body = b""
        while len(body) < MAX_ANSWER and (piece := run_blocking(incoming.read())):
            body += piece
        incoming.close()
        if probe.status == 200:
            probe.models = _models(body)
    finally:
        upstream.close()


def _reach(probe: Probe, origin: Origin, seconds: float) -> None:
    """Name, connection and TLS one by one: to tell which of them is slow, and to see the certificate."""
    from headgate.upstream.sockets import dial
    from headgate.upstream.tls import Trust

    begun = time.monotonic()
    socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    probe.dns = time.monotonic() - begun
    context = Trust().context() if origin.scheme == "https" else None
    begun = time.monotonic()
    with dial(origin, context, seconds) as connected:
        probe.connect = time.monotonic() - begun
        if isinstance(connected, ssl.SSLSocket):
            told: Any = (connected.getpeercert() or {}).get("notAfter")
            probe.expires = float(ssl.cert_time_to_seconds(told)) if isinstance(told, str) else None


def _outgoing(probe: Probe, provider: ProviderSettings, seconds: float) -> Outgoing:
    from headgate.core.ports import Outgoing, Timeouts

    headers = [(b"accept", b"application/json"), (b"accept-encoding", b"identity"), (b"user-agent", b"headgate-doctor")]
    if provider.dialect == "anthropic":
        headers.append(_VERSION)
    if probe.secret is not None:
        key = probe.secret.reveal().encode()
        name, value = (b"x-api-key", key) if provider.dialect == "anthropic" else (b"authorization", b"Bearer " + key)
        headers.append((name, value))
    timeouts = Timeouts(seconds, seconds, seconds, seconds, seconds, seconds)
    return Outgoing("GET", probe.url, headers, b"", timeouts)


def _skew(headers: Headers, ours: float) -> float | None:
    told = next((value for name, value in headers if name == b"date"), None)
    if told is None:
        return None
    try:
        return parsedate_to_datetime(told.decode("latin-1")).timestamp() + 0.5 - ours  # it has no parts of a second
    except ValueError:
        return None


def _models(body: bytes) -> dict[str, str]:
    """Model ids with their end as the vendor tells it: Anthropic's `retires_at`, OpenAI's `shutdown_date`."""
    try:
        data = json.loads(body)["data"]
        return {
            str(each["id"]): str(each.get("retires_at") or each.get("shutdown_date") or "")[:10]
            for each in data
            if isinstance(each, dict) and "id" in each
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def _judge(probe: Probe, uses: Sequence[Use], today: date) -> Iterator[Finding]:
    name, status = probe.provider, probe.status
    if probe.error:
        yield Finding("providers", PROBLEM, f"{name}: {probe.error}", _unreachable(probe))
        return
    if status in (401, 403):
        key = "does not accept the key" if probe.secret is not None else "wants a key, and none is configured"
        yield Finding(
            "providers", PROBLEM, f"{name}: reached, and it {key} ({status})", f"set providers.{name}.api_key"
        )
    elif status == 404:
        yield Finding("providers", NOTE, f"{name}: reached{_times(probe)}; it has no list of models (404)")
    elif status == 429 or status >= 500:
        yield Finding("providers", WARNING, f"{name}: reached, and it answers {status} now")
    elif status != 200:
        yield Finding(
            "providers",
            WARNING,
            f"{name}: {probe.url.partition('?')[0]} answers {status}",
            f"is providers.{name}.base_url what the SDK of its dialect takes?",
        )
    else:
        many = f", {len(probe.models)} models" if probe.models else ""
        accepted = ", key accepted" if probe.secret is not None else ""
        yield Finding("providers", OK, f"{name}: reached{_times(probe)}{accepted}{many}")
    if probe.expires is not None and probe.expires - time.time() < _EXPIRY_DAYS * 86_400:
        ends = date.fromtimestamp(probe.expires)  # noqa: DTZ012 -- for people, in their own time
        yield Finding("providers", WARNING, f"{name}: its TLS certificate ends on {ends}", "its owner has to renew it")
    yield from _served(probe, uses, today)


def _served(probe: Probe, uses: Sequence[Use], today: date) -> Iterator[Finding]:
    """What the provider's own list says of the models that the configuration names."""
    if not probe.models:
        return
    for use in uses:
        told = probe.models.get(use.model, "") if use.provider == probe.provider else ""
        if told:
            try:
                ends = date.fromisoformat(told)
            except ValueError:
                continue
            yield retiring(use, ends, today, "see the vendor's page of deprecations", f"says {probe.provider}")
    for use in listed(uses, probe.provider, frozenset(probe.models)):
        yield Finding(
            "models",
            WARNING,
            f"{use.provider} does not list {use.model}, which {use.path} names ({use.origin})",
            "is the name right, and may this key use it?",
        )


def _times(probe: Probe) -> str:
    parts = [("name", probe.dns), ("connection", probe.connect), ("answer", probe.took)]
    told = ", ".join(f"{what} {value * 1000:.0f} ms" for what, value in parts if value is not None)
    return f" {'by proxy ' if probe.proxied else ''}({told})"


def _unreachable(probe: Probe) -> str:
    if "certificate" in probe.error:
        return "is there a proxy that opens TLS? Its CA belongs in the operating system's trust store"
    if "does not resolve" in probe.error:
        return f"check the host of providers.{probe.provider}.base_url, and this machine's DNS"
    return f"check providers.{probe.provider}.base_url, the network, and any firewall or proxy between"


def _clock(skew: float) -> Finding:
    if abs(skew) <= SKEW_SECONDS:
        return Finding("machine", OK, f"the clock agrees with the providers' within {max(1, round(abs(skew)))} s")
    way = "behind" if skew > 0 else "ahead of"
    level = PROBLEM if abs(skew) > 300 else WARNING
    return Finding("machine", level, f"the clock is {abs(skew):.0f} s {way} the providers'", "synchronise it (NTP)")
