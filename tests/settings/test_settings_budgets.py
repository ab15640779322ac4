"""`budgets:` are read whole, checked against each other, and become the core's budgets."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.core.budget import Budget
from headgate.core.errors import ConfigError
from headgate.policy.periods import PERIODS
from headgate.settings import Settings, load
from headgate.settings.budgets import budgets_of
from headgate.settings.model import BudgetSettings
from headgate.settings.policies import DIMENSIONS

USD = 10**9


def loaded(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, env=env or {})


def budget(tmp_path: Path, entry: str) -> Budget:
    """The only budget of one entry."""
    (found,) = budgets_of(loaded(tmp_path, f"budgets:\n  - {entry}\n"))
    return found


def wrong(tmp_path: Path, text: str) -> list[str]:
    """Every mistake, without the file's directory."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    return [line.partition("headgate.yaml:")[2].replace(f"{tmp_path}/", "") for line in caught.value.mistakes]


def test_a_budget_says_what_it_is_and_where_it_is_written(tmp_path: Path) -> None:
    found = budget(tmp_path, "{per: user, usd: 10, every: day}")
    assert found == Budget(
        id="user/day",
        per=("user",),
        cap_nano=10 * USD,
        every="day",
        zone=UTC,
        alerts=(8_000, 10_000),
        source=f"{tmp_path}/headgate.yaml:2:5",
    )


def test_a_budget_over_a_combination_is_the_same_in_whatever_order_it_is_written(tmp_path: Path) -> None:
    one = budget(tmp_path, "{per: ['tag:team', user, tenant], usd: 1}")
    other = budget(tmp_path, "{per: [tenant, user, 'tag:team'], usd: 1}")
    assert one == other
    assert one.per == ("tenant", "user", "tag:team")
    assert one.id == "tenant+user+tag:team/total"


def test_a_list_of_no_dimensions_is_everything_together_and_of_one_that_one(tmp_path: Path) -> None:
    assert budget(tmp_path, "{per: [], usd: 1}") == budget(tmp_path, "{usd: 1}")
    assert budget(tmp_path, "{per: [model], usd: 1}") == budget(tmp_path, "{per: model, usd: 1}")


@pytest.mark.parametrize("name", [*DIMENSIONS, "tag:team"])
def test_every_dimension_can_be_counted_by_and_filtered_by(tmp_path: Path, name: str) -> None:
    value = "openai" if name == "provider" else "x"
    found = budget(tmp_path, f"{{per: '{name}', only: {{'{name}': {value}}}, usd: 1}}")
    assert (found.per, found.only) == ((name,), ((name, value),))


def test_a_filter_is_part_of_the_budgets_identity_and_its_cap_is_not(tmp_path: Path) -> None:
    found = budget(tmp_path, "{only: {user: ada, tenant: acme}, usd: 0, every: month}")
    assert found.only == (("tenant", "acme"), ("user", "ada"))
    assert found.id == "all/tenant=acme,user=ada/month"
    assert found.cap_nano == 0
    assert budget(tmp_path, "{only: {tenant: acme, user: ada}, usd: 9, every: month}").id == found.id


def test_a_value_that_looks_like_a_number_or_a_switch_stays_text(tmp_path: Path) -> None:
    assert budget(tmp_path, "{only: {user: 010, tenant: off}, usd: 1}").only == (("tenant", "off"), ("user", "010"))


def test_a_soft_cap_beside_a_hard_one_is_a_budget_of_its_own(tmp_path: Path) -> None:
    found = budgets_of(loaded(tmp_path, "budgets: [{per: user, usd: 10, soft_usd: 7, every: day, alert_at: [50%]}]"))
    assert [(b.id, b.cap_nano, b.soft, b.alerts) for b in found] == [
        ("user/day", 10 * USD, False, (5_000, 10_000)),
        ("user/day/soft", 7 * USD, True, (10_000,)),
    ]


def test_a_soft_cap_alone_refuses_nothing_and_alerts_when_it_is_reached(tmp_path: Path) -> None:
    found = budget(tmp_path, "{soft_usd: 7}")
    assert (found.soft, found.cap_nano, found.alerts) == (True, 7 * USD, (10_000,))
    assert budget(tmp_path, "{soft_usd: 7, alert_at: [50%]}").alerts == (5_000, 10_000)


