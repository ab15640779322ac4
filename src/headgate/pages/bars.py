"""Budgets as bars: what is spent, what is held, and where it will end if it goes on like this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headgate.pages import format as formats
from headgate.policy.budget_scopes import scope_words
from headgate.policy.forecast import forecast, runs_out_at
from headgate.stores.account_rows import AccountRow

_FOR_GOOD = float("inf")


@dataclass(frozen=True, slots=True)
class Bar:
    """One account of one budget.

    Attributes:
        parts: what the macro `bar` draws: (share of the cap, class).
        forecast_share: of the cap, at the end of the period; None: there is none to make.
        full: nothing fits any more.
        will_end_over: it is not, and will be.
        label: all of it in words, for whoever cannot see the bar. `words`: what is below it.
    """

    budget: str
    scope: str
    soft: bool
    share: float
    spent_words: str
    cap_words: str
    parts: tuple[tuple[float, str], ...]
    forecast_share: float | None
    full: bool
    will_end_over: bool
    words: str
    label: str


def bars(rows: Iterable[AccountRow], now: float, most: int) -> list[Bar]:
    """The fullest first."""
    found = [bar for row in rows if row.current and (bar := _bar(row, now)) is not None]
    found.sort(key=lambda bar: (-max(bar.share, min(bar.forecast_share or 0.0, 1.0)), bar.budget, bar.scope))
    return found[:most]


def _bar(row: AccountRow, now: float) -> Bar | None:
    b, claim = row.balance, row.balance.claim
    in_money = b.cap_nano is not None
    cap = b.cap_nano if in_money else b.cap_tokens
    if cap is None:
        return None
    spent, held = (b.spent_nano, b.held_nano) if in_money else (b.spent_tokens, b.held_tokens)

    def words(amount: int) -> str:
        return formats.money(amount) if in_money else f"{formats.short(amount)} tokens"

    share = spent / cap if cap else 1.0
    later = forecast(spent, claim.start, claim.end, now)
    later_share = None if later is None or not cap else later / cap
    full = row.used_up or spent >= cap
    over = not full and later_share is not None and later_share > 1
    said = [f"{share:.0%} spent"]
    if held:
        said.append(f"{words(held)} held")
    said.append(f"{words(max(0, cap - spent - held))} left")
    if later is not None and spent:
        said.append(f"{words(later)} by the end at this rate")
        out = runs_out_at(spent, cap, claim.start, claim.end, now)
        if over and out is not None:
            said.append(f"used up in about {formats.span(out - now)}")
    if claim.end != _FOR_GOOD:
        said.append(f"begins again {formats.minute(claim.end)}")
    if row.balance.overridden:
        said.append("cap set by hand")
    if row.unseen:
        said = [f"nobody has spent anything yet; each {' and '.join(claim.budget.per)} has {words(cap)}"]
    kind = "bad" if full else "warn" if share >= 0.8 or over else "fill"
    return Bar(
        claim.budget.id,
        "" if row.unseen else scope_words(claim.budget, claim.scope),
        claim.budget.soft,
        share,
        words(spent),
        words(cap),
        ((share, kind), (held / cap if cap else 0.0, "held")),
        later_share,
        full,
        over,
        ", ".join(said),
        f"{words(spent)} of {words(cap)}: {', '.join(said)}",
    )
