"""OpenAI's Embeddings and Moderations: vectors and scores that depend on the text alone.

A text's vector is the sum of its words' (a few places each, drawn from the word), normalised: the same text has the
same vector, and texts that share words are closer than texts that do not. A moderation flags a category where the
text says so: ``flag: violence``.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
from array import array
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headgate.testing.simulator.asked import Answer, Asked, Event, Json
from headgate.testing.simulator.dialects import OpenAIVendor
from headgate.testing.simulator.models import Model
from headgate.testing.simulator.openai_requests import invalid, model_of
from headgate.testing.simulator.prices import Counts
from headgate.testing.simulator.promptcache import PromptCache
from headgate.testing.simulator.tokens import count

_MAX_INPUTS = 2048
_MAX_TOTAL = 300_000  # tokens over all inputs of one request
_PLACES = 24  # of a vector that one word touches
_WORD = re.compile(r"\w+")
_FLAG = re.compile(r"flag: *([a-z/-]+)")
_TEXT_ONLY = frozenset(
    {"harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "sexual/minors"}
)
CATEGORIES = (
    *sorted(_TEXT_ONLY),
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "violence",
    "violence/graphic",
)


class _Vendor(OpenAIVendor):
    """Neither API streams, or ends in more than one way."""

    malformed = b""
    stops: Mapping[str, str] = {}

    def events(
        self, asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float, per_event: int
    ) -> Iterator[Event]:
        """Never asked for: `stream` is not read."""
        return iter(())

    def error_event(self, kind: str, message: str, sequence: int, /) -> bytes:
        """Never asked for."""
        return b""


class Embeddings(_Vendor):
    """`POST /v1/embeddings`."""

    def read(
        self, headers: Mapping[bytes, bytes], body: Json, *, scope: str, cache: PromptCache, seed: int, now: float
    ) -> Asked:
        """Check and count a request."""
        model = model_of(body, "embedding")
        inputs = _inputs(body.get("input"))
        sizes = [count(one) if isinstance(one, str) else len(one) for one in inputs]
        if max(sizes) > model.context:
            raise invalid(
                f"This model's maximum context length is {model.context} tokens, however you requested {max(sizes)}.",
                param="input",
                code="context_length_exceeded",
            )
        if sum(sizes) > _MAX_TOTAL:
            raise invalid(f"Requested {sum(sizes)} tokens, max {_MAX_TOTAL} tokens per request", param="input")
        _dimensions(model, body)
        if body.get("encoding_format", "float") not in ("float", "base64"):
            raise invalid("Invalid 'encoding_format': expected 'float' or 'base64'.", param="encoding_format")
        return Asked(
            model=model,
            stream=False,
            cap=0,
            counts=Counts(sum(sizes), tier="default"),
            user=str(body.get("user") or ""),
            request=body,
        )

    def message(self, asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float) -> bytes:
        """All vectors."""
        body = asked.request
        size = _dimensions(asked.model, body)
        packed = body.get("encoding_format") == "base64"
        listed = []
        for index, one in enumerate(_inputs(body["input"])):
            made = vector(one if isinstance(one, str) else " ".join(map(str, one)), size)
            listed.append({"object": "embedding", "index": index, "embedding": _packed(made) if packed else list(made)})
        used = {"prompt_tokens": asked.counts.input, "total_tokens": asked.counts.input}
        return msgspec.json.encode({"object": "list", "data": listed, "model": asked.model.served, "usage": used})


class Moderations(_Vendor):
    """`POST /v1/moderations`, which costs nothing."""

    def read(
        self, headers: Mapping[bytes, bytes], body: Json, *, scope: str, cache: PromptCache, seed: int, now: float
    ) -> Asked:
        """Check a request."""
        model = model_of({"model": "omni-moderation-latest", **body}, "moderation")
        if not body.get("input"):
            raise invalid("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
        return Asked(model=model, stream=False, cap=0, counts=Counts(), request=body)

    def message(self, asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float) -> bytes:
        """One result for each text, or one for all parts together."""
        told = asked.request["input"]
        if isinstance(told, str):
            results = [_result(told, image=False)]
        elif all(isinstance(one, str) for one in told):
            results = [_result(one, image=False) for one in told]
        else:
            text = "\n".join(part.get("text") or "" for part in told)
            results = [_result(text, image=any(part.get("type") == "image_url" for part in told))]
        return msgspec.json.encode({"id": f"modr-{answer_id}", "model": asked.model.served, "results": results})


def vector(text: str, size: int) -> array[float]:
    """The vector of a text: `size` 32-bit floats of length 1."""
    sums = [0.0] * size
    for word in _WORD.findall(text.lower()) or [text]:
        # Four bytes for each place: three for where, one for how much.
        drawn = hashlib.shake_128(word.encode("utf-8", "surrogatepass")).digest(4 * _PLACES)
        for at in range(0, len(drawn), 4):
            sums[int.from_bytes(drawn[at : at + 3], "big") % size] += (drawn[at + 3] - 127.5) / 128
    length = math.sqrt(sum(x * x for x in sums)) or 1.0
    return array("f", [x / length for x in sums])


def _packed(made: array[float]) -> str:
    if sys.byteorder == "big":
        made.byteswap()
    return b64encode(made.tobytes()).decode()


def _dimensions(model: Model, body: Json) -> int:
    told = body.get("dimensions")
    if told is None:
        return model.dimensions
    if not isinstance(told, int) or isinstance(told, bool) or not 1 <= told <= model.dimensions:
        raise invalid(f"Invalid 'dimensions': expected 1 to {model.dimensions}.", param="dimensions")
    return told


def _inputs(told: Any) -> Sequence[str | Sequence[int]]:
    """The inputs, each a text or token ids."""
    if isinstance(told, str):
        told = [told]
    if not isinstance(told, list) or not told:
        raise invalid("'$.input' is invalid.", param="input")
    if all(isinstance(one, int) and not isinstance(one, bool) for one in told):
        told = [told]
    if len(told) > _MAX_INPUTS:
        raise invalid(f"'input' has too many items: at most {_MAX_INPUTS}.", param="input")
    for one in told:
        ids = isinstance(one, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in one)
        if not one or not (isinstance(one, str) or ids):
            raise invalid("'$.input' is invalid. An input is a text or token ids, and not empty.", param="input")
    inputs: Sequence[str | Sequence[int]] = told
    return inputs


def _result(text: str, *, image: bool) -> Json:
    flagged = set(_FLAG.findall(text)).intersection(CATEGORIES)
    noise = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=len(CATEGORIES)).digest()
    scores = {
        name: round(0.9 + byte / 2560, 6) if name in flagged else round(byte / 25_600, 6)
        for name, byte in zip(CATEGORIES, noise, strict=True)
    }
    return {
        "flagged": bool(flagged),
        "categories": {name: name in flagged for name in CATEGORIES},
        "category_scores": scores,
        "category_applied_input_types": {
            name: ["text", "image"] if image and name not in _TEXT_ONLY else ["text"] for name in CATEGORIES
        },
    }
