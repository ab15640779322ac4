"""Sums by user, of whom there may be as many as exchanges."""

from __future__ import annotations

from headgate.stores.logs.lines import Shape
from headgate.stores.logs.query import SHARED_FIELDS
from headgate.stores.logs.rollups import Tally

HOUR, DAY = 3600, 86_400


def _shape(tenant: str) -> Shape:
    values = {"tenant": tenant, "ending": "complete", "attempts": 1, "status_code": 200, "estimated": False}
    return Shape(len(tenant), b"", tuple(values.get(name, "") for name in SHARED_FIELDS))


def _add(tally: Tally, shape: Shape, at: float, user: str) -> None:
    tally.add(shape, at, user, 100, 0, (10, 20, 0, 0), None, None)


def test_hours_of_a_user_add_up_to_its_day_and_tenants_to_all() -> None:
    tally, acme, other = Tally(), _shape("acme"), _shape("other")
    for at, shape in ((0, acme), (10, acme), (HOUR, acme), (HOUR, other), (DAY, acme)):
        _add(tally, shape, at, "ada")
    found = {place: users["ada"][0] for place, users in tally.by_user().items()}
    assert found == {
        (HOUR, 0, ""): 2,
        (HOUR, 0, "acme"): 2,
        (HOUR, HOUR, ""): 2,
        (HOUR, HOUR, "acme"): 1,
        (HOUR, HOUR, "other"): 1,
        (HOUR, DAY, ""): 1,
        (HOUR, DAY, "acme"): 1,
        (DAY, 0, ""): 4,
        (DAY, 0, "acme"): 3,
        (DAY, 0, "other"): 1,
        (DAY, DAY, ""): 1,
        (DAY, DAY, "acme"): 1,
    }


def test_asking_twice_for_the_sums_by_user_gives_the_same() -> None:
    tally, acme = Tally(), _shape("acme")
    for at in (0, HOUR, 2 * HOUR):
        _add(tally, acme, at, "ada")
    assert tally.by_user() == tally.by_user()
