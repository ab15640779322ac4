"""The configuration as typed, frozen objects. Units are in names; `docs/configuration.md` is the same for people.

Nothing here reads anything: `settings.load` makes these from headgate.yaml, the environment and flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, TypeVar

from headgate.core.budget import FULL, WARN_AT
from headgate.core.ports import Timeouts
from headgate.policy.alert_rules import RULES, AlertRule
from headgate.policy.fallback import Lists
from headgate.policy.guards.answers import AnswerRules
from headgate.policy.rules import Rule
from headgate.policy.shadowing import ShadowRules
from headgate.policy.shaping import History
from headgate.policy.similar import SimilarRules
from headgate.settings.alerts import AlertSettings
from headgate.settings.cache import CacheSettings
from headgate.settings.guard_model import GuardSettings
from headgate.settings.jobs import JobSettings
from headgate.settings.last_good import LastGoodSettings
from headgate.settings.secrets import SecretRef
from headgate.settings.telemetry import MetricsSettings, TraceSettings

DRAIN_SECONDS = 30.0
DRAIN_USD_NANO = 100_000_000
RETRY_SHARE = 2_000  # basis points: `policy.retry_budget.SHARE`
BATCH_FLOOR = 1_000  # basis points: `policy.fair_queue.BATCH_FLOOR`

K = TypeVar("K")
V = TypeVar("V")

Rates = Mapping[str, Decimal]
"""Exact USD per million tokens by token class, 0 to 1,000,000, at most 6 decimals (a pico-dollar per token).

Keys: `RATE_KEYS`; `input` and `output` are always there. `web_search` is per 1,000 searches, at most 9 decimals.
"""

RATE_KEYS = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "output_audio",
    "cache_read_audio",
    "web_search",
)


def frozen(mapping: Mapping[K, V]) -> Mapping[K, V]:
    """A read-only copy."""
    return MappingProxyType(dict(mapping))


def _empty() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RouteName:
    """A route as configuration writes it: `provider/model`."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class LossySettings:
    """What becomes of what the other dialect cannot say: "refuse" or "drop"."""

    rest: str = ""  # of every feature that is not named; "" = each feature's own default
    features: Mapping[str, str] = field(default_factory=lambda: frozen({}))  # by a word of `wire.translate.FEATURES`


