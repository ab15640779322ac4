"""Holds of batches: nobody waits for them."""

from __future__ import annotations

import pytest

from headgate.core.budget import Budget, Claim
from headgate.policy.accounts import Accounts
from headgate.policy.budgets import FITS, NEVER, WAITS, Account
from headgate.policy.holding import Ask

CAP = 100


@pytest.fixture
def desk() -> tuple[Accounts, Claim]:
    budget = Budget("all/day", cap_nano=CAP, every="day")
    claim = Claim(budget, "", 0.0, 1e12, ("all/day", "", 0.0))
    accounts = Accounts()
    accounts.load(claim.key, 1, Account())
    return accounts, claim


def ask(name: str, claim: Claim, nano: int, *, lasting: bool = False) -> Ask:
    return Ask(name, 1, (claim,), nano, 0, lasting=lasting)


@pytest.mark.parametrize(("lasting", "said"), [(False, WAITS), (True, NEVER)])
def test_what_would_have_to_wait_for_a_batch_is_refused_and_for_a_call_it_waits(
    desk: tuple[Accounts, Claim], lasting: bool, said: str
) -> None:
    accounts, claim = desk
    assert accounts.let_in([ask("holder", claim, 80, lasting=lasting)]) == 1
    accounts.commit()
    accounts.outcomes()
    assert accounts.ask(ask("other", claim, 30)) == said
    if lasting:
        ((_, denial),) = accounts.outcomes()
        assert denial is not None
        assert denial.why == "held"


def test_beside_a_batch_others_wait_for_each_other(desk: tuple[Accounts, Claim]) -> None:
    accounts, claim = desk
    assert accounts.ask(ask("batch", claim, 50, lasting=True)) == FITS
    assert accounts.ask(ask("first", claim, 40)) == FITS
    assert accounts.ask(ask("second", claim, 40)) == WAITS


def test_when_the_batch_has_settled_there_is_room_again(desk: tuple[Accounts, Claim]) -> None:
    accounts, claim = desk
    accounts.ask(ask("batch", claim, 90, lasting=True))
    accounts.commit()
    accounts.close("batch", 1, 10, 0)
    assert accounts.ask(ask("next", claim, 90)) == FITS


def test_a_batchs_hold_that_could_not_be_written_keeps_nobody_out(desk: tuple[Accounts, Claim]) -> None:
    accounts, claim = desk
    accounts.ask(ask("batch", claim, 90, lasting=True))
    accounts.rollback()
    assert accounts.ask(ask("next", claim, 60)) == FITS
    assert accounts.ask(ask("third", claim, 60)) == WAITS
