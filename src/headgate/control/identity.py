"""Who a request comes from: a browser's session, an API token, the command line's control token."""

from __future__ import annotations

import hmac
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from sqlalchemy import Connection

from headgate.control.passwords import Passwords, Patience
from headgate.control.people import Principal, Role
from headgate.core.actors import Actor, acting
from headgate.core.errors import ConfigError, Denied, Unavailable
from headgate.stores.api_tokens import PREFIX, read_token
from headgate.stores.keys import key_hash
from headgate.stores.ledger import WrittenLedger
from headgate.stores.people import Person, is_name, person_named, read_people
from headgate.stores.reader import Reader
from headgate.stores.sessions import TOUCH_SECONDS, read_session

T = TypeVar("T")

KNOWN_SECONDS = 2.0
"""How long what the ledger said of a session, a token or of whether there are people is believed without asking again.
A logout counts at once in this process, and after so long in others."""

_KNOWN = 1_000
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_TOKEN = re.compile(r"hga-[a-z2-7]{8}-[A-Za-z0-9_-]{43}")
_WRONG = "The name or the password is not right."
_NOT_VALID = "The API token is not valid: it is unknown, expired or revoked."


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A browser that has just logged in. `cookie` is shown to it alone."""

    person: Person
    cookie: str


class _Asked(Protocol):
    def __call__(self) -> object: ...


class Identity:
    """Blocks for the ledger: call it in threads."""

    def __init__(
        self,
        ledger: WrittenLedger,
        *,
        now: Callable[[], float],
        tell: Callable[..., None],
        passwords: Passwords | None = None,
    ) -> None:
        """
        Args:
            now: seconds since the epoch.
            tell: the log's `event`.
            passwords: with other costs than the default's.
        """
        self.passwords = passwords or Passwords()
        self.patience = Patience(now)
        self._ledger = ledger
        self._now = now
        self._tell = tell
        self._reader: Reader | None = None
        self._known: OrderedDict[str, tuple[float, object]] = OrderedDict()
        self._changes = 0
        self._lock = threading.Lock()

    def anybody(self) -> bool:
        """Whether there are people at all."""
        return bool(self._remembered("people", lambda: bool(self._ask(read_people))))

    def session(self, cookie: str, address: str) -> Principal | None:
        """Who has logged in with this cookie; None: the session is over, or was none."""
        if not _COOKIE.fullmatch(cookie):
            return None
        session_id = key_hash(cookie)
        found = self._remembered(session_id, lambda: self._visited(session_id))
        if found is None:
            return None
        person = cast("tuple[object, Person]", found)[1]
        return Principal(person.name, cast("Role", person.role), person.tenant, "dashboard", address)

    def _visited(self, session_id: str) -> object:
        now = self._now()
        found = self._ask(lambda sql: read_session(sql, session_id, now))
        if found is not None and now >= found[0].seen + TOUCH_SECONDS:
            return self._ledger.sessions.visit(session_id)
        return found

    def token(self, text: str, address: str) -> Principal:
        """Whose API token it is.

        Raises:
            Denied: it is not valid.
        """
        token = None
        if _TOKEN.fullmatch(text):
            token_id = text.removeprefix(PREFIX).partition("-")[0]
            token = self._ask(lambda sql: read_token(sql, token_id, self._now()))
        if token is None or not hmac.compare_digest(token.hash, key_hash(text)):
            raise Denied(_NOT_VALID, code="invalid_token")
        return Principal(f"token:{token.name}", cast("Role", token.role), token.tenant, "api", address)

    def _ask(self, question: Callable[[Connection], T]) -> T:
        """Beside the writer, which has money to decide about: strangers may ask here as often as they like."""
        with self._lock:
            if self._reader is None:
                self._reader = self._ledger.reader()
            reader = self._reader
        try:
            return reader._ask(question)
        except ConfigError as error:
            raise Unavailable(error.message, told="the ledger cannot be read now") from None

    def log_in(self, name: str, password: str, address: str, *, before: str = "") -> LoggedIn:
        """A new session, whatever the browser had before.

        Args:
            before: the cookie that the browser sent, if any: its session ends.

        Raises:
            Denied: the name or the password is not right; which of them is not told.
            RateExceeded: too many failures before.
            Unavailable: too many logins at once, or the ledger cannot be written.
        """
        self.patience.admit(name, address)
        person = self._ask(lambda sql: person_named(sql, name)) if is_name(name) else None
        right = self.passwords.check(None if person is None else person.password, password)
        if person is None or not right:
            self.patience.failed(name, address)
            # In the log, not among the changes: strangers must not be able to make those many. Only a name that there
            # is: a password is easily typed into the field above its own, and viewers read events.
            self._tell("login_failed", person="" if person is None else person.name, peer=address)
            raise Denied(_WRONG, code="login_failed")
        self.patience.succeeded(name, address)
        if self.passwords.outdated(person.password):
            self._ledger.people.rehash(name, person.password, self.passwords.hash(password))
        with acting(Actor(name, person.role, "dashboard", address)):
            cookie = self._ledger.sessions.begin(name, address, ends=key_hash(before) if before else "")
        self.forget()
        return LoggedIn(person, cookie.reveal())

    def log_out(self, cookie: str, who: Principal) -> None:
        """End the session of this browser."""
        with acting(who.actor):
            self._ledger.sessions.end(key_hash(cookie))
        self.forget()

    def check_password(self, name: str, password: str, address: str) -> None:
        """The person's own password, once more, before it is changed.

        Raises:
            Denied: it is not right.
            RateExceeded: too many failures before.
        """
        self.patience.admit(name, address)
        person = self._ledger.people.find(name)
        if not self.passwords.check(None if person is None else person.password, password):
            self.patience.failed(name, address)
            raise Denied("The password is not right.", code="login_failed", status_hint=403)

    def forget(self) -> None:
        """What was believed without asking is asked again: something has changed."""
        with self._lock:
            self._changes += 1
            self._known.clear()

    def _remembered(self, key: str, ask: _Asked) -> object:
        now = self._now()
        with self._lock:
            known, changes = self._known.get(key), self._changes
        if known is not None and 0 <= now - known[0] < KNOWN_SECONDS:
            return known[1]
        found = ask()
        with self._lock:
            if changes != self._changes:
                return found  # what was answered may be of before the change: the next one asks again
            self._known[key] = (now, found)
            self._known.move_to_end(key)
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        return found


def csrf_of(cookie: str) -> str:
    """What a page of this session has to send back with a change: only who has the cookie can tell it."""
    return hmac.digest(cookie.encode(), b"headgate csrf", "sha256").hex()