def test_a_cap_on_tokens_beside_a_soft_one_in_dollars_keeps_each_unit_to_its_own(tmp_path: Path) -> None:
    hard, soft = budgets_of(loaded(tmp_path, "budgets: [{tokens: 0, soft_usd: 7}]"))
    assert (hard.cap_nano, hard.cap_tokens, hard.soft) == (None, 0, False)
    assert (soft.cap_nano, soft.cap_tokens, soft.soft) == (7 * USD, None, True)


@pytest.mark.parametrize(
    ("written", "alerts"),
    [
        ("[]", (10_000,)),
        ("[100%]", (10_000,)),
        ("[95%, 50%, 50%]", (5_000, 9_500, 10_000)),
        ("[0.01%]", (1, 10_000)),
    ],
)
def test_the_whole_cap_is_always_among_the_alerts(tmp_path: Path, written: str, alerts: tuple[int, ...]) -> None:
    assert budget(tmp_path, f"{{usd: 1, alert_at: {written}}}").alerts == alerts


def test_degrade_names_a_model_and_stays_with_the_hard_budget(tmp_path: Path) -> None:
    text = "models: {fast: [anthropic/claude-haiku-4-5]}\n"
    hard, soft = budgets_of(loaded(tmp_path, text + "budgets: [{usd: 2, soft_usd: 1, then: degrade fast}]"))
    assert (hard.degrade_to, soft.degrade_to) == ("fast", "")


def test_a_keys_own_budgets_are_for_its_calls_only(tmp_path: Path) -> None:
    text = "budgets: [{usd: 9}]\nkeys:\n  - {name: dev, key: env:K}\n"
    text += "  - name: ada\n    key: env:L\n    budgets:\n      - {usd: 5, every: day}\n"
    text += "      - {per: session, only: {task: chat}, usd: 1}\n"
    found = budgets_of(loaded(tmp_path, text))
    assert [(b.id, b.only) for b in found] == [
        ("all/total", ()),
        ("all/key=ada/day", (("key", "ada"),)),
        ("session/key=ada,task=chat/total", (("key", "ada"), ("task", "chat"))),
    ]
    assert [b.source.rpartition("/")[2] for b in found] == [
        "headgate.yaml:1:11",
        "headgate.yaml:7:9",
        "headgate.yaml:8:9",
    ]


def test_the_zone_is_the_budgets_own_or_else_the_global_one(tmp_path: Path) -> None:
    text = "zone: Europe/Berlin\nbudgets: [{usd: 1, every: day}, {usd: 1, every: day, zone: UTC}]"
    found = budgets_of(loaded(tmp_path, text))
    assert [(b.id, b.zone) for b in found] == [("all/day/Europe/Berlin", ZoneInfo("Europe/Berlin")), ("all/day", UTC)]


@pytest.mark.parametrize("every", ["", ", every: minute"])
def test_what_is_the_same_in_every_zone_keeps_its_account_when_the_zone_changes(tmp_path: Path, every: str) -> None:
    one = budgets_of(loaded(tmp_path, f"zone: Asia/Kolkata\nbudgets: [{{usd: 1{every}}}]"))
    other = budgets_of(loaded(tmp_path, f"budgets: [{{usd: 1{every}}}]"))
    assert [(b.id, b.zone) for b in one] == [(b.id, b.zone) for b in other]


def test_budgets_from_the_environment_and_from_python_say_so(tmp_path: Path) -> None:
    env = {"HEADGATE_BUDGETS": "[{per: [tenant, user], usd: 0.5}]", "HEADGATE_ZONE": "Europe/Berlin"}
    found = loaded(tmp_path, "budgets: [{usd: 1}]", env)
    assert found.zone == "Europe/Berlin"
    assert [(b.per, b.source) for b in budgets_of(found)] == [(("tenant", "user"), "HEADGATE_BUDGETS")]
    overrides = {"budgets": [{"per": ["tenant", "user"], "only": {"tenant": "acme"}, "usd": 2, "alert_at": ["50%"]}]}
    (own,) = budgets_of(load(env={}, overrides=overrides))
    assert own.source == "override"
    assert (own.per, own.only, own.cap_nano) == (("tenant", "user"), (("tenant", "acme"),), 2 * USD)


