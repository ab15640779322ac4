"""The bodies of the admin API: what it takes, and what it tells. Money is decimal strings of USD, times are seconds
since the epoch, and null is what is not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headgate.core.text import sendable_json

Seconds = float
Usd = str

Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Named = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$")
]
PersonName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._@+-]{0,63}$")]
Password = Annotated[str, Field(min_length=12, max_length=1000)]
RoleName = Literal["admin", "operator", "viewer", "tenant-admin"]


class Taken(BaseModel):
    """A request's body: nothing but what is named, and no type for another."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Told(BaseModel):
    """An answer."""

    @model_validator(mode="before")
    @classmethod
    def _sendable(cls, told: Any) -> Any:
        """Names and arguments come from strangers: half of a surrogate pair in one would fail the whole answer."""
        return sendable_json(told)


class Problem(Told):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[dict[str, Any]] | None = None


class Me(Told):
    """Who asks."""

    name: str
    role: RoleName
    tenant: str
    way: str
    rights: list[str]


class OwnPassword(Taken):
    """A change of one's own password."""

    old: Annotated[str, Field(max_length=1000)]
    new: Password


class Ended(Told):
    """How many sessions have ended."""

    ended: int


class Key(Told):
    """A virtual key, without it. `source`: "ledger", or where the configuration has it."""

    id: str
    name: str
    tenant: str
    environment: str
    may_speak_for_tenants: bool
    last4: str
    created: Seconds | None
    rotated: Seconds | None
    revoked: Seconds | None
    source: str


class MadeKey(Key):
    """A key just made: `key` is told this once."""

    key: str


class Keys(Told):
    """Virtual keys."""

    keys: list[Key]


class NewKey(Taken):
    """A key to make."""

    name: Named
    tenant: Text = ""
    environment: Text = ""
    may_speak_for_tenants: bool = False


class Figures(Told):
    """What is spent, held and left of one account."""

    cap_usd: Usd | None
    spent_usd: Usd
    held_usd: Usd
    left_usd: Usd | None
    cap_tokens: int | None
    spent_tokens: int
    held_tokens: int
    left_tokens: int | None
    overridden: bool
    period_start: Seconds | None
    period_end: Seconds | None


class Account(Figures):
    """One account of a budget. `forecast_usd`: what the period comes to if it goes on as it has."""

    budget: str
    scope: str | None
    dimensions: dict[str, str]
    share: float | None
    used_up: bool
    soft: bool
    configured: bool
    configured_cap_usd: Usd | None
    configured_cap_tokens: int | None
    source: str
    changed: Seconds | None
    forecast_usd: Usd | None
    runs_out_at: Seconds | None


class Accounts(Told):
    """Accounts of budgets."""

    at: Seconds
    used_up: int
    budgets: list[Account]


class NewCap(Taken):
    """A cap to set: in USD, in tokens, or both."""

    usd: Annotated[str, Field(max_length=40)] | Annotated[int, Field(ge=0)] | None = None
    tokens: Annotated[int, Field(ge=0)] | None = None


class CapChange(Told):
    """One account, before and after."""

    budget: str
    scope: str
    dimensions: dict[str, str]
    soft: bool
    source: str
    before: Figures
    after: Figures


class Limit(Told):
    """A caller's limit, as it is configured."""

    per: list[str]
    only: dict[str, str]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    source: str


class Limits(Told):
    """Callers' limits."""

    limits: list[Limit]


class Approval(Told):
    """A tool call that waits for a person, or has waited."""

    id: str
    state: str
    tool: str
    arguments: Any
    edited: Any
    caller: dict[str, str]
    exchange: str
    created: Seconds
    expires: Seconds
    decided_by: str
    decided_at: Seconds | None
    note: str


class Approvals(Told):
    """Tool calls."""

    approvals: list[Approval]


class Decision(Taken):
    """What a person says. `arguments`: in place of the model's, with `approve`."""

    decision: Literal["approve", "deny"]
    arguments: dict[str, Any] | None = None
    reason: Text = ""


class Job(Told):
    """A deferred call, without its request and answer."""

    id: str
    state: str
    owner: str
    endpoint: str
    caller: dict[str, str]
    created: Seconds
    expires: Seconds
    due: Seconds
    tries: int
    status: int
    exchange: str
    maybe_paid_twice: bool
    why: str
    webhook: dict[str, Any] | None


class Jobs(Told):
    """Deferred calls, and how their queue stands."""

    jobs: list[Job]
    queue: dict[str, Any] | None


class Batch(Told):
    """A batch: its lines by what became of them, and what it has cost."""

    id: str
    name: str
    via: str
    state: str
    tenant: str
    total: int
    succeeded: int
    failed: int
    broken: int
    cancelled: int
    waiting: int
    sent: int
    same: int
    maybe_twice: int
    cost_usd: Usd
    created: Seconds
    ended: Seconds | None
    why: str


class Batches(Told):
    """Batches."""

    batches: list[Batch]


class Invoiced(Told):
    """Tenants that have an invoice of a month."""

    month: str
    tenants: list[str]


class OnTheWay(Told):
    """Attempts of a month that no line has yet, and the most that they can cost."""

    attempts: int
    bound_usd: Usd


