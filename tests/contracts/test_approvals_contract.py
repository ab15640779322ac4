"""What every store of tool calls that wait must do, whatever database is behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.approvals import Decision, Parked, State
from headgate.core.caller import Caller
from headgate.core.guards import ToolCall
from headgate.engine.blocking import run_blocking
from headgate.stores.approvals import KEPT_SECONDS, ApprovalStore, read_approvals

NOW = 2_000_000_000.0
KEY = b"k" * 32
CALLER = Caller(key="k1", tenant="acme", user="ada", session="s-1", task="mail", feature="inbox", environment="test")


class Desk:
    """A store of approvals over one of the contract's ledgers."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.now = NOW
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.told: list[Parked] = []
        self.open()

    def open(self) -> None:
        self.approvals = ApprovalStore(self.store.ledger, lambda: KEY, now=lambda: self.now, tell=self._tell)
        self.approvals.on_parked = self.told.append

    def _tell(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))

    @property
    def port(self) -> Any:
        blocking = self.store.run is run_blocking
        return self.approvals.blocking() if blocking else self.approvals.asynchronous()

    def park(self, **changed: Any) -> Parked:
        call = ToolCall("toolu_1", "send_email", '{"to": "ada@acme.example", "text": "\\u0000 é"}', "content[1]")
        beside = ((0, ToolCall("toolu_0", "search", "{}", "content[0]")),)
        made = Parked(self.port.new_id(), self.now, self.now + 3600, CALLER, call, "ex_1", "d" * 64, 1, beside)
        parked = replace(made, **changed)
        self.port.keep(parked)
        self.store.flush()
        return parked

    def found(self, parked: Parked) -> Parked:
        (one,) = self.do(lambda port: port.find([parked.id]))
        assert isinstance(one, Parked)
        return one

    def take(self, *parked: Parked) -> bool:
        return bool(self.do(lambda port: port.take([each.id for each in parked], self.now)))

    def do(self, ask: Callable[[Any], Any]) -> Any:
        async def asked() -> Any:
            return await ask(self.port)

        return self.store.run(asked())

    def approve(self, parked: Parked, edited: str | None = None) -> bool:
        return self.approvals.decide(parked.id, Decision(True, edited, "cli", "fine")).made


@pytest.fixture
def desk(store: Any) -> Desk:
    return Desk(store)


def test_a_parked_call_is_found_as_it_was_kept(desk: Desk) -> None:
    parked = desk.park()
    assert desk.found(parked) == parked
    assert desk.do(lambda port: port.find(["ap_none"])) == []


def test_a_record_without_its_token_is_all_that_is_kept(desk: Desk) -> None:
    parked = desk.park(token="hga_secret")
    assert desk.found(parked) == replace(parked, token="")


def test_what_is_new_of_an_answer_is_added_until_the_end_and_told_once(desk: Desk) -> None:
    parked = desk.park()
    later = replace(parked, beside=(*parked.beside, (2, ToolCall("toolu_2", "search", "{}", "content[2]"))))
    desk.port.keep(later)
    desk.store.flush()
    assert desk.found(parked) == later
    assert [each.id for each in desk.told] == [parked.id]
    assert [name for name, _ in desk.events] == ["approval_parked"]
    assert "acme.example" not in repr(desk.events)


def test_an_approved_call_is_had_once(desk: Desk) -> None:
    parked = desk.park()
    assert not desk.take(parked)
    assert desk.approve(parked)
    assert desk.take(parked)
    assert not desk.take(parked)
    assert desk.found(parked).state is State.USED


def test_several_are_had_together_or_not_at_all(desk: Desk) -> None:
    first, second = desk.park(), desk.park()
    desk.approve(first)
    assert not desk.take(first, second)
    assert desk.found(first).state is State.APPROVED
    desk.approve(second)
    assert desk.take(first, second)


def test_the_first_decision_counts(desk: Desk) -> None:
    parked = desk.park()
    assert desk.approvals.decide(parked.id, Decision(False, by="api", note="no")).made
    decided = desk.approvals.decide(parked.id, Decision(True, by="cli"))
    assert not decided.made
    assert decided.parked is not None
    assert (decided.parked.state, decided.parked.decided_by, decided.parked.note) == (State.DENIED, "api", "no")
    assert decided.parked.decided_at == NOW
    assert desk.approvals.decide("ap_none", Decision(True)).parked is None


