"""Settings to engines: the only place that picks implementations. Used by all three ways in."""

from __future__ import annotations

import contextlib
import hmac
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, cast

from headgate.alerting.watching import Alerting
from headgate.approval_hooks import hook_of
from headgate.background import Background
from headgate.beside import AsyncBeside, BlockingBeside
from headgate.clocks import AsyncClock, BlockingClock
from headgate.core.errors import ConfigError
from headgate.core.exchange import Route
from headgate.core.ids import id_maker
from headgate.core.ports import Incoming, Outgoing, Ports, Upstream
from headgate.core.secret import Secret
from headgate.draining import Drains
from headgate.engine.engine import Engine
from headgate.engine.flights import Flights
from headgate.engine.plan import Policies, TaskPolicy, lossy_by_default
from headgate.offloading import InPlace, OffLoop
from headgate.policy.budget_words import alert_facts
from headgate.policy.budgets import Budgets
from headgate.policy.caps import DEFAULT_CAPS
from headgate.policy.charging import Charging
from headgate.policy.guards.loops import LoopWatch
from headgate.policy.incidents import Incidents
from headgate.policy.preferences import Preferences
from headgate.policy.prompt_caching import PromptCaching
from headgate.policy.recovery import Recovery
from headgate.policy.routing import Router
from headgate.policy.shaping import Shape
from headgate.settings.budgets import budgets_of
from headgate.settings.cache_rules import caching_of
from headgate.settings.degrading import ladder_of
from headgate.settings.guard_checkers import checkers_of, told
from headgate.settings.guard_input import isolation_key
from headgate.settings.guards import guards_of, guards_on
from headgate.settings.limits import limits_of
from headgate.settings.log import log_place_of
from headgate.settings.lossy import losses_of
from headgate.settings.model import ProviderSettings, Settings, TaskSettings, frozen
from headgate.settings.price_book import price_book
from headgate.settings.secrets_live import AsyncCredentials, BlockingCredentials, SecretKeeper
from headgate.settings.secrets_providers import provider_secrets
from headgate.settings.traffic import timeouts_of
from headgate.settings.turn_rules import turns_of
from headgate.settings.virtual_models import fallbacks_of, ordered, virtual_of
from headgate.shadowing import guards_of_purpose, shadows_of
from headgate.similar import AsyncSimilar, BlockingSimilar, Embedder, similar_of
from headgate.stats import Tally
from headgate.stores.approvals import ApprovalStore
from headgate.stores.caching import Caching
from headgate.stores.incidents import IncidentStore
from headgate.stores.jobs_place import JobsPlace
from headgate.stores.log import Bodies, LineLog
from headgate.stores.log_key import log_key
from headgate.stores.logs.place import Logs
from headgate.stores.opening import approval_key_file, cache_file, log_file, log_key_file, open_ledger
from headgate.stores.sharing import Sharing
from headgate.stores.turns import LocalTurns
from headgate.substituting import deferring_of, hooks_of, substituting_of
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.telling import Telemetry
from headgate.telemetry.traces import tracing_of
from headgate.upstream.approval_hook import ApprovalHook
from headgate.upstream.choose import AsyncUpstream, BlockingUpstream, async_upstream, blocking_upstream
from headgate.upstream.job_hook import JobHook
from headgate.watch import Watch, watch_of
from headgate.wire import DIALECTS

if TYPE_CHECKING:
    from headgate.policy.recovery import WaitStrategy
    from headgate.stores.ledger import WrittenLedger
    from headgate.stores.sqlite import Durability

_ids = random.Random()  # noqa: S311 -- ids have to differ, not to be secret; seeded by the kernel
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.seed)  # or two children would draw the same ids


