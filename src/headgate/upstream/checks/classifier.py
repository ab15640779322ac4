"""A sequence classifier of Prompt Guard's shape on this machine (extra `guards-hf`): a Hugging Face model by
transformers, or a folder with `model.onnx` and `tokenizer.json` by onnxruntime.

Its first class, or the one called benign, is harmless; how likely a text is one of the others is its score. A text
longer than a window is scored by its worst window.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headgate.upstream.checks.asking import Classifier

WINDOW = 1_200
"""Characters: below the 512 tokens that such models take, of all but the densest scripts, which are cut by it."""
OVERLAP = 200
_HARMLESS = frozenset({"benign", "safe", "label_0", "legit", "negative"})
_MAX_TOKENS = 512

_loaded: dict[str, Classifier] = {}
_lock = threading.Lock()


def classifier(name: str) -> Classifier:
    """The classifier of a folder or a Hugging Face name; loaded once.

    Raises:
        ImportError: what it runs on is not installed.
        OSError: there is no such model.
    """
    found = _loaded.get(name)
    if found is None:
        with _lock:
            found = _loaded.get(name)
            if found is None:
                folder = Path(name)
                found = _loaded[name] = Windows(_onnx(folder) if (folder / "model.onnx").is_file() else _hub(name))
    return found


class Windows:
    """A `Classifier` of texts of any length over one of short ones."""

    def __init__(self, score: Callable[[list[str]], list[float]]) -> None:
        self._score = score

    def score(self, texts: list[str]) -> list[float]:
        """See `Classifier`."""
        windows = [(place, each) for place, text in enumerate(texts) for each in _windows(text)]
        found = [0.0] * len(texts)
        for (place, _), score in zip(windows, self._score([each for _, each in windows]), strict=True):
            found[place] = max(found[place], score)
        return found


def _windows(text: str) -> list[str]:
    if len(text) <= WINDOW:
        return [text]
    return [text[at : at + WINDOW] for at in range(0, len(text) - OVERLAP, WINDOW - OVERLAP)]


def _hub(name: str) -> Callable[[list[str]], list[float]]:
    import transformers

    pipeline: Any = transformers.pipeline("text-classification", model=name, top_k=None, truncation=True)

    def score(texts: list[str]) -> list[float]:
        return [_harm({each["label"]: each["score"] for each in labels}) for labels in pipeline(texts)]

    return score


def _harm(labels: dict[str, float]) -> float:
    harmless = [score for label, score in labels.items() if label.lower() in _HARMLESS]
    return min(1.0, max(0.0, 1.0 - sum(harmless)))


def _onnx(folder: Path) -> Callable[[list[str]], list[float]]:
    import numpy
    import onnxruntime
    import tokenizers

    session: Any = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    tokenizer: Any = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(_MAX_TOKENS)
    wanted = {each.name for each in session.get_inputs()}

    def one(text: str) -> float:
        coded = tokenizer.encode(text)
        given = {"input_ids": [coded.ids], "attention_mask": [coded.attention_mask], "token_type_ids": [coded.type_ids]}
        fed = {name: numpy.array(value, dtype=numpy.int64) for name, value in given.items() if name in wanted}
        (logits,) = session.run(None, fed)[0]
        highest = max(float(each) for each in logits)
        shares = [math.exp(float(each) - highest) for each in logits]
        return 1.0 - shares[0] / sum(shares)

    return lambda texts: [one(text) for text in texts]
