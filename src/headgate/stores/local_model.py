"""Vectors of texts by a model on this machine: a folder with a static model as model2vec saves it (extra
`semantic-local`). Nothing is downloaded: what is not there is an error at start."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headgate.core.errors import ConfigError

_NEEDED = ("tokenizer.json", "config.json")


class LocalModel:
    """A `headgate.similar.Embedder`. Read at the first use, which takes a second; safe to share between threads.

    Raises:
        ConfigError: there is no such folder, it holds no model, or model2vec is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("model2vec") is None:
            raise ConfigError("similar.embedder: a local model needs model2vec: pip install 'headgate[semantic-local]'")
        missing = [name for name in _NEEDED if not (folder / name).is_file()]
        if missing or not any(folder.glob("*.safetensors")):
            raise ConfigError(
                f"similar.embedder: {folder} holds no model as model2vec saves it "
                f"({', '.join(missing) or 'model.safetensors'} is not there); Headgate downloads none"
            )
        self._folder = folder
        self._lock = threading.Lock()
        self._model: Any = None

    def __call__(self, texts: list[str]) -> Sequence[Sequence[float]]:
        with self._lock:  # two threads at the first call must not both read it
            if self._model is None:
                from model2vec import StaticModel

                self._model = StaticModel.from_pretrained(self._folder.absolute(), force_download=False)
        found: Sequence[Sequence[float]] = self._model.encode(texts, use_multiprocessing=False)
        return found
