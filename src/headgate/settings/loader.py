"""headgate.yaml, the environment and flags to one `Settings`, or one ConfigError with every mistake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from headgate.core.errors import ConfigError
from headgate.core.ports import Timeouts
from headgate.settings import accounting, degrading, operations, policies, providers, similar, traffic, virtual_models
from headgate.settings.alerts import read_alert_rules, read_alerts
from headgate.settings.budgets import BudgetReader
from headgate.settings.cache import read_cache
from headgate.settings.enforced import not_enforced
from headgate.settings.environment import CONFIG, overlay, overlay_env, stray
from headgate.settings.fields import Context, Section
from headgate.settings.guards import read_guards
from headgate.settings.jobs import read_jobs
from headgate.settings.last_good import read_last_good
from headgate.settings.limits import LimitReader
from headgate.settings.log import read_log
from headgate.settings.lossy import read_lossy
from headgate.settings.model import LossySettings, RetrySettings, Settings, frozen
from headgate.settings.shaping import read_prompt_caching
from headgate.settings.telemetry import read_metrics, read_traces
from headgate.settings.tree import Mistakes, Table, Where
from headgate.settings.units import one_of, usd
from headgate.settings.yaml_file import MAX_FILE_BYTES, read_yaml
from headgate.settings.zones import UTC_NAME, zone_name

FILE = "headgate.yaml"

TOP_KEYS = (
    "providers",
    "models",
    "fallback",
    "tasks",
    "budgets",
    "zone",
    "max_usd_per_call",
    "limits",
    "prices",
    "invoices",
    "anomalies",
    "unknown_price",
    "unbounded",
    "refusal_status",
    "retry",
    "fairness",
    "degrade",
    "last_good",
    "similar",
    "jobs",
    "lossy",
    "timeouts",
    "guards",
    "cache",
    "prompt_caching",
    "caps",
    "storage",
    "durability",
    "shared",
    "keys",
    "log",
    "metrics",
    "traces",
    "alerts",
    "alert_rules",
    "dashboard",
    "server",
    "secrets",
)

_NO_OVERRIDES: Mapping[str, object] = MappingProxyType({})


def load(
    path: str | Path | None = None,
    *,
    env: Mapping[str, str],
    overrides: Mapping[str, object] = _NO_OVERRIDES,
) -> Settings:
    """Read the configuration: the file, HEADGATE_* over it, flags over both.

    Args:
        path: the file, which must exist; None: what HEADGATE_CONFIG names, else headgate.yaml in the working directory
            if there is one.
        env: the environment, usually `os.environ`.
        overrides: flags by dotted key ("server.port"); None values are left out.

    Raises:
        ConfigError: all mistakes at once, each as ``file:line:column: path: what is wrong, what to do``.
    """
    source = _source(path, env)
    mistakes = Mistakes()
    root: Table | None = None
    if source:
        root = read_yaml(_read(source), source, mistakes)
        if root is None and len(mistakes):
            raise ConfigError(mistakes.lines())
    root = root or Table(Where(source or FILE))
    root = overlay_env(root, env, TOP_KEYS, mistakes)
    root = overlay(root, overrides, mistakes)
    base = str(Path(source).parent) if source else ""
    context = Context(env, mistakes, base="" if base == "." else base)
    settings = _settings(Section(context, root, "", TOP_KEYS))
    if len(mistakes):
        raise ConfigError(mistakes.lines())
    settings = replace(settings, source=source, origins=frozen(context.origins))
    warnings = (
        *_misnamed(source),
        *context.warnings,
        *not_enforced(settings),
        *stray(env, TOP_KEYS, context.variables),
    )
    return replace(settings, warnings=warnings)


def _source(path: str | Path | None, env: Mapping[str, str]) -> str:
    if path is not None:
        return str(path)
    return env.get(CONFIG, "").strip() or (FILE if Path(FILE).is_file() else "")


def _misnamed(source: str) -> list[str]:
    if not source and Path("headgate.yml").is_file():
        return [f"headgate.yml is not read: rename it to {FILE}, or give its path"]
    return []


def _read(source: str) -> bytes:
    try:
        with Path(source).open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{source}: no such file; without one, Headgate runs with its defaults") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigError(f"{source}: cannot be read: {reason}") from None


def _settings(root: Section) -> Settings:
    server = operations.read_server(root)
    known = providers.read_providers(root, (server.host, server.port))
    models = virtual_models.read_models(root, known)
    names = policies.Names(known, models.names)
    retries = root.section("retry", traffic.RETRY_KEYS)
    retry = traffic.read_retry_budget(retries, policies.read_retry(retries, RetrySettings()))
    timeouts = policies.read_timeouts(root.section("timeouts", policies.TIMEOUT_KEYS), Timeouts())
    shared = operations.read_shared(root)
    cache = read_cache(root, shared)
    caching = read_prompt_caching(root)
    ceiling = root.take("max_usd_per_call", usd, None)
    zone = root.take("zone", zone_name, UTC_NAME)
    served = {route.model for routes in models.routes.values() for route in routes}
    budgets = BudgetReader(names, served, zone)
    limits = LimitReader(names, served)
    log = read_log(root)
    settings = Settings(
        providers=known,
        models=models.routes,
        virtual=models.virtual,
        fallback=models.fallback,
        tasks=policies.read_tasks(root, names, retry, timeouts, cache.default_seconds, ceiling, caching),
        budgets=budgets.read(root),
        limits=limits.read(root),
        prices=providers.read_prices(root, known),
        unknown_price=policies.read_unknown_price(root),
        unbounded=root.take("unbounded", one_of(("refuse", "ceiling")), "refuse"),
        refusal_status=operations.read_refusal_status(root),
        retry=retry,
        fairness=traffic.read_fairness(root),
        degrade=degrading.read_degrade(root, names) or (),
        last_good=read_last_good(root),
        jobs=read_jobs(root),
        similar=similar.read_similar(root, known),
        lossy=read_lossy(root) or LossySettings(),
        timeouts=timeouts,
        guards=read_guards(root, callers=True),
        cache=cache,
        prompt_caching=caching,
        caps=root.take("caps", one_of(("off", "defaults", "enforce")), "off"),
        storage=operations.read_storage(root),
        durability=root.take("durability", one_of(("process", "full")), "process"),
        shared=shared,
        keys=operations.read_keys(root, budgets, limits),
        log=log,
        metrics=read_metrics(root),
        traces=read_traces(root, bodies=log.bodies != "off"),
        alerts=read_alerts(root),
        alert_rules=read_alert_rules(root),
        dashboard=root.take("dashboard", one_of(("on", "off")), "on") == "on",
        server=server,
        secrets_refresh_seconds=operations.read_secrets(root),
        max_usd_per_call_nano=ceiling,
        zone=zone,
        invoices=accounting.read_invoices(root),
        anomalies=accounting.read_anomalies(root),
    )
    if settings.similar is None and similar.uses(settings, "similar") is not None:
        root.wrong("similar", "is missing: a `degrade` says `use: similar`")
    root.context.warnings.extend(budgets.never_reached())
    return settings
