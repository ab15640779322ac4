"""Secrets that follow their store: fresh in time, kept while it is down, gone when they are gone, never shown."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.secret import Secret
from headgate.settings import secrets
from headgate.settings.secret_stores import NotAsked, NotThere, Unfitting
from headgate.settings.secret_stores.places import Place
from headgate.settings.secrets import SecretRef
from headgate.settings.secrets_kept import LiveSecret
from headgate.settings.secrets_live import SecretKeeper

OLD, NEW = "old-canary-1", "new-canary-2"
HERE = SecretRef("vault", "secret/data/llm#key", where="headgate.yaml:1:2: providers.x.api_key")


class Store:
    """What the stores hold, by path; an exception is raised. `looks` counts."""

    def __init__(self) -> None:
        self.holds: dict[str, str | Exception] = {"secret/data/llm": OLD}
        self.looks = 0
        self.looked = threading.Event()
        self.hold = threading.Event()
        self.hold.set()

    def read(self, place: Place, env: Any) -> str:
        assert self.hold.wait(60)
        self.looks += 1
        self.looked.set()
        found = self.holds.get(place.path, NotThere("is not there"))
        if isinstance(found, Exception):
            raise found
        return found

    def put(self, value: str | Exception) -> None:
        self.holds["secret/data/llm"] = value


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(secrets, "read_store", made.read)
    return made


class Bench:
    """A keeper whose thread is not needed: time goes on by `after`, which looks at what is due."""

    def __init__(self, **env: str) -> None:
        self.clock, self.told = Clock(), Told()
        self.keeper = SecretKeeper(env, every=300.0, now=self.clock, tell=self.told)
        self.keeper.wake = lambda: None  # type: ignore[method-assign]  # no thread: the test is the clock

    def secret(self, ref: SecretRef = HERE) -> LiveSecret:
        made = self.keeper.get(ref)
        self.keeper.open()
        return made

    def after(self, seconds: float) -> float | None:
        self.clock.time += seconds
        return self.keeper.refresh_due()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.keeper.close()


def test_a_value_changed_in_the_store_is_used_from_the_next_look_on_and_not_before(store: Store, bench: Bench) -> None:
    secret = bench.secret()
    assert secret.reveal() == OLD
    store.put(NEW)
    assert bench.after(299.0) == pytest.approx(1.0)
    assert (secret.reveal(), store.looks) == (OLD, 1)
    assert bench.after(1.0) == pytest.approx(300.0)
    assert (secret.reveal(), store.looks) == (NEW, 2)
    assert bench.told.names == ["secret_rotated"]


def test_one_reference_is_one_secret_however_often_it_is_asked_for(store: Store, bench: Bench) -> None:
    assert bench.secret() is bench.secret()
    assert store.looks == 1


def test_a_file_of_another_directory_is_another_secret(tmp_path: Path, bench: Bench) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text(name, encoding="ascii")
    refs = [SecretRef("file", "key", base=str(tmp_path / name)) for name in ("a", "b")]
    assert [bench.secret(ref).reveal() for ref in refs] == ["a", "b"]


def test_a_file_is_looked_at_every_ten_seconds_and_an_environment_variable_never(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(OLD, encoding="ascii")
    bench = Bench(KEY=OLD)
    secret = bench.secret(SecretRef("file", str(path)))
    assert bench.secret(SecretRef("env", "KEY")).reveal() == OLD
    path.write_text(NEW, encoding="ascii")
    assert bench.after(9.0) == pytest.approx(1.0)
    bench.after(1.0)
    assert secret.reveal() == NEW
    assert Bench(KEY=OLD).after(0.0) is None


def test_while_the_store_is_down_the_last_good_value_stays_and_it_is_told_once(store: Store, bench: Bench) -> None:
    secret = bench.secret()
    store.put(NotAsked("answered 503"))
    for _ in range(5):
        bench.after(300.0)
        assert secret.reveal() == OLD
    assert bench.told.names == ["secret_out_of_reach"]
    fields = bench.told.events[0][1]
    assert fields["reference"] == "vault:secret/data/llm#key"
    assert "headgate.yaml:1:2: providers.x.api_key" in fields["reason"]
    assert "the store answered 503" in fields["reason"]
    assert fields["in_use"] is True
    assert bench.keeper.health() == {"ok": False, "secrets": 1, "missing": [], "stale": [str(HERE)]}
    store.put(NEW)
    bench.after(300.0)
    assert secret.reveal() == NEW
    assert bench.told.names[1:] == ["secret_rotated", "secret_back"]
    assert bench.keeper.health()["ok"] is True


def test_a_store_that_is_down_is_asked_again_soon_and_then_less_and_less_often(store: Store, bench: Bench) -> None:
    bench.secret()
    store.put(NotAsked("cannot be reached"))
    waits = [bench.after(300.0)]
    for _ in range(5):
        waits.append(bench.after(waits[-1] or 0.0))
    assert waits == [pytest.approx(each) for each in (5, 10, 20, 40, 60, 60)]


def test_a_store_that_is_down_at_the_start_leaves_no_value_until_it_is_back(store: Store, bench: Bench) -> None:
    store.put(NotAsked("cannot be reached"))
    secret = bench.secret()
    assert not secret
    assert "the store cannot be reached" in bench.keeper.problem(secret)
    assert bench.keeper.health()["missing"] == [str(HERE)]
    store.put(OLD)
    bench.after(5.0)
    assert (secret.reveal(), bench.keeper.problem(secret)) == (OLD, "")
    assert bench.told.events == []  # who starts asks for the problems; then nothing had been told


def test_a_deleted_secret_is_gone_when_a_second_look_confirms_it_and_comes_back(store: Store, bench: Bench) -> None:
    secret = bench.secret()
    store.put(NotThere("was deleted"))
    assert bench.after(300.0) == pytest.approx(1.0)
    assert secret.reveal() == OLD  # whoever replaces a file may delete it first
    bench.after(1.0)
    assert secret.reveal() == ""
    assert not secret
    assert bench.told.names == ["secret_missing"]
    assert "was deleted" in bench.keeper.problem(secret)
    assert bench.after(59.0) == pytest.approx(1.0)
    store.put(NEW)
    bench.after(1.0)
    assert secret.reveal() == NEW
    assert bench.told.names == ["secret_missing", "secret_back"]


@pytest.mark.parametrize("wrong", [Unfitting("is no JSON object"), "two\nlines", RuntimeError("canary")])
def test_what_cannot_be_a_secret_never_replaces_one_and_never_ends_the_following(
    store: Store, bench: Bench, wrong: str | Exception
) -> None:
    secret = bench.secret()
    store.put(wrong)
    bench.after(300.0)
    assert secret.reveal() == OLD
    assert "canary" not in bench.keeper.problem(secret)
    store.put(NEW)
    bench.after(60.0)
    assert secret.reveal() == NEW


# ---- a provider's 401 ----------------------------------------------------------------------------------------------


def test_after_a_401_the_store_is_asked_at_once_and_the_new_value_used(store: Store, bench: Bench) -> None:
    secret = bench.secret()
    bench.clock.time += 20.0
    store.put(NEW)
    assert bench.keeper.renewed(secret, since=1019.0) is None
    assert bench.keeper.renew(secret, since=1019.0) is True
    assert secret.reveal() == NEW
    assert secret.rejected is False


def test_401s_make_one_look_in_ten_seconds_whatever_callers_do(store: Store, bench: Bench) -> None:
    secret = bench.secret()
    for second in range(20):
        bench.clock.time = 1100.0 + second
        assert bench.keeper.renew(secret, since=bench.clock.time) is False
    assert store.looks == 1 + 2
    assert secret.rejected is True


def test_a_401_of_an_attempt_that_began_before_the_change_needs_no_look(store: Store, bench: Bench) -> None:
    secret = bench.secret()
    store.put(NEW)
    bench.after(300.0)
    looks = store.looks
    assert bench.keeper.renewed(secret, since=1299.0) is True
    assert bench.keeper.renew(secret, since=1299.0) is True
    assert store.looks == looks


def test_a_401_while_the_store_is_down_changes_nothing(store: Store, bench: Bench) -> None:
    secret = bench.secret()
    store.put(NotAsked("cannot be reached"))
    assert bench.keeper.renew(secret, since=1000.0) is False
    assert secret.reveal() == OLD


def test_a_refused_key_stands_back_for_a_minute_or_until_it_changes(store: Store, bench: Bench) -> None:
    secret = bench.secret()
    bench.keeper.renew(secret, since=1000.0)
    bench.after(59.0)
    assert secret.rejected is True
    bench.after(1.0)
    assert secret.rejected is False
    bench.keeper.renew(secret, since=1100.0)
    assert secret.rejected is True
    store.put(NEW)
    bench.after(60.0)
    assert secret.rejected is False


def test_an_environments_key_that_was_refused_stands_back_for_a_minute_too() -> None:
    bench = Bench(KEY=OLD)
    secret = bench.secret(SecretRef("env", "KEY"))
    assert bench.keeper.renew(secret, since=1000.0) is False
    assert secret.rejected is True
    assert bench.after(60.0) is None
    assert secret.rejected is False


def test_a_hundred_threads_that_saw_the_401_make_one_look_and_all_go_on_with_the_new_value(
    store: Store, bench: Bench
) -> None:
    secret = bench.secret()
    store.put(NEW)
    store.hold.clear()
    bench.clock.time += 1.0
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(bench.keeper.renew(secret, since=1000.5))) for _ in range(100)
    ]
    for thread in threads:
        thread.start()
    store.hold.set()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 100
    assert store.looks == 2


def test_a_secret_that_nobody_keeps_is_never_renewed(bench: Bench) -> None:
    assert bench.keeper.renew(Secret("x"), since=0.0) is False
    assert bench.keeper.renew(LiveSecret(bench.keeper), since=0.0) is False


# ---- start, threads, processes -------------------------------------------------------------------------------------


def test_a_store_that_hangs_does_not_hold_up_the_start_and_its_late_answer_is_taken(store: Store) -> None:
    store.hold.clear()
    keeper = SecretKeeper({}, now=Clock())
    secret = keeper.get(HERE)
    keeper.open(seconds=0.01)
    assert not secret
    assert "headgate.yaml:1:2: providers.x.api_key: " in keeper.problem(secret)
    assert "did not answer within 0.01 s" in keeper.problem(secret)
    came = threading.Event()
    keeper.watch(secret, came.set)
    store.hold.set()
    assert came.wait(60)
    assert secret.reveal() == OLD
    keeper.close()


def followers() -> set[threading.Thread]:
    """Of this process, with those of earlier tests that have been told to end and have not had a turn since."""
    return {each for each in threading.enumerate() if each.name == "headgate-secrets"}


def test_nothing_runs_in_the_background_before_a_secret_is_used_and_then_one_thread_does(store: Store) -> None:
    before = followers()
    clock = Clock()
    keeper = SecretKeeper({}, now=clock)
    secret = keeper.get(HERE)
    keeper.open()
    assert keeper.asleep
    changed = threading.Event()
    keeper.watch(secret, changed.set)
    store.put(NEW)
    clock.time += 300.0
    assert not changed.is_set()
    secret.reveal()
    secret.reveal()
    assert changed.wait(60)
    assert secret.reveal() == NEW
    assert len(followers() - before) == 1
    keeper.close()


def test_with_environment_variables_only_no_thread_is_ever_started() -> None:
    before = set(threading.enumerate())
    keeper = SecretKeeper({"KEY": OLD})
    secret = keeper.get(SecretRef("env", "KEY"))
    keeper.get(SecretRef("env", "UNSET"))
    keeper.open()
    assert (secret.reveal(), keeper.asleep) == (OLD, False)
    assert set(threading.enumerate()) <= before


def test_a_keeper_that_nobody_has_any_more_is_collected_and_its_thread_ends(store: Store) -> None:
    before = followers()
    keeper = SecretKeeper({}, now=Clock())
    keeper.get(HERE)
    keeper.open()
    keeper.wake()
    (follower,) = followers() - before
    del keeper
    gc.collect()
    follower.join(60)
    assert not follower.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_knows_the_value_and_follows_by_itself(store: Store) -> None:
    clock = Clock()
    keeper = SecretKeeper({}, now=clock)
    secret = keeper.get(HERE)
    keeper.open()
    secret.reveal()  # the parent's thread follows
    with keeper._of[secret].lock:  # held by a thread that the child does not have
        child = os.fork()
    if child == 0:
        code = 1
        try:
            assert keeper.asleep
            assert secret.reveal() == OLD
            changed = threading.Event()
            keeper.watch(secret, changed.set)
            store.put(NEW)
            assert keeper.renew(secret, since=1000.0)
            code = 0 if changed.wait(60) and secret.reveal() == NEW else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert secret.reveal() == OLD
    keeper.close()


def test_a_closed_keeper_looks_no_more(store: Store) -> None:
    before = followers()
    keeper = SecretKeeper({}, now=Clock())
    secret = keeper.get(HERE)
    keeper.open()
    keeper.close()
    keeper.close()
    assert secret.reveal() == OLD
    assert followers() <= before


# ---- never shown ---------------------------------------------------------------------------------------------------


def test_no_value_is_ever_shown_by_a_repr_a_format_the_health_or_what_is_told(store: Store, bench: Bench) -> None:
    secret = bench.secret()
    for value in (NEW, NotAsked("answered 500"), "two\n" + OLD, NotThere("gone"), NotThere("gone"), OLD):
        store.put(value)
        bench.after(300.0)
        said = (
            f"{secret!r} {secret} {[secret]} {bench.keeper.health()} {bench.told.events} {bench.keeper.problem(secret)}"
        )
        assert "canary" not in said
    with pytest.raises(TypeError, match="not serialised"):
        secret.__reduce__()


def test_a_live_secret_is_equal_to_itself_only_because_its_value_will_change(store: Store, bench: Bench) -> None:
    secret = bench.secret()
    assert secret == secret
    assert secret != Secret(OLD)
    assert Secret(OLD) != secret
    kept = hash(secret)
    store.put(NEW)
    bench.after(300.0)
    assert hash(secret) == kept


LOOKS = st.lists(st.sampled_from(["a", "b", "down", "gone", "wrong"]), max_size=30)


@given(LOOKS)
def test_the_value_is_the_last_good_one_unless_two_looks_found_none_and_none_between_found_one(
    looks: list[str],
) -> None:
    store = Store()
    bench = Bench()
    replies: dict[str, str | Exception] = {"a": "a", "b": "b", "down": NotAsked("is down"), "gone": NotThere("gone")}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(secrets, "read_store", store.read)
        secret = bench.secret()
        value, misses = OLD, 0
        for look in looks:
            store.put(replies.get(look, Unfitting("is wrong")))
            bench.after(300.0)
            if look in ("a", "b"):
                value, misses = look, 0
            elif look == "gone":
                misses += 1
                value = value if misses < 2 else ""
            assert secret.reveal() == value
            if look != "gone":
                assert bool(bench.keeper.problem(secret)) == (look in ("down", "wrong"))
