"""Logging in: passwords, sessions, and what a browser's change has to prove."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from control_gateway import CHEAP, TOKEN, Running, running

from headgate.control.identity import csrf_of
from headgate.control.login import back_of
from headgate.control.passwords import LONGEST_WAIT, Passwords, Patience
from headgate.core.errors import ConfigError, RateExceeded

PASSWORD = "correct horse battery"
NEW = "another horse battery"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("login")) as made:
        made.built.ledger.people.add("ada", "admin", password=CHEAP.hash(PASSWORD))
        made.built.ledger.people.add("eve", "viewer", password=CHEAP.hash(PASSWORD))
        yield made


@pytest.fixture
def fresh(gate: Running) -> Running:
    """Without the failures of other tests."""
    gate.ask("/login")
    gate.control.identity.patience = Patience(gate.control.now)
    return gate


def session_of(cookie: str) -> str:
    return cookie.partition("=")[2]


def test_once_there_are_people_nobody_comes_in_without_login(fresh: Running) -> None:
    page = fresh.ask("/ui/spend?by=user")
    assert (page.status, page.headers["location"]) == (303, "/login?next=%2Fui%2Fspend%3Fby%3Duser")
    part = fresh.ask("/ui/spend", hx_request="true")
    assert (part.status, part.headers["hx-redirect"]) == (401, "/login")
    api = fresh.ask("/admin/api/v1/keys")
    assert (api.status, api.headers["content-type"], api.json["code"]) == (
        401,
        "application/problem+json",
        "login_needed",
    )


def test_the_right_password_opens_a_session_whose_cookie_only_this_browser_has(fresh: Running) -> None:
    answer = fresh.form("/login", {"name": "ada", "password": PASSWORD, "next": "/ui/spend"})
    assert (answer.status, answer.headers["location"]) == (303, "/ui/spend")
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    assert "path=/" in said
    assert fresh.ask("/", cookie=answer.cookie).status == 200
    assert len(session_of(answer.cookie)) >= 43  # 256 bits


def test_behind_a_trusted_proxy_with_https_the_cookie_is_for_https_and_this_host_alone(tmp_path: Any) -> None:
    with running(tmp_path, {"server": {"trusted_proxies": ["127.0.0.0/8"]}}) as gate:
        gate.built.ledger.people.add("ada", "admin", password=CHEAP.hash(PASSWORD))
        proxied = {"x_forwarded_proto": "https", "x_forwarded_host": "gate.example", "origin": "https://gate.example"}
        answer = gate.log_in("ada", PASSWORD, **proxied)
        assert answer.status == 303
        assert answer.cookie.startswith("__Host-headgate_session=")
        assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong"), ("nobody", PASSWORD), ("", ""), ("ada\0", "\ud800")])
def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(fresh: Running, name: str, password: str) -> None:
    answer = fresh.form("/login", {"name": name, "password": password.encode("utf-8", "replace").decode()})
    assert answer.status == 401
    assert b"The name or the password is not right." in answer.body
    assert not answer.cookie


def test_an_unknown_name_costs_a_hash_as_a_known_one_does() -> None:
    class Counting:
        def __init__(self) -> None:
            self.verified = 0

        def hash(self, _password: str) -> str:
            return "hash"

        def verify(self, _known: str, _password: bytes) -> bool:
            self.verified += 1
            return True

    counting = Counting()
    passwords = Passwords(counting)  # type: ignore[arg-type]  # counts what is asked of it
    assert passwords.check(None, "x") is False
    assert passwords.check("known", "x") is True
    assert counting.verified == 2


def test_guessing_has_to_wait_longer_each_time_by_name_and_by_address() -> None:
    at = [1_800_000_000.0]
    patience = Patience(lambda: at[0])
    waits = []
    for number in range(14):
        try:
            patience.admit("ada", f"10.0.0.{number}")
        except RateExceeded as error:
            waits.append(error.retry_after)
            at[0] += error.retry_after or 0.0
        patience.failed("ada", f"10.0.0.{number}")
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, LONGEST_WAIT, LONGEST_WAIT]
    patience.admit("bob", "10.0.0.3")  # others do not wait
    for name in ("a", "b", "c"):
        patience.failed(name, "10.9.9.9")
    with pytest.raises(RateExceeded):
        patience.admit("new", "10.9.9.9")
    patience.succeeded("ada", "10.0.0.1")
    patience.admit("ada", "10.0.0.1")


def test_after_the_clock_went_back_nobody_waits_longer_than_the_longest_wait() -> None:
    at = [1_800_000_000.0]
    patience = Patience(lambda: at[0])
    for _ in range(20):
        patience.failed("ada", "10.0.0.1")
    at[0] -= 86_400.0
    with pytest.raises(RateExceeded) as refused:
        patience.admit("ada", "10.0.0.1")
    assert refused.value.retry_after == LONGEST_WAIT
    at[0] += LONGEST_WAIT
    patience.admit("ada", "10.0.0.1")


def test_who_was_made_or_logged_out_before_the_clock_went_back_can_log_in(
    fresh: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, identity = fresh.built.ledger.sessions, fresh.control.identity
    fresh.built.ledger.people.add("zoe", "viewer", password=CHEAP.hash(PASSWORD))
    before = identity.log_in("zoe", PASSWORD, "").cookie
    at = fresh.control.now() - 7_200.0
    monkeypatch.setattr(sessions, "_now", lambda: at)
    monkeypatch.setattr(identity, "_now", lambda: at)
    first = identity.log_in("zoe", PASSWORD, "").cookie
    assert identity.session(first, "") is not None
    assert identity.session(before, "") is not None  # began after the moment that counted until now
    sessions.end_all("zoe")
    identity.forget()
    assert identity.session(first, "") is None
    at -= 60.0
    again = identity.log_in("zoe", PASSWORD, "").cookie
    assert identity.session(again, "") is not None
    assert identity.session(first, "") is None


def test_after_failures_the_login_says_how_long_to_wait(fresh: Running) -> None:
    for _ in range(3):
        assert fresh.log_in("eve", "wrong").status == 401
    answer = fresh.log_in("eve", PASSWORD)
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")


def test_a_session_planted_before_login_is_worth_nothing_after_it(fresh: Running) -> None:
    first = fresh.log_in("eve", PASSWORD).cookie
    second = fresh.log_in("ada", PASSWORD, cookie=first).cookie
    assert session_of(second) != session_of(first)
    assert fresh.ask("/", cookie=first).status == 303
    assert fresh.ask("/", cookie=second).status == 200


def test_a_change_of_a_session_needs_the_origin_and_its_own_token(fresh: Running) -> None:
    cookie = fresh.log_in("ada", PASSWORD).cookie
    other = csrf_of(session_of(fresh.log_in("ada", PASSWORD).cookie))
    own = csrf_of(session_of(cookie))
    assert fresh.form("/logout", {}, cookie=cookie).status == 403
    assert fresh.form("/logout", {"csrf": other}, cookie=cookie).status == 403
    assert fresh.form("/logout", {"csrf": own}, cookie=cookie, origin="http://evil.example").status == 403
    assert fresh.ask("/logout", "POST", {"csrf": own}, form="yes", cookie=cookie).status == 403  # no Origin
    assert fresh.form("/logout", {}, cookie=cookie, x_headgate_csrf=own).status == 303
    assert fresh.ask("/", cookie=cookie).status == 303


def test_a_login_sent_by_another_site_is_refused(fresh: Running) -> None:
    assert fresh.log_in("ada", PASSWORD, origin="http://evil.example").status == 403
    assert fresh.ask("/login", "POST", {"name": "ada", "password": PASSWORD}, form="yes").status == 403


def test_an_api_token_comes_in_without_cookie_and_csrf_and_a_virtual_key_does_not(fresh: Running) -> None:
    _, token = fresh.built.ledger.api_tokens.make("ci", "viewer")
    assert fresh.ask("/", authorization=f"Bearer {token.reveal()}").status == 200
    wrong = token.reveal()[:-1] + ("a" if token.reveal()[-1] != "a" else "b")
    for text in (wrong, "hga-x", "hga-", "hg-abcdefgh-secret", "x"):
        assert fresh.ask("/admin/api/v1/keys", authorization=f"Bearer {text}").status in (401, 403), text
    assert fresh.ask("/", authorization=f"Bearer {TOKEN}").status == 200  # the command line


def test_a_role_that_is_taken_away_counts_at_once_for_sessions_that_there_are(fresh: Running) -> None:
    people = fresh.built.ledger.people
    people.add("mia", "operator", password=CHEAP.hash(PASSWORD))
    cookie = fresh.log_in("mia", PASSWORD).cookie
    assert fresh.control.identity.session(session_of(cookie), "").role == "operator"
    people.change("mia", role="viewer")
    fresh.control.identity.forget()
    assert fresh.control.identity.session(session_of(cookie), "").role == "viewer"


def test_logins_are_on_record_and_failures_are_in_the_log_without_the_password(fresh: Running) -> None:
    fresh.log_in("eve", "canary-wrong-password")
    fresh.log_in("eve", PASSWORD)
    row = fresh.built.ledger.audit.rows(limit=1)[0]
    assert (row.action, row.actor, row.way, row.address) == ("session.begin", "eve", "dashboard", "127.0.0.1")
    fresh.built.log.flush()
    written = (fresh.folder / "headgate.db.log.jsonl").read_text()
    assert '"login_failed"' in written
    assert "canary-wrong-password" not in written


def test_a_password_that_was_typed_as_the_name_is_not_logged(fresh: Running) -> None:
    assert fresh.log_in("canary-typed-as-name", "ada").status == 401
    assert fresh.log_in("eve", "wrong").status == 401
    fresh.built.log.flush()
    failed = [json.loads(line) for line in (fresh.folder / "headgate.db.log.jsonl").read_text().splitlines()]
    told = [(each["person"], each["peer"]) for each in failed if each.get("event") == "login_failed"][-2:]
    assert told == [("", "127.0.0.1"), ("eve", "127.0.0.1")]


@pytest.mark.parametrize(
    ("told", "back"),
    [
        ("/ui/spend?by=user", "/ui/spend?by=user"),
        ("", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nset-cookie: x", "/"),
        ("/é", "/"),
    ],
)
def test_a_login_goes_on_to_paths_of_ours_only(told: str, back: str) -> None:
    assert back_of(told) == back


@pytest.mark.parametrize("password", ["", "short", "x" * 1_001])
def test_a_password_that_is_too_short_or_too_long_is_refused(password: str) -> None:
    with pytest.raises(ConfigError, match="12 to 1,000"):
        CHEAP.hash(password)
