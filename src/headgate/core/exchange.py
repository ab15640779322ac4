"""The record of one call: Request, Route, Attempt, Ending, Exchange. Written only by the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from headgate.core.approvals import Parked
from headgate.core.budget import Claim
from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded, HeadgateError, UpstreamError
from headgate.core.guards import Finding, worst
from headgate.core.limits import Taken
from headgate.core.secret import Secret
from headgate.core.usage import Usage

if TYPE_CHECKING:
    from headgate.core.cache import Stored

Headers = Sequence[tuple[bytes, bytes]]
"""Header fields as (lower-case name, value), in order, duplicates kept."""


class Upload(Protocol):
    """A request body that is sent while it is read, once: what has begun cannot be sent again.

    Attributes:
        length: bytes; None where the caller has not told.
        begun: a piece has been read.
    """

    length: int | None
    begun: bool

    async def read(self) -> bytes:
        """The next piece, b"" at the end.

        Raises:
            Gone: the caller left before the end.
        """
        ...


Prepared = dict[tuple[str, int, bool], tuple[str, Headers]]
"""By provider, credential object and whether the answer has to be plain: the credential's value then, and the headers
that carry it. Never logged."""


class Ending(StrEnum):
    """How an exchange ended. Every exchange has exactly one."""

    COMPLETE = "complete"  # the answer reached its own end (a model's refusal is a complete answer)
    REFUSED = "refused"  # Headgate said no
    FAILED = "failed"  # no provider answered; nothing but an error, or a sentence of ours, reached the caller
    CUT = "cut"  # the provider failed after content had been handed on
    ABANDONED = "abandoned"  # the caller closed or left while the answer was coming
    CANCELLED = "cancelled"  # the caller left before anything was handed on
    KILLED = "killed"  # our process died; written by the sweep that found the open intent


@dataclass(frozen=True, slots=True)
class Route:
    """Where an attempt goes: provider, model, credential.

    `base_url` is what comes before the dialect's path (``https://api.anthropic.com`` for Anthropic,
    ``https://api.openai.com/v1`` for OpenAI), without a trailing slash.
    """

    provider: str
    model: str  # as the provider knows it; "" = leave the caller's
    dialect: str  # "anthropic" | "openai"
    base_url: str
    credential: Secret | None = None  # None: the caller's own credential passes through (in process)
    drain: bool = False  # on a caller's disconnect read the answer to its end instead of closing
    drain_seconds: float = 30.0  # with `drain`: the longest that an abandoned answer is read on
    drain_nano: int = 100_000_000  # with `drain`: nano-dollars, the most that reading on may cost
    bills_to_end: bool = False  # the provider bills the whole answer even if we hang up (decisions 6)


@dataclass
class Facts:
    """What the engine needs to know of a request's body; found by `wire` without a full decode.

    Immutable by convention, as `Usage` is. Without slots, as `Request` is.
    """

    model: str = ""
    stream: bool = False
    max_output_tokens: int | None = None  # the cap the caller set, per choice
    choices: int = 1  # OpenAI's n
    user: str = ""  # metadata.user_id, safety_identifier or user
    system: bytes = b""  # the raw system prompt, for the HMAC in the log
    include_usage: bool = False  # OpenAI streams: the caller asked for the usage chunk
    has_media: bool = False
    server_side: bool = False  # server tools, stored state, containers: cannot be bounded by bytes
    user_message: str = ""  # the last user turn's text; only filled when bodies are logged
    state: tuple[str, ...] = ()  # ids of what a provider keeps, that the request refers to
    keeps: bool = False  # the provider keeps the answer, for later requests to refer to
    images: int = 0  # the media are so many images, all of them in the body; 0 = other media, or none
    image_bytes: int = 0  # of the body, which are those images'
    has_tools: bool = False  # it brings tools for the model to call
    fast: bool = False  # Anthropic's fast mode, which has rate limits of its own
    background: bool = False  # OpenAI Responses: generated, and billed, whether or not anybody stays for the answer


@dataclass
class Request:
    """One logical call as a way in hands it over. `headers` hold no hop-by-hop fields and no credential of ours.

    Without slots: who makes many that differ in little copies the `__dict__` of one, a third of setting each field.
    """

    dialect: str  # "anthropic" | "openai"
    endpoint: str  # as `wire.dialect.Dialect.endpoint` names it: "messages", "chat", "models", "other", ...
    method: str  # upper case
    path: str  # behind the route's base_url, with the query: "/v1/messages?beta=true", "/chat/completions"
    headers: Headers
    body: bytes
    facts: Facts
    caller: Caller
    way_in: str  # "gateway" | "in-process"
    correlation_id: str = ""
    timeout: float | None = None  # seconds; an upper bound on the whole exchange, the caller's own
    provider: str = ""  # the path named this provider (/p/<provider>/...); no other may serve
    direct: Route | None = None  # in process: the SDK's own base URL and credential
    client_retries: int = 0  # x-stainless-retry-count: the caller is retrying on top of us
    own_url: str = ""  # what the way in calls itself, where links in the answer have to lead back to it
    upload: Upload | None = None  # a body too large to hold; `body` is empty then
    prepared: Prepared | None = None  # shared by requests with the same `headers`: what they are sent with
    batch: bool = False  # of many, nobody waits for it in person: interactive exchanges go first
    address: str = ""  # the caller's network address, as limits count by it; "" = not known
    on_cut: str = ""  # what the caller wants of a stream that breaks off: "error", "buffer", "restart"; "" = not told
    approval: str = ""  # tokens or ids of parked tool calls that the caller wants to have now; "" = none
    cache: str = ""  # what the caller wants of kept answers: "off", "refresh", "only"; "" = not told
    # A guard of ours asks, by its name: nobody guards it, and its caller's limits do not count it. Never by position:
    # what ways in take from headers must not slip into its place.
    of_guard: str = field(default="", kw_only=True)
    # Set aside for it by the batch that it is of, in nano-dollars: only an attempt that goes beyond it is held.
    prepaid_nano: int = field(default=0, kw_only=True)
    # We ask for a purpose of our own, by its name: its caller's limits do not count it, and no witness sees it.
    on_our_own: str = field(default="", kw_only=True)
    may_defer: bool = field(default=False, kw_only=True)  # the caller takes a promise for an answer (respond-async)
    webhook: str = field(default="", kw_only=True)  # by its name in `jobs.webhooks`: who is told of a deferred answer
    patience: float | None = field(default=None, kw_only=True)  # seconds of silence after which the caller's SDK leaves


@dataclass
class Attempt:
    """One request to one route. Times are seconds since the epoch; money is nano-dollars.

    Without slots, as `Request` is; `new_attempt` makes one.
    """

    number: int  # 1, 2, ...
    route: Route
    started: float
    bound_nano: int | None = None  # the upper bound that the intent row holds; None = could not be bounded
    waited: float = 0.0  # seconds slept before it, on purpose
    sent: bool = False  # handed to the network: from here on it may be billed
    first_byte: float | None = None  # response headers arrived
    first_content: float | None = None
    ended: float | None = None
    status: int = 0  # the provider's HTTP status, 0 = none
    error: UpstreamError | None = None
    usage: Usage | None = None
    model_served: str = ""
    cost_nano: int = 0
    estimated: bool = False  # cost_nano is an estimate, not from the provider's usage
    price_version: str = ""
    stop_reason: str = ""
    request_id: str = ""  # the provider's
    simulated: bool = False
    usage_final: bool = False  # of a stream that failed: `usage` is the provider's last word all the same
    bound_tokens: int = 0  # as `bound_nano`: prompt and output together
    output_cap: int = 0  # tokens per choice to put into a request without a cap of its own; 0 = leave it
    claims: tuple[Claim, ...] = ()  # the accounts that `bound_nano` and `bound_tokens` are held on
    left_nano: int | None = None  # in the tightest of them, with this hold taken; None = no cap in dollars
    turn: object | None = None  # leave to send it: `core.ports.Turns`
    warning: str = ""  # a budget of them that is near its cap, in words for a header
    sent_as: Request | None = None  # the request as its route gets it, where it had to be translated
    lasting: bool = False  # its hold is a batch's: nobody waits for it to settle (decisions 4)
    elsewhere_nano: int = 0  # its hold settles with this, too, which the rows of other exchanges show
    elsewhere_tokens: int = 0
    lost: tuple[str, ...] = ()  # what translation lost, by the words of `wire.translate.FEATURES`
    marks: object | None = None  # what was decided of the provider's prompt cache: `policy.prompt_caching.Marks`
    marked: bytes = b""  # the body with marks for it; b"" = there are none
    prefix: str = ""  # which beginning its prompt shares with others, by name; "" = none that is kept track of
    saved_nano: int = 0  # by the provider's prompt cache, in nano-dollars; negative = lost
    nested: bool = False  # `usage` has tokens of hops of its answer (`Usage.whole`), whose prompts were others
    waited_turn: float = 0.0  # of `waited`, for leave to send
    waited_money: float = 0.0  # of `waited`, for others to settle; the rest was before a retry

    @property
    def used_tokens(self) -> int:
        """Prompt and output together, as its usage has them; 0 without one."""
        usage = self.usage
        if usage is None:
            return 0
        # `prompt_tokens` in place: this is on the way of every call.
        prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens + usage.cache_write_long_tokens
        return prompt + usage.output_tokens


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that a provider keeps, and how it is reached.

    Attributes:
        id: the provider's.
        provider, model: of the route it was made by; the model is "" where none was asked for.
        place: which of the provider's keys, from 0.
        owner: whose it is; "" = nobody's in particular.
    """

    id: str
    provider: str
    model: str
    place: int
    owner: str


