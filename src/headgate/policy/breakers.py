"""Breakers of routes, of accounts and of credentials, together. Pure: time and randomness are arguments.

Three things can be broken, each with its own breaker: a route (provider, model, credential) by its failures; the
account behind a credential, for all models, once its money is gone; a credential, once its provider refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from headgate.core.errors import UpstreamError
from headgate.core.exchange import Route
from headgate.core.secret import Secret
from headgate.policy.breaker import (
    AUTH,
    CLOSED,
    FAILED,
    FORBIDDEN,
    MONEY,
    NEUTRAL,
    OK,
    SLOW,
    TIER_CAPS,
    UNREACHABLE,
    Breaker,
    BreakerRules,
    next_month,
    outcome_of,
)

MOST_ROUTES = 4_096
"""Routes whose calls are remembered: the models among them are named by callers."""
MOST_ACCOUNTS = 1_024

_RouteKey = tuple[str, str, int]  # provider, model, and what tells the credential's value, without telling it
_Key = tuple[str, Secret]
K = TypeVar("K")
V = TypeVar("V")


class Permit(NamedTuple):
    """Leave to send one attempt; truthy. Give it to `Breakers.note` or `release` once, however the attempt ends."""

    route: Route
    of_route: int
    of_account: int
    of_credential: int
    value: int  # tells the credential's value then from another one, and does not tell what it is
    key: _RouteKey  # of the route's breaker: with the request's model, where the route leaves it alone
    breaker: Breaker | None  # the route's; None = it had none, or accounts and credentials have to be told, too


class Blocked(NamedTuple):
    """No leave.

    Attributes:
        what: "route", "account" or "credential".
        cause: "failures", "slow", "money", "auth" or "forbidden".
        retry_after: seconds until a probe may go, >= 0.
    """

    what: str
    cause: str
    retry_after: float

    def __bool__(self) -> bool:
        return False


class Change(NamedTuple):
    """A breaker that has opened or closed, for the log.

    Attributes:
        what: "route", "account" or "credential".
        state: `CLOSED` or `OPEN`.
        cause: as in `Blocked`; "" where it has closed.
        retry_after: seconds, as in `Blocked`.
    """

    what: str
    state: str
    cause: str
    retry_after: float


class Opened(NamedTuple):
    """A breaker that is not closed, for people.

    Attributes:
        what: "route", "account" or "credential".
        model: of a route; "" else.
        credential: whose it is, as `value_of` has it; 0 = none of ours. Never shown: its place among the provider's
            keys is.
        state: `OPEN` or `HALF_OPEN`.
        cause: as in `Blocked`.
        retry_after: seconds until a probe may go, >= 0; `open_seconds` at most while one is under way.
    """

    what: str
    model: str
    credential: int
    state: str
    cause: str
    retry_after: float


class Breakers:
    """All breakers: of routes, of accounts, of credentials. Not thread-safe: the lock of `stores.turns` is around it.

    Accounts and credentials are known where the route has a credential of ours; a caller's own, passed through, is
    nobody's whom we could tell apart.
    """

    def __init__(self, rules: BreakerRules | None = None) -> None:
        self.rules = rules or BreakerRules()
        self._routes: dict[_RouteKey, Breaker] = {}
        self._accounts: dict[_Key, Breaker] = {}  # those that have ever opened
        self._credentials: dict[_Key, tuple[Breaker, int]] = {}  # likewise, and which value was refused
        self.openings = 0  # goes up with everything that could void a permit that is given again
        self._tell_apart()

    def _tell_apart(self) -> None:
        # No account and no credential has ever been at fault, and slowness opens nothing.
        self._routes_only = self.rules.slow_seconds is None and not self._accounts and not self._credentials

    def admit(self, route: Route, now: float, model: str = "") -> Permit | Blocked:
        """Leave to send to a route, or what stands in the way. Nothing is a probe that does not go.

        Args:
            model: what is asked for where the route names none; "" = nothing in particular.
        """
        value = value_of(route.credential)
        key = (route.provider, model or route.model, value)
        path = self._routes.get(key)
        if not self._accounts and not self._credentials:
            of_route = 1 if path is None else path.admit(now)  # a breaker's first permit: it comes with an outcome
            if path is None or of_route:
                return Permit(route, of_route, 1, 1, value, key, path)
            return _blocked("route", path, now)
        account, credential = self._account(route), self._credential(route)
        at_fault = [
            (what, breaker)
            for what, breaker in (("credential", credential), ("account", account), ("route", path))
            if breaker is not None and not breaker.ready(now)
        ]
        if at_fault:
            return _longest(at_fault, now)
        return Permit(
            route,
            path.admit(now) if path is not None else 1,
            account.admit(now) if account is not None else 1,
            credential.admit(now) if credential is not None else 1,
            value,
            key,
            None,
        )

    def gives_again(self, permit: Permit) -> bool:
        """Whether `admit` would give this very permit, which it has just given, again: all of it is closed. It would
        for as long as `openings` stays what it is, and for the same value of the same credential, which whoever asks
        has to see to.
        """
        if self._accounts or self._credentials:
            return False
        path = permit.breaker
        return path is None or path.state == CLOSED

    def answered(self, permit: Permit, now: float, seconds: float | None) -> Sequence[Change]:
        """As `note` without an error, which nearly every attempt ends with: of a sound route in one step."""
        breaker = permit.breaker
        if breaker is not None and breaker.well and self._routes_only and breaker.era == permit.of_route:
            breaker.calls.append((now, OK))
            return ()
        return self.note(permit, None, now, seconds=seconds)

    def note(
        self,
        permit: Permit,
        error: UpstreamError | None,
        now: float,
        *,
        jitter: float = 0.0,
        seconds: float | None = None,
        by_caller: bool = False,
    ) -> Sequence[Change]:
        """How an attempt ended. Always to be called: a probe that is not heard of blocks its route for minutes.

        Args:
            error: None = it was answered. Where the attempt was given up without an answer (the caller has left), use
                `release`.
            now: seconds since the epoch.
            jitter: drawn uniformly from [0, 1).
            seconds: to the first content, where there was one.
            by_caller: as for `outcome_of`.
        """
        slow = self.rules.slow_seconds
        outcome = outcome_of(error, by_caller=by_caller)
        if outcome == OK and slow is not None and seconds is not None and seconds > slow:
            outcome = SLOW
        return self._note(permit, outcome, error, now, jitter)

    def release(self, permit: Permit, now: float) -> None:
        """The attempt ended and says nothing: it was not sent, or its caller left."""
        self._note(permit, NEUTRAL, None, now, 0.0)

    def _note(
        self, permit: Permit, outcome: str, error: UpstreamError | None, now: float, jitter: float
    ) -> list[Change]:
        route = permit.route
        ours = route.credential is not None
        changes: list[Change] = []
        self._note_route(changes, permit, outcome if ours or outcome != FORBIDDEN else NEUTRAL, error, now, jitter)
        if ours:
            self._note_account(changes, permit, outcome, error, now, jitter)
            self._note_credential(changes, permit, outcome, now, jitter)
        if changes:
            self.openings += 1
        self._tell_apart()
        return changes

    def _note_route(
        self,
        changes: list[Change],
        permit: Permit,
        outcome: str,
        error: UpstreamError | None,
        now: float,
        jitter: float,
    ) -> None:
        breaker = self._routes.get(permit.key)
        if breaker is None:
            if outcome not in (OK, SLOW, FAILED, UNREACHABLE, FORBIDDEN):
                return
            breaker = _keep(self._routes, permit.key, Breaker(self.rules), MOST_ROUTES)
            self.openings += 1  # permits have none, or may have the one that has made room
        if outcome == FORBIDDEN:
            # Where it answers others, the credential may use it, and what was forbidden is something in this call.
            if breaker.is_current(permit.of_route) and not breaker.answers(now):
                self._open(changes, "route", breaker, now, "forbidden", jitter)
            return
        told = error.retry_after if error is not None else None
        if breaker.note(permit.of_route, outcome, now, jitter=jitter, told=told):
            changes.append(_change("route", breaker, now))

    def _note_account(
        self,
        changes: list[Change],
        permit: Permit,
        outcome: str,
        error: UpstreamError | None,
        now: float,
        jitter: float,
    ) -> None:
        breaker = self._account(permit.route)
        if outcome == MONEY:
            if breaker is None:
                made = Breaker(self.rules, self.rules.money_seconds, self.rules.account_longest_seconds)
                breaker = _keep(self._accounts, _key(permit.route), made, MOST_ACCOUNTS)
            if breaker.is_current(permit.of_account):  # else it was on its way when the account's breaker opened
                lifts = error is not None and error.provider_code in TIER_CAPS
                self._open(changes, "account", breaker, now, "money", jitter, next_month(now) if lifts else math.inf)
        elif breaker is not None and breaker.note(permit.of_account, _answered(outcome), now, jitter=jitter):
            changes.append(_change("account", breaker, now))

    def _note_credential(self, changes: list[Change], permit: Permit, outcome: str, now: float, jitter: float) -> None:
        route = permit.route
        if permit.value != value_of(route.credential):
            return  # what was refused or accepted was another value
        breaker = self._credential(route)
        if outcome == AUTH:
            if breaker is None:
                breaker = Breaker(self.rules, self.rules.auth_seconds, self.rules.account_longest_seconds)
            if breaker.is_current(permit.of_credential):
                _keep(self._credentials, _key(route), (breaker, permit.value), MOST_ACCOUNTS)
                self._open(changes, "credential", breaker, now, "auth", jitter)
        elif breaker is not None and breaker.note(permit.of_credential, _answered(outcome), now, jitter=jitter):
            changes.append(_change("credential", breaker, now))

    @staticmethod
    def _open(
        changes: list[Change],
        what: str,
        breaker: Breaker,
        now: float,
        cause: str,
        jitter: float,
        ends: float = math.inf,
    ) -> None:
        breaker.open(now, cause, jitter=jitter, ends=ends)
        changes.append(_change(what, breaker, now))

    def _account(self, route: Route) -> Breaker | None:
        return self._accounts.get(_key(route)) if self._accounts and route.credential is not None else None

    def _credential(self, route: Route) -> Breaker | None:
        """The breaker of a route's credential, unless its value is another one by now."""
        if not self._credentials or route.credential is None:
            return None
        key = _key(route)
        found = self._credentials.get(key)
        if found is None:
            return None
        breaker, refused = found
        if value_of(route.credential) != refused:
            del self._credentials[key]
            self._tell_apart()
            return None
        return breaker

    def lift(self, provider: str, credential: Secret | None = None) -> int:
        """Somebody says that all is well again: close what is open of a provider, or of one credential of it.

        Returns:
            How many breakers were open.
        """
        value = None if credential is None else value_of(credential)
        lifted = [
            breaker
            for (of, _, its), breaker in self._routes.items()
            if of == provider and (value is None or its == value)
        ]
        lifted += [b for (of, secret), b in self._accounts.items() if _is(of, secret, provider, credential)]
        lifted += [b for (of, secret), (b, _) in self._credentials.items() if _is(of, secret, provider, credential)]
        opened = [breaker for breaker in lifted if breaker.state != CLOSED]
        for breaker in opened:
            breaker.close(-math.inf)  # whatever comes next is not soon after it
        return len(opened)

    def opened(self, provider: str, now: float) -> list[Opened]:
        """What is not closed of a provider, the longest first."""
        found = [("route", model, value, b) for (of, model, value), b in self._routes.items() if of == provider]
        found += [("account", "", value_of(key), b) for (of, key), b in self._accounts.items() if of == provider]
        found += [
            ("credential", "", refused, b)
            for (of, key), (b, refused) in self._credentials.items()
            if of == provider and value_of(key) == refused
        ]
        opened = [
            Opened(what, model, value, breaker.state, breaker.cause, breaker.waits(now))
            for what, model, value, breaker in found
            if breaker.state != CLOSED and now < breaker.ends
        ]
        return sorted(opened, key=lambda each: -each.retry_after)

    def state(self, route: Route, now: float, model: str = "") -> Blocked | None:
        """What stands in a route's way now, without being a probe; None = nothing. For health pages and `explain`."""
        path = self._routes.get((route.provider, model or route.model, value_of(route.credential)))
        at_fault = [
            (what, breaker)
            for what, breaker in (
                ("credential", self._credential(route)),
                ("account", self._account(route)),
                ("route", path),
            )
            if breaker is not None and breaker.state != CLOSED and now < breaker.ends
        ]
        return _longest(at_fault, now) if at_fault else None


