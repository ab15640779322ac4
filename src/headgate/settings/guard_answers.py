"""`tasks.<name>.answer:`, what the answers of a task have to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headgate.policy.guards.answers import REQUEST, AnswerRules
from headgate.policy.guards.code import LANGUAGES
from headgate.policy.guards.schemas import MAX_SCHEMA, BadSchema, check
from headgate.settings.fields import Section
from headgate.settings.tree import Items, Node, Scalar, Table, kind, shown
from headgate.settings.units import one_of, whole

ANSWER_KEYS = (
    "schema",
    "code",
    "fences",
    "facts",
    "quote_words",
    "repair",
    "continue",
    "empty",
    "on_invalid",
)
QUOTE_WORDS = 5
_switch = one_of(("on", "off"))
_INSTALL = 'needs the extra `guards`: pip install "headgate[guards]"'
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}


def read_answer(task: Section) -> AnswerRules | None:
    """The `answer:` of a task; None where it has none."""
    section = task.section("answer", ANSWER_KEYS)
    if not section.given:
        return None
    schema = _schema(section)
    code = section.take("code", one_of(LANGUAGES), "")
    if code and schema:
        section.wrong("code", "an answer is of a schema, or code: keep one")
    if code == "sql":
        _installed(section, "code", "sqlglot")
    facts = section.take("facts", one_of(("quotes", "off")), "off")
    least = section.take("quote_words", whole(2, 100), QUOTE_WORDS)
    return AnswerRules(
        schema=schema,
        code=code,
        fences=section.take("fences", _switch, "on") == "on",
        quotes=least if facts == "quotes" else 0,
        repair=section.take("repair", _switch, "off") == "on",
        continues=section.take("continue", whole(0, 3), 0),
        empty=section.take("empty", one_of(("repair", "refuse")), "repair"),
        flags=section.take("on_invalid", one_of(("refuse", "flag")), "refuse") == "flag",
    )


def _installed(section: Section, key: str, module: str) -> None:
    try:
        __import__(module)
    except ImportError:
        section.wrong(key, _INSTALL)


def _schema(section: Section) -> str:
    """`request`, a JSON Schema written out, or `{file: path}`, as JSON text."""
    node = section.node("schema")
    if node is None:
        return ""
    if isinstance(node, Scalar) and not node.null:
        if node.text == REQUEST:
            return REQUEST
        section.wrong("schema", f"expected a JSON Schema, {{file: path}} or `request`, not {shown(node.text)}")
        return ""
    if not isinstance(node, Table):
        section.wrong("schema", f"expected a JSON Schema, {{file: path}} or `request`, not {kind(node)}")
        return ""
    told = node.entries.get("file")
    text = _from_file(section, told.text) if len(node.entries) == 1 and isinstance(told, Scalar) else _json(node)
    if text:
        try:
            check(text)
        except BadSchema as error:
            section.wrong("schema", str(error))
            return ""
        except ImportError:
            section.wrong("schema", _INSTALL)
            return ""
    return text


def _from_file(section: Section, name: str) -> str:
    path = Path(section.context.base) / name
    try:
        text = path.read_bytes()[: 4 * MAX_SCHEMA].decode()
        json.loads(text)
    except OSError as error:
        section.wrong("schema", f"the file {shown(name)} cannot be read: {error.strerror or 'not a path'}")
    except (ValueError, RecursionError):
        section.wrong("schema", f"the file {shown(name)} is not JSON")
    else:
        return text
    return ""


def _json(node: Node) -> str:
    return json.dumps(_value(node), ensure_ascii=False)


def _value(node: Node) -> Any:
    """What is written, with the types of YAML 1.2: `off` is a text."""
    if isinstance(node, Table):
        return {key: _value(each) for key, each in node.entries.items()}
    if isinstance(node, Items):
        return [_value(each) for each in node.items]
    if not node.plain:
        return node.text
    if node.text in _CONSTANTS:
        return _CONSTANTS[node.text]
    try:
        return json.loads(node.text)
    except ValueError:
        return node.text