@dataclass(slots=True)
class Built:
    """One configuration's parts. `engine` is for event loops, `blocking_engine` for threads; both share the books."""

    settings: Settings
    router: Router
    ledger: WrittenLedger
    log: LineLog
    tally: Tally
    engine: Engine
    blocking_engine: Engine
    upstream: AsyncUpstream | _PerOrigin
    blocking_upstream: BlockingUpstream | _PerOrigin
    secrets: SecretKeeper
    turns: LocalTurns
    sharing: Sharing
    approvals: ApprovalStore
    caching: Caching
    jobs: JobsPlace
    incidents: IncidentStore
    logs: Logs  # the log store, as far as there is one
    hook: ApprovalHook | None = None  # is told of tool calls that wait; None: nobody is
    watch: Watch | None = None  # None: `anomalies: off`
    background: Background | None = None  # work that nobody waits for
    job_hooks: Mapping[str, JobHook] = field(default_factory=dict)  # who is told of deferred answers, by name
    forgets: Sequence[Callable[[str], int]] = ()  # drop answers that are kept beside the cache, by how keys begin
    drains: Drains = field(default_factory=Drains)
    telemetry: Telemetry = field(init=False)
    alerting: Alerting = field(init=False)
    env: InitVar[Mapping[str, str]] = MappingProxyType({})  # where `env:` references are read

    def __post_init__(self, env: Mapping[str, str]) -> None:
        self.telemetry = Telemetry(self, env)
        self.alerting = Alerting(self, env)

    @property
    def metrics(self) -> Metrics:
        """What is counted, and how things stand."""
        return self.telemetry.metrics

    def close(self) -> None:
        """Write what is queued; give the ledger back. Idempotent."""
        self.alerting.close()
        if self.background is not None:
            self.background.close()
        self.drains.close()
        self.turns.close()
        self.sharing.close()
        self.caching.close()
        self.secrets.close()
        if self.watch is not None:
            self.watch.close()
        if self.hook is not None:
            self.hook.close()
        self.jobs.close()
        self.incidents.close()
        self.ledger.close()
        self.log.close()
        self.logs.close()
        self.telemetry.close()  # behind the log, which shows it what has settled


