"""Money in the writer's transactions: what `policy.accounts` decides, between a session and those who wait.

A hold and its intent are one commit; so are a settled row, the end of its hold and what its accounts have spent by
then. Whoever is let in because others have settled is therefore never durable before they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping, Sequence

from sqlalchemy import Connection

from headgate.core.budget import AccountKey, Balance, BudgetAlert, Claim
from headgate.core.exchange import Exchange
from headgate.policy.accounts import Accounts
from headgate.policy.budget_lines import Standing
from headgate.policy.budget_words import refusal
from headgate.policy.holding import Ask, Cap, Changed, Denial
from headgate.stores.commands import Intent
from headgate.stores.session import Closing, Session
from headgate.stores.statements import Row
from headgate.stores.waiters import Waiter, wake

POLL_SECONDS = 0.05
"""How often those who wait for money are looked at where other processes settle, too."""

MOST_BACK_SECONDS = 31 * 86_400.0
"""How far a clock may have been set back between two starts. Where the ledger's newest call is further ahead of it,
that one's clock was wrong: else one call of the year 2040 would hold all budgets in that year's periods."""
_TOLD_SECONDS = 60.0
_NEVER = float("-inf")

Told = list[tuple[Ask, Denial | None]]
"""Who was let in (None) or refused, in order."""

_report = logging.getLogger("headgate.ledger")


class Desk:
    """One writer's. Everything here runs in its thread, but for `asks`, `waiting`, `standing` and `peek`.

    Attributes:
        asks: those that wait for money, by exchange. To be looked at only: whether there are any, where every call
            comes by.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """
        Args:
            now: seconds since the epoch, by which waiting ends.
        """
        self.on_alert: list[Callable[[BudgetAlert], None]] = []
        self._now = now
        self._accounts = Accounts()
        self.asks: Mapping[str, Ask] = self._accounts.asks
        self._closing: list[Closing] = []  # of settled attempts, not yet durable
        self._newest = _NEVER  # when the ledger's newest call was over, where the clock may be behind it

    def began(self, newest: float) -> None:
        """The ledger is open, and its newest call was over at `newest`, seconds since the epoch; -infinity: it has
        none. No period that was over by then comes again, where the clock was set back meanwhile."""
        ahead = newest - self._now()
        self._newest = newest if 0.0 < ahead <= MOST_BACK_SECONDS else _NEVER
        if ahead > _TOLD_SECONDS:
            _report.warning(
                "the ledger's newest call was over %.0f s from now, by this machine's clock: it was set back, or was "
                "wrong then. Budgets go on %s",
                ahead,
                "in that call's periods" if self._newest > _NEVER else "by the clock, since that is over 31 days",
            )

    @property
    def waiting(self) -> int:
        """How many wait for money."""
        return self._accounts.waiting

    @property
    def standing(self) -> Standing:
        """See `Accounts.standing`."""
        return self._accounts.standing(self._now())

    def idle(self, asking: Sequence[Intent]) -> bool:
        """No account is concerned by what is to be written."""
        return not (asking or self._closing or self.asks)

    def patience(self, session: Session | None) -> float:
        """Seconds until those who wait have to be looked at without anything having happened here."""
        until = max(self._accounts.next_expiry - self._now(), 0.0)
        return until if session is not None and session.remembers else min(until, POLL_SECONDS)

    def settled(self, exchange: Exchange) -> None:
        """An exchange is over: its holds are closed by the next transaction, and it waits no longer."""
        for attempt in exchange.attempts:
            if attempt.claims:
                # `commands.closing_of`, written out: this is on the way of every call.
                spent, used = attempt.cost_nano + attempt.elsewhere_nano, attempt.used_tokens + attempt.elsewhere_tokens
                self._closing.append((exchange.id, attempt.number, spent, used))
        if self.asks:
            self._accounts.leave(exchange.id)

    def left(self, exchange: str) -> None:
        """A caller waits for money no longer."""
        if self.asks:
            self._accounts.leave(exchange)

    def ended(self, closing: Closing) -> None:
        """An attempt is over, and its exchange is not."""
        self._closing.append(closing)

    def decide(
        self, session: Session, asking: Sequence[Intent], *, alone: bool, gather: Callable[[], None]
    ) -> tuple[bool, Told]:
        """Who is let in, in a transaction that the session's `commit` ends.

        Args:
            alone: nothing that was settled is written with it; what was may then leave no room.
            gather: calls `settled` with every exchange that is.

        Returns:
            Whether the intents can still be written alone; and who was let in or refused, of those who wait, too.
        """
        accounts = self._accounts
        if alone and not session.remembers:
            alone = False
            gather()
        asks = [intent.ask for intent in asking if intent.ask is not None]
        told: Told = []
        if self._newest > _NEVER:
            asks, told = self._over(asks)
        self._prepare(session, asks, alone=alone)
        let_in = accounts.let_in(asks)
        if let_in < len(asks):
            if alone:
                # Those who have settled meanwhile may have left room.
                alone = False
                gather()
                self._close_holds(self._closing)
            for ask in asks[let_in:]:
                accounts.ask(ask)
        return alone, told + accounts.outcomes()

    def _over(self, asks: list[Ask]) -> tuple[list[Ask], Told]:
        """Who may ask, and who claims a period that was over before: he asks again in that of the newest call. A
        batch's hold is for the period in which the batch was made."""
        newest = self._newest
        if newest <= self._now():
            self._newest = _NEVER
            return asks, []
        told: Told = []
        for ask in asks:
            claim = min(ask.claims, key=lambda each: each.end)
            if claim.end <= newest and not ask.lasting:
                balance = Balance(claim, claim.budget.cap_nano, claim.budget.cap_tokens, 0, 0)
                told.append((ask, Denial(claim, "period", balance, newest)))
        late = {id(ask) for ask, _ in told}
        return [ask for ask in asks if id(ask) not in late], told

    def _prepare(self, session: Session, asks: Sequence[Ask], *, alone: bool) -> None:
        accounts = self._accounts
        closing = () if alone else self._closing
        if session.remembers:
            strange = accounts.strange(asks)
            if strange:
                session.prepare(accounts, strange, closing)
            if closing or accounts.waiting:
                self._close_holds(closing)
            return
        claims = [claim for ask in asks for claim in ask.claims]
        claims += [claim for each in closing for claim in accounts.claims_of(each[0], each[1])]
        claims += accounts.queued_claims()
        open_still = session.prepare(accounts, claims, closing)
        self._close_holds(open_still, {claim.key for claim in claims})

    def _close_holds(self, closing: Sequence[Closing], known: Container[AccountKey] | None = None) -> None:
        accounts = self._accounts
        close = accounts.close
        for exchange, number, nano, tokens in closing:
            close(exchange, number, nano, tokens)
        if accounts.waiting:
            accounts.expire(self._now())
            accounts.serve(known)

    def settle_one(self, session: Session, exchange: str, attempts: Sequence[Row], exchanges: Sequence[Row]) -> None:
        """One exchange's rows with the end of its holds, in a transaction of their own."""
        accounts = self._accounts
        closing = [each for each in self._closing if each[0] == exchange]
        claims = [claim for each in closing for claim in accounts.claims_of(each[0], each[1])]
        try:
            for each in session.prepare(accounts, claims, closing) if claims else ():
                accounts.close(*each)
            session.commit((), attempts, exchanges, self.changed(session))
        except BaseException:
            accounts.rollback()
            raise
        self.drop(exchange)
        for alert in accounts.commit():
            self._alert(alert)

    def drop(self, exchange: str) -> None:
        """What closes an exchange's holds is written, or never will be."""
        self._closing = [each for each in self._closing if each[0] != exchange]

    @staticmethod
    def rows(told: Told) -> list[Row]:
        """The intents' rows of those who were let in, with the accounts that each bound is held on: what a sweep
        charges."""
        return [(*ask.bearer.row, ask.tokens, ask.held.numbers) for ask, _ in told if ask.held is not None]

    def amend(self, session: Session, asks: Sequence[tuple[Ask, int, int]], attempts: Sequence[Row], row: Row) -> None:
        """What was charged for these holds of a dead process is replaced by (nano-dollars, tokens), with the rows of
        their exchange, in one transaction."""
        accounts = self._accounts
        claims = [claim for ask, _, _ in asks for claim in ask.claims]
        try:
            if claims:
                session.prepare(accounts, claims, ())
            for ask, nano, tokens in asks:
                accounts.amend(ask, nano, tokens)
            session.commit((), attempts, (row,), self.changed(session))
        except BaseException:
            accounts.rollback()
            for ask, _, _ in asks:
                accounts.forget(ask.exchange, ask.number)
            raise
        for alert in accounts.commit():
            self._alert(alert)

    def changed(self, session: Session) -> Sequence[Changed]:
        """The accounts to write."""
        return self._accounts.changed(held=not session.remembers)

    def written(self, let_in: list[Waiter], told: Told, *, alone: bool) -> None:
        """The transaction is durable: wake whoever waited for it, and tell whoever listens.

        Args:
            let_in: those who asked for no money.
        """
        if not alone:
            self._closing = []
        alerts = self._accounts.commit()
        for ask, denial in told:
            waiter = ask.bearer.waiter
            ask.bearer = None  # they know each other: else only the collector could free them, and it comes rarely
            if denial is None:
                let_in.append(waiter)
            else:
                wake((waiter,), refusal(denial, ask.nano, ask.tokens))
        wake(let_in)
        for alert in alerts:
            self._alert(alert)
        self._accounts.rest(self._now())

    def _alert(self, alert: BudgetAlert) -> None:
        for listen in self.on_alert:
            try:
                listen(alert)
            except Exception:
                _report.exception("a listener to budget alerts failed")

    def failed(self, asking: Sequence[Intent], told: Told) -> list[Waiter]:
        """The transaction did not happen. Returns who has to be told: all who asked in it but those who wait on."""
        return [each.waiter for each in self.again(asking, told)]

    def again(self, asking: Sequence[Intent], told: Told) -> list[Intent]:
        """The transaction did not happen. Returns who would have to ask anew: see `failed`."""
        self._accounts.rollback()
        bearers: list[Intent] = [ask.bearer for ask, _ in (*told, *self._accounts.outcomes())]
        waiting = {id(each) for each in asking if each.ask is not None and each.ask.at is not None}
        found = [each for each in dict.fromkeys((*asking, *bearers)) if id(each) not in waiting]
        for each in found:
            if each.ask is not None:
                each.ask.held = None
        return found

    def dismiss(self) -> list[Waiter]:
        """Nobody waits any more; returns those who did."""
        return [ask.bearer.waiter for ask in self._accounts.dismiss()]

    def balances(self, session: Session, claims: Sequence[Claim]) -> list[Balance]:
        """What is known of accounts."""
        accounts = self._accounts
        if not session.remembers:
            return [session.look(claim) for claim in claims]
        missing = {claim.key for claim in accounts.missing(claims)}
        known = accounts.balances([claim for claim in claims if claim.key not in missing])
        found = {balance.claim.key: balance for balance in known}
        return [found.get(claim.key) or session.look(claim) for claim in claims]

    def set_cap(
        self,
        session: Session,
        budget: str,
        scope: str,
        cap: Cap | None,
        also: Callable[[Connection], object] | None = None,
    ) -> None:
        """An override for one scope value of a budget; None takes it back. Those who wait are looked at behind
        it. `also`: what is written in the same transaction."""
        session.set_cap(budget, scope, cap, also)
        self._accounts.set_cap(budget, scope, cap)

    def peek(self, claims: Sequence[Claim]) -> list[Balance]:
        """What is in memory, as of a moment ago, of accounts that are. From any thread, without waiting."""
        return self._accounts.known(claims)
