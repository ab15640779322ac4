"""`tasks.*.shadow`: how it is read, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.policy.shadowing import ShadowRules
from headgate.settings import load
from headgate.settings.shadow import shadow_rules


def loaded(tmp_path: Path, shadow: str) -> dict[str, ShadowRules]:
    path = tmp_path / "headgate.yaml"
    path.write_text(f"tasks:\n  classify:\n    shadow: {shadow}\n  plain: {{}}\n", encoding="utf-8")
    return shadow_rules(load(path, env={}))


def test_a_second_model_is_read_with_its_defaults(tmp_path: Path) -> None:
    assert loaded(tmp_path, "{model: claude-haiku-4-5}") == {"classify": ShadowRules("classify", "claude-haiku-4-5")}


def test_everything_that_it_says_is_read(tmp_path: Path) -> None:
    told = "{model: claude-haiku-4-5, sample: 12.5%, compare: judge, judge: gpt-5-mini, until: 50, agreement: 90%,"
    found = loaded(tmp_path, f"{told} switch: auto, max_usd_per_day: 0.5}}")["classify"]
    assert found == ShadowRules(
        "classify", "claude-haiku-4-5", 1_250, "judge", "gpt-5-mini", 50, 9_000, True, 500_000_000
    )


@pytest.mark.parametrize(
    ("shadow", "told"),
    [
        ("{sample: 5%}", "model: is missing"),
        ("{model: nobody}", "no virtual model is named"),
        ("{model: claude-haiku-4-5, compare: judge}", "judge: is missing"),
        ("{model: claude-haiku-4-5, judge: gpt-5-mini}", "judge: compares with `compare: judge`"),
        ("{model: claude-haiku-4-5, sample: 0%}", "sample: expected a percentage above 0%"),
        ("{model: claude-haiku-4-5, until: 5}", "until: expected a whole number from 20"),
    ],
)
def test_mistakes_are_told_with_what_to_do(tmp_path: Path, shadow: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, shadow)
    assert told in str(caught.value)
