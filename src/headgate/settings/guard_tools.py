"""`guards.tools` and `guards.loop_limits`: what is written, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from headgate.policy.guards.argument_tests import ArgumentTest, Condition
from headgate.policy.guards.loops import LoopLimits
from headgate.policy.guards.patterns import Glob, Regex, Unlinear
from headgate.policy.guards.tools import ALLOW, APPROVE, BLOCK, DENIAL, VERDICTS, Schema, ToolRule, ToolRules
from headgate.settings.fields import Section
from headgate.settings.guard_model import TestSettings, ToolRuleSettings, ToolSettings, WebhookSettings
from headgate.settings.tree import Items, Node, Scalar, Table, kind, shown
from headgate.settings.units import Unfit, one_of, plain_url, seconds, text_up_to, whole

TOOL_KEYS = ("allow", "approve", "block", "rules", "expires", "denial")
GLOBAL_TOOL_KEYS = ("key", "webhook")
RULE_KEYS = ("tool", "then", "when", "tainted", "schema")
TEST_KEYS = ("glob", "regex", "in", "prefix", "domain", "min", "max")
WEBHOOK_KEYS = ("url", "secret")
LOOP_KEYS = ("same", "calls", "per")

MAX_RULES = 500
_MAX_SCHEMA = 256 * 1024
_MAX_PATH = 200
_LONGEST = 30 * 86_400.0
_name = text_up_to(200)
_GUARDS_EXTRA = "needs the package jsonschema-rs: install headgate[guards]"


def read_tools(section: Section, *, everybody: bool) -> ToolSettings | None:
    """The mapping at `tools`; None where there is none.

    Args:
        everybody: it is the global section, where the key and the webhook are.
    """
    tools = section.section("tools", (*TOOL_KEYS, *GLOBAL_TOOL_KEYS) if everybody else TOOL_KEYS)
    if not tools.given:
        return None
    names = {then: tools.texts(then, _name) for then in VERDICTS}
    for name in sorted(set(names[ALLOW]) & set(names[APPROVE])):
        tools.wrong(APPROVE, f"{shown(name)} is under allow too: keep one")
    for name in sorted(set(names[BLOCK]) & {*names[ALLOW], *names[APPROVE]}):
        tools.wrong(BLOCK, f"{shown(name)} is under allow or approve too: keep one")
    rules = tuple(_rules(tools))
    listed = {then: tuple(_listed(tools, then, names[then])) for then in VERDICTS}
    found = (*listed[BLOCK], *rules, *listed[APPROVE], *listed[ALLOW])
    if len(found) > MAX_RULES:
        tools.wrong("rules", f"there are {len(found)} rules, and at most {MAX_RULES} are looked through")
    return ToolSettings(
        rules=found,
        expires=tools.take("expires", seconds(60, _LONGEST), 86_400.0),
        denial=tools.take("denial", _sentence, ""),
        key=tools.secret("key") if everybody else None,
        webhook=_webhook(tools) if everybody else None,
    )


def read_loop_limits(section: Section) -> LoopLimits | None:
    """The mapping at `loop_limits`; None where there is none."""
    limits = section.section("loop_limits", LOOP_KEYS)
    if not limits.given:
        return None
    told = LoopLimits()
    return LoopLimits(
        limits.take("same", whole(2, 100), told.same),
        limits.take("calls", whole(1, 10_000), told.calls),
        limits.take("per", seconds(1, 86_400), told.per),
    )


def tool_rules_of(settings: ToolSettings) -> ToolRules:
    """The rules, ready to be asked."""
    return ToolRules(tuple(map(_rule_of, settings.rules)), settings.expires, settings.denial or DENIAL)


def _listed(tools: Section, then: str, names: tuple[str, ...]) -> Iterator[ToolRuleSettings]:
    for number, name in enumerate(names):
        yield ToolRuleSettings(name, then, source=tools.context.origins.get(f"{tools.at(then)}[{number}]", ""))


def _rules(tools: Section) -> Iterator[ToolRuleSettings]:
    for node, path in tools.items("rules"):
        rule = Section(tools.context, node, path, RULE_KEYS)
        if not isinstance(node, Table):
            continue
        tool, then = rule.take("tool", _name, ""), rule.take("then", one_of(VERDICTS), "")
        for key, found, like in (("tool", tool, "tool: send_*"), ("then", then, "then: allow")):
            if not found and key not in rule.table.entries:
                rule.context.wrong(path, f"{key} is missing, like {like}")
        tainted = rule.take("tainted", one_of(VERDICTS), "")
        if tainted and then and VERDICTS.index(tainted) < VERDICTS.index(then):
            rule.wrong("tainted", f"is milder than `then: {then}`: what comes from elsewhere cannot be trusted more")
        schema = _schema(rule)
        if schema and then == BLOCK:
            rule.wrong("schema", "a call that is blocked anyway needs no schema")
        yield ToolRuleSettings(tool, then or BLOCK, tuple(_when(rule)), tainted, schema, str(node.where))


def _when(rule: Section) -> Iterator[TestSettings]:
    for name, node, path in rule.named("when"):
        steps = tuple(name.split("."))
        if not all(steps) or len(name) > _MAX_PATH:
            rule.context.wrong_name(path, "expected an argument's name, with dots for what is inside, like message.to")
            continue
        if isinstance(node, Items):
            yield TestSettings(steps, among=tuple(_values(rule, node, path)))
        elif isinstance(node, Scalar):
            yield _plain(rule, steps, node, path)
        else:
            yield _test(Section(rule.context, node, path, TEST_KEYS), steps)


def _plain(rule: Section, steps: tuple[str, ...], node: Scalar, path: str) -> TestSettings:
    """A single value: a text with `*`, or the number or switch that is written."""
    value = _value(node)
    if isinstance(value, str):
        if not value and not node.live:
            rule.context.wrong(path, "expected a text, with * for any characters, and nothing is here")
        return TestSettings(steps, glob=value)
    return TestSettings(steps, among=(value,))


def _test(told: Section, steps: tuple[str, ...]) -> TestSettings:
    if not told.given:
        told.context.wrong(told.path, f"expected one or more of {', '.join(TEST_KEYS)}")
    among = told.node("in")
    if among is not None and not isinstance(among, Items):
        told.wrong("in", f"expected a list of values, not {kind(among)}")
    least, most = told.take("min", _number, None), told.take("max", _number, None)
    if least is not None and most is not None and least > most:
        told.wrong("max", "is below min: no number fits both")
    return TestSettings(
        steps,
        glob=told.take("glob", _name, ""),
        regex=told.take("regex", _regex, ""),
        among=tuple(_values(told, among, told.at("in"))) if isinstance(among, Items) else (),
        prefixes=_some(told, "prefix"),
        domains=tuple(map(str.lower, _some(told, "domain"))),
        least=least,
        most=most,
    )


def _some(told: Section, key: str) -> tuple[str, ...]:
    """One text, or a list of them."""
    read = _domain if key == "domain" else _name
    if isinstance(told.table.entries.get(key), Items):
        return told.texts(key, read)
    one = told.take(key, read, "")
    return (one,) if one else ()


def _values(section: Section, node: Items, path: str) -> Iterator[str | int | float | bool | None]:
    if not node.items:
        section.context.mistakes.add(node.where, path, "expected at least one value")
    for number, item in enumerate(node.items):
        if isinstance(item, Scalar):
            yield _value(item)
        else:
            section.context.mistakes.add(item.where, f"{path}[{number}]", f"expected one value, not {kind(item)}")


def _value(node: Scalar) -> str | int | float | bool | None:
    """As JSON has it: what is not quoted may be a number, true, false or null."""
    if not node.plain:
        return node.text
    try:
        found = json.loads(node.text, parse_constant=lambda text: text)
    except ValueError:
        return node.text
    return found if isinstance(found, str | int | float | bool | None) else node.text


def _webhook(tools: Section) -> WebhookSettings | None:
    told = tools.section("webhook", WEBHOOK_KEYS)
    if not told.given:
        return None
    url, secret = told.take_url("url", plain_url, ""), told.secret("secret")
    if "url" not in told.table.entries:
        told.context.wrong(told.path, "url is missing, like url: https://approve.acme.example/headgate")
    if "secret" not in told.table.entries:
        told.context.wrong(told.path, "secret is missing: it signs what is sent, like secret: env:APPROVALS_SECRET")
    return WebhookSettings(url, secret) if url else None


def _schema(rule: Section) -> str:
    """JSON text, "" where there is none."""
    node = rule.node("schema")
    if node is None:
        return ""
    if isinstance(node, Scalar) and node.text.startswith("file:"):
        text = _file(rule, node.text.removeprefix("file:"))
    elif isinstance(node, Table):
        text = json.dumps(_json(node))
    else:
        rule.wrong("schema", f"expected a JSON schema, or file:path of one, not {kind(node)}")
        return ""
    if not text:
        return ""
    try:
        compiled(text)
    except ImportError:
        rule.wrong("schema", _GUARDS_EXTRA)
    except ValueError as error:
        rule.wrong("schema", f"is no JSON schema that can be used: {str(error).partition(chr(10))[0][:200]}")
    return text


def _file(rule: Section, name: str) -> str:
    try:
        with (Path(rule.context.base) / name).open("rb") as file:
            data = file.read(_MAX_SCHEMA + 1)
        if len(data) > _MAX_SCHEMA:
            raise ValueError(f"is larger than {_MAX_SCHEMA} bytes")
        return data.decode()
    except (OSError, ValueError) as error:
        rule.wrong("schema", f"the file cannot be read: {getattr(error, 'strerror', None) or error}")
        return ""


def _json(node: Node) -> Any:
    if isinstance(node, Table):
        return {name: _json(entry) for name, entry in node.entries.items()}
    return [_json(item) for item in node.items] if isinstance(node, Items) else _value(node)


@lru_cache(maxsize=MAX_RULES)
def compiled(schema: str) -> Schema:
    """A schema, compiled. Its references lead nowhere else, and its patterns are run in linear time.

    Raises:
        ImportError: jsonschema-rs is not installed.
        ValueError: it cannot be used.
    """
    import jsonschema_rs

    loaded = json.loads(schema)
    if not isinstance(loaded, dict):
        raise ValueError("a schema of arguments is a JSON object")
    options = jsonschema_rs.RegexOptions()
    made: Schema = jsonschema_rs.validator_for(loaded, retriever=_nothing_else, pattern_options=options)
    return made


def _nothing_else(uri: str) -> Any:
    raise ValueError("references to other documents are not followed")


def _rule_of(rule: ToolRuleSettings) -> ToolRule:
    when = tuple(Condition(each.path, _test_of(each)) for each in rule.when)
    schema = compiled(rule.schema) if rule.schema else None
    return ToolRule(Glob(rule.tool), rule.then, when, rule.tainted, schema, rule.source)


def _test_of(told: TestSettings) -> ArgumentTest:
    return ArgumentTest(
        glob=Glob(told.glob) if told.glob else None,
        regex=Regex(told.regex) if told.regex else None,
        among=told.among,
        prefixes=told.prefixes,
        domains=told.domains,
        least=told.least,
        most=told.most,
    )


def _regex(text: str) -> str:
    try:
        Regex(text)
    except Unlinear as error:
        raise ValueError(f"is no pattern that can be run in linear time: {error}") from None
    return text


def _domain(text: str) -> str:
    plain = text.removeprefix("*.")
    if "*" in plain or "/" in plain or ":" in plain or "@" in plain or "." not in plain:
        raise Unfit("expected a host, like acme.example, or *.acme.example for all below it")
    return _name(text)


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        raise Unfit("expected a number") from None
    if not abs(found) < 1e300:
        raise Unfit("expected a number")
    return found


def _sentence(text: str) -> str:
    sentence = text_up_to(1_000)(text)
    try:
        sentence.format(tool="", reason="")
    except (LookupError, ValueError):
        raise ValueError("a sentence with {tool} and {reason}; write {{ and }} for braces") from None
    return sentence
