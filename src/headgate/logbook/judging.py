"""Whether an answer is what a case expects.

A label is the whole answer: a text (but for white space), or JSON. `expect` has conditions, all of which have to hold:

    {"exact": "yes", "contains": ["a", "b"], "not_contains": "c", "regex": "^[A-Z]", "json_schema": {...},
     "tool": "search_docs", "judge": "an answer that says the same"}
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from headgate.core.errors import ConfigError
from headgate.logbook.cases import Case
from headgate.policy.comparing import Said, plain, same_shape

CONDITIONS = ("exact", "contains", "not_contains", "regex", "json_schema", "tool", "judge")
MAX_TEXT = 200_000
"""Characters of an answer that a regular expression is asked about."""

Judge = Callable[[str, Said], bool | None]
"""Whether an answer says what a text says, as a model sees it; None = it could not tell."""


def conditions(case: Case) -> Mapping[str, Any]:
    """What a case expects; {} = nothing.

    Raises:
        ConfigError: `expect` is no such mapping, or a condition cannot be used.
    """
    if case.expect is None:
        return {} if case.label is None else {"exact" if isinstance(case.label, str) else "json": case.label}
    told = {"exact": case.expect} if isinstance(case.expect, str) else case.expect
    unknown = [name for name in told if name not in CONDITIONS] if isinstance(told, dict) else [type(told).__name__]
    if unknown or not told:
        raise ConfigError(
            f"{case.id}: expect: {', '.join(map(str, unknown)) or 'nothing'}: use {', '.join(CONDITIONS)}"
        )
    if "regex" in told:
        try:
            re.compile(told["regex"])
        except (re.error, TypeError) as error:
            raise ConfigError(f"{case.id}: expect.regex: {error}") from None
    return told


def unmet(case: Case, said: Said, judge: Judge) -> list[str]:
    """The conditions that an answer does not meet, in words."""
    return [why for name, wanted in conditions(case).items() if (why := _CHECKS[name](wanted, said, judge))]


def _exact(wanted: Any, said: Said, _judge: Judge) -> str:
    return "" if plain(str(wanted)) == plain(said.text) else "it is not the expected text"


def _json(wanted: Any, said: Said, _judge: Judge) -> str:
    return "" if same_shape(Said(json.dumps(wanted)), Said(said.text)) else "it is not the expected JSON"


def _contains(wanted: Any, said: Said, _judge: Judge) -> str:
    missing = [each for each in _texts(wanted) if each not in said.text]
    return f"it does not contain {json.dumps(missing[0])}" if missing else ""


def _not_contains(wanted: Any, said: Said, _judge: Judge) -> str:
    there = [each for each in _texts(wanted) if each in said.text]
    return f"it contains {json.dumps(there[0])}" if there else ""


def _regex(wanted: Any, said: Said, _judge: Judge) -> str:
    return "" if re.search(wanted, said.text[:MAX_TEXT]) else f"it does not match {json.dumps(wanted)}"


def _schema(wanted: Any, said: Said, _judge: Judge) -> str:
    from headgate.policy.guards.schemas import violations

    try:
        value = json.loads(said.text)
    except (ValueError, RecursionError):
        return "it is no JSON"
    try:
        found = next(violations(json.dumps(wanted), value), None)
    except ImportError:
        return "json_schema could not be checked: pip install 'headgate[guards]'"
    return "" if found is None else f"it does not fit the schema, {found[2]}"


def _tool(wanted: Any, said: Said, _judge: Judge) -> str:
    called = [name for name, _ in said.calls]
    missing = [each for each in _texts(wanted) if each not in called]
    return f"it does not call {missing[0]}" if missing else ""


def _judged(wanted: Any, said: Said, judge: Judge) -> str:
    verdict = judge(str(wanted), said)
    return "" if verdict else "the judge says that it differs" if verdict is False else "the judge could not tell"


def _texts(wanted: Any) -> list[str]:
    return [str(each) for each in wanted] if isinstance(wanted, list) else [str(wanted)]


_CHECKS: Mapping[str, Callable[[Any, Said, Judge], str]] = {
    "exact": _exact,
    "json": _json,
    "contains": _contains,
    "not_contains": _not_contains,
    "regex": _regex,
    "json_schema": _schema,
    "tool": _tool,
    "judge": _judged,
}