class Invoice(Told):
    """What a tenant owes for a month (docs/accounting.md)."""

    tenant: str
    month: str
    zone: str
    start: str = Field(alias="from", serialization_alias="from")
    end: str = Field(alias="to", serialization_alias="to")
    issued: str
    seller: str
    currency: str
    provisional: bool
    on_the_way: OnTheWay
    by: list[str]
    lines: list[dict[str, Any]]
    markup_percent: str
    minimum_usd: Usd
    top_up_usd: Usd
    simulated_usd: Usd
    total: dict[str, Any]
    total_usd: Usd
    notes: list[str]


class Rates(Told):
    """One row of a model's rates."""

    service: str
    above_prompt_tokens: int
    usd_per_mtok: dict[str, str]
    usd_per_thousand: dict[str, str]


class Price(Told):
    """What a model costs now."""

    provider: str
    model: str
    source: str
    price_version: str
    context_window: int | None
    max_output_tokens: int | None
    rates: list[Rates]


class Prices(Told):
    """What models cost. `more`: there are more than are told."""

    version: str
    at: Seconds
    models: list[Price]
    more: bool


class Amounts(Told):
    """Sums over exchanges."""

    exchanges: int
    attempts: int
    cost_usd: Usd
    estimated_usd: Usd
    held_usd: Usd
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cache_write_long_tokens: int
    reasoning_tokens: int
    web_searches: int
    cache_hits: int


class Usage(Told):
    """What was spent: in all, and by the dimensions asked for, which are fields of the rows."""

    total: Amounts
    rows: list[dict[str, Any]]


class Providers(Told):
    """How traffic stands."""

    status: str
    providers: list[dict[str, Any]]


class Lifted(Told):
    """How many breakers were open."""

    provider: str
    lifted: int


class Whose(Taken):
    """Whose answers are to be forgotten: one of the three."""

    tenant: Named | None = None
    key: Named | None = None
    everything: Literal[True] | None = None


class Forgotten(Told):
    """How many were; null where the place does not tell."""

    forgotten: int | None
    cache: str


class Incident(Told):
    """What is stopped, slowed or degraded for a while."""

    model_config = ConfigDict(extra="allow")

    id: str
    kind: str
    scope: str
    value: str


class Incidents(Told):
    """Incidents."""

    incidents: list[Incident]


class NewIncident(Taken):
    """An incident to set. `to` is for degrade, `rate` (requests per minute) for slow."""

    kind: Literal["stop", "slow", "degrade"]
    scope: Literal["provider", "model", "task", "tenant"]
    value: Named
    to: Text = ""
    rate: Annotated[int, Field(ge=0, le=10**9)] = 0
    why: Text = ""
    seconds: Annotated[float, Field(ge=1, le=604_800, strict=False)] = 3600.0


class Alert(Told):
    """One rule that is broken somewhere, or was. `evidence`: a path of the dashboard."""

    id: str
    rule: str
    scope: str
    severity: str
    since: Seconds
    last: Seconds
    value: float
    threshold: float
    summary: str
    evidence: str
    count: int
    resolved: Seconds | None
    acknowledged: Seconds | None
    acknowledged_by: str
    state: str
    runbook: str


class Alerts(Told):
    """Alerts."""

    alerts: list[Alert]


class Setting(Told):
    """One setting in force, and where it comes from."""

    path: str
    value: Any
    origin: str


class Config(Told):
    """The configuration in force. Secrets are told by their references."""

    source: str
    warnings: list[str]
    settings: list[Setting]


class Person(Told):
    """Who may use the dashboard and this API."""

    name: str
    role: RoleName
    tenant: str
    created: Seconds
    changed: Seconds


class RemovedPerson(Person):
    """Somebody who was removed. `tokens_revoked`: the names of the API tokens that ended with it."""

    tokens_revoked: list[str]


class People(Told):
    """People."""

    people: list[Person]


class NewPerson(Taken):
    """A person to make. `tenant` is for a tenant-admin."""

    name: PersonName
    role: RoleName
    tenant: Text = ""
    password: Password


class NewRole(Taken):
    """Another role."""

    role: RoleName
    tenant: Text = ""


class NewPassword(Taken):
    """Another password."""

    password: Password


class Token(Told):
    """An API token, without it."""

    id: str
    name: str
    role: RoleName
    tenant: str
    made_by: str
    created: Seconds
    expires: Seconds | None
    revoked: Seconds | None


class MadeToken(Token):
    """A token just made: `token` is told this once."""

    token: str


class Tokens(Told):
    """API tokens."""

    tokens: list[Token]


class NewToken(Taken):
    """A token to make. `days`: after which it expires."""

    name: Named
    role: RoleName
    tenant: Text = ""
    days: Annotated[float, Field(gt=0, le=3_650, strict=False)] | None = 90.0


class AuditRow(Told):
    """One change."""

    number: int
    at: Seconds
    actor: str
    role: str
    way: str
    address: str
    action: str
    subject: str
    tenant: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    previous: str
    hash: str


class AuditRows(Told):
    """Changes, the newest first."""

    rows: list[AuditRow]


class Verified(Told):
    """What came of looking through the chain. `broken`: the number of the first row that is not as it was written."""

    sound: bool
    rows: int
    head: str
    broken: int | None
    why: str