def build(
    settings: Settings,
    *,
    env: Mapping[str, str],
    wait: WaitStrategy | None = None,
    log_to: Path | Literal["stdout"] | None = None,
    embedder: Embedder | None = None,
) -> Built:
    """Make the parts. Opens no file and no connection yet, but to read secrets: from stores, at most 10 s.

    Args:
        settings: what to build.
        env: where `env:` references are read.
        wait: a tenacity wait strategy in place of the default.
        log_to: where the log goes; None: `<ledger>.log.jsonl` beside the ledger (`stores.opening.log_file`).
        embedder: for `similar: {embedder: python}`: texts to vectors.

    Raises:
        ConfigError: `storage` is no ledger of ours, or a package that it or `shared` needs is not installed.
    """
    clock = AsyncClock()  # the ledger's, too: how long a call may wait for money, the engine says by it
    ledger = open_ledger(settings.storage, durability=cast("Durability", settings.durability), now=clock.now)
    log = LineLog(
        log_file(settings.storage) if log_to is None else None if log_to == "stdout" else log_to,
        key_file=log_key_file(settings.storage),
        bodies=cast("Bodies", settings.log.bodies),
        request_bytes=settings.log.body_bytes if settings.log.requests else 0,
    )
    ledger.on_killed(log.killed)
    tally = Tally(log)
    sharing = Sharing(settings.shared, limits_of(settings), tell=log.event, now=clock.now)
    ledger.on_alert(lambda alert: log.event("budget_alert", **alert_facts(alert)))
    keeper = SecretKeeper(env, every=settings.secrets_refresh_seconds, now=clock.now, tell=log.event)
    watch = watch_of(settings.anomalies, ledger, log, clock.now())
    incidents = Incidents(unread=True)
    policies = replace(policies_of(settings, env, wait, keeper), loops=LoopWatch(clock.now), incidents=incidents)
    record = IncidentStore(
        ledger, incidents, now=clock.now, providers=settings.providers, models=settings.models, tell=log.event
    )
    approvals = approvals_of(settings, ledger, env=env, now=clock.now, tell=log.event)
    hook = hook_of(settings, approvals, env=env, now=clock.now, tell=log.event)
    proxied = {p.base_url: p.proxy for p in settings.providers.values() if p.proxy}
    upstream: AsyncUpstream | _PerOrigin = async_upstream()
    blocking: BlockingUpstream | _PerOrigin = blocking_upstream()
    if proxied:
        upstream = _PerOrigin(upstream, {base: async_upstream(proxy=proxy) for base, proxy in proxied.items()})
        blocking = _PerOrigin(blocking, {base: blocking_upstream(proxy=proxy) for base, proxy in proxied.items()})
    blocking_clock = BlockingClock(clock)
    new_id = id_maker(_ids.getrandbits)
    renewal, blocking_renewal = AsyncCredentials(keeper), BlockingCredentials(keeper)
    turns = LocalTurns(lambda: turns_of(settings), now=clock.now, random=random.random, tell=log.event)
    asks, blocking_asks = None, None
    if told(settings):
        asks, blocking_asks = checkers_of(
            settings, keeper, policies.router.providers, (clock, upstream), (blocking_clock, blocking), log.event
        )
    caching = open_caching(settings, env=env, now=clock.now, tell=log.event)
    flights = Flights()
    stand_ins = substituting_of(settings, clock.now)
    places = JobsPlace(settings.storage, durability=settings.durability, now=clock.now)
    background = Background(log.event)
    shadows = shadows_of(settings, background, now=clock.now, tell=log.event)
    similar = similar_of(settings, background, embedder, now=clock.now, tell=log.event)
    witnesses = (*stand_ins.witnesses, *(each for each in (shadows, similar) if each is not None))
    if shadows is not None:
        policies = replace(policies, tasks=shadows.tasks(policies.tasks))
    if policies.guards is not None and (shadows is not None or similar is not None):
        policies = replace(policies, guards=guards_of_purpose(policies.guards))
    alike = None if similar is None else AsyncSimilar(similar)
    blocking_alike = None if similar is None else BlockingSimilar(similar)
    ports = Ports(
        clock,
        upstream,
        ledger.asynchronous(),
        tally,
        random.random,
        new_id,
        renewal,
        sharing.limits(blocking=False),
        checkers=asks,
        offload=OffLoop(),
        turns=turns.asynchronous(sharing.pace(blocking=False)),
        approvals=approvals.asynchronous(),
        cache=caching.port(blocking=False),
        beside=AsyncBeside(),
        incidents=record.asynchronous(),
        substitutes={
            **deferring_of(settings, places, clock.now, log.event),
            **stand_ins.substitutes,
            **({} if alike is None else {"similar": alike}),
        },
        similar=alike,
        witnesses=witnesses,
    )
    blocking_ports = Ports(
        blocking_clock,
        blocking,
        ledger.blocking(),
        tally,
        random.random,
        new_id,
        blocking_renewal,
        sharing.limits(blocking=True),
        checkers=blocking_asks,
        offload=InPlace(),
        turns=turns.blocking(sharing.pace(blocking=True)),
        approvals=approvals.blocking(),
        cache=caching.port(blocking=True),
        beside=BlockingBeside(),
        incidents=record.blocking(),
        substitutes=stand_ins.substitutes
        if blocking_alike is None
        else {**stand_ins.substitutes, "similar": blocking_alike},
        similar=blocking_alike,
        witnesses=witnesses,
    )
    engine, blocking_engine = Engine(ports, policies, flights), Engine(blocking_ports, policies, flights)
    if asks is not None and blocking_asks is not None:
        asks.engine, blocking_asks.engine = engine, blocking_engine
    if shadows is not None:
        shadows.engine = blocking_engine
    if similar is not None and alike is not None and blocking_alike is not None:
        alike.engine, blocking_alike.engine = engine, blocking_engine
        similar.blocking = blocking_alike
    return Built(
        settings=settings,
        router=policies.router,
        ledger=ledger,
        log=log,
        tally=tally,
        engine=engine,
        blocking_engine=blocking_engine,
        upstream=upstream,
        blocking_upstream=blocking,
        secrets=keeper,
        turns=turns,
        sharing=sharing,
        approvals=approvals,
        caching=caching,
        jobs=places,
        incidents=record,
        logs=Logs(log_place_of(settings, log_to), log.flush),
        hook=hook,
        watch=watch,
        background=background,
        job_hooks=hooks_of(settings, env),
        env=env,
        forgets=(*stand_ins.forgets, *(() if similar is None else (similar.forget,))),
    )


