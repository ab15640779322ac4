"""The money desk: who may set money aside, who waits for it, what is closed. Pure and deterministic; one thread's.

The one rule is spent + held + this <= cap on every account that a call claims, all of them or none. Whoever does not
fit now, but would once others have settled, waits at an account that lacks room, by ticket; woken, it looks at all of
its accounts again (decisions 4). A waiter holds nothing, so that nobody waits in a circle.

A store calls `load` for accounts that are not here, then any of `close`, `ask`, `set_cap`, and ends with `commit` or
`rollback`: what happened in between stands or falls with the store's transaction.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import islice

from headgate.core.budget import AccountKey, Balance, BudgetAlert, Claim
from headgate.policy import budget_alerts
from headgate.policy.budget_lines import Standing, fullness, standing
from headgate.policy.budgets import FITS, NEVER, WAITS, Account
from headgate.policy.holding import Ask, Cap, Changed, Claimed, Closed, Denial, Place, Terms, rather
from headgate.policy.lasting import why_not, without_end
from headgate.policy.recent import Recent

MOST_IDLE = 3_072
"""Accounts kept in memory though nothing is set aside on them: some 2 MB. The store has them all."""

FEW_IDLE = 512
"""So many are kept though nobody has asked for them in `IDLE_SECONDS`: the fullest. docs/metrics.md names it."""

IDLE_SECONDS = 120.0
"""See `Accounts.rest`."""

MOST_CLAIMED = 4_096
"""Combinations of accounts kept looked up: some 2 MB. Few of them are asked for twice where each call is of another
user and session."""

AT_ONCE = 32
"""Of a queue's waiters, whose accounts are loaded together where others change them, too."""


