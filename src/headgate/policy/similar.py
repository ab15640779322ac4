"""Questions that may be answered by an answer to another one: what has to be the same, and what only alike. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from headgate.core.exchange import Request
from headgate.policy.asking import circumstances
from headgate.policy.caching import read_body
from headgate.policy.shadowing import Counted
from headgate.policy.similarity_guard import MAX_CHARS

PYTHON = "python"
"""In the place of an embedder's name: one that the program brings."""
LOCAL = "local:"
"""How the name of a model in a folder of this machine begins."""


@dataclass(frozen=True, slots=True)
class SimilarRules:
    """`similar:`.

    Attributes:
        embedder: provider/model of an OpenAI-compatible embeddings endpoint, PYTHON, or LOCAL and a folder.
        threshold: the cosine of two questions that are alike, 0.5..1.
        answers: it answers once it may; else it only measures.
        until: comparisons before it may answer; 200..100,000, or fewer with `trust`.
        false_hits_basis_points: of comparisons, that may have been wrong at the most.
        check_basis_points: of the calls that it could answer, that go to the provider all the same and are compared.
        alike: the cosine of two answers that say the same, 0.5..1.
        keep_seconds: how long an answer is kept.
        entries: answers that are kept.
        timeout_seconds: for the embedder, while the caller waits.
        per_user: each user's answers are only that user's.
        trust: it may answer without any comparison.
    """

    embedder: str
    threshold: float = 0.95
    answers: bool = False
    until: int = 200
    false_hits_basis_points: int = 100
    check_basis_points: int = 500
    alike: float = 0.9
    keep_seconds: float = 86_400.0
    entries: int = 10_000
    timeout_seconds: float = 0.5
    per_user: bool = False
    trust: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks.

    Attributes:
        partition: everything but the text of its last turn, and whose it is: only within one are questions compared. It
            begins as keys of the cache do.
        text: of the last turn.
    """

    partition: str
    text: str


def may_answer(rules: SimilarRules, counted: Counted) -> bool:
    """It was right often enough, or somebody trusts it. What is known to be wrong too often is trusted by nobody."""
    wrong = counted.different * 10_000 > counted.compared * rules.false_hits_basis_points
    if counted.compared >= rules.until:
        return not wrong
    return rules.trust


def question_of(request: Request, *, per_user: bool = False) -> Question | None:
    """What a request asks; None where its answer may be nobody else's, or it does not end in one text of the user's.

    Args:
        request: as it came in.
        per_user: see `SimilarRules`.
    """
    told = circumstances(request, per_user=per_user)
    if told is None or request.facts.has_media:
        return None
    read = read_body(request.dialect, request.body)
    if not read.digest or read.keeps:
        return None
    body = json.loads(request.body)
    text = _taken(body, "input" if request.endpoint == "responses" else "messages")
    if text is None or not text.strip() or len(text) > MAX_CHARS:
        return None
    rest = read_body(request.dialect, json.dumps(body).encode())
    if not rest.digest:
        return None
    whole = sha256(repr((*told, rest.digest)).encode("utf-8", "surrogatepass")).hexdigest()
    return Question(f"{told[0]}:{whole}", text)


def _taken(body: dict[str, Any], member: str) -> str | None:
    """The last turn's text, which is taken out of the body; None where it is not one text of the user's alone."""
    turns = body.get(member)
    if isinstance(turns, str):
        body[member] = ""
        return turns
    last = turns[-1] if isinstance(turns, list) and turns else None
    if not isinstance(last, dict) or last.get("role") != "user":
        return None
    content = last.get("content")
    if isinstance(content, str):
        last["content"] = ""
        return content
    block = content[0] if isinstance(content, list) and len(content) == 1 else None
    if not isinstance(block, dict) or block.get("type") not in ("text", "input_text"):
        return None
    text = block.get("text")
    block["text"] = ""
    return text if isinstance(text, str) else None