def approvals_of(
    settings: Settings,
    ledger: WrittenLedger,
    *,
    env: Mapping[str, str],
    now: Callable[[], float],
    tell: Callable[..., None],
) -> ApprovalStore:
    """Tool calls that wait for a person. Their key is read, or made, at the first of them.

    Args:
        env: where `env:` references are read.
        now: seconds since the epoch.
        tell: the log's `event`.
    """
    tools = settings.guards.tool_rules

    def key() -> bytes:
        if tools is not None and tools.key is not None:
            return tools.key.resolve(env).reveal().encode()
        return log_key(approval_key_file(settings.storage), of="approvals")

    store = ApprovalStore(ledger, key, now=now, tell=tell)
    if tools is not None and tools.key is not None and not tools.key.local:
        with contextlib.suppress(ConfigError):  # a store that is asked here keeps no call waiting; else at the first
            _ = store.key
    return store


def open_caching(
    settings: Settings, *, env: Mapping[str, str], now: Callable[[], float], tell: Callable[..., None]
) -> Caching:
    """Where answers are kept. Nothing is opened yet, but a secret is read.

    Raises:
        ConfigError: a package that the backend needs is not installed, or there is no such secret.
    """
    told, place = settings.cache, settings.cache.place
    return Caching(
        place.backend,
        file=cache_file(settings.storage),
        now=now,
        tell=tell,
        memory_bytes=told.bytes,
        memory_seconds=place.memory_seconds,
        disk_bytes=place.disk_bytes,
        entry_bytes=place.entry_bytes,
        secret=b"" if place.secret is None else place.secret.resolve(env).reveal().encode(),
    )


def policies_of(
    settings: Settings,
    env: Mapping[str, str],
    wait: WaitStrategy | None = None,
    keeper: SecretKeeper | None = None,
    draw: Callable[[], float] = random.random,
) -> Policies:
    """Every decision of the engine, without a store or a network: what `headgate explain` asks.

    Args:
        draw: draws uniformly from [0, 1): which of several weighted routes is the first.
        keeper: reads the secrets, those of stores too; None: no store is asked, and its secrets are taken to be there.
    """
    book = price_book(settings, env)
    charges = Charging(book)
    default = replace(_task(settings, settings, wait), prompt_caching=settings.prompt_caching == "auto")
    tasks = {
        name: replace(
            _task(settings, task, wait, name),
            model=task.model,
            max_tokens=task.max_tokens,
            drops_thinking=task.thinking == "drop",
            answer=task.answer,
            shape=Shape(task.history, task.compact) if task.history is not None or task.compact else None,
            prompt_caching=task.prompt_caching == "auto",
        )
        for name, task in settings.tasks.items()
    }
    if settings.caps != "off":
        enforce = settings.caps == "enforce"
        for name, cap in DEFAULT_CAPS.items():
            if tasks.get(name, default).max_tokens is None:
                tasks[name] = replace(tasks.get(name, default), default_cap=cap, enforces_cap=enforce)
    cached = default.prompt_caching or any(each.prompt_caching for each in tasks.values())
    return Policies(
        router=_router(settings, env, keeper, Preferences(draw, charges.expected)),
        charges=charges,
        dialects=DIALECTS.__getitem__,
        tasks=lambda name: tasks.get(name, default),
        keep_text=settings.log.bodies != "off",
        budgets=Budgets(budgets_of(settings)),
        unbounded_ceiling=settings.unbounded == "ceiling",
        budget_status=settings.refusal_status.get("budget", 429),
        guards=guards_of(settings, env) if guards_on(settings) else None,
        isolation_key=partial(_isolation_key, settings, env),
        counts_tokens=any(limit.tokens_per_minute is not None for limit in limits_of(settings)),
        lossy=losses_of(settings) or lossy_by_default,
        caching=caching_of(settings),
        prompts=PromptCaching() if cached else None,
        tracing=tracing_of(settings),
    )


