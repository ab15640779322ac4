"""What the audit forecasts is what is billed once its advice is followed."""

from __future__ import annotations

from benchmarks.audit import TARGET, conversations, replay, traffic


def test_each_forecast_and_all_of_them_together_are_within_two_percent_of_the_bill() -> None:
    found = replay(traffic(), ("cache", "caps", "batch", "prompt_caching"))
    off = {each.name: each.off for each in found}
    assert all(share <= TARGET for share in off.values()), off
    assert all(each.bill < each.before for each in found)
    assert len(found) == 5


def test_the_forecast_of_shorter_histories_is_within_two_percent_of_the_bill() -> None:
    (found,) = replay(conversations(), ("pruning",), together=False)
    assert found.off <= TARGET
    assert found.bill < 0.6 * found.before
