"""`similar:` and `last_good:`: how they are read, and what is wrong with them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from headgate import Gate
from headgate.core.errors import ConfigError
from headgate.policy.similar import SimilarRules
from headgate.settings import Settings, load
from headgate.settings.last_good import LastGoodSettings
from headgate.settings.similar import uses

EMBEDDER = "openai/text-embedding-3-small"


def loaded(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, env={})


def test_it_is_off_unless_it_is_told() -> None:
    assert Settings().similar is None


def test_everything_that_it_says_is_read(tmp_path: Path) -> None:
    assert loaded(tmp_path, f"similar: {{embedder: {EMBEDDER}}}").similar == SimilarRules(EMBEDDER)
    told = "mode: answer, threshold: 0.9, until: 500, false_hits: 0.5%, check: 10%, alike: 0.8, keep: 1h, entries: 5"
    found = loaded(tmp_path, f"similar: {{embedder: python, {told}, timeout: 1s, per: user, trust: on}}").similar
    assert found == SimilarRules("python", 0.9, True, 500, 50, 1_000, 0.8, 3_600.0, 5, 1.0, True, True)
    kept = loaded(tmp_path, "last_good: {keep: 1d, bytes: 1MiB, per: user}").last_good
    assert kept == LastGoodSettings(86_400.0, 1024**2, True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("similar: {mode: shadow}", "similar.embedder: is missing"),
        ("similar: {embedder: anthropic/x}", "has no embeddings endpoint"),
        (f"similar: {{embedder: {EMBEDDER}, threshold: 0.2}}", "expected a cosine from 0.5 to 1"),
        (f"similar: {{embedder: {EMBEDDER}, until: 20}}", "from 200 to 100_000"),
        ("similar: {embedder: 'local:'}", "expected a model's folder"),
        ("degrade: [{use: similar}]", "similar: is missing"),
        ("degrade: [{use: last_good, say: x}]", "a step has one of model, say and use"),
    ],
)
def test_mistakes_are_told_with_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert told in str(caught.value)


def test_which_ladders_use_it(tmp_path: Path) -> None:
    page = "degrade: [{use: last_good}]\ntasks: {a: {degrade: off}, b: {}, c: {degrade: [{say: x}]}}"
    used = uses(loaded(tmp_path, page), "last_good")
    assert used is not None
    assert [used(task) for task in ("", "a", "b", "c", "nobody")] == [True, False, True, False, True]
    assert uses(Settings(), "last_good") is None


@pytest.mark.filterwarnings("ignore:storage:headgate.ConfigWarning")
def test_the_programs_own_embedder_has_to_be_brought(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="embedder"):
        Gate.load(env={}, storage="memory", similar={"embedder": "python"})
    with Gate.load(env={}, storage="memory", similar={"embedder": "python"}, embedder=lambda texts: [[1.0]]) as gate:
        assert gate.settings.similar == SimilarRules("python")


def test_a_local_model_is_read_from_its_folder_and_never_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.machinery
    import sys
    from types import ModuleType, SimpleNamespace

    text = "storage: memory\nsimilar: {embedder: 'local:model'}"
    settings = loaded(tmp_path, text)
    assert settings.similar is not None
    assert settings.similar.embedder == f"local:{tmp_path / 'model'}"  # beside the file that says so
    read: list[Path] = []

    class StaticModel:
        @classmethod
        def from_pretrained(cls, path: Path, *, force_download: bool) -> StaticModel:
            assert force_download is False
            read.append(path)
            return cls()

        def encode(self, texts: list[str], *, use_multiprocessing: bool) -> list[list[float]]:
            return [[float(len(text)), 1.0] for text in texts]

    fake = ModuleType("model2vec")
    fake.__spec__ = importlib.machinery.ModuleSpec("model2vec", None)
    vars(fake).update(StaticModel=StaticModel)
    monkeypatch.setitem(sys.modules, "model2vec", fake)
    with pytest.raises(ConfigError, match="holds no model as model2vec saves it"):
        Gate(settings)
    (tmp_path / "model").mkdir()
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        (tmp_path / "model" / name).touch()
    from headgate.build import build

    built = build(settings, env={})
    try:
        alike: Any = built.engine.ports.similar
        asked = SimpleNamespace()
        vectors = asyncio.run(alike.vectors(asked, ["one", "three"]))
        assert [round(float(each @ each), 3) for each in vectors] == [1.0, 1.0]
        assert asyncio.run(alike.vectors(asked, ["one"]))[0] is vectors[0]
        assert read == [tmp_path / "model"]
    finally:
        built.close()


def test_without_its_package_a_local_model_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.stores.local_model.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="semantic-local"):
        Gate(loaded(tmp_path, "storage: memory\nsimilar: {embedder: 'local:model'}"))