def _isolation_key(settings: Settings, env: Mapping[str, str]) -> bytes:
    """The installation's: delimiters stay the same in a session whichever process of it a call comes to."""
    if settings.guards.isolation_key is not None:
        return isolation_key(settings.guards, env)
    return hmac.digest(log_key(log_key_file(settings.storage)), b"isolation", "sha256")


def _task(settings: Settings, said: Settings | TaskSettings, wait: WaitStrategy | None, name: str = "") -> TaskPolicy:
    """Args: `said`: what the task, or else the configuration as a whole, says of retries and timeouts."""
    own = [each.name for each in settings.providers.values() if each.timeouts]
    return TaskPolicy(
        Recovery(attempts=said.retry.attempts, wait=wait),
        said.timeouts,
        said.retry.deadline_seconds,
        said.max_usd_per_call_nano,
        ladder=ladder_of(settings, name),
        on_cut=said.on_cut if isinstance(said, TaskSettings) else "error",
        timeouts_at={provider: timeouts_of(settings, provider, name) for provider in own},
    )


def _router(
    settings: Settings, env: Mapping[str, str], keeper: SecretKeeper | None, preferences: Preferences
) -> Router:
    secrets = provider_secrets(settings, env, keeper)
    providers = {name: _route(provider, secrets.of[name]) for name, provider in settings.providers.items()}
    models = {
        name: tuple(replace(providers[r.provider], model=r.model) for r in ordered(settings, name))
        for name in settings.models
    }
    defaults: dict[str, str] = {}
    for dialect in DIALECTS:
        named = [p.name for p in settings.providers.values() if p.dialect == dialect]
        if named:
            defaults[dialect] = dialect if dialect in named else named[0]
    several = {name: each for name, each in secrets.of.items() if len(each) > 1}
    # Not a copy of `unready`: it follows the secrets.
    return Router(
        frozen(providers),
        frozen(models),
        frozen(defaults),
        secrets.unready,
        frozen(several),
        virtual=virtual_of(settings),
        fallbacks=fallbacks_of(settings),
        preferences=preferences,
        measures=any(each.prefer == "latency" for each in settings.virtual.values()),
    )


def _route(provider: ProviderSettings, secrets: Sequence[Secret]) -> Route:
    credential = secrets[0] if secrets else None
    return Route(
        provider.name,
        "",
        provider.dialect,
        provider.base_url,
        credential,
        drain=provider.on_disconnect == "drain",
        drain_seconds=provider.drain_seconds,
        drain_nano=provider.drain_usd_nano,
        bills_to_end=provider.bills_to_end,
    )


class _PerOrigin:
    """An upstream of its own for providers behind a proxy of their own."""

    def __init__(self, default: Upstream, by_base: Mapping[str, Upstream]) -> None:
        self._default = default
        self._by_base = tuple(by_base.items())

    async def send(self, outgoing: Outgoing) -> Incoming:
        """See `core.ports.Upstream`."""
        for base, upstream in self._by_base:
            if outgoing.url.startswith(base):
                return await upstream.send(outgoing)
        return await self._default.send(outgoing)