class Accounts:
    """See the module. Nothing here is thread-safe: it is the store's writer's."""

    def __init__(self) -> None:
        self._places: dict[AccountKey, Place] = {}
        self._most = MOST_IDLE  # of them, before room is made
        self._rested = 0.0
        # By the identity of the tuple of claims, which the value keeps alive.
        self._claimed: Recent[int, Claimed] = Recent(MOST_CLAIMED)
        self._holds: dict[tuple[str, int], Ask] = {}  # who has money set aside, by exchange and number
        self._lasting: dict[tuple[str, int], Ask] = {}  # those of `_holds` that nobody waits for
        self._tickets = 0
        self.asks: dict[str, Ask] = {}  # that wait, by exchange: one attempt at a time; always the same dictionary
        self._expiries: list[tuple[float, int, Ask]] = []  # a heap; some of them wait no longer
        self._taken: list[Ask] = []  # in this transaction
        self._closed: list[Closed] = []  # in this transaction
        self._told: dict[Place, tuple[int, int]] = {}  # what was alerted before this transaction, where that changed
        self._fresh: dict[Place, Claim] = {}  # accounts that the store does not have yet
        self._freed: dict[Place, None] = {}  # room may have grown since their queues were looked at
        self._alerts: list[BudgetAlert] = []
        self._outcomes: list[tuple[Ask, Denial | None]] = []

    # -- what the store knows ------------------------------------------------------------------------------------

    def missing(self, claims: Iterable[Claim]) -> list[Claim]:
        """Those whose accounts are not in memory, each once."""
        places = self._places
        return list({claim.key: claim for claim in claims if claim.key not in places}.values())

    def create(self, claim: Claim, number: int, override: Cap | None = None) -> None:
        """An account that the store does not have yet; it is among the `changed` until it has been written."""
        self.load(claim.key, number, Account(), override=override)
        self._fresh[self._places[claim.key]] = claim

    def load(
        self,
        key: AccountKey,
        number: int,
        account: Account,
        *,
        alerted: int = 0,
        alerted_tokens: int = 0,
        override: Cap | None = None,
    ) -> None:
        """An account as the store has it, in place of what is here; its queue stays."""
        place = self._places.get(key)
        if place is None:
            self._places[key] = Place(key, number, account, override, alerted, alerted_tokens)
            return
        if place.number != number:
            place.number = number
            self._claimed.clear()
        place.account.become(account)
        if place.override != override:
            self._override(place, override)
        place.alerted, place.alerted_tokens = alerted, alerted_tokens
        self._told.pop(place, None)
        if place.queue:
            self._freed[place] = None

    @staticmethod
    def _override(place: Place, cap: Cap | None) -> None:
        place.override = cap
        for each in place.terms:
            each.refresh()

    def rest(self, now: float) -> None:
        """Between transactions, now and then: what nobody has asked for in `IDLE_SECONDS`, at twice that at the latest,
        is forgotten. Accounts of sessions that are over would otherwise fill memory until there is no more room."""
        if abs(now - self._rested) < IDLE_SECONDS:  # a clock may have been set back
            return
        self._rested = now
        self._claimed.turn()
        idle = self._idle()
        self._forget(idle[: max(0, len(idle) - FEW_IDLE)])

    def _make_room(self) -> None:
        """Why between transactions: in one, every account that was looked up has to be here to its end."""
        self._claimed.forget_old()
        idle = self._idle()
        self._forget(idle[: (len(idle) + 1) // 2])
        self._most = max(MOST_IDLE, len(self._places) + MOST_IDLE // 2)  # where few are idle, it is not tried each time

    def _idle(self) -> list[AccountKey]:
        """Accounts that nobody holds money on, waits for or has asked for lately. `standing` is about those that come
        last: of budgets over everything, and before them the fullest; of two alike, what came to memory later."""
        used = {claim.key for ask in self.asks.values() for claim in ask.claims}
        used.update(claim.key for ask in self._holds.values() for claim in ask.claims)
        used.update(claim.key for held in self._claimed.values() for claim in held.claims)
        return sorted((key for key in self._places if key not in used), key=self._worth_telling)

    def _worth_telling(self, key: AccountKey) -> tuple[bool, float]:
        share = fullness(self._places[key], self._rested)
        return not key[1], -1.0 if share is None else share

    def _forget(self, keys: Iterable[AccountKey]) -> None:
        for key in keys:
            # They know each other: only the collector could free them, and it comes rarely.
            self._places.pop(key).terms = ()

    def strange(self, asks: Iterable[Ask]) -> list[Claim]:
        """What is asked for in combinations that are not kept looked up. All others' accounts are in memory."""
        known = self._claimed
        return [claim for ask in asks if id(ask.claims) not in known for claim in ask.claims]

    def _look_up(self, claims: tuple[Claim, ...]) -> Claimed:
        found = self._claimed.get(id(claims))
        if found is None:
            found = Claimed(tuple(self._terms(claim) for claim in claims), claims)
            self._claimed.put(id(claims), found)
        return found

    def _terms(self, claim: Claim) -> Terms:
        place, budget = self._places[claim.key], claim.budget
        for each in place.terms:
            if each.claim.budget is budget or each.claim.budget == budget:
                return each
        made = Terms(claim, place)
        place.terms = (*place.terms, made)
        return made

    # -- what happens --------------------------------------------------------------------------------------------

    def ask(self, ask: Ask) -> str:
        """Set money aside, or wait, or be refused: `FITS`, `WAITS` or `NEVER`. What is not `FITS` is told by
        `outcomes`, now or later. All accounts have been loaded."""
        self._tickets += 1
        ask.ticket = self._tickets
        said = self._try(ask)
        if said == WAITS:
            # There is no use in waiting for room in a period that is over.
            until = min(ask.until, min(claim.end for claim in ask.claims))
            heapq.heappush(self._expiries, (until, ask.ticket, ask))
        return said

    def let_in(self, asks: Sequence[Ask]) -> int:
        """As `ask`, of one after the other, up to the first that does not fit at once: it may be asked for. Returns how
        many were let in."""
        # Written out, with a look-up per call and one pass over its accounts: this is on the way of every call.
        known, holds, taken, outcomes = self._claimed.new, self._holds, self._taken, self._outcomes
        for ask in asks:
            nano, tokens, least = ask.nano, ask.tokens, None
            held = known.get(id(ask.claims)) or self._look_up(ask.claims)
            for terms in held.terms:
                account = terms.account
                aside = account.held_nano + nano
                after = account.spent_nano + aside
                if after >= terms.calm_nano or terms.queue:
                    break
                calm = terms.calm_tokens
                if calm is not None and account.spent_tokens + account.held_tokens + tokens >= calm:
                    break
                account.held_nano = aside
                account.held_tokens += tokens
                cap = terms.cap_nano
                if cap is not None and (least is None or cap - after < least):
                    least = cap - after
            else:
                ask.held, ask.left_nano = held, least
                holds[ask.exchange, ask.number] = ask
                if ask.lasting:
                    self._lasting[ask.exchange, ask.number] = ask
                taken.append(ask)
                outcomes.append((ask, None))
                continue
            self._give_back(held, terms, nano, tokens)
            self._tickets += 1
            ask.ticket = self._tickets
            if self._lacking(ask)[0] is not None:
                return asks.index(ask)
            self._set_aside(ask)
        return len(asks)

    @staticmethod
    def _give_back(held: Claimed, until: Terms, nano: int, tokens: int) -> None:
        """What was set aside before it turned out that the account `until` has to be looked at more closely."""
        for terms in held.terms:
            if terms is until:
                return
            terms.account.close((nano, tokens), (0, 0))

    def _try(self, ask: Ask) -> str:
        place, claim, said = self._lacking(ask)
        if place is None or claim is None:
            self._set_aside(ask)
            return FITS
        if said == NEVER or not ask.may_wait:
            self._deny(ask, claim, place, why_not(ask, claim, place) if said == NEVER else "held")
            return NEVER
        insort(place.queue, ask)
        ask.at = place
        self.asks[ask.exchange] = ask
        return WAITS

    def _lacking(self, ask: Ask) -> tuple[Place | None, Claim | None, str]:
        """The first account that can never take it, else one that cannot now or whose queue is older: see `_rather`."""
        # `policy.budgets.verdict`, written out: this runs once per account of every call.
        lacking: Place | None = None
        lacked: Claim | None = None
        places, nano, tokens, ticket = self._places, ask.nano, ask.tokens, ask.ticket
        for claim in ask.claims:
            place = places[claim.key]
            budget = claim.budget
            if budget.soft:
                continue
            account, queue = place.account, place.queue
            cap, cap_tokens = place.override or (budget.cap_nano, budget.cap_tokens)
            waits = bool(queue) and queue[0].ticket < ticket
            if cap is not None:
                after = account.spent_nano + nano
                if after > cap:
                    return place, claim, NEVER
                waits = waits or after + account.held_nano > cap
            if cap_tokens is not None:
                after = account.spent_tokens + tokens
                if after > cap_tokens:
                    return place, claim, NEVER
                waits = waits or after + account.held_tokens > cap_tokens
            if waits and self._lasting and without_end(self._lasting.values(), ask, claim, place):
                return place, claim, NEVER
            if waits and (lacked is None or rather(claim, lacked, ask)):
                lacking, lacked = place, claim
        return lacking, lacked, WAITS

    def _set_aside(self, ask: Ask) -> None:
        ask.held = held = self._look_up(ask.claims)
        for terms in held.terms:
            terms.account.set_aside(ask.nano, ask.tokens)
        ask.left_nano, warned, share = self.left(ask.claims)
        ask.warned = None if warned is None else (warned, share)
        self._holds[ask.exchange, ask.number] = ask
        if ask.lasting:
            self._lasting[ask.exchange, ask.number] = ask
        self._taken.append(ask)
        self._outcomes.append((ask, None))

    def _deny(self, ask: Ask, claim: Claim, place: Place, why: str) -> None:
        self._outcomes.append((ask, Denial(claim, why, self._balance(claim, place))))

    def close(self, exchange: str, number: int, nano: int, tokens: int) -> None:
        """Close an attempt's hold, with what it cost and used; (0, 0) releases it. Without a hold nothing happens, so
        it may be said twice."""
        ask = self._holds.pop((exchange, number), None)
        if ask is not None:
            self._close(ask, ask.nano, ask.tokens, nano, tokens)

    def correct(self, exchange: str, number: int, nano: int, tokens: int) -> None:
        """As `close`, of a hold that another process has charged in full meanwhile, having taken us for dead."""
        ask = self._holds.pop((exchange, number), None)
        if ask is not None:
            self._close(ask, 0, 0, nano - ask.nano, tokens - ask.tokens)

    def amend(self, ask: Ask, nano: int, tokens: int) -> None:
        """A hold that the store has charged in full has come to this much. All its accounts have been loaded."""
        ask.held = self._look_up(ask.claims)
        self._close(ask, 0, 0, nano - ask.nano, tokens - ask.tokens)

    def forget(self, exchange: str, number: int) -> None:
        """The store has closed a hold already: what it came to is in the accounts as they were loaded."""
        self._holds.pop((exchange, number), None)
        self._lasting.pop((exchange, number), None)

    def _close(self, ask: Ask, held_nano: int, held_tokens: int, nano: int, tokens: int) -> None:
        held = ask.held
        assert held is not None
        if ask.lasting:
            self._lasting.pop((ask.exchange, ask.number), None)
        self._closed.append((ask, held, held_nano, held_tokens, nano, tokens))
        for terms in held.terms:
            account = terms.account
            account.held_nano -= held_nano
            account.held_tokens -= held_tokens
            spent = account.spent_nano = account.spent_nano + nano
            spent_tokens = account.spent_tokens = account.spent_tokens + tokens
            if spent >= terms.tell_nano or spent_tokens >= terms.tell_tokens:
                self._alert(terms, nano, tokens)
            if terms.queue:
                self._freed[terms.place] = None

    def _alert(self, terms: Terms, nano: int, tokens: int) -> None:
        place = terms.place
        before = place.alerted, place.alerted_tokens
        self._alerts += budget_alerts.due(terms, nano, tokens)
        if before != (place.alerted, place.alerted_tokens):
            self._told.setdefault(place, before)

    def set_cap(self, budget: str, scope: str, cap: Cap | None) -> None:
        """An override has changed; None = the budget's own cap again."""
        for key, place in self._places.items():
            if key[0] == budget and key[1] == scope:
                self._override(place, cap)
                if place.queue:
                    self._freed[place] = None

    def leave(self, exchange: str) -> None:
        """Its caller waits no longer."""
        ask = self.asks.pop(exchange, None)
        if ask is not None:
            self._unqueue(ask)

    def _unqueue(self, ask: Ask) -> None:
        place = ask.at
        assert place is not None
        del place.queue[bisect_left(place.queue, ask)]
        ask.at = None
        self._freed[place] = None  # who stood behind it may fit

    def expire(self, now: float) -> None:
        """Refuse those whose time is up."""
        while self.next_expiry <= now:
            ask = heapq.heappop(self._expiries)[2]
            place = ask.at
            assert place is not None
            claim = next(claim for claim in ask.claims if self._places[claim.key] is place)
            del self.asks[ask.exchange]
            self._unqueue(ask)
            over = any(each.end <= now for each in ask.claims)
            self._deny(ask, claim, place, "period" if over else "waited")

    def dismiss(self) -> list[Ask]:
        """Nobody waits any more; returns those who did."""
        found = list(self.asks.values())
        for ask in found:
            self.leave(ask.exchange)
        return found

    def serve(self, known: Container[AccountKey] | None = None) -> None:
        """Let those in whose accounts have room by now, oldest first; refuse those for whom there will be none.

        Args:
            known: the accounts that were loaded in this transaction, where others change them, too: whoever claims
                another one has to wait until it has been, and who stands behind him. None: memory is the truth.
        """
        freed = self._freed
        while freed:
            queue = freed.popitem()[0].queue
            while queue:
                ask = queue[0]
                if known is not None and not all(claim.key in known for claim in ask.claims):
                    break
                queue.pop(0)
                ask.at = None
                del self.asks[ask.exchange]
                self._try(ask)
                if queue and queue[0] is ask:
                    break  # there is no room yet

    # -- the end of a transaction ----------------------------------------------------------------------------------

    def outcomes(self) -> list[tuple[Ask, Denial | None]]:
        """Who was let in (None) or refused since the last time, in order."""
        found, self._outcomes = self._outcomes, []
        return found

    def changed(self, *, held: bool = False) -> list[Changed]:
        """The accounts that differ from what the store has, by key.

        Args:
            held: also those where money was only set aside.
        """
        wanted = dict(self._fresh)
        if held:
            for ask in self._taken:
                if ask.held is not None:
                    wanted.update(ask.held.places)
        for each in self._closed:
            wanted.update(each[1].places)
        return sorted(self._changed(place, claim) for place, claim in wanted.items()) if wanted else []

    def _changed(self, place: Place, claim: Claim) -> Changed:
        a = place.account
        return Changed(
            place.key,
            place.number,
            claim.end,
            a.spent_nano,
            a.spent_tokens,
            a.held_nano,
            a.held_tokens,
            place.alerted,
            place.alerted_tokens,
        )

    def commit(self) -> list[BudgetAlert]:
        """The store has written it. Returns the alerts that are due."""
        self._taken.clear()
        self._closed.clear()
        self._told.clear()
        self._fresh.clear()
        alerts, self._alerts = self._alerts, []
        if len(self._places) > self._most:
            self._make_room()
        return alerts

    def rollback(self) -> None:
        """The store could not write it: no hold was taken, none was closed. Whoever was let in is not."""
        for ask, held, held_nano, held_tokens, nano, tokens in self._closed:
            for terms in held.terms:
                terms.account.close((-held_nano, -held_tokens), (-nano, -tokens))
            self._holds[ask.exchange, ask.number] = ask
            self._lasting |= {(ask.exchange, ask.number): ask} if ask.lasting else {}
        for ask in self._taken:
            for terms in ask.held.terms if ask.held is not None else ():
                terms.account.close((ask.nano, ask.tokens), (0, 0))
                self._freed[terms.place] = None
            del self._holds[ask.exchange, ask.number]
            self._lasting.pop((ask.exchange, ask.number), None)
        for place, (alerted, alerted_tokens) in self._told.items():
            place.alerted, place.alerted_tokens = alerted, alerted_tokens
        self._taken.clear()
        self._closed.clear()
        self._told.clear()
        self._alerts.clear()

    # -- looking -----------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Asks that wait."""
        return len(self.asks)

    @property
    def next_expiry(self) -> float:
        """When the next waiter's time is up, seconds since the epoch; infinity = nobody waits."""
        expiries = self._expiries
        while expiries and expiries[0][2].at is None:
            heapq.heappop(expiries)
        return expiries[0][0] if expiries else float("inf")

    def left(self, claims: Sequence[Claim]) -> tuple[int | None, Claim | None, int]:
        """(what is left in the tightest account, the account that is furthest past an alert, its share).

        Money is nano-dollars, the share is basis points of the cap; None = no cap in dollars, no alert yet.
        """
        least: int | None = None
        warned, highest = None, 0
        for claim in claims:
            place = self._places[claim.key]
            account = place.account
            cap = place.override[0] if place.override else claim.budget.cap_nano
            if cap is not None and not claim.budget.soft:
                left = cap - account.spent_nano - account.held_nano
                if least is None or left < least:
                    least = left
            if place.alerted or place.alerted_tokens:
                share = budget_alerts.share_reached(claim, place)
                if share > highest:
                    warned, highest = claim, share
        return None if least is None else max(0, least), warned, highest

    def claims_of(self, exchange: str, number: int) -> Sequence[Claim]:
        """The accounts that an attempt holds money on."""
        ask = self._holds.get((exchange, number))
        return () if ask is None else ask.claims

    def queued_claims(self) -> Iterator[Claim]:
        """The accounts that the first in each queue claim, as many as may be let in at once."""
        seen: set[int] = set()
        for ask in self.asks.values():
            place = ask.at
            if place is None or id(place) in seen:
                continue
            seen.add(id(place))
            for each in islice(place.queue, AT_ONCE):
                yield from each.claims

    def standing(self, now: float) -> Standing:
        """What is set aside, and how accounts in memory stand. From any thread, and then perhaps of two moments."""
        return standing(tuple(self._places.values()), tuple(self._holds.values()), now)

    def balances(self, claims: Sequence[Claim]) -> list[Balance]:
        """What is known of accounts, all of which are in memory."""
        return [self._balance(claim, self._places[claim.key]) for claim in claims]

    def known(self, claims: Sequence[Claim]) -> list[Balance]:
        """As `balances`, of those accounts that are in memory. From any thread, which may let others go meanwhile."""
        found = ((claim, self._places.get(claim.key)) for claim in claims)
        return [self._balance(claim, place) for claim, place in found if place is not None]

    def _balance(self, claim: Claim, place: Place) -> Balance:
        budget, account = claim.budget, place.account
        cap_nano, cap_tokens = place.override or (budget.cap_nano, budget.cap_tokens)
        return Balance(
            claim,
            cap_nano,
            cap_tokens,
            account.spent_nano,
            account.held_nano,
            account.spent_tokens,
            account.held_tokens,
            place.override is not None,
        )