@dataclass
class Exchange:
    """One logical call, from admission to settlement. Without slots, as `Request` is; `new_exchange` makes one."""

    id: str
    request: Request
    started: float  # seconds since the epoch
    attempts: list[Attempt] = field(default_factory=list)
    ending: Ending | None = None
    error: HeadgateError | None = None
    ended: float | None = None
    status: int = 0  # the HTTP status the caller got, 0 = none
    response_text: str = ""  # only with log bodies: full
    cache: str = ""  # hit, miss, bypass, similar; "" where no answer of its kind is kept
    cache_why: str = ""  # a word for a bypass, see `policy.caching`
    detached: bool = False  # others wait for its answer, too: what runs it settles it, and not its own caller's leaving
    recalled: Stored | None = None  # the kept answer that its caller got
    upstream_gateway: str = ""  # the exchange id of a Headgate that already charged this call (decisions 20)
    kept: Sequence[Kept] = ()  # what the provider keeps since this call, for later ones to refer to
    unsent: int = 0  # attempts whose intent was on record and was closed again: they are not in `attempts`
    pruned: str = ""  # what of its conversation was not sent, in words for a header and the log; "" = all was
    compacted: int = 0  # characters of white space that were left out of its system prompts
    degraded: str = ""  # how, if so: "budget <name>: <model>", "<class>: <model>", "<class>: say"
    no_room: BudgetExceeded | None = None  # the budget that had none for what was asked, where something less answers
    discarded_texts: tuple[str, ...] = ()  # with log bodies: full: of streams that broke off and were begun anew
    stood_in: bool = False  # what the caller got is no provider's answer: a sentence of ours, or a substitute
    taken: Taken | None = None  # by the caller's limits; None: it has none, or they were not asked
    waited: float = 0.0  # seconds for turns that never came; what came of others is in their attempts
    guarded: bool = False  # guards have looked at it
    findings: tuple[Finding, ...] = ()  # what they had to say of it
    parked: tuple[Parked, ...] = ()  # tool calls of its answer that wait for a person
    original: Request | None = None  # as it came in, where `core.ports.Ports.witnesses` are to see it
    limit_headers: Headers = ()  # how the caller stands with its limits, as response headers; () = none applies
    shape: object | None = None  # once settled: what it has in common with others, `stores.shape.Shape`

    @property
    def cost_nano(self) -> int:
        """The sum over all attempts, in nano-dollars."""
        return sum(a.cost_nano for a in self.attempts)

    @property
    def estimated(self) -> bool:
        """True where any part of the cost is an estimate."""
        return any(a.estimated for a in self.attempts)

    @property
    def verdict(self) -> str:
        """What its guards made of it all: the most severe; "" where there were none."""
        return str(worst(finding.verdict for finding in self.findings)) if self.guarded else ""

    @property
    def degradation(self) -> str:
        """How its answer is less than what was asked for, in words for a header and the log; "" where it is not."""
        attempts = self.attempts
        if not attempts or not attempts[-1].lost or self.stood_in:
            return self.degraded
        last = attempts[-1]
        said = f"translated: {', '.join(last.lost)}"
        return f"{self.degraded}; {said}" if self.degraded else said

    @property
    def last(self) -> Attempt | None:
        """The attempt that answered, or the last that failed."""
        return self.attempts[-1] if self.attempts else None

    @property
    def ttft(self) -> float | None:
        """Seconds from the caller's request to the first content, or None."""
        last = self.last
        if last is None or last.first_content is None:
            return None
        return last.first_content - self.started


_new = object.__new__
_EXCHANGE = vars(Exchange("", Request("", "", "", "", (), b"", Facts(), Caller(), ""), 0.0))
_ATTEMPT = vars(Attempt(0, Route("", "", "", ""), 0.0))


def new_exchange(id_: str, request: Request, started: float) -> Exchange:
    """`Exchange(id_, request, started)`, for the way of every call."""
    made = _new(Exchange)
    made.__dict__ = _EXCHANGE.copy()
    made.id, made.request, made.started, made.attempts = id_, request, started, []
    return made


def new_attempt(number: int, route: Route, started: float, bound_nano: int, waited: float) -> Attempt:
    """`Attempt(number, route, started, bound_nano, waited)`, likewise."""
    made = _new(Attempt)
    made.__dict__ = _ATTEMPT.copy()
    made.number, made.route, made.started, made.bound_nano, made.waited = number, route, started, bound_nano, waited
    return made
