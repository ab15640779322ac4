"""Which tools a model may call, with which arguments, and which calls wait for a person.

Pure: what is judged is the name and the arguments of a complete call, and whether documents or tool results are in the
conversation. A model that has been fooled can ask for anything; what it gets is decided here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Protocol

from headgate.core.guards import ToolCall
from headgate.policy.guards.argument_tests import Condition
from headgate.policy.guards.patterns import Glob

ALLOW, APPROVE, BLOCK = "allow", "approve", "block"
VERDICTS = (ALLOW, APPROVE, BLOCK)
"""Of a rule, the mildest first."""

MAX_ARGUMENTS = 256 * 1024
"""Characters of arguments that are looked at; longer ones are blocked where a rule looks at them."""
MAX_NESTING = 100

BAD_ARGUMENTS = "bad_arguments"
"""A reason of a `Judgement`."""

DENIAL = "Headgate did not let this call of {tool} through: {reason}. Do not repeat it; go on without it, or say so."

_HALF = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")  # perhaps of a pair
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")


class Schema(Protocol):
    """A JSON schema, compiled."""

    def is_valid(self, instance: Any) -> bool:
        """Whether a value is as the schema says."""
        ...


@dataclass(frozen=True, slots=True)
class ToolRule:
    """What becomes of some calls.

    Attributes:
        tool: by the tool's name.
        then: one of `VERDICTS`.
        when: conditions on the arguments; all of them have to hold, else the rule is not about the call.
        tainted: `then`, where documents or tool results are in the conversation; "" = the same.
        schema: the arguments of a call that is not blocked anyway have to fit it.
        source: where it is written, "headgate.yaml:12:5"; "" = not known.
    """

    tool: Glob
    then: str
    when: tuple[Condition, ...] = ()
    tainted: str = ""
    schema: Schema | None = None
    source: str = ""

    @property
    def looks_inside(self) -> bool:
        """It is about the arguments, too."""
        return bool(self.when) or self.schema is not None


@dataclass(frozen=True, slots=True)
class ToolRules:
    """What is configured of tools, in the order in which it is asked: the first rule about a call decides.

    Attributes:
        expires: seconds that a call waits for its approval at most, and may be had after it.
        denial: what stands in the place of a blocked call, with `{tool}` and `{reason}`.
    """

    rules: tuple[ToolRule, ...] = ()
    expires: float = 86_400.0
    denial: str = DENIAL

    @property
    def allow_list(self) -> bool:
        """Some tools are allowed by name, so the others are not."""
        return any(rule.then == ALLOW for rule in self.rules)

    @property
    def approves(self) -> bool:
        """Some calls may wait for a person."""
        return any(APPROVE in (rule.then, rule.tainted) for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said of one call.

    Attributes:
        verdict: one of `VERDICTS`.
        reason: one word for the log: "rule", "tainted", "unknown_tool", "bad_arguments", "schema"; "" for a call that
            a rule allows.
        source: of the rule that decided; "" = none did.
    """

    verdict: str
    reason: str = ""
    source: str = ""

    @property
    def words(self) -> str:
        """The reason for people, as part of a sentence."""
        return WORDS.get(self.reason, self.reason)


WORDS = {
    "rule": "a rule of its configuration forbids it",
    "tainted": "there is text from elsewhere in the conversation, and a rule forbids it then",
    "unknown_tool": "the tool is on no list of what may be called",
    BAD_ARGUMENTS: "its arguments are not one JSON object that can be checked",
    "schema": "its arguments do not fit the schema that the configuration has for it",
}


class ToolGuard:
    """Judges calls by the rules of one caller.

    Args:
        strict: tools that no rule names are blocked, also where none is allowed by name.
    """

    __slots__ = ("_closed", "_rules")

    def __init__(self, rules: ToolRules, *, strict: bool = False) -> None:
        self._rules = rules.rules
        self._closed = strict or rules.allow_list

    def judge(self, call: ToolCall, tainted: bool) -> Judgement:
        """What becomes of a call.

        Args:
            tainted: documents or tool results are in the conversation.
        """
        arguments: dict[str, Any] | None = None
        for rule in self._rules:
            if not rule.tool.fits(call.name):
                continue
            if rule.looks_inside:
                if arguments is None:
                    arguments = read_arguments(call.arguments)
                if arguments is None:
                    return Judgement(BLOCK, BAD_ARGUMENTS, rule.source)
                if not _about(rule, arguments, tainted):
                    continue
            verdict = _then(rule, tainted)
            if verdict != BLOCK and rule.schema is not None and not rule.schema.is_valid(arguments):
                return Judgement(BLOCK, "schema", rule.source)
            if verdict == ALLOW:
                return Judgement(ALLOW, "", rule.source)
            return Judgement(verdict, "rule" if verdict == rule.then else "tainted", rule.source)
        return Judgement(BLOCK if self._closed else ALLOW, "unknown_tool")


def _then(rule: ToolRule, tainted: bool) -> str:
    return rule.tainted if tainted and rule.tainted else rule.then


def _about(rule: ToolRule, arguments: dict[str, Any], tainted: bool) -> bool:
    for_sure = _then(rule, tainted) == ALLOW
    return all(condition.holds(arguments, for_sure=for_sure) for condition in rule.when)


def read_arguments(text: str) -> dict[str, Any] | None:
    """The arguments of a call; None where they are not one JSON object that every program reads alike: not JSON, a key
    twice, NaN, half of a surrogate pair, nested more than 100 deep, more than 262,144 characters. Nothing at all is no
    arguments."""
    if len(text) > MAX_ARGUMENTS:
        return None
    if not text.strip():
        return {}
    if too_deep(text, MAX_NESTING):
        return None
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and not (_HALF.search(text) and _halved(found)) else None


def _halved(found: dict[str, Any]) -> bool:
    """A text in it has one half of a surrogate pair. Some programs drop it, which joins what a rule saw apart, some
    put another character there, and some read nothing of it all (RFC 7493, section 2.1)."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def too_deep(text: str, most: int) -> bool:
    """Whether brackets are nested deeper than `most`, strings left out; linear, and no parser's stack is needed."""
    if text.count("[") + text.count("{") <= most:
        return False
    depth, inside, escaped = 0, False, False
    for char in text:
        if inside:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in "[{":
            depth += 1
            if depth > most:
                return True
        elif char in "]}":
            depth -= 1
    return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice: programs differ in which one they take")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def shown_name(name: str) -> str:
    """A tool's name for a log or a sentence: a model may write anything in its place."""
    return name if _NAME.fullmatch(name) else "a tool with an odd name"