def test_edited_arguments_are_what_is_had(desk: Desk) -> None:
    parked = desk.park()
    assert desk.approve(parked, '{"to": "bob@acme.example"}')
    assert desk.found(parked).arguments == '{"to": "bob@acme.example"}'
    assert desk.found(parked).call == parked.call


def test_what_has_expired_is_neither_decided_nor_had(desk: Desk) -> None:
    waiting, approved = desk.park(), desk.park()
    desk.approve(approved)
    desk.now += 3600
    assert not desk.approve(waiting)
    assert not desk.take(approved)
    assert desk.found(waiting).state_at(desk.now) is State.EXPIRED


def test_lists_are_the_newest_first_and_by_the_state_of_now(desk: Desk) -> None:
    old = desk.park()
    desk.now += 10
    new = desk.park(expires=NOW + 20)
    assert [each.id for each in desk.approvals.list()] == [new.id, old.id]
    desk.approve(old)
    assert [each.id for each in desk.approvals.list(state=State.PENDING)] == [new.id]
    assert [each.id for each in desk.approvals.list(state=State.APPROVED)] == [old.id]
    desk.now += 15
    assert desk.approvals.list(state=State.PENDING) == []
    assert [each.id for each in desk.approvals.list(state=State.EXPIRED)] == [new.id]
    assert [each.id for each in desk.approvals.list(limit=1)] == [new.id]


def test_what_has_long_expired_goes_with_the_next_that_is_parked(desk: Desk) -> None:
    old = desk.park()
    desk.now += 3600 + KEPT_SECONDS + 1
    new = desk.park()
    assert [each.id for each in desk.approvals.list()] == [new.id]
    assert desk.approvals.get(old.id) is None


@pytest.mark.needs("survives")
def test_a_call_still_waits_after_a_crash_and_its_token_still_holds(desk: Desk) -> None:
    parked = desk.park()
    token = desk.port.token(parked)
    desk.store.crash()
    desk.open()
    assert desk.found(parked).state is State.PENDING
    assert desk.port.genuine(token, CALLER, parked.digest) == parked.id
    desk.approve(parked)
    desk.store.crash()
    desk.open()
    assert desk.take(parked)


@pytest.mark.needs("survives")
def test_another_process_reads_them_beside_the_writer(desk: Desk) -> None:
    parked = desk.park()
    reader = desk.store.ledger.reader()
    assert read_approvals(reader, desk.now) == [parked]
    assert read_approvals(reader, desk.now, ids=["ap_none"]) == []
    assert read_approvals(reader, desk.now, state=State.USED) == []


def test_of_many_who_want_a_call_at_once_one_has_it(desk: Desk) -> None:
    parked = desk.park()
    desk.approve(parked)
    port, had = desk.approvals.blocking(), []
    start = threading.Barrier(10)

    def want() -> None:
        start.wait()
        had.append(run_blocking(port.take([parked.id], desk.now)))

    threads = [threading.Thread(target=want) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(had) == [False] * 9 + [True]


def test_ids_are_of_130_random_bits_and_never_twice(desk: Desk) -> None:
    ids = {desk.port.new_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(each) for each in ids} == {29}


def test_a_call_that_cannot_be_kept_is_told_to_the_log(desk: Desk) -> None:
    desk.store.ledger.close()
    call = ToolCall("c", "t", "{}")
    desk.approvals.keep(Parked("ap_x", NOW, NOW + 1, CALLER, call, "ex_1", "d"))
    assert [(name, told["approval"]) for name, told in desk.events] == [("approval_lost", "ap_x")]
    assert desk.told == []


def test_a_loop_goes_on_while_the_writer_works(store: Any) -> None:
    if store.run is run_blocking:
        return
    desk = Desk(store)
    parked = desk.park()
    desk.approve(parked)

    async def both() -> list[Any]:
        port = desk.approvals.asynchronous()
        return list(await asyncio.gather(*(port.take([parked.id], desk.now) for _ in range(10))))

    assert sorted(asyncio.run(both())) == [False] * 9 + [True]
