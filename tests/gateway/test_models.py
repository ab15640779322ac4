"""The merged list of models: which names are in it, in whose words, who is asked for them and how often."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.build import Built, build
from headgate.core.errors import BadRequest, NotServed, UpstreamBroken
from headgate.core.exchange import Route
from headgate.core.ports import Outgoing
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.gateway.catalogue import FAILED_SECONDS, FRESH_SECONDS
from headgate.gateway.models import ModelLists
from headgate.gateway.models_pages import Entry, page
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.policy.routing import Router
from headgate.settings import load
from headgate.testing.fakes import FakeAnswer, FakeClock, FakeIncoming, route
from headgate.testing.server import SimulatorServer

CLAUDE = {
    "type": "model",
    "id": "claude-a",
    "display_name": "Claude A",
    "created_at": "2026-01-02T03:04:05Z",
    "lifecycle": "deprecated",
    "max_tokens": 9,
    "new": [1],
}
GPT = {"id": "gpt-a", "object": "model", "created": 1_767_323_045, "owned_by": "system", "new": {"x": 1}}
RULES = {
    "anthropic": {"data": [CLAUDE], "has_more": False, "first_id": "claude-a", "last_id": "claude-a"},
    "openai": {"object": "list", "data": [GPT]},
}
Step = Any


class Providers:
    """An upstream by host: a JSON value, an answer, an exception, or a coroutine function that makes one of these."""

    def __init__(self, clock: FakeClock, **answers: Step) -> None:
        self.answers: dict[str, Step] = {**RULES, **answers}
        self.sent: list[Outgoing] = []
        self.open: list[FakeIncoming] = []
        self._clock = clock

    async def send(self, outgoing: Outgoing) -> FakeIncoming:
        self.sent.append(outgoing)
        step = self.answers[outgoing.url.partition("://")[2].partition(".test")[0]]
        if callable(step):
            step = await step(outgoing)
        if isinstance(step, BaseException):
            raise step
        answer = step if isinstance(step, FakeAnswer) else FakeAnswer(pieces=[json.dumps(step).encode()])
        self.open.append(FakeIncoming(self._clock, answer))
        return self.open[-1]

    def urls(self) -> list[str]:
        return [outgoing.url for outgoing in self.sent]


class Lists:
    """Model lists with fakes around them."""

    def __init__(
        self,
        *more: Route,
        models: Mapping[str, Any] | None = None,
        unready: Mapping[str, str] | None = None,
        keys: Mapping[str, Any] | None = None,
        seconds: float = 10.0,
        **answers: Step,
    ) -> None:
        self.clock = FakeClock()
        self.upstream = Providers(self.clock, **answers)
        self.told: list[tuple[str, dict[str, Any]]] = []
        providers = {one.provider: one for one in (route("anthropic"), route("openai"), *more)}
        defaults = {name: name for name in ("anthropic", "openai")}
        self.router = Router(providers, models or {}, defaults, dict(unready or {}), keys or {})
        self.lists = ModelLists(
            self.router,
            self.upstream,
            self.clock,
            lambda name, **fields: self.told.append((name, fields)),
            seconds,
        )

    async def ask(self, dialect: str = "openai", model: str = "", query: str = "") -> Any:
        listed = await self.lists.answer(dialect, f"/v1/models{'/' if model else ''}{model}".encode(), query.encode())
        return None if listed is None else (json.loads(listed.body), list(listed.left_out))

    def get(self, dialect: str = "openai", model: str = "", query: str = "") -> Any:
        return asyncio.run(self.ask(dialect, model, query))

    def ids(self, dialect: str = "openai", query: str = "limit=1000") -> list[str]:
        return [model["id"] for model in self.get(dialect, query=query)[0]["data"]]


def openai_list(*ids: str) -> Any:
    return {"object": "list", "data": [{**GPT, "id": name} for name in ids]}


def test_each_dialect_lists_everybodys_models_its_own_first() -> None:
    lists = Lists()
    assert lists.ids("openai") == ["gpt-a", "anthropic/claude-a"]
    assert lists.ids("anthropic") == ["claude-a", "openai/gpt-a"]


def test_a_model_keeps_every_field_in_its_own_dialect_and_has_those_of_the_other_in_the_other() -> None:
    lists = Lists()
    assert lists.get("openai")[0] == {
        "object": "list",
        "data": [
            GPT,
            {"id": "anthropic/claude-a", "object": "model", "created": 1_767_323_045, "owned_by": "anthropic"},
        ],
    }
    found = lists.get("anthropic")[0]
    assert {k: v for k, v in found.items() if k != "data"} == {
        "first_id": "claude-a",
        "last_id": "openai/gpt-a",
        "has_more": False,
    }
    assert found["data"][0] == CLAUDE
    assert {k: v for k, v in found["data"][1].items() if v is not None} == {
        "type": "model",
        "id": "openai/gpt-a",
        "display_name": "openai/gpt-a",
        "created_at": "2026-01-02T03:04:05Z",
        "lifecycle": "active",
    }


@pytest.mark.parametrize("told", [{"id": "m"}, {"id": "m", "created": "x", "created_at": 5, "display_name": None}])
@pytest.mark.parametrize("owner", ["anthropic", "openai"])
def test_a_model_that_says_little_of_itself_still_has_what_the_sdks_need(owner: str, told: dict[str, Any]) -> None:
    entry = Entry("m", owner, owner, told)
    shown = entry.shown("anthropic"), entry.shown("openai")
    assert {"type", "id", "display_name", "created_at", "lifecycle"} <= set(shown[0])
    assert {"object", "id", "created", "owned_by"} <= set(shown[1])
    assert (shown[0]["display_name"], shown[1]["owned_by"]) == ("m", owner)


def test_virtual_models_come_first_and_are_ours() -> None:
    lists = Lists(models={"fast": [route("openai", "gpt-a")]})
    assert lists.get("openai")[0]["data"][0] == {
        "id": "fast",
        "object": "model",
        "created": 0,
        "owned_by": "headgate",
    }
    first = lists.get("anthropic")[0]["data"][0]
    assert (first["id"], first["display_name"], first["created_at"]) == ("fast", "headgate", "1970-01-01T00:00:00Z")
    assert anthropic.types.ModelInfo.model_validate(first).lifecycle == "active"


def test_a_model_that_two_providers_have_is_there_bare_for_the_default_one_and_by_name_for_the_other() -> None:
    lists = Lists(route("acme"), acme=RULES["anthropic"])
    assert lists.ids("anthropic") == ["claude-a", "acme/claude-a", "openai/gpt-a"]


def test_where_both_dialects_have_a_model_the_bare_name_is_that_of_the_callers() -> None:
    lists = Lists(openai=openai_list("gpt-a", "claude-a"))
    assert lists.ids("anthropic") == ["claude-a", "openai/gpt-a", "openai/claude-a"]
    assert lists.ids("openai") == ["gpt-a", "claude-a", "anthropic/claude-a"]
    assert lists.get("openai")[0]["data"][1]["owned_by"] == "system"


def test_a_virtual_model_that_no_provider_can_serve_is_not_listed() -> None:
    models = {"fast": [route("openai", "gpt-a")], "strong": [route("anthropic", "x"), route("openai", "gpt-a")]}
    assert Lists(models=models, unready={"openai": "no key"}).ids("anthropic") == ["strong", "claude-a"]


def test_every_listed_name_is_served_by_the_provider_that_listed_it() -> None:
    odd = openai_list("gpt-a", "anthropic/claude-a", "acme:x", "fast", "org/name", "ft:gpt:1")
    lists = Lists(
        route("acme", dialect="openai"),
        models={"fast": [route("openai", "gpt-a")]},
        openai=odd,
        acme=openai_list("own", "gpt-a"),
    )
    found = lists.get("openai")[0]["data"]
    assert [model["id"] for model in found] == [
        "fast",
        "gpt-a",
        "openai/anthropic/claude-a",
        "openai/acme:x",
        "openai/fast",
        "org/name",
        "ft:gpt:1",
        "acme/own",
        "acme/gpt-a",
        "anthropic/claude-a",
    ]
    for name in ("gpt-a", "openai/anthropic/claude-a", "openai/acme:x", "openai/fast", "org/name", "ft:gpt:1"):
        assert [(r.provider, r.model) for r in lists.router._find("openai", name, True)] == [
            ("openai", name.removeprefix("openai/"))
        ]
    assert [(r.provider, r.model) for r in lists.router._find("openai", "acme/own", True)] == [("acme", "own")]


def test_each_provider_is_asked_with_its_own_key_in_its_own_way() -> None:
    lists = Lists()
    lists.get()
    claude, gpt = lists.upstream.sent
    assert (claude.method, claude.url, claude.body) == ("GET", "https://anthropic.test/v1/models?limit=1000", b"")
    assert dict(claude.headers)[b"x-api-key"] == b"fake-anthropic"
    assert dict(claude.headers)[b"anthropic-version"] == b"2023-06-01"
    assert (gpt.method, gpt.url) == ("GET", "https://openai.test/v1/models")
    assert dict(gpt.headers)[b"authorization"] == b"Bearer fake-openai"
    assert b"authorization" not in dict(claude.headers)
    assert b"x-api-key" not in dict(gpt.headers)
    assert all(incoming.closed for incoming in lists.upstream.open)


def test_a_provider_without_a_key_that_needs_none_is_asked_without() -> None:
    lists = Lists(Route("local", "", "openai", "http://local.test/v1"), local=openai_list("llama"))
    assert "local/llama" in lists.ids()
    assert b"authorization" not in dict(lists.upstream.sent[-1].headers)


def test_of_several_keys_one_that_is_there_and_was_not_refused_is_used() -> None:
    refused, missing, good = Secret("k-refused"), Secret(""), Secret("k-good")

    class Rejected(Secret):
        rejected = True

    for keys in ([missing, Rejected("k-refused"), good], [good, refused]):
        lists = Lists(keys={"openai": keys})
        lists.get()
        assert dict(lists.upstream.sent[-1].headers)[b"authorization"] == b"Bearer k-good"


def test_all_pages_of_a_provider_are_read() -> None:
    async def paged(outgoing: Outgoing) -> Any:
        last = "after_id=b%2F1" in outgoing.url
        data = [{**CLAUDE, "id": "c"}] if last else [{**CLAUDE, "id": "a"}, {**CLAUDE, "id": "b/1"}]
        return {"data": data, "has_more": not last, "first_id": data[0]["id"], "last_id": data[-1]["id"]}

    lists = Lists(anthropic=paged)
    assert lists.ids("anthropic")[:3] == ["a", "b/1", "c"]


def test_pages_that_never_end_are_not_read_for_ever() -> None:
    lists = Lists(anthropic={**RULES["anthropic"], "has_more": True})
    assert lists.ids("anthropic") == ["claude-a", "openai/gpt-a"]
    assert len(lists.upstream.sent) < 30


def test_a_bare_array_is_a_list_too_and_what_is_no_model_in_it_is_skipped() -> None:
    lists = Lists(openai=[GPT, {"id": ""}, {"id": 3}, "x", None, {}])
    assert lists.ids() == ["gpt-a", "anthropic/claude-a"]


def test_a_compressed_list_is_read() -> None:
    packed = gzip.compress(json.dumps(RULES["openai"]).encode())
    lists = Lists(openai=FakeAnswer(headers=((b"content-encoding", b"gzip"),), pieces=[packed]))
    assert lists.ids() == ["gpt-a", "anthropic/claude-a"]


async def _never(outgoing: Outgoing) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (UpstreamBroken("cannot connect", kind="connect"), "connect"),
        (FakeAnswer(status=401, pieces=[b"{}"]), "answered 401"),
        (FakeAnswer(status=302), "answered 302"),
        (FakeAnswer(pieces=[b"<html>"]), "unreadable"),
        (FakeAnswer(pieces=[b"\xff"]), "unreadable"),
        (FakeAnswer(pieces=[b"[" * 100_000]), "unreadable"),
        (FakeAnswer(pieces=[UpstreamBroken("reset", kind="broken")]), "broken"),
        (FakeAnswer(pieces=[b" " * (5 << 20), b" " * (5 << 20)]), "unreadable"),
        ({"data": "?"}, "unreadable"),
        (7, "unreadable"),
        (_never, "timeout"),
    ],
)
def test_a_provider_that_fails_is_left_out_and_named_in_the_answer_and_in_the_log(step: Step, why: str) -> None:
    lists = Lists(openai=step, seconds=0.01)
    found, left_out = lists.get("anthropic")
    assert [model["id"] for model in found["data"]] == ["claude-a"]
    assert left_out == ["openai"]
    assert lists.told == [("models_left_out", {"provider": "openai", "error_type": why})]
    assert all(incoming.closed for incoming in lists.upstream.open)


def test_a_provider_without_its_key_is_left_out_without_being_asked_until_it_has_one() -> None:
    lists = Lists(unready={"openai": "OPENAI_API_KEY is not set"})
    for _ in range(3):
        assert lists.get("anthropic")[1] == ["openai"]
    assert lists.upstream.urls() == ["https://anthropic.test/v1/models?limit=1000"]
    said = {"provider": "openai", "error_type": "no_credential", "reason": "OPENAI_API_KEY is not set"}
    assert lists.told == [("models_left_out", said)]
    lists.router.unready.clear()  # type: ignore[attr-defined]  # it follows the secrets
    assert lists.get("anthropic")[1] == []


def test_a_list_is_kept_for_five_minutes_and_a_failure_for_fifteen_seconds() -> None:
    lists = Lists(openai=UpstreamBroken("down", kind="connect"))
    asked = lists.upstream.urls
    assert (FRESH_SECONDS, FAILED_SECONDS) == (300.0, 15.0)
    lists.get()
    lists.clock.time += 14.9
    lists.get()
    assert len(asked()) == 2
    lists.upstream.answers["openai"] = RULES["openai"]
    lists.clock.time += 0.1
    assert lists.get()[1] == []
    assert len(asked()) == 3
    lists.clock.time += 284.9
    lists.get("anthropic")
    assert len(asked()) == 3
    lists.clock.time += 0.1
    lists.get()
    assert asked()[3:] == ["https://anthropic.test/v1/models?limit=1000"]


def test_many_callers_at_once_make_one_request_to_each_provider() -> None:
    lists = Lists()

    async def many() -> list[Any]:
        return await asyncio.gather(*(lists.ask("openai" if n % 2 else "anthropic") for n in range(20)))

    found = asyncio.run(many())
    assert len(lists.upstream.sent) == 2
    assert all(len(one["data"]) == 2 for one, _ in found)


def test_providers_are_asked_at_the_same_time() -> None:
    met = asyncio.Event()

    async def first(outgoing: Outgoing) -> Any:
        await met.wait()
        return RULES["anthropic"]

    async def second(outgoing: Outgoing) -> Any:
        met.set()
        return RULES["openai"]

    assert Lists(anthropic=first, openai=second).get()[1] == []


def test_a_caller_that_leaves_does_not_take_the_list_from_the_others() -> None:
    go = asyncio.Event()

    async def slow(outgoing: Outgoing) -> Any:
        await go.wait()
        return RULES["openai"]

    lists = Lists(openai=slow)

    async def both() -> Any:
        leaves = asyncio.ensure_future(lists.ask())
        stays = asyncio.ensure_future(lists.ask())
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.sleep(0)
        go.set()
        return await stays

    assert asyncio.run(both())[1] == []
    assert len(lists.upstream.sent) == 2


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
@pytest.mark.parametrize(
    ("asked", "owner"),
    [
        ("fast", "headgate"),
        ("openai/gpt-a", "openai"),
        ("openai%2Fgpt-a", "openai"),
        ("anthropic:claude-a", "anthropic"),
        ("acme/claude-a", "acme"),
    ],
)
def test_one_model_is_found_by_every_name_it_can_be_asked_for_by(dialect: str, asked: str, owner: str) -> None:
    lists = Lists(route("acme"), models={"fast": [route("openai", "gpt-a")]}, acme=RULES["anthropic"])
    found, _ = lists.get(dialect, asked)
    assert found["id"] == asked.replace("%2F", "/")
    assert found["object" if dialect == "openai" else "type"] == "model"
    if dialect == "openai":
        assert found["owned_by"] == ("system" if owner == "openai" else owner)


def test_a_bare_name_is_looked_for_at_the_default_provider_of_the_callers_dialect() -> None:
    lists = Lists()
    assert lists.get("anthropic", "claude-a")[0] == CLAUDE
    assert lists.get("openai", "gpt-a")[0] == GPT
    # What it does not list it may know all the same: it is asked, and the answer passes.
    assert lists.get("anthropic", "claude-a-latest") is None
    assert lists.get("openai", "claude-a") is None


def test_a_name_that_its_provider_does_not_list_is_asked_of_the_provider() -> None:
    async def anthropics(outgoing: Outgoing) -> Any:
        if outgoing.url.endswith("/v1/models/claude-a%2Flatest"):
            return CLAUDE
        return RULES["anthropic"] if "?" in outgoing.url else FakeAnswer(status=404, pieces=[b"{}"])

    lists = Lists(anthropic=anthropics)
    assert lists.get("anthropic", "anthropic/claude-a/latest")[0] == {**CLAUDE, "id": "anthropic/claude-a/latest"}
    with pytest.raises(NotServed, match="provider anthropic has no model 'x'") as raised:
        lists.get("openai", "anthropic:x")
    assert (raised.value.code, raised.value.status_hint) == ("model_not_found", 404)


@pytest.mark.parametrize("unready", [{}, {"openai": "no key"}])
def test_where_the_named_provider_cannot_be_asked_a_model_is_unavailable_rather_than_unknown(
    unready: dict[str, str],
) -> None:
    lists = Lists(unready=unready, openai=UpstreamBroken("down", kind="connect"))
    with pytest.raises(NotServed, match="the models of provider openai cannot be read") as raised:
        lists.get("openai", "openai/gpt-a")
    assert raised.value.status_hint == 503


MODELS = [Entry(f"m{n}", "anthropic", "anthropic", {**CLAUDE, "id": f"m{n}"}) for n in range(45)]


def pages(query: str) -> tuple[list[str], bool]:
    found = json.loads(page(MODELS, "anthropic", query.encode()))
    ids = [model["id"] for model in found["data"]]
    assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids, found["has_more"]


def test_anthropics_pages_are_cut_as_its_query_says() -> None:
    names = [entry.id for entry in MODELS]
    assert pages("") == (names[:20], True)
    assert pages("limit=45") == (names, False)
    assert pages("limit=44") == (names[:44], True)
    assert pages("limit=20&after_id=m19") == (names[20:40], True)
    assert pages("limit=20&after_id=m39&beta=true") == (names[40:], False)
    assert pages("limit=5&before_id=m10") == (names[5:10], True)
    assert pages("limit=5&before_id=m3") == (names[:3], False)
    assert pages("after_id=m44") == ([], False)
    assert pages("limit=2&after_id=gone") == (names[:2], True)


def test_a_lifecycle_that_is_asked_for_filters_the_list() -> None:
    models = [*MODELS[:1], Entry("fast", "headgate")]
    for query, ids in (("lifecycle[]=active", ["fast"]), ("lifecycle=deprecated&lifecycle=active", ["m0", "fast"])):
        assert [m["id"] for m in json.loads(page(models, "anthropic", query.encode()))["data"]] == ids


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "1.5", "٣", "9" * 5000])
def test_a_limit_out_of_range_is_refused(limit: str) -> None:
    with pytest.raises(BadRequest, match="`limit` must be a number from 1 to 1000"):
        page(MODELS, "anthropic", f"limit={limit}".encode())


@given(st.integers(1, 50), st.booleans())
def test_going_through_the_pages_in_either_direction_shows_each_model_once(limit: int, forwards: bool) -> None:
    seen: list[str] = []
    cursor = "" if forwards else "&before_id=m44"
    more = True
    while more:
        ids, more = pages(f"limit={limit}{cursor}")
        assert 0 < len(ids) <= limit
        seen = seen + ids if forwards else ids + seen
        cursor = f"&after_id={ids[-1]}" if forwards else f"&before_id={ids[0]}"
    assert seen == [entry.id for entry in (MODELS if forwards else MODELS[:-1])]


# Behind a real gateway, with the simulator as two providers, a third that is down and a fourth without a key.

KEY = "hg-obviously-not-a-real-key"
CONFIG = """
providers:
  anthropic: {{api_key: env:A_KEY, base_url: "{url}"}}
  openai: {{api_key: env:O_KEY, base_url: "{url}/v1"}}
  acme: {{dialect: anthropic, api_key: env:A_KEY, base_url: "{url}"}}
  down: {{dialect: openai, base_url: "http://127.0.0.1:9/v1", price: free}}
  keyless: {{dialect: openai, api_key: env:NOWHERE, base_url: "{url}/v1"}}
