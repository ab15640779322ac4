"""`python -m benchmarks.guards_consequence`, on a few of its attacks."""

from __future__ import annotations

import pytest
from benchmarks.guards_consequence import CONFIGURATIONS, main, measure

from headgate.cli.redteam.attack import FAMILIES


def test_strict_lets_nothing_succeed_and_every_number_says_of_how_many() -> None:
    numbers = {number.name: number for number in measure("strict", every=30)}
    assert len(numbers) == len(FAMILIES) + 3
    assert not [number.name for number in numbers.values() if number.missed]
    assert numbers["tool hijacks that succeed"].target == 0
    assert "4 ways each" in numbers["tool hijacks that succeed"].note
    assert numbers["harmless chats not completed"].note == "0 of 8"


def test_standard_has_no_targets_but_that_everything_was_tried() -> None:
    targets = {number.name: number.target for number in measure("standard", every=60)}
    assert {name for name, target in targets.items() if target is not None} == {"attacks that could not be tried"}


def test_a_part_that_does_not_exist_is_refused_with_the_names_of_those_that_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["lenient"])
    told = capsys.readouterr().err
    assert all(name in told for name in CONFIGURATIONS)