@dataclass(frozen=True, slots=True)
class VirtualSettings:
    """What a virtual model is besides routes in order. With rules it has no routes of its own."""

    prefer: str = ""  # "weight" | "cost" | "latency" | "quality"; "" = the order written
    weights: Mapping[str, int] = field(default_factory=lambda: frozen({}))  # by provider/model; 1 if it has none
    qualities: Mapping[str, int] = field(default_factory=lambda: frozen({}))  # by provider/model, 0..100
    rules: tuple[Rule, ...] = ()  # the first that holds says which model serves
    use: str = ""  # with rules: the model where none holds
    fallback: Lists = field(default_factory=lambda: frozen({}))  # by class of failure, or "any": names of models
    lossy: LossySettings | None = None  # over the global one, under a task's; None = not told


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider."""

    name: str  # letters, digits, - and _, at most 64
    dialect: str  # "anthropic" | "openai"; the two defaults' is fixed
    base_url: str  # what comes before the dialect's path, http(s), without a trailing slash
    api_key: SecretRef | tuple[SecretRef, ...] | None = None  # several: used in turn; None: it wants no credential
    price: Literal["free"] | Rates | None = None  # None: from the price book
    on_disconnect: str = "close"  # "close" | "drain": what to do upstream when the caller leaves
    bills_to_end: bool = False  # the provider bills the whole answer even if we hang up (decisions 6)
    drain_seconds: float = DRAIN_SECONDS  # 0.1..1 h; with "drain": the longest that an abandoned answer is read on
    drain_usd_nano: int = DRAIN_USD_NANO  # nano-dollars; with "drain": the most that reading on may cost
    discount_basis_points: int = 0  # 0..9,999, off the price book's rates; not off `price` and `prices`
    requests_per_minute: int | None = None  # 1..10**9: a ceiling that pacing keeps beside the provider's own limit
    tokens_per_minute: int | None = None  # 1..10**12, likewise; prompt and output together
    pacing: bool = True  # wait before the provider says no; False: only what it tells with a 429 is waited for
    concurrency: Literal["auto", "off"] | int = "auto"  # calls at once: follows its capacity, no cap, or 1..100,000
    timeouts: Mapping[str, float] = field(default_factory=lambda: frozen({}))  # seconds, by name: only what it says
    breaker: bool = True  # leave a route alone for a while when it fails
    slow_seconds: float | None = None  # 1 ms..1 day to the first content: slower ones count; None = slowness does not
    proxy: str = field(default="", repr=False)  # http(s) URL; "" = as HTTP(S)_PROXY say; may hold a credential

    @property
    def api_keys(self) -> tuple[SecretRef, ...]:
        """All of its keys, in the order they are written in."""
        told = self.api_key
        return () if told is None else told if isinstance(told, tuple) else (told,)

    def has_key(self, env: Mapping[str, str]) -> bool:
        """It wants no key, or one of its keys is set, as `SecretRef.is_set` says."""
        return self.api_key is None or any(each.is_set(env) for each in self.api_keys)


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """Who retries, and how long. A tenacity wait strategy is passed in Python, not here."""

    attempts: int = 4  # 1..20 in all, over all routes; 1 = the caller's SDK owns the retries
    deadline_seconds: float = 120.0  # > 0, to first content: no new attempt after it
    budget_basis_points: int | None = RETRY_SHARE  # 0..10,000: retries per success at a provider; None = any number


@dataclass(frozen=True, slots=True)
class FairnessSettings:
    """How those who wait for the same provider share what it lets through."""

    tenants: Mapping[str, float] = field(
        default_factory=lambda: frozen({})
    )  # weight, 0.01..1,000; 1 where none is told
    batch_floor_basis_points: int = BATCH_FLOOR  # 0..9,000: batch's share while interactive exchanges wait, too


@dataclass(frozen=True, slots=True)
class DegradeSettings:
    """One step of what is tried when an answer cannot be had. Exactly one of `model`, `say` and `use` is set."""

    on: tuple[str, ...]  # of `policy.ladder.CLASSES`, in that order
    model: str = ""  # whose routes are tried: a virtual model, provider/model or a plain model name
    say: str = ""  # a sentence for a person, at most 4,000 characters
    use: str = ""  # "last_good" | "similar"


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What calls of one task get. `retry` and `timeouts` are complete: the global ones where the task says nothing."""

    name: str
    model: str = ""  # a virtual model, provider/model or a plain model name; "" = what the caller asks for
    max_tokens: int | None = None  # output cap, 1..10,000,000; None = the caller's
    guards: GuardSettings = field(default_factory=GuardSettings)
    cache_seconds: float | None = None  # 0 = off; None = as the key, or `cache.default`, says
    on_cut: str = "error"  # "error" | "buffer" | "restart" (decisions 13)
    thinking: str = "keep"  # "keep" | "drop" (decisions 14)
    retry: RetrySettings = RetrySettings()
    timeouts: Timeouts = field(default_factory=Timeouts)  # the task's `timeout` is `timeouts.total`
    timeouts_told: frozenset[str] = frozenset()  # those of them that the task itself says: they win over a provider's
    max_usd_per_call_nano: int | None = None  # complete too: the global one where the task says nothing
    degrade: tuple[DegradeSettings, ...] | None = None  # in place of the global ones; () = off; None = not told
    lossy: LossySettings | None = None  # over the global one; None = not told
    answer: AnswerRules | None = None  # what its answers have to be; None = whatever comes
    compact: bool = False  # white space that its system prompts do not need is left out
    history: History | None = None  # the most that is sent of a conversation; None = all of it
    prompt_caching: str = "auto"  # "auto" | "off"; complete, as `retry` is
    shadow: ShadowRules | None = None  # a second model, compared on live calls; None = there is none


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """A cap per scope and period. At least one of the three caps is set; `usd_nano` and `tokens` are always hard.

    A dimension: tenant, key, user, session, task, feature, model, provider, environment or "tag:<name>".
    """

    per: tuple[str, ...] = ()  # dimensions, in the order above; () = everything together
    usd_nano: int | None = None  # nano-dollars, 0..1e9 USD; 0 lets nothing through
    tokens: int | None = None  # 0..10**15
    every: str = ""  # "minute" | "hour" | "day" | "week" | "month" | "year"; "" = for good
    alert_at_basis_points: tuple[int, ...] = (WARN_AT, FULL)  # hundredths of a percent of the cap, ascending, to 10,000
    degrade_to: str = ""  # `then: degrade <model>`; "" = refuse
    queues: bool = False  # `then: queue`: what does not fit and may be deferred becomes a job
    soft_usd_nano: int | None = None  # nano-dollars, at most `usd_nano`: warns, and refuses nothing
    only: tuple[tuple[str, str], ...] = ()  # (dimension, value) that a call must have, sorted
    zone: str = "UTC"  # IANA name: whose midnight the period begins at


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Requests or tokens per minute of each scope. At least one is set."""

    per: tuple[str, ...] = ()  # dimensions, as in BudgetSettings, or "address"; () = everything together
    requests_per_minute: int | None = None  # 1..10**9
    tokens_per_minute: int | None = None  # 1..10**12; prompt and output together
    only: tuple[tuple[str, str], ...] = ()  # (dimension, value) that a call must have, sorted
    queues: bool = False  # `then: queue`, as in BudgetSettings


@dataclass(frozen=True, slots=True)
class UnknownPriceSettings:
    """What to do with a model without a price (promise 4): refuse, or charge a ceiling for every token."""

    ceiling_pico_per_token: int | None = None  # pico-dollars per token; None = refuse


@dataclass(frozen=True, slots=True)
class InvoiceTerms:
    """What one tenant is billed on top of cost. `markup_basis_points`: hundredths of a percent of it."""

    markup_basis_points: int = 0  # 0..100,000 (1,000%)
    minimum_nano: int = 0  # nano-dollars a month, at least


@dataclass(frozen=True, slots=True)
class InvoiceSettings:
    """Whose invoices they are, and on what terms. The currency is always USD."""

    markup_basis_points: int = 0  # as in InvoiceTerms, for tenants without their own
    minimum_nano: int = 0
    seller: str = ""  # who sends the invoice; "" = not told
    tenants: Mapping[str, InvoiceTerms] = field(default_factory=lambda: frozen({}))  # complete: own, else global

    def for_tenant(self, name: str) -> InvoiceTerms:
        """The tenant's terms: its own, or else everybody's."""
        return self.tenants.get(name) or InvoiceTerms(self.markup_basis_points, self.minimum_nano)


@dataclass(frozen=True, slots=True)
class AnomalySettings:
    """What counts as unusual. An anomaly is told, and refuses nothing."""

    enabled: bool = True
    tokens_ratio: float = 2.0  # > 1..1,000; a call's tokens over the caller's usual
    spend_ratio: float = 2.0  # > 1..1,000; a day's spending over its trend
    session_nano: int = 5_000_000_000  # nano-dollars of one session within the window below
    session_window_seconds: float = 600.0  # 1..1 day
    new_model: bool = True  # a model that the caller has not used before


@dataclass(frozen=True, slots=True)
class KeySettings:
    """A virtual key from the file; more with `headgate keys create`."""

    name: str
    key: SecretRef
    tenant: str = ""
    environment: str = ""
    may_speak_for_tenants: bool = False  # may set x-headgate-tenant
    cache_seconds: float | None = None  # as in TaskSettings
    budgets: tuple[BudgetSettings, ...] = ()  # for its calls only, beside the global ones
    limits: tuple[LimitSettings, ...] = ()  # likewise


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The searchable record of exchanges."""

    bodies: str = "redacted"  # "off" | "redacted" (without personal data and credentials) | "full"
    keep_seconds: float = 30 * 86400.0  # 60..10 years
    store: bool = True  # its lines go into the log store, too, to be searched
    keep_bytes: int = 10 * 1024**3  # 10 MB..: of the log store's file; the oldest goes first
    spool_bytes: int = 256 * 1024**2  # 1 MB..: JSON lines that were stored and are kept all the same
    requests: bool = False  # the whole request, as `bodies` says, for replay
    body_bytes: int = 64 * 1024  # 1 KB..16 MB: of a whole request


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The gateway's door. Sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"  # off loopback only with keys (decisions 18)
    port: int = 8484  # 0..65535; 0 = any free port
    max_body_bytes: int = 33 * 1024 * 1024  # 1 KiB..1 GiB; just above Anthropic's 32 MB, so that its 413 is passed on
    max_upload_bytes: int = 1024**3  # 1 KiB..1 TiB; of bodies that go through piece by piece: files, batches
    max_header_bytes: int = 64 * 1024  # 1 KiB..1 MiB, the whole block
    max_header_count: int = 100  # 10..10,000
    max_url_bytes: int = 8 * 1024  # 256..64 KiB
    header_timeout_seconds: float = 10.0  # from the first byte to the end of the headers
    body_timeout_seconds: float = 30.0  # between two pieces of a body
    write_timeout_seconds: float = 60.0  # a caller that does not read
    keep_alive_seconds: float = 75.0  # an idle connection
    drain_seconds: float = 30.0  # 0..3600, after SIGTERM
    public_url: str = ""  # where people reach the dashboard, without a slash at its end; "" = not told
    trusted_proxies: tuple[str, ...] = ()  # networks in CIDR: peers whose X-Forwarded-For is believed


