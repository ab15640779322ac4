"""The data file that comes with Headgate, and the rules it is of."""

from __future__ import annotations

import json

from headgate.policy.guards.injection_model import FILE, shipped
from headgate.policy.guards.injection_reading import CONTEXT, NAMES
from headgate.policy.guards.injection_rules import REASONS, STANDARD
from headgate.policy.guards.injection_words import KINDS, LETTERS


def test_every_rule_has_a_weight_and_every_weight_a_rule() -> None:
    told = json.loads(FILE.read_text(encoding="utf-8"))
    assert all(set(each["rules"]) == set(NAMES) for each in told["weights"].values())
    assert all(set(each["context"]) == set(CONTEXT) for each in told["weights"].values())


def test_the_weights_say_what_they_were_taught() -> None:
    provenance = shipped().provenance
    assert set(provenance["licences"]) <= {"MIT", "Apache-2.0", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0"}
    assert not any(
        source.startswith(("y0mingzhang", "XQuAD", "TaskTracker")) for source in provenance["sources_taught"]
    )
    assert provenance["date"]
    assert provenance["data_sha256"]


def test_the_data_file_is_small() -> None:
    assert FILE.stat().st_size < 300_000


def test_rules_have_names_of_their_own_and_known_reasons() -> None:
    assert len(set(NAMES)) == len(STANDARD)
    assert {rule.reason for rule in STANDARD} <= set(REASONS)


def test_every_kind_has_a_letter_of_its_own() -> None:
    assert set(KINDS) == set(LETTERS)
    assert len(set(LETTERS.values())) == len(LETTERS)
    assert not set(LETTERS.values()) & set("_,~<>\n")