def _key(route: Route) -> _Key:
    if route.credential is None:
        raise ValueError("a route without a credential has no account")
    return route.provider, route.credential


def _is(of: str, secret: Secret, provider: str, credential: Secret | None) -> bool:
    return of == provider and (credential is None or secret == credential)


def value_of(secret: Secret | None) -> int:
    """What tells a credential's value from others in this process, without telling it; 0 = no credential."""
    # Python's own hash is keyed per process and kept in the string: nothing to leak, and next to nothing to compute.
    return hash(secret.reveal()) if secret is not None else 0


def _keep(kept: dict[K, V], key: K, made: V, most: int) -> V:
    """Put it in; the one that came the longest ago makes room."""
    if key not in kept and len(kept) >= most:
        del kept[next(iter(kept))]
    kept[key] = made
    return made


def _answered(outcome: str) -> str:
    """For an account and a credential: an answer shows that they are sound, and nothing else says anything."""
    return OK if outcome in (OK, SLOW) else NEUTRAL


def _blocked(what: str, breaker: Breaker, now: float) -> Blocked:
    return Blocked(what, breaker.cause, breaker.waits(now))


def _longest(at_fault: list[tuple[str, Breaker]], now: float) -> Blocked:
    what, breaker = max(at_fault, key=lambda each: each[1].waits(now))
    return _blocked(what, breaker, now)


def _change(what: str, breaker: Breaker, now: float) -> Change:
    return Change(what, breaker.state, breaker.cause, breaker.waits(now))
