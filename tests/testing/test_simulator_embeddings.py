"""Embeddings and moderations: the real SDK against the simulator."""

from __future__ import annotations

import math
from typing import Any

import openai
import pytest

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Limits, Match, Rule, Scenario
from headgate.testing.simulator.embeddings import CATEGORIES, vector

SMALL = "text-embedding-3-small"
LARGE = "text-embedding-3-large"


@pytest.fixture
def client(headgate_simulator: SimulatorServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=headgate_simulator.openai_url, api_key="fake", max_retries=0)


def near(a: Any, b: Any) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_floats_and_base64_are_the_same_vectors_of_length_one(client: openai.OpenAI) -> None:
    packed = client.embeddings.create(model=SMALL, input="A gate, and a ledger.")  # the SDK asks for base64
    plain = client.embeddings.create(model=SMALL, input="A gate, and a ledger.", encoding_format="float")
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-9)
    assert len(plain.data[0].embedding) == 1536
    assert math.isclose(near(plain.data[0].embedding, plain.data[0].embedding), 1, abs_tol=1e-5)


@pytest.mark.parametrize(("model", "rate"), [(SMALL, 20), (LARGE, 130)])
def test_several_inputs_have_their_vectors_in_order_and_one_bill(
    client: openai.OpenAI, headgate_simulator: SimulatorServer, model: str, rate: int
) -> None:
    made = client.embeddings.create(model=model, input=["a" * 40, "b" * 80], dimensions=256, user="ada")
    assert [(one.index, len(one.embedding)) for one in made.data] == [(0, 256), (1, 256)]
    assert made.usage.prompt_tokens == made.usage.total_tokens == 30
    (line,) = headgate_simulator.invoice()["lines"]
    assert (line["cost_nano"], line["reported"], line["user"]) == (30 * rate, True, "ada")


def test_token_ids_are_inputs_too(client: openai.OpenAI) -> None:
    assert len(client.embeddings.create(model=SMALL, input=[1, 2, 3]).data) == 1
    made = client.embeddings.create(model=SMALL, input=[[1, 2], [3, 4, 5]])
    assert (len(made.data), made.usage.prompt_tokens) == (2, 5)


def test_texts_that_share_words_are_closer_than_texts_that_do_not() -> None:
    gate = vector("how do I open the gate", 512)
    assert near(gate, vector("please open the gate", 512)) > 0.4 > near(gate, vector("ein Bier bitte", 512))
    assert vector("how do I open the gate", 512) == gate
    assert any(vector("?!", 8))


@pytest.mark.parametrize(
    ("told", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a" * 4 * 8193}, "input"),
        ({"input": ["a" * 4 * 8000] * 40}, "input"),
        ({"input": "a", "dimensions": 1537}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(client: openai.OpenAI, told: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/embeddings", body={"model": SMALL, **told}, cast_to=object)
    assert caught.value.param == param


def test_each_kind_of_model_is_found_only_where_it_belongs(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="gpt-6-luna", input="a")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=SMALL, messages=[{"role": "user", "content": "a"}])
    assert client.models.retrieve(SMALL).id == SMALL


def test_limits_and_faults_strike_embeddings(client: openai.OpenAI, headgate_simulator: SimulatorServer) -> None:
    headgate_simulator.load(Scenario(limits=Limits(tokens_per_minute=20)))
    client.embeddings.create(model=SMALL, input="a" * 60)
    with pytest.raises(openai.RateLimitError):
        client.embeddings.create(model=SMALL, input="a" * 60)
    headgate_simulator.load(Scenario(rules=(Rule(Fault("overloaded")),)))  # no path: embeddings are among them
    with pytest.raises(openai.InternalServerError):
        client.embeddings.create(model=SMALL, input="a")


def test_a_moderation_flags_what_the_text_names_and_costs_nothing(
    client: openai.OpenAI, headgate_simulator: SimulatorServer
) -> None:
    calm, flagged = client.moderations.create(
        input=["a quiet canal", "flag: self-harm/intent and flag: violence"]
    ).results
    assert not calm.flagged
    assert flagged.flagged
    told = flagged.categories.model_dump(by_alias=True)
    assert {name for name in CATEGORIES if told[name]} == {"self-harm/intent", "violence"}
    scores = flagged.category_scores.model_dump(by_alias=True)
    assert all((scores[name] >= 0.9) == told[name] for name in CATEGORIES)
    assert headgate_simulator.invoice()["lines"] == []


def test_parts_are_moderated_together_and_an_image_only_where_it_can_be(client: openai.OpenAI) -> None:
    parts: Any = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    (result,) = client.moderations.create(model="omni-moderation-latest", input=parts).results
    assert result.category_applied_input_types.violence == ["text", "image"]
    assert result.category_applied_input_types.hate == ["text"]


def test_rules_and_limits_strike_moderations_where_they_are_named(
    client: openai.OpenAI, headgate_simulator: SimulatorServer
) -> None:
    rules = (Rule(Fault("server_error"), Match(path="/v1/moderations")), Rule(Fault("overloaded")))
    headgate_simulator.load(Scenario(rules=rules))
    with pytest.raises(openai.InternalServerError) as caught:
        client.moderations.create(input="a")
    assert caught.value.status_code == 500
    headgate_simulator.load(Scenario(limits=Limits(requests_per_minute=1)))
    client.moderations.create(input="a")
    with pytest.raises(openai.RateLimitError):
        client.moderations.create(input="a")