MISTAKES = """\
zone: Europe/Berln
models: {fast: [anthropic/claude-haiku-4-5]}
budgets:
  - {per: [user, usr, user], usd: 1}
  - {per: {user: ada}, usd: 1}
  - {only: {usr: ada}, usd: 2}
  - {only: tenant, usd: 3}
  - {only: {tenant: }, usd: 4}
  - {only: {provider: opnai}, usd: 5}
  - {only: {model: fast}, usd: 6}
  - {usd: 7, soft_usd: 7.000000001}
  - {soft_usd: 0}
  - {soft_usd: 8, then: degrade fast}
  - {usd: 9, every: day, zone: berlin}
  - {usd: 10, zone: UTC}
  - {per: user, every: day}
  - {usd: -1}
  - {tokens: 1.5}
  - {usd: 11, soft: 3}
  - {per: [ALL], usd: 1}
keys:
  - {name: dev, key: env:K, budgets: [{only: {key: dev}, usd: 1}]}
"""


def test_every_mistake_is_told_at_once_at_its_place(tmp_path: Path) -> None:
    found = wrong(tmp_path, MISTAKES.replace("ALL", ", ".join(DIMENSIONS)))
    expected = [
        "1:7: zone: no time zone is named 'Europe/Berln'; did you mean 'Europe/Berlin'?",
        "4:11: budgets[0].per: names 'user' twice: keep one",
        "4:18: budgets[0].per[1]: expected one of tenant,",
        "5:11: budgets[1].per: expected one value, not a mapping",
        "6:13: budgets[2].only.usr: expected one of tenant,",
        "7:12: budgets[3].only: expected a mapping ({key: value}), not a single value",
        "8:20: budgets[4].only.tenant: expected one value, and nothing is here",
        "9:23: budgets[5].only.provider: no provider is named 'opnai'; did you mean 'openai'?",
        "10:20: budgets[6].only.model: 'fast' is a virtual model; name the one that serves",
        "11:24: budgets[7].soft_usd: is above usd",
        "12:16: budgets[8].soft_usd: must be above 0",
        "13:25: budgets[9].then: means nothing at soft_usd",
        "14:32: budgets[10].zone: no time zone is named 'berlin'; did you mean 'Europe/Berlin'?",
        "15:21: budgets[11].zone: means nothing without `every`",
        "16:5: budgets[12]: a budget needs a cap: usd, soft_usd or tokens",
        "17:11: budgets[13].usd: expected an amount from 0 to 1_000_000_000 in USD",
        "18:14: budgets[14].tokens: expected a whole number from 0",
        "19:15: budgets[15]: unknown key 'soft'; did you mean 'soft_usd'?",
        "20:11: budgets[16].per: has 9 dimensions, and a budget has at most 8",
        "22:47: keys[0].budgets[0].only.key: a key's own budgets are for its calls already",
    ]
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start), line


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("budgets:\n- {per: user, usd: 1}\n- {per: user, usd: 2}", ["3:3: budgets[1]", "budgets[0]", "2:3"]),
        ("budgets:\n- {per: user, usd: 1}\n- {per: [user], tokens: 2}", ["3:3: budgets[1]", "budgets[0]", "2:3"]),
        ("budgets:\n- {soft_usd: 1}\n- {usd: 3, soft_usd: 2}", ["3:3: budgets[1]", "budgets[0]", "2:3"]),
        ("budgets: &b\n- {usd: 1}\nkeys: [{name: a, key: env:K, budgets: [{usd: 1}, {usd: 1}]}]", ["3:50: keys[0]."]),
        (
            "budgets:\n- {only: {key: a}, usd: 1}\nkeys: [{name: a, key: env:K, budgets: [{usd: 1}]}]",
            ["3:40: keys[0].budgets[0]", "budgets[0]", "2:3"],
        ),
    ],
)
def test_two_caps_for_one_scope_and_period_are_a_mistake_that_names_both_places(
    tmp_path: Path, text: str, places: list[str]
) -> None:
    (found,) = wrong(tmp_path, text)
    assert found.startswith(places[0])
    assert "a budget has one cap: keep one" in found
    assert all(place in found for place in places)


def test_another_period_zone_filter_or_unit_of_warning_is_another_budget(tmp_path: Path) -> None:
    entries = ["{usd: 9}", "{usd: 8, every: day}", "{usd: 8, every: day, zone: Asia/Kolkata}", "{soft_usd: 7}"]
    entries += ["{only: {tenant: acme}, usd: 5}", "{per: tenant, only: {tenant: acme}, usd: 4}", "{per: user, usd: 3}"]
    found = budgets_of(loaded(tmp_path, f"budgets: [{', '.join(entries)}]"))
    assert len({each.id for each in found}) == len(entries)


