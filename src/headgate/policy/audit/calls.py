"""Calls as the audit sees them: what is on record of each, and what is left of it behind each change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from headgate.core.errors import UnknownPrice
from headgate.core.usage import Usage
from headgate.policy.pricebook import PriceBook
from headgate.policy.pricing import cost_nano


@dataclass(frozen=True, slots=True)
class Call:
    """One charged call, from the ledger or somebody's log. Money is nano-dollars.

    Attributes:
        at: when it was sent, seconds since the epoch.
        ready: when its answer began, seconds since the epoch: from then on what it wrote to a prompt cache can be read.
        charged_nano: what it cost by the record; None where the record has no cost.
        owner: within whom answers may be shared: the tenant, else the key.
        digest: the same for requests of the same bytes; "" = not known.
        system: the same for the same system prompt; "" = none, or not known.
        system_tokens: how long that is, known or estimated; 0 = not known.
        cap: the output cap it asked with; 0 = none, or not known.
        batch: nobody waited for it in person (`x-headgate-priority: batch`).
        streamed: its answer was streamed; None = not known.
        whole: its answer was complete, so that it could have been kept.
        fixed: its cost follows from more than is on record: nothing is advised about it.
    """

    at: float
    provider: str
    model: str
    usage: Usage
    charged_nano: int | None = None
    ready: float = 0.0
    dialect: str = ""
    served: str = ""
    task: str = ""
    feature: str = ""
    tenant: str = ""
    user: str = ""
    session: str = ""
    owner: str = ""
    digest: str = ""
    system: str = ""
    system_tokens: int = 0
    cap: int = 0
    batch: bool = False
    streamed: bool | None = None
    whole: bool = True
    fixed: bool = False


@dataclass(slots=True)
class Kept:
    """A call as it is left by the changes so far.

    Attributes:
        nano: what it costs now, by the price book.
        made: False once it would have been answered from a cache.
        in_batch: it would go to the provider's batch endpoint.
    """

    call: Call
    model: str
    usage: Usage
    nano: int
    before_nano: int
    made: bool = True
    in_batch: bool = False

    @property
    def movable(self) -> bool:
        """Whether anything may be changed about it."""
        return self.made and not self.call.fixed and not self.in_batch


class Prices:
    """The price book, as the audit asks it."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book

    def cost(self, call: Call, model: str, usage: Usage, *, batch: bool = False) -> int | None:
        """Nano-dollars of a call with this model and usage; None where there is no price."""
        try:
            if model == call.model:
                price = self.book.price_served(call.provider, model, call.served, call.at)
            else:
                price = self.book.price_for(call.provider, model, call.at)
        except UnknownPrice:
            return None
        return cost_nano(price, usage, at=call.at, batch=batch)

    def now(self, kept: Kept, *, model: str = "", usage: Usage | None = None, batch: bool = False) -> int:
        """The same of a call as it is left, with something changed; never None for one that has a price."""
        found = self.cost(kept.call, model or kept.model, kept.usage if usage is None else usage, batch=batch)
        return kept.nano if found is None else found


@dataclass(frozen=True, slots=True)
class Advice:
    """One change, and what it would have saved of what the changes before it had left.

    Attributes:
        kind: one of `KINDS`.
        what: the change, in a sentence.
        about: which calls: "task classify", ...; for people.
        calls: how many calls it changes.
        saved_nano: nano-dollars over all of these calls.
        risk: what could go wrong, in a sentence.
        assumes: what has to be true for the number to be.
        settings: where it stands in headgate.yaml: ((keys..., value), ...); () = not a setting.
    """

    kind: str
    what: str
    about: str
    calls: int
    saved_nano: int
    risk: str
    assumes: tuple[str, ...] = ()
    settings: tuple[tuple[str | int | bool, ...], ...] = field(default=())


def start(calls: Iterable[Call], prices: Prices) -> tuple[list[Kept], int]:
    """(The calls at the price book's prices in order of time, how many of them have no price).

    A call without a price keeps what it was charged, and nothing is advised about it.
    """
    found: list[Kept] = []
    unknown = 0
    for call in sorted(calls, key=lambda each: each.at):
        nano = call.charged_nano if call.fixed else prices.cost(call, call.model, call.usage)
        told = call
        if nano is None:
            unknown += 1
            nano = call.charged_nano or 0
            told = replace(call, fixed=True)
        found.append(Kept(told, call.model, call.usage, nano, nano))
    return found, unknown


def by(calls: Iterable[Kept], key: Callable[[Kept], tuple[str, ...]]) -> dict[tuple[str, ...], list[Kept]]:
    """Grouped, the groups in order of their first call."""
    groups: dict[tuple[str, ...], list[Kept]] = {}
    for each in calls:
        groups.setdefault(key(each), []).append(each)
    return groups


def quantile(sorted_values: Sequence[int], share: float) -> int:
    """The value that at most `1 - share` of them are above. `sorted_values` must not be empty."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def with_prompt(usage: Usage, tokens: int) -> Usage:
    """The usage with a prompt of at most so many tokens: uncached ones go first, then what was written, then read."""
    over = usage.prompt_tokens - tokens
    if over <= 0:
        return usage
    left: list[int] = []
    for count in (
        usage.input_tokens,
        usage.cache_write_tokens,
        usage.cache_write_long_tokens,
        usage.cache_read_tokens,
    ):
        cut = min(count, over)
        over -= cut
        left.append(count - cut)
    plain, short, long, read = left
    return replace(
        usage,
        input_tokens=plain,
        cache_write_tokens=short,
        cache_write_long_tokens=long,
        cache_read_tokens=read,
        input_audio_tokens=min(usage.input_audio_tokens, plain),
        cache_read_audio_tokens=min(usage.cache_read_audio_tokens, read),
    )


def named(task: str) -> str:
    """Which calls, for people."""
    return f"task {task}" if task else "calls without a task"
