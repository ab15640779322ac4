"""What an answer of a task has to be: the rules, what is wrong with an answer, and what is done about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headgate.policy.guards import code, quotes, schemas

GUARD = "answer"
"""What findings about answers are named."""

MAX_CHARS = 1_000_000
"""A longer answer is not looked at, and not valid."""

REQUEST = "request"
"""In the place of a schema: the one that the request asks the provider for."""

Sources = Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """What the answers of one task have to be. Truncated, refused and empty ones are never valid.

    Attributes:
        schema: a JSON Schema as JSON text; `REQUEST`; or "" for none.
        code: a language of `code.LANGUAGES` that the answer has to parse in, or "".
        fences: an answer in one Markdown code fence counts as what is inside.
        quotes: quotations of at least so many words have to stand in the request's texts; 0 = not looked at.
        repair: an answer that is not valid is asked for once more, with what is wrong with it.
        continues: how often, at most, a truncated answer is asked to be gone on with: 0 to 3.
        empty: "repair" or "refuse": whether an empty answer may be repaired.
        flags: an answer that stays invalid goes to the caller all the same, with a finding.
    """

    schema: str = ""
    code: str = ""
    fences: bool = True
    quotes: int = 0
    repair: bool = False
    continues: int = 0
    empty: str = "repair"
    flags: bool = False


ANYTHING = AnswerRules()


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an answer.

    Attributes:
        kind: "truncated", "refused", "empty", "too_long", "json", "schema", "python", "sql", "quote", or "unchecked":
            it could not be told.
        place: where: of a schema the path in the schema, of code the line; never words of the answer.
        detail: for the model that is to repair it. It may hold words of the answer: not for logs and errors.
    """

    kind: str
    place: str = ""
    detail: str = ""

    @property
    def word(self) -> str:
        """For the log and the caller."""
        return f"{self.kind} {self.place}" if self.place else self.kind


@dataclass(frozen=True, slots=True)
class Ending:
    """How a model has ended one choice of an answer.

    Attributes:
        text: all of its visible text.
        how: "end", "truncated", "refused", or "tools" where it waits for its tools (or for us) to go on.
    """

    text: str
    how: str = "end"


def problems(rules: AnswerRules, ending: Ending, *, asked_schema: str, sources: Sources) -> tuple[Problem, ...]:
    """What is wrong with an answer; () where it is valid. Linear in the answer, but for a schema that is not.

    An answer that calls tools is on its way, and not looked at.

    Args:
        asked_schema: of the request, where the rules say `REQUEST`; "" = it has none.
        sources: the texts that quotations have to stand in.
    """
    if ending.how == "tools":
        return ()
    if ending.how != "end":
        return (Problem(ending.how),)
    text = ending.text
    if not text.strip():
        return (Problem("empty"),)
    if len(text) > MAX_CHARS:
        return (Problem("too_long", detail=f"It is longer than {MAX_CHARS} characters."),)
    found: list[Problem] = []
    parsed: object = code.NOTHING
    schema = asked_schema if rules.schema == REQUEST else rules.schema
    if schema or rules.code == "json":
        inner = code.unfenced(text) if rules.fences and rules.schema != REQUEST else text
        parsed, wrong = code.read_json(inner)
        if wrong is not None:
            found.append(Problem("json", *wrong))
        elif schema:
            found += [Problem(*each) for each in schemas.violations(schema, parsed)]
    elif rules.code:
        wrong = code.parse(rules.code, text, fences=rules.fences)
        if wrong is not None:
            found.append(Problem(rules.code, *wrong))
    if rules.quotes:
        texts = [text] if parsed is code.NOTHING else code.strings(parsed)
        found += [Problem("quote", *each) for each in quotes.unfounded(texts, sources(), rules.quotes)]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Step:
    """What follows an answer. `kind`: "deliver", "continue", "repair", "refuse" or "flag"."""

    kind: str


def next_step(rules: AnswerRules, found: Sequence[Problem], *, continued: int, repaired: bool, can: bool) -> Step:
    """What follows an answer with these problems.

    A refused one is not asked again: the model has said no. A truncated one is only gone on with, for what was cut
    once would be cut again at the same place.

    Args:
        continued, repaired: what was done already.
        can: another attempt is possible: one choice, and a conversation that can be written on.
    """
    if not found:
        return Step("deliver")
    kinds = {each.kind for each in found}
    if can and "truncated" in kinds and continued < rules.continues:
        return Step("continue")
    final = {"truncated", "refused", "unchecked"} | ({"empty"} if rules.empty == "refuse" else set())
    if can and rules.repair and not repaired and not kinds & final:
        return Step("repair")
    return Step("flag" if rules.flags else "refuse")


MAX_NOTE = 1_000
"""Characters of what the model is told of its mistakes."""


def repair_note(found: Sequence[Problem]) -> str:
    """What the model is told."""
    said = "\n".join(f"- {each.word}{': ' + each.detail if each.detail else ''}" for each in found)
    if len(said) > MAX_NOTE:
        said = said[: MAX_NOTE - 1] + "…"
    return (
        "Your last answer was checked by a program and is not valid:\n"
        f"{said}\n"
        "Answer again, in full and corrected. Write nothing but the answer itself: no apology and no comment."
    )
