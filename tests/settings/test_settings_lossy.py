"""`lossy:`: what a translation may lose, everywhere and per task."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.build import policies_of
from headgate.core.errors import ConfigError
from headgate.settings import load
from headgate.settings.lossy import losses_of
from headgate.settings.model import LossySettings, Settings
from headgate.wire.translate import FEATURES, LossPolicy


def told(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "headgate.yaml"
    file.write_text(text)
    return load(file, env={})


def choice(settings: Settings, word: str, task: str = "", model: str = "any") -> str:
    return policies_of(settings, {}).lossy(task, model).choice(word)


def test_without_a_word_each_feature_has_its_own_default(tmp_path: Path) -> None:
    settings = told(tmp_path, "")
    assert settings.lossy == LossySettings()
    assert losses_of(settings) is None
    assert {word: choice(settings, word) for word in FEATURES} == {w: f.default for w, f in FEATURES.items()}


@pytest.mark.parametrize("word", ["refuse", "drop"])
def test_one_word_is_for_every_feature(tmp_path: Path, word: str) -> None:
    settings = told(tmp_path, f"lossy: {word}\n")
    assert {choice(settings, each) for each in FEATURES} == {word}
    assert settings.warnings == ()


def test_a_feature_may_have_its_own_word_beside_one_for_the_rest(tmp_path: Path) -> None:
    settings = told(tmp_path, "lossy: {default: drop, server_tools: refuse}\n")
    assert choice(settings, "server_tools") == "refuse"
    assert {choice(settings, each) for each in FEATURES if each != "server_tools"} == {"drop"}
    settings = told(tmp_path, "lossy: {top_k: refuse}\n")
    assert (choice(settings, "top_k"), choice(settings, "top_p"), choice(settings, "n")) == ("refuse", "drop", "refuse")


def test_a_tasks_features_lie_over_the_global_ones_and_its_one_word_replaces_them(tmp_path: Path) -> None:
    text = (
        "lossy: {top_k: refuse, n: drop}\ntasks:\n  a: {lossy: {n: refuse}}\n  b: {lossy: drop}\n  c: {timeout: 9s}\n"
    )
    settings = told(tmp_path, text)
    assert [choice(settings, "top_k", task) for task in ("", "a", "b", "c", "other")] == ["refuse"] * 2 + [
        "drop",
        "refuse",
        "refuse",
    ]
    assert [choice(settings, "n", task) for task in ("", "a", "b", "c")] == ["drop", "refuse", "drop", "drop"]


def test_a_virtual_models_lies_between_the_global_ones_and_the_tasks(tmp_path: Path) -> None:
    text = (
        "lossy: {top_k: refuse, n: drop}\ntasks: {t: {lossy: {n: refuse}}}\n"
        "models: {m: {routes: [openai/gpt-6-luna], lossy: {top_k: drop, n: drop, seed: refuse}}}\n"
    )
    settings = told(tmp_path, text)
    assert [choice(settings, word, "t", "m") for word in ("top_k", "n", "seed")] == ["drop", "refuse", "refuse"]
    assert [choice(settings, word, "", "m") for word in ("top_k", "n", "seed")] == ["drop", "drop", "refuse"]
    assert [choice(settings, word, "t", "other") for word in ("top_k", "n", "seed")] == ["refuse", "refuse", "drop"]


def test_an_environment_variable_may_say_it(tmp_path: Path) -> None:
    file = tmp_path / "headgate.yaml"
    file.write_text("lossy: {n: drop}\n")
    assert load(file, env={"HEADGATE_LOSSY": "refuse"}).lossy == LossySettings("refuse")
    assert load(file, env={"HEADGATE_LOSSY__N": "refuse"}).lossy == LossySettings("", {"n": "refuse"})


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("lossy: dorp\n", "1:8: lossy: expected refuse or drop, not 'dorp'; did you mean 'drop'?"),
        ("lossy: {temprature: drop}\n", "1:9: lossy: unknown key 'temprature'; did you mean 'temperature'?"),
        ("lossy: {top_k: keep}\n", "1:16: lossy.top_k: expected refuse or drop, not 'keep'"),
        ("lossy: [top_k]\n", "1:8: lossy: expected refuse, drop, or {feature: refuse or drop}, not a list"),
        ("tasks:\n  t: {lossy: {n: maybe}}\n", "2:18: tasks.t.lossy.n: expected refuse or drop, not 'maybe'"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        told(tmp_path, text)
    (line,) = caught.value.mistakes
    assert mistake in line


def test_every_feature_of_the_documentation_can_be_named(tmp_path: Path) -> None:
    text = "lossy:\n" + "".join(f"  {word}: drop\n" for word in FEATURES)
    assert policies_of(told(tmp_path, text), {}).lossy("", "") == LossPolicy(None, dict.fromkeys(FEATURES, "drop"))