models: {{fast: [openai/gpt-6-luna]}}
storage: sqlite:///{folder}/h.db
"""


class Place:
    def __init__(self, url: str, built: Built, sim: SimulatorServer, folder: Path) -> None:
        self.url, self.built, self.sim, self.folder = url, built, sim, folder
        self.claude = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
        self.gpt = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)

    def get(self, path: str, **headers: str) -> tuple[int, Mapping[str, str], Any]:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, headers=told)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
                return response.status, response.headers, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, json.loads(error.read())

    def row(self, exchange: str) -> dict[str, Any]:
        self.built.ledger.flush()
        with closing(sqlite3.connect(self.folder / "h.db")) as connection:
            connection.row_factory = sqlite3.Row
            return dict(connection.execute("SELECT * FROM exchanges WHERE id = ?", (exchange,)).fetchone())


@contextmanager
def serving(folder: Path) -> Iterator[Place]:
    with SimulatorServer() as sim:
        config = folder / "headgate.yaml"
        config.write_text(CONFIG.format(url=sim.url, folder=folder))
        env = {"A_KEY": "provider-a", "O_KEY": "provider-o"}
        built = build(load(config, env=env), env=env, wait=lambda state: 0.0)
        built.ledger.open()
        ring = KeyRing(loopback=True)
        ring.add(digest(KEY), KeyRecord("k1", "app", tenant="acme"))
        app = create(built, ring=ring, admin_token=Secret("t" * 40))
        server = BackgroundServer(app, ServerOptions(port=0, drain_seconds=5.0, tune_gc=False))
        server.start()
        try:
            yield Place(server.url, built, sim, folder)
        finally:
            server.stop()
            built.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("models")) as made:
        yield made


def test_both_sdks_list_and_retrieve_everything_through_a_gateway(place: Place) -> None:
    claude = [model.id for model in place.claude.models.list(limit=7)]  # it goes through the pages
    gpt = [model.id for model in place.gpt.models.list()]
    assert len(set(claude)) == len(claude) == len(set(gpt)) == len(gpt)
    assert {"fast", "gpt-6-luna", "anthropic/claude-opus-5", "acme/claude-opus-5"} <= set(gpt)
    assert {"fast", "openai/gpt-6-luna", "claude-opus-5", "acme/claude-opus-5"} <= set(claude)
    assert [place.gpt.models.retrieve(name).id for name in gpt] == gpt
    assert [place.claude.models.retrieve(name).id for name in claude] == claude
    assert place.claude.models.retrieve("claude-opus-5").max_input_tokens == 1_000_000
    assert [m.id for m in place.claude.beta.models.list(limit=2).data] == claude[:2]
    # An undated id, which the provider knows and does not list, is asked of the provider.
    assert place.claude.models.retrieve("claude-haiku-4-5").id == "claude-haiku-4-5-20251001"
    assert place.gpt.models.retrieve("acme/claude-haiku-4-5").owned_by == "acme"


def test_a_model_that_nobody_has_is_the_dialects_404(place: Place) -> None:
    for name in ("no-such-model", "acme/no-such-model"):
        with pytest.raises(anthropic.NotFoundError):
            place.claude.models.retrieve(name)
        with pytest.raises(openai.NotFoundError):
            place.gpt.models.retrieve(name)


def test_a_list_is_an_exchange_of_the_key_without_an_attempt_and_names_who_is_left_out(place: Place) -> None:
    status, headers, found = place.get("/v1/models", authorization=f"Bearer {KEY}", x_headgate_user="ada")
    assert (status, found["object"]) == (200, "list")
    assert headers["x-headgate-left-out"] == "down, keyless"
    assert (headers["x-headgate-cost-usd"], headers["x-headgate-simulated"]) == ("0", "true")
    row = place.row(headers["x-headgate-exchange"])
    assert {
        name: row[name] for name in ("endpoint", "ending", "status", "attempts", "cost_nano", "user", "tenant")
    } == {
        "endpoint": "models",
        "ending": "complete",
        "status": 200,
        "attempts": 0,
        "cost_nano": 0,
        "user": "ada",
        "tenant": "acme",
    }
    status, headers, found = place.get("/v1/models?limit=x", x_api_key=KEY, anthropic_version="2023-06-01")
    assert (status, found["type"], found["headgate"]["code"]) == (400, "error", "invalid_request")
    assert place.row(headers["x-headgate-exchange"])["ending"] == "refused"
    place.built.log.flush()
    events = [json.loads(line) for line in (place.folder / "h.db.log.jsonl").read_text().splitlines()]
    assert {e["provider"] for e in events if e["event"] == "models_left_out"} == {"down", "keyless"}
    assert "provider-a" not in str(events)


def test_nobody_sees_the_list_without_a_key(place: Place) -> None:
    before = len(place.sim.requests())
    status, _, found = place.get("/v1/models", anthropic_version="2023-06-01")
    assert (status, found["error"]["type"]) == (401, "authentication_error")
    assert place.get("/v1/models", authorization="Bearer hg-wrong")[0] == 401
    assert len(place.sim.requests()) == before


def test_a_path_that_names_a_provider_is_that_providers_own_list(place: Place) -> None:
    own = place.get("/openai/v1/models", authorization=f"Bearer {KEY}")[2]["data"]
    assert all(model["owned_by"] == "openai" for model in own)
    version = {"x_api_key": KEY, "anthropic_version": "2023-06-01"}
    for path in ("/anthropic/v1/models?limit=3", "/p/acme/v1/models?limit=3"):
        found = place.get(path, **version)[2]["data"]
        assert len(found) == 3
        assert all(model["id"].startswith("claude-") for model in found)