def test_a_budget_with_a_mistake_is_not_said_to_be_another_one_too(tmp_path: Path) -> None:
    found = wrong(tmp_path, "budgets: [{usd: 1}, {per: usr, usd: 1}]")
    assert len(found) == 1
    assert "expected one of tenant" in found[0]


@pytest.mark.parametrize(
    ("entries", "idle"),
    [
        ("{per: user, usd: 10}, {per: user, only: {tenant: acme}, usd: 20}", ["budgets[1]"]),
        ("{per: user, usd: 10}, {only: {user: ada}, usd: 10}", ["budgets[1]"]),
        ("{usd: 10}, {per: user, usd: 10}, {per: session, usd: 11}", ["budgets[1]"]),
        ("{usd: 10}, {per: user, usd: 9}", []),
        ("{usd: 10}, {per: user, tokens: 9}", []),
        ("{usd: 10, every: day}, {per: user, usd: 10}", []),
        ("{per: user, usd: 10}, {usd: 20}", []),
        ("{soft_usd: 10}, {per: user, usd: 20}", []),
        ("{usd: 10}, {per: user, soft_usd: 20}", ["budgets[1]"]),
        ("{only: {tenant: acme}, usd: 10}, {usd: 20}", []),
    ],
)
def test_a_budget_that_another_one_makes_idle_is_a_warning(tmp_path: Path, entries: str, idle: list[str]) -> None:
    warnings = loaded(tmp_path, f"budgets: [{entries}]").warnings
    assert [line.partition(" (")[0] for line in warnings] == idle
    assert all("can never be reached: budgets[0] (" in line for line in warnings)


def test_budgets_that_one_makes_idle_are_one_warning(tmp_path: Path) -> None:
    keys = ", ".join(f"{{name: k{n}, key: env:K{n}, budgets: [{{usd: 9, every: day}}]}}" for n in range(50))
    warnings = loaded(tmp_path, f"budgets: [{{per: key, usd: 5, every: day}}]\nkeys: [{keys}]").warnings
    assert len(warnings) == 1
    assert " and 49 more can never be reached" in warnings[0]


def test_a_virtual_model_may_be_filtered_by_where_a_model_of_its_name_serves(tmp_path: Path) -> None:
    text = "models: {gpt-6-luna: [openai/gpt-6-luna]}\nbudgets: [{only: {model: gpt-6-luna}, usd: 1}]"
    assert budgets_of(loaded(tmp_path, text))[0].only == (("model", "gpt-6-luna"),)


dimensions = st.sampled_from([*DIMENSIONS, "tag:team", "tag:x"])
values = st.text(alphabet="ab,=/+:\u00e9 '\"{}", min_size=1, max_size=6).filter(lambda text: text == text.strip())
entries = st.fixed_dictionaries(
    {"usd": st.integers(0, 10**9)},
    optional={
        "per": st.lists(dimensions, max_size=4, unique=True),
        "only": st.dictionaries(dimensions.filter(lambda name: name != "provider"), values, max_size=3),
        "tokens": st.integers(0, 10**15),
        "every": st.sampled_from(PERIODS),
        "alert_at": st.lists(st.integers(1, 100).map(lambda share: f"{share}%"), max_size=3),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(entries, max_size=6), zone=st.sampled_from(["UTC", "Asia/Kolkata"]))
def test_what_loads_has_a_budget_for_each_entry_and_no_id_twice(written: list[dict[str, object]], zone: str) -> None:
    mistakes: tuple[str, ...] = ()
    found = Settings()
    try:
        found = load(env={}, overrides={"budgets": written, "zone": zone})
    except ConfigError as error:
        mistakes = error.mistakes
    assert all("a budget has one cap: keep one" in line for line in mistakes)
    if mistakes:
        return
    budgets = budgets_of(found)
    assert len({each.id for each in budgets}) == len(budgets) == len(written)
    for each, entry in zip(budgets, written, strict=True):
        assert set(each.per) == set(entry.get("per", ()))  # type: ignore[call-overload]
        assert dict(each.only) == entry.get("only", {})
        assert each.alerts == tuple(sorted(set(each.alerts)))
        assert each.alerts[-1] == 10_000


def test_the_defaults_are_no_budgets() -> None:
    assert budgets_of(Settings()) == ()
    assert BudgetSettings().alert_at_basis_points == (8_000, 10_000)
