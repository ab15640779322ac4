"""JSON Schema, by jsonschema-rs (extra `guards`). No schema is ever fetched: neither by URL nor from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

MAX_SCHEMA = 256_000
"""Characters of a schema."""
MAX_FOUND = 10
_BACKTRACKS = 10_000
_DRAFTS = ("draft-04/", "draft-06/", "draft-07/", "draft/2019-09/", "draft/2020-12/")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


class BadSchema(ValueError):
    """A schema that cannot be used. The message says what is wrong, in words of the schema only."""


def check(schema: str) -> None:
    """Raises BadSchema; ImportError where jsonschema-rs is not installed."""
    _validator(schema)


def violations(schema: str, value: Any) -> Iterator[tuple[str, str, str]]:
    """(kind, place, detail) of what is wrong with a value, at most `MAX_FOUND`.

    The kind is "schema"; or "unchecked" where the schema itself cannot be used, which only a caller's own can be.
    The place is a path in the schema, so that no word of the answer is in it.

    Raises:
        ImportError: jsonschema-rs is not installed.
    """
    try:
        validator = _validator(schema)
    except BadSchema as error:
        yield "unchecked", "", str(error)[:200]
        return
    number = 0
    try:
        for violation in validator.iter_errors(value):
            place = "/" + "/".join(_escaped(str(step)) for step in violation.schema_path)
            yield "schema", place[:200], _detail(violation)
            number += 1
            if number >= MAX_FOUND:
                return
    except (ValueError, RecursionError) as error:  # a value that it cannot take, or a pattern that gave up
        yield "unchecked", "", str(error)[:200]


def _detail(violation: Any) -> str:
    at = "/".join(str(step) for step in violation.instance_path)
    return f"at {at or 'the top'}: {violation.message}"[:300]


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    import jsonschema_rs

    if len(schema) > MAX_SCHEMA:
        raise BadSchema(f"the schema is longer than {MAX_SCHEMA} characters")
    try:
        loaded = json.loads(schema)
    except (ValueError, RecursionError):
        raise BadSchema("the schema is no JSON") from None
    if not isinstance(loaded, dict | bool):
        raise BadSchema("a schema is an object, or true or false")
    _only_local(loaded)
    # The first is linear in the text; lookarounds and backreferences need the other, with a bound.
    options = (jsonschema_rs.RegexOptions(), jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS))
    said = ""
    for option in options:
        try:
            return jsonschema_rs.validator_for(loaded, retriever=_no_schema, pattern_options=option)
        except (ValueError, RecursionError) as error:
            said = str(error).partition("\n")[0]
    raise BadSchema(f"the schema is not valid: {said[:300]}")


def _no_schema(uri: str) -> Any:
    raise ValueError("no schema is fetched")


def _only_local(schema: Any) -> None:
    """Every reference has to lead to a place in the schema itself."""
    left: list[Any] = [schema]
    while left:
        each = left.pop()
        if isinstance(each, list):
            left.extend(each)
        if not isinstance(each, dict):
            continue
        left.extend(each.values())
        for name in _REFERENCES:
            told = each.get(name)
            if isinstance(told, str) and not told.startswith("#"):
                raise BadSchema(f"{name} leads out of the schema: only references that begin with # are followed")
        told = each.get("$schema")
        if isinstance(told, str) and not (told.partition("json-schema.org/")[2].startswith(_DRAFTS)):
            raise BadSchema("$schema is none of the published drafts")