def _default_providers() -> Mapping[str, ProviderSettings]:
    return frozen(
        {
            "anthropic": ProviderSettings(
                "anthropic", "anthropic", "https://api.anthropic.com", SecretRef("env", "ANTHROPIC_API_KEY")
            ),
            "openai": ProviderSettings(
                "openai", "openai", "https://api.openai.com/v1", SecretRef("env", "OPENAI_API_KEY")
            ),
        }
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything headgate.yaml, HEADGATE_* and flags say. `Settings()` is the defaults."""

    source: str = ""  # the file that was read, "" = none
    providers: Mapping[str, ProviderSettings] = field(default_factory=_default_providers)
    models: Mapping[str, tuple[RouteName, ...]] = field(default_factory=lambda: frozen({}))
    virtual: Mapping[str, VirtualSettings] = field(default_factory=lambda: frozen({}))  # of those that are more
    fallback: Lists = field(default_factory=lambda: frozen({}))  # of models that say nothing of a class
    tasks: Mapping[str, TaskSettings] = field(default_factory=lambda: frozen({}))
    budgets: tuple[BudgetSettings, ...] = ()
    limits: tuple[LimitSettings, ...] = ()
    prices: Mapping[str, Literal["free"] | Rates] = field(default_factory=lambda: frozen({}))  # by "provider/model"
    unknown_price: UnknownPriceSettings = UnknownPriceSettings()
    unbounded: str = "refuse"  # "refuse" | "ceiling": what cannot be bounded (decisions 2)
    refusal_status: Mapping[str, int] = field(default_factory=lambda: frozen({}))  # {"budget": 402 | 429}
    max_usd_per_call_nano: int | None = None  # nano-dollars, 0..1e9 USD, of an exchange's bound; None = no ceiling
    zone: str = "UTC"  # IANA name: whose midnight budgets' periods begin at
    invoices: InvoiceSettings = InvoiceSettings()
    anomalies: AnomalySettings = AnomalySettings()
    retry: RetrySettings = RetrySettings()
    fairness: FairnessSettings = FairnessSettings()
    degrade: tuple[DegradeSettings, ...] = ()  # in order of preference
    lossy: LossySettings = LossySettings()
    similar: SimilarRules | None = None  # None: only the very same question has a kept answer
    jobs: JobSettings = field(default_factory=JobSettings)
    last_good: LastGoodSettings = field(default_factory=LastGoodSettings)
    timeouts: Timeouts = field(default_factory=Timeouts)
    guards: GuardSettings = field(default_factory=GuardSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    caps: str = "off"  # "off" | "defaults" | "enforce": `policy.caps.DEFAULT_CAPS`, where a task says no `max_tokens`
    prompt_caching: str = "auto"  # "auto" | "off": marks for providers' prompt caches, where they pay
    storage: str = field(
        default="sqlite:///headgate.db", repr=False
    )  # sqlite:///path ("{pid}" allowed) | postgresql:// | memory
    durability: str = "process"  # "process" (survives kill -9) | "full" (survives power loss) (decisions 6)
    shared: str = field(default="memory", repr=False)  # "memory" | redis:// | rediss://; may hold a credential
    keys: tuple[KeySettings, ...] = ()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    traces: TraceSettings = field(default_factory=TraceSettings)
    alerts: tuple[AlertSettings, ...] = ()  # who is told
    alert_rules: Mapping[str, AlertRule] = field(default_factory=lambda: RULES)  # of what
    dashboard: bool = True  # pages at the gateway's `/`
    server: ServerSettings = ServerSettings()
    secrets_refresh_seconds: float = 300.0  # 1..1 day: how often stores are asked for changed secrets
    warnings: tuple[str, ...] = ()  # one line each, for people; print them at start
    origins: Mapping[str, str] = field(default_factory=_empty, repr=False)  # "retry.attempts" -> "headgate.yaml:3:5"

    @property
    def price_overrides(self) -> Mapping[str, Literal["free"] | Rates]:
        """Prices by "provider" and "provider/model", as `policy.pricebook` takes them."""
        own = {name: provider.price for name, provider in self.providers.items() if provider.price is not None}
        return frozen({**own, **self.prices})
