"""The dashboard's links find just what they name and count, and pages show what they were asked for."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from pages_people import Visitor, add_people, addresses, rows_at
from pages_stories import Teller
from pages_world import World, world

from headgate.core.exchange import Exchange
from headgate.pages import periods

TENANTS = 35
"""With a session of one name: more than a page of sessions has."""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("links")) as made:
        made.record(happened(time.time() - 900))
        made.summed()
        add_people(made)
        yield made


def happened(at: float) -> list[Exchange]:
    """Three tenants' ada, many tenants' session "default", and a model that served in place of another."""
    teller = Teller(at, random.Random(13))

    def told(tenant: str, user: str, session: str = "", model: str = "") -> Exchange:
        found = teller.exchange(at + teller.made, tenant, user, "chat", session=session, model=model)
        found.request.caller.tenant, found.request.caller.user = tenant, user
        return found

    found = [told(tenant, "ada", "talk") for tenant in ("acme",) * 3 + ("globex",) * 2 + ("",) * 4]
    found += [told(f"tenant-{number}", "cy", "default") for number in range(TENANTS)]
    found += [told("acme", "ben", model=model) for model in ("gpt-6-luna", "claude-haiku-4-5")]
    found[-1].request.facts.model = "gpt-6-luna"
    found[-2].request.caller.tags = {"team": "", "area": "store"}
    return [*found, teller.blocked(at + 60, "acme", "dee", "no-go")]


@pytest.fixture(scope="module")
def root(gate: World) -> Visitor:
    return Visitor(gate, "root")


def search_of(address: str) -> str:
    (found,) = parse_qs(urlsplit(address).query)["q"]
    return found


def to_the_user(body: str, name: str = "ada") -> str:
    (found,) = [each for each in addresses(body, "/ui/exchanges?") if f"user:{name}" in search_of(each)]
    return found


@pytest.mark.parametrize(
    ("page", "exchanges", "erased"),
    [
        ("/ui/spend?by=user&tenant=acme&period=24h", 3, "tenant=acme"),
        ("/ui/conversations/talk?tenant=globex", 2, "tenant=globex"),
        ("/ui/conversations/talk?no_tenant=yes", 4, "no_tenant=yes"),
    ],
)
def test_a_page_about_one_tenant_leads_to_that_tenants_user(
    root: Visitor, page: str, exchanges: int, erased: str
) -> None:
    _, _, body = root.ask(page)
    found = to_the_user(body)
    assert rows_at(root, found) == exchanges
    (erase,) = addresses(root.ask(found)[2], "/ui/exchanges/erase?")
    assert erase == f"/ui/exchanges/erase?kind=user&value=ada&{erased}"


def test_a_session_without_a_tenant_is_shown_as_exchanges_without_one(root: Visitor) -> None:
    _, _, body = root.ask("/ui/conversations/talk?no_tenant=yes")
    (found,) = [each for each in addresses(body, "/ui/exchanges?") if "session:talk" in search_of(each)]
    assert rows_at(root, found) == 4


@pytest.mark.parametrize(("tenant", "exchanges"), [("acme", 3), ("globex", 2), ('""', 4)])
def test_an_exchanges_user_is_its_tenants(root: Visitor, tenant: str, exchanges: int) -> None:
    _, _, body = root.ask(f"/ui/exchanges?q={quote(f'user:ada tenant:{tenant}')}")
    _, _, exchange = root.ask(addresses(body, "/ui/exchanges/ex_")[0])
    assert rows_at(root, to_the_user(exchange)) == exchanges


def test_who_sees_one_tenant_is_not_told_its_name_in_every_link(gate: World) -> None:
    tia = Visitor(gate, "tia")
    for page in ("/ui/conversations/talk", "/ui/spend?by=user&period=24h"):
        found = to_the_user(tia.ask(page)[2])
        assert (search_of(found), rows_at(tia, found)) == ("user:ada", 2)


def test_every_tenant_with_a_session_of_the_name_can_be_chosen(root: Visitor) -> None:
    chosen: list[str] = []
    older = ["/ui/conversations/default"]
    while older:
        status, _, body = root.ask(older[0])
        assert (status, "choose one" in body) == (200, not chosen)
        chosen += addresses(body, "/ui/conversations/default?tenant=")
        older = [each for each in addresses(body, "/ui/conversations") if "before=" in each and len(chosen) < 99]
    assert (len(chosen), len(set(chosen))) == (TENANTS, TENANTS)


@pytest.mark.parametrize(("typed", "sessions"), [("is:error", ["no-go"]), ("cost>100", []), ("latency>1000s", [])])
def test_a_search_for_conversations_leaves_nothing_out_of_what_is_asked(
    root: Visitor, typed: str, sessions: list[str]
) -> None:
    _, _, body = root.ask(f"/ui/conversations?q={quote(typed)}")
    found = [urlsplit(each).path for each in addresses(body, "/ui/conversations/")]
    assert found == [f"/ui/conversations/{each}" for each in sessions]


def test_a_search_for_conversations_says_which_field_there_is_not(root: Visitor) -> None:
    assert "“colour:” is no field of the log" in root.ask("/ui/conversations?q=colour:red")[2]


@pytest.mark.parametrize("page", ["/ui/spend?by=model&period=24h", "/"])
def test_a_model_in_a_sum_leads_to_what_it_served(root: Visitor, page: str) -> None:
    _, _, body = root.ask(page)
    found = {search_of(each): rows_at(root, each) for each in addresses(body, "/ui/exchanges?q=model")}
    assert (found["model_served:gpt-6-luna"], found["model_served:claude-haiku-4-5"]) == (1, 1)


def selected(body: str, name: str) -> list[str]:
    (found,) = re.findall(rf'<select id="{name}".*?</select>', body, re.DOTALL)
    return re.findall(r'<option value="([^"]*)" selected>', found)


@pytest.mark.parametrize("period", periods.NAMES)
def test_the_period_that_is_searched_is_the_one_that_is_shown(root: Visitor, period: str) -> None:
    assert selected(root.ask(f"/ui/exchanges?period={period}")[2], "period") == [period]


def test_the_tenant_that_spend_is_of_is_shown_where_it_spent_nothing(root: Visitor) -> None:
    assert selected(root.ask("/ui/spend?tenant=nobody")[2], "tenant") == ["nobody"]
    assert selected(root.ask("/ui/spend?tenant=acme")[2], "tenant") == ["acme"]
    assert selected(root.ask("/ui/spend")[2], "tenant") == []


def test_a_tag_without_a_value_leads_nowhere(root: Visitor) -> None:
    """A search for it would find what has no such tag, too."""
    _, _, body = root.ask(f"/ui/exchanges?q={quote('tag:area=store')}")
    (exchange,) = addresses(body, "/ui/exchanges/ex_")
    tags = [search_of(each) for each in addresses(root.ask(exchange)[2], "/ui/exchanges?q=tag")]
    assert tags == ["tag:area=store"]


def test_a_linked_stretch_of_time_stays_with_the_next_search_and_goes_with_a_chosen_period(root: Visitor) -> None:
    since, until = time.time() - 1_800, time.time() - 600
    linked = f"/ui/exchanges?since={since:.0f}&until={until:.0f}"
    page = root.ask(linked)[2]
    assert selected(page, "period") == ["custom"]
    handed_on = dict(re.findall(r'<input type="hidden" name="(from|to)" value="([^"]+)">', page))
    assert handed_on == {"from": f"{since:.0f}", "to": f"{until:.0f}"}
    both = "&".join(f"{name}={value}" for name, value in handed_on.items())
    again = root.ask(f"/ui/exchanges?q=user:ada&period=custom&{both}")[2]
    assert selected(again, "period") == ["custom"]
    for chosen in ("any", "7d"):
        assert selected(root.ask(f"/ui/exchanges?period={chosen}&{both}")[2], "period") == [chosen]
