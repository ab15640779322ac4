"""Invoices: what a tenant owes for a month. Exact integer arithmetic, so that the lines are the total.

One rule for every amount: nano-dollars, never a float, and nothing is rounded twice.

- A line's **cost** is the ledger's. It is the part the provider reported plus the part that is estimated.
- The **markup** is worked out once, on the sum of all costs, rounded half-up to a nano-dollar. It is then shared among
  the lines in proportion to their cost by largest remainder (Hamilton's method): each line's share is within one
  nano-dollar of its exact one, and the shares add up to the markup. Ties go to the earlier line.
- Where cost and markup stay below the tenant's **minimum**, one more line makes up the difference.
- The **total** is the sum of the lines' amounts and that difference. There is no other rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

BASIS = 10_000
"""Basis points in the whole."""


@dataclass(frozen=True, slots=True)
class Work:
    """What was done under one combination of the dimensions. Counts and money are >= 0.

    Attributes:
        by: the dimensions' values, in the order of `Invoice.by`; "" means not told.
        input_tokens: what came from no cache, as in `core.usage.Usage`.
        cost_nano: nano-dollars, `estimated_nano` included.
        estimated_exchanges: exchanges with an estimate in their cost.
        simulated_nano: the part of the cost whose answers came from the simulator; nobody bills it.
    """

    by: tuple[str, ...] = ()
    exchanges: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0  # the short kind
    cache_write_long_tokens: int = 0
    output_tokens: int = 0
    web_searches: int = 0
    cost_nano: int = 0
    estimated_nano: int = 0
    estimated_exchanges: int = 0
    simulated_exchanges: int = 0
    simulated_nano: int = 0

    @property
    def reported_nano(self) -> int:
        """The part of the cost that follows from the provider's own usage."""
        return self.cost_nano - self.estimated_nano


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an invoice. `amount_nano` is what it adds to the total."""

    work: Work
    markup_nano: int

    @property
    def amount_nano(self) -> int:
        """Cost and markup."""
        return self.work.cost_nano + self.markup_nano


@dataclass(frozen=True, slots=True)
class Pending:
    """Attempts of the month that are on their way: no line has them yet.

    Attributes:
        attempts: how many.
        bound_nano: the most that they can cost, as far as that is known.
    """

    attempts: int = 0
    bound_nano: int = 0


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a tenant owes for a month.

    Attributes:
        tenant: "" = calls that named none.
        month: "2026-11".
        zone: whose months and days they are, an IANA name.
        start, end: of the month there, seconds since the epoch; `end` is the next month's start.
        issued: when it was made, seconds since the epoch.
        by: the dimensions of the lines.
        lines: dearest first, or by day.
        markup_basis_points: hundredths of a percent of the cost.
        markup_nano: on the whole; the lines' shares add up to it.
        minimum_nano: what the month costs at least.
        top_up_nano: what is missing from the minimum, 0 or more.
        seller: who sends it; "" = not told.
    """

    tenant: str
    month: str
    zone: str
    start: float
    end: float
    issued: float
    by: tuple[str, ...]
    lines: tuple[Line, ...]
    markup_basis_points: int = 0
    markup_nano: int = 0
    minimum_nano: int = 0
    top_up_nano: int = 0
    pending: Pending = field(default_factory=Pending)
    seller: str = ""

    @property
    def total_nano(self) -> int:
        """What is owed."""
        return sum(line.amount_nano for line in self.lines) + self.top_up_nano

    @property
    def sum(self) -> Work:
        """All lines together."""
        return added([line.work for line in self.lines])

    @property
    def over(self) -> bool:
        """The month had ended when the invoice was made."""
        return self.issued >= self.end

    @property
    def provisional(self) -> bool:
        """It can still grow."""
        return not self.over or self.pending.attempts > 0


def added(several: Sequence[Work]) -> Work:
    """The sum of several, with no dimensions."""
    return Work(
        (),
        sum(w.exchanges for w in several),
        sum(w.input_tokens for w in several),
        sum(w.cache_read_tokens for w in several),
        sum(w.cache_write_tokens for w in several),
        sum(w.cache_write_long_tokens for w in several),
        sum(w.output_tokens for w in several),
        sum(w.web_searches for w in several),
        sum(w.cost_nano for w in several),
        sum(w.estimated_nano for w in several),
        sum(w.estimated_exchanges for w in several),
        sum(w.simulated_exchanges for w in several),
        sum(w.simulated_nano for w in several),
    )


def shares(amount: int, weights: Sequence[int]) -> list[int]:
    """`amount` shared in proportion to `weights` by largest remainder: whole numbers that add up to it.

    Args:
        amount: >= 0.
        weights: each >= 0. Where all are 0, the first gets everything.

    Raises:
        ValueError: there is something to share and nobody to share it among.
    """
    whole = sum(weights)
    if not weights:
        if amount:
            raise ValueError("nobody to share it among")
        return []
    if not whole:
        return [amount, *[0] * (len(weights) - 1)]
    found = [amount * weight // whole for weight in weights]
    rests = [amount * weight % whole for weight in weights]
    # `sorted` is stable: of equal remainders the earlier goes first.
    for place in sorted(range(len(weights)), key=lambda i: -rests[i])[: amount - sum(found)]:
        found[place] += 1
    return found


def markup_of(cost_nano: int, basis_points: int) -> int:
    """The markup on a cost, in nano-dollars, rounded half-up. Both are >= 0."""
    return (cost_nano * basis_points + BASIS // 2) // BASIS


def make(
    works: Sequence[Work],
    *,
    tenant: str,
    month: str,
    zone: str,
    start: float,
    end: float,
    issued: float,
    by: Sequence[str],
    markup_basis_points: int = 0,
    minimum_nano: int = 0,
    pending: Pending | None = None,
    seller: str = "",
) -> Invoice:
    """An invoice over what was done.

    The minimum is owed for a month that had begun when the invoice was made, whether or not anything was used.

    Raises:
        ValueError: a negative markup or minimum.
    """
    if markup_basis_points < 0 or minimum_nano < 0:
        raise ValueError("a markup and a minimum are 0 or more")
    cost = sum(work.cost_nano for work in works)
    markup = markup_of(cost, markup_basis_points)
    parts = shares(markup, [work.cost_nano for work in works])
    return Invoice(
        tenant=tenant,
        month=month,
        zone=zone,
        start=start,
        end=end,
        issued=issued,
        by=tuple(by),
        lines=tuple(Line(work, part) for work, part in zip(works, parts, strict=True)),
        markup_basis_points=markup_basis_points,
        markup_nano=markup,
        minimum_nano=minimum_nano,
        top_up_nano=max(0, minimum_nano - cost - markup) if issued >= start else 0,
        pending=pending or Pending(),
        seller=seller,
    )
