"""The gate: one configuration, its engines and its books, for Python programs."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import UTC, tzinfo
from decimal import Decimal
from importlib.util import find_spec
from inspect import iscoroutinefunction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from headgate.budget_left import BudgetLeft, left_of, tightness
from headgate.build import Built, build
from headgate.core.actors import actor
from headgate.core.caller import Caller
from headgate.core.errors import ConfigError, ConfigWarning
from headgate.core.exchange import Route
from headgate.jobs.of_gate import Batches
from headgate.policy.budget_scopes import budget_named, scope_told
from headgate.policy.prompt_caching import PrefixStats
from headgate.settings import load
from headgate.settings.caps import cap_amounts
from headgate.stores.cap_change import change_cap, restore_cap
from headgate.telemetry.of_gate import Numbers

if TYPE_CHECKING:
    import httpx
    import httpx2

    from headgate.alerting.board import Board
    from headgate.estimating import Estimate
    from headgate.many.asynchronous import AsyncRun
    from headgate.many.blocking import BlockingRun
    from headgate.many.progress import OnProgress
    from headgate.many.run import Priority
    from headgate.policy.recovery import WaitStrategy
    from headgate.settings.model import Settings
    from headgate.similar import Embedder
    from headgate.stores.approvals import ApprovalStore
    from headgate.stores.incidents import IncidentStore
    from headgate.stores.logs.erasing import Kind
    from headgate.stores.reader import UsageReport

DAY = 86_400.0
S = TypeVar("S")
T = TypeVar("T")


class Gate(Batches, Numbers):
    """Governs the calls of unmodified official SDKs: ``anthropic.Anthropic(http_client=gate.client())``.

    Safe to share between threads and event loops. Nothing is opened before the first call. After a fork the child
    opens its own connections; its ledger needs `{pid}` in `storage` (decisions 21).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        env: Mapping[str, str] | None = None,
        wait: WaitStrategy | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        """
        Args:
            settings: from `headgate.settings.load`, or made in Python.
            env: where `env:` references are read; the process's environment if None.
            wait: a tenacity wait strategy for retries, in place of random exponential.
            embedder: for `similar: {embedder: python}`: takes texts, and returns a vector for each.

        Raises:
            ConfigError: a store that this version does not have.
        """
        self._built: Built = build(settings, env=os.environ if env is None else env, wait=wait, embedder=embedder)

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        env: Mapping[str, str] | None = None,
        wait: WaitStrategy | None = None,
        embedder: Embedder | None = None,
        **overrides: object,
    ) -> Gate:
        """headgate.yaml if there is one, else safe defaults; HEADGATE_* of the environment on top, `overrides` last.

        Args:
            path: another file, which must exist.
            env: the environment; the process's if None.
            wait, embedder: see `Gate`.
            overrides: top-level keys of headgate.yaml, as ``storage="sqlite:///x.db"`` or ``retry={"attempts": 1}``.

        Raises:
            ConfigError: every mistake in the configuration at once.

        Warns:
            ConfigWarning: what is likely not meant, a line each: a file or a variable that is not read, say.
        """
        told = os.environ if env is None else env
        settings = load(path, env=told, overrides=overrides)
        for each in settings.warnings:  # nobody reads a start-up's output here
            warnings.warn(each, ConfigWarning, stacklevel=2)
        return cls(settings, env=told, wait=wait, embedder=embedder)

    @property
    def settings(self) -> Settings:
        """What this gate was made from."""
        return self._built.settings

    @property
    def built(self) -> Built:
        """The parts, for the other ways in."""
        return self._built

    def client(self, **options: Any) -> httpx2.Client:
        """An HTTP client for a synchronous SDK client: `anthropic.Anthropic(http_client=...)`, `openai.OpenAI(...)`.

        Args:
            options: of `httpx2.Client`, but for `transport`, `proxy`, `verify` and `mounts`, which are Headgate's.
        """
        import httpx2

        from headgate.transport.httpx2 import Transport

        built = self._built
        return httpx2.Client(transport=Transport(built, built.blocking_engine), **options)

    def async_client(self, **options: Any) -> httpx2.AsyncClient:
        """An HTTP client for an asynchronous SDK client. Arguments as `client`."""
        import httpx2

        from headgate.transport.httpx2 import AsyncTransport

        built = self._built
        return httpx2.AsyncClient(transport=AsyncTransport(built, built.engine), **options)

    def legacy_client(self, **options: Any) -> httpx.Client:
        """As `client`, for a synchronous SDK client that runs on httpx: anthropic 0.x, openai 1.x and 2.x.

        Args:
            options: of `httpx.Client`, but for `transport`, `proxy`, `verify` and `mounts`, which are Headgate's.

        Raises:
            ConfigError: httpx is not installed.
        """
        _need_httpx()
        import httpx

        from headgate.transport.httpx import Transport

        built = self._built
        return httpx.Client(transport=Transport(built, built.blocking_engine), **options)

    def legacy_async_client(self, **options: Any) -> httpx.AsyncClient:
        """As `legacy_client`, for an asynchronous SDK client."""
        _need_httpx()
        import httpx

        from headgate.transport.httpx import AsyncTransport

        built = self._built
        return httpx.AsyncClient(transport=AsyncTransport(built, built.engine), **options)

    @property
    def approvals(self) -> ApprovalStore:
        """Tool calls that wait for a person: `list()`, `approve(id)`, `deny(id)`. Every method blocks for a commit."""
        return self._built.approvals

    @property
    def alerts(self) -> Board:
        """What people are told: `active()`, `history()`, `acknowledge(id, by)`, which block (docs/alerts.md)."""
        return self._built.alerting.board

    @property
    def incidents(self) -> IncidentStore:
        """Traffic stopped, slowed or degraded for a while: `set(kind, scope, value)`, `lift(id)`, `all()`
        (docs/incidents.md). Every method blocks for a commit."""
        return self._built.incidents

    def prompts(self) -> list[PrefixStats]:
        """What providers' prompt caches did for each prompt prefix since the gate was made: calls, hits, tokens read
        and written, and money saved or lost. Those that made the largest difference come first."""
        caching = self._built.engine.policies.prompts
        return [] if caching is None else caching.stats()

    def providers(self) -> list[dict[str, Any]]:
        """How traffic stands with each provider in this process: breakers, rate limits, caps, who waits, errors. Sends
        nothing. See docs/gateway.md, "Providers"."""
        from headgate.traffic_report import providers_report

        rows: list[dict[str, Any]] = providers_report(self._built, told=True)["providers"]
        return rows

    def lift(self, provider: str) -> int:
        """Close every breaker of a provider now: what was wrong is mended. Returns how many were open.

        Raises:
            ConfigError: there is no such provider.
        """
        from headgate.traffic_report import lift

        return lift(self._built, provider, by="python")

    def forget(self, *, tenant: str = "", key: str = "") -> int | None:
        """Forget the answers that are kept (docs/cache.md): a tenant's, a key's, or all of them. Blocks.

        Returns:
            How many they were; None where the place does not tell.

        Raises:
            ValueError: both are told, or a name is too long.
            Unavailable: the place cannot be reached, and may keep them.
        """
        from headgate.cache_report import forgotten, told_of, whose_answers
        from headgate.engine.blocking import run_blocking

        told = {name: value for name, value in (("tenant", tenant), ("key", key)) if value}
        whose = whose_answers(told or {"everything": True})
        count = run_blocking(forgotten(self._built.caching.port(blocking=True), whose))
        told_of(self._built, whose, count, by="python")
        return None if count < 0 else count

    def erase(self, kind: Kind, value: str, *, tenant: str | None = None) -> dict[str, Any]:
        """Take a subject's words and name out of the log, kept answers, jobs, batches and approvals; what it has cost
        stays, under a pseudonym (docs/log-and-ledger.md#erasing). Blocks, for seconds.

        Args:
            kind: "user", "session" or "tenant".
            value: the name, whole.
            tenant: of a user or session: only this tenant's, "" for those without; None: by this name anywhere.

        Returns:
            How many of what went, as `POST logs/erase` of the admin API tells it.

        Raises:
            ValueError: there is nothing that could be erased by that name.
            Unavailable: there is no log store, or a place cannot be written; a second try does what is left.
        """
        from headgate.erasing import erase
        from headgate.stores.logs.erasing import Subject

        def cancel(batch: str) -> None:
            self.open_batch(batch).cancel()

        return erase(self._built, Subject(kind, value, tenant), cancel=cancel, by=actor().name or "python")

    def usage(
        self,
        *,
        days: float | None = None,
        by: tuple[str, ...] = (),
        zone: tzinfo = UTC,
        **filters: str,
    ) -> UsageReport:
        """What was spent, from the ledger: everything that any process has written to it.

        Args:
            days: only the last so many days.
            by: break down by user, model, day, `tag:team`, ... (see `stores.reader.DIMENSIONS`).
            zone: whose hours, days, weeks and months, as `zoneinfo.ZoneInfo` gives it.
            filters: `user="ada"`, `tenant=...`, `model=...`, ...
        """
        self._built.ledger.flush()
        since = None if days is None else time.time() - days * DAY
        return self._built.ledger.reader().usage(by=by, since=since, until=None, zone=zone, **filters)

    def estimate(
        self,
        *,
        model: str,
        messages: object = None,
        max_tokens: int | None = None,
        dialect: str | None = None,
        **body: object,
    ) -> Estimate:
        """What a call will cost, before it is sent: the most, and what is likely. Sends nothing and writes nothing.

        What is likely is learned from this gate's own calls; before the first ones it is a rule of thumb. OpenAI's
        plain texts are counted exactly with the `[tokens]` extra, where tiktoken's vocabulary is on this machine:
        nothing is ever fetched (see docs/metering.md). The model and the output cap of the task that `headgate.caller`
        names count as they do for a call.

        Args:
            model: as in the call: a provider's, a virtual one, or "provider/model".
            messages: as in the call.
            max_tokens: the output cap, whatever the API calls it.
            dialect: "anthropic" or "openai", where the model's name does not tell.
            body: the rest of the call: `system=`, `tools=`, `n=`, or `input=` for Responses.

        Raises:
            BadRequest: it is no call that could be sent.
            UnknownPrice: the model has no price.
        """
        from headgate.estimating import estimate
        from headgate.transport.context import current_caller

        return estimate(self._built, model, messages, max_tokens, dialect, body, current_caller())

    def budget(
        self,
        *,
        key: str = "",
        tenant: str = "",
        user: str = "",
        session: str = "",
        task: str = "",
        feature: str = "",
        environment: str = "",
        tags: Mapping[str, str] | None = None,
        model: str = "",
        provider: str = "",
    ) -> list[BudgetLeft]:
        """What is left in every budget that applies to a caller, the tightest first. Blocks for the ledger.

        Args:
            key, tenant, user, session, task, feature, environment, tags: the caller's. A budget whose dimension is
                not told does not apply, as to a call without it.
            model, provider: where calls would go; needed by budgets `per: model` and `per: provider` only.
        """
        built = self._built
        asked = Caller(key, tenant, user, session, task, feature, environment, dict(tags or {}))
        route = Route(provider, model, "", "")
        claims = built.engine.policies.budgets.claims(asked, route, model, built.engine.ports.clock.now())
        return sorted(map(left_of, built.ledger.balances(claims)), key=tightness)

    def set_budget(
        self,
        budget_id: str,
        *,
        usd: Decimal | str | float | None = None,
        tokens: int | None = None,
        key: str = "",
        tenant: str = "",
        user: str = "",
        session: str = "",
        task: str = "",
        feature: str = "",
        environment: str = "",
        tags: Mapping[str, str] | None = None,
        model: str = "",
        provider: str = "",
    ) -> BudgetLeft:
        """Change the cap of one account, at once and durably, in this period and later ones; who waits for money is
        looked at again. Blocks for the ledger.

        Args:
            budget_id: as `BudgetLeft.budget` has it: ``user/day``.
            usd: the new cap, 0 to 1,000,000,000 with at most nine decimals; None = as it is now.
            tokens: the new cap in tokens, 0 to 10**15; None = as it is now. One of the two is needed.
            key, tenant, user, session, task, feature, environment, tags, model, provider: whose; every dimension of
                the budget is needed, and others are not looked at.

        Returns:
            What is left under the new cap. A cap below what is spent leaves nothing.

        Raises:
            ConfigError: there is no such budget, a dimension is missing, or a cap is out of range.
            Unavailable: it could not be written.
        """
        caps = cap_amounts(usd, tokens)
        caller = Caller(key, tenant, user, session, task, feature, environment, dict(tags or {}))
        return self._changed(budget_id, caller, model, provider, caps)

    def unset_budget(
        self,
        budget_id: str,
        *,
        key: str = "",
        tenant: str = "",
        user: str = "",
        session: str = "",
        task: str = "",
        feature: str = "",
        environment: str = "",
        tags: Mapping[str, str] | None = None,
        model: str = "",
        provider: str = "",
    ) -> BudgetLeft:
        """Take back what `set_budget` changed: the configuration's cap counts again. Arguments as there."""
        caller = Caller(key, tenant, user, session, task, feature, environment, dict(tags or {}))
        return self._changed(budget_id, caller, model, provider, None)

    def _changed(
        self, budget_id: str, caller: Caller, model: str, provider: str, caps: tuple[int | None, int | None] | None
    ) -> BudgetLeft:
        built = self._built
        budget = budget_named(built.engine.policies.budgets.all, budget_id)
        scope = scope_told(budget, caller, model=model, provider=provider)
        now = built.engine.ports.clock.now()
        if caps is None:
            change = restore_cap(built.ledger, budget, scope, now)
        else:
            change = change_cap(built.ledger, budget, scope, now, nano=caps[0], tokens=caps[1])
        if change.made:
            built.log.event("budget_changed", **change.facts("python"))
        return left_of(change.after)

    @overload
    def map(  # type: ignore[overload-overlap]  # a coroutine function is one that returns something, too: first come
        self,
        function: Callable[[S], Coroutine[Any, Any, T]],
        items: Iterable[S],
        *,
        limit: int | None = None,
        on_progress: OnProgress | None = None,
        deadline: float | None = None,
        priority: Priority | None = "batch",
        progress: bool = False,
    ) -> AsyncRun[T]: ...
    @overload
    def map(
        self,
        function: Callable[[S], T],
        items: Iterable[S],
        *,
        limit: int | None = None,
        on_progress: OnProgress | None = None,
        deadline: float | None = None,
        priority: Priority | None = "batch",
        progress: bool = False,
    ) -> BlockingRun[S, T]: ...
    def map(
        self,
        function: Callable[[S], Any],
        items: Iterable[S],
        *,
        limit: int | None = None,
        on_progress: OnProgress | None = None,
        deadline: float | None = None,
        priority: Priority | None = "batch",
        progress: bool = False,
    ) -> Any:
        """Call a function that uses a synchronous SDK client for each item, in threads; an ``async def`` goes to
        `amap`. Nothing begins before the run is gone through:

            for outcome in gate.map(classify, rows): ...    # in the rows' order, as they come
            results = gate.map(classify, rows).all()        # all of them; failures are kept

        Attribution (`headgate.caller`) is that of where this is called.

        Args:
            function: called with one item. Read streams inside it.
            items: taken one by one, as there is room, in the thread that goes through the run.
            limit: calls under way at once, 1 or more; 16 in threads and 64 in tasks if None.
            on_progress: called after each with (done, total, failed, cost_usd).
            deadline: seconds for all of it; then what is under way times out, and items that were not begun have
                `DeadlinePassed` as their error.
            priority: "batch" lets interactive calls go first; None leaves it as `headgate.caller` has it.
            progress: a bar on a terminal, where rich is installed.

        Raises:
            ConfigError: `limit`, `deadline` or `priority` is out of range.
        """
        if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
            return self.amap(
                function,
                items,
                limit=limit,
                on_progress=on_progress,
                deadline=deadline,
                priority=priority,
                progress=progress,
            )
        from headgate.many.blocking import BlockingRun
        from headgate.many.run import THREAD_LIMIT, Terms

        terms = Terms(THREAD_LIMIT if limit is None else limit, deadline, priority, on_progress, progress)
        return BlockingRun(function, items, terms, self._built.blocking_engine.ports.clock.now)

    def amap(
        self,
        function: Callable[[S], Awaitable[T]],
        items: Iterable[S] | AsyncIterable[S],
        *,
        limit: int | None = None,
        on_progress: OnProgress | None = None,
        deadline: float | None = None,
        priority: Priority | None = "batch",
        progress: bool = False,
    ) -> AsyncRun[T]:
        """As `map`, in tasks of the running asyncio loop, for asynchronous SDK clients: ``await`` the run for all
        outcomes, or iterate with ``async for``. At the deadline what is under way is cancelled.

        Args:
            items: may be an asynchronous iterable, too; those that it has not told by the deadline have no outcome.
        """
        from headgate.many.asynchronous import AsyncRun
        from headgate.many.run import ASYNC_LIMIT, Terms

        terms = Terms(ASYNC_LIMIT if limit is None else limit, deadline, priority, on_progress, progress)
        return AsyncRun(function, items, terms)

    def flush(self) -> None:
        """Block until everything that has ended is in the ledger and in the log."""
        self._built.ledger.flush()
        self._built.log.flush()

    def close(self) -> None:
        """Write what is queued and give the ledger's file back. Clients made by this gate refuse further calls."""
        self._built.close()

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _need_httpx() -> None:
    if find_spec("httpx") is None:
        raise ConfigError(
            "a legacy client needs httpx, which is not installed: pip install 'headgate[legacy-httpx]'. "
            "anthropic 1 and later and openai 3 and later do not need it: give them gate.client()"
        )
