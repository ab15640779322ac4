"""`guards.tools` and `guards.loop_limits`, as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.guards import ToolCall
from headgate.policy.guards.loops import LoopLimits
from headgate.policy.guards.rules import GuardRules
from headgate.policy.guards.tools import ToolGuard
from headgate.settings.guards import guards_of
from headgate.settings.loader import load

RULES = """
guards:
  tools:
    block: [shell]
    rules:
      - {tool: "send_*", when: {to: "*@acme.example"}, then: allow, tainted: approve}
      - {tool: transfer, when: {amount: {min: 0, max: 100}, account: {regex: "[0-9]{8}"}}, then: allow}
      - {tool: fetch, when: {url: {domain: ["docs.acme.example", "*.wiki.acme.example"]}}, then: allow}
      - {tool: read, when: {path: {prefix: /srv/data/}, mode: [r, rb], size: 5}, then: allow}
    approve: ["send_*"]
    allow: [search, "*_docs"]
    expires: 2h
    denial: "No {tool}: {reason}"
  loop_limits: {same: 4, per: 5m}
"""


def rules_of(tmp_path: Path, text: str, caller: Caller | None = None) -> GuardRules:
    file = tmp_path / "headgate.yaml"
    file.write_text(text)
    return guards_of(load(file, env={}))(caller or Caller())


def judged(rules: GuardRules, name: str, arguments: str = "{}", *, tainted: bool = False) -> str:
    assert rules.tool_rules is not None
    return ToolGuard(rules.tool_rules, strict=rules.strict).judge(ToolCall("1", name, arguments), tainted).verdict


@pytest.mark.parametrize(
    ("name", "arguments", "tainted", "verdict"),
    [
        ("shell", "{}", False, "block"),
        ("send_email", '{"to": "ada@acme.example"}', False, "allow"),
        ("send_email", '{"to": "ada@acme.example"}', True, "approve"),
        ("send_email", '{"to": "eve@evil.example"}', False, "approve"),
        ("transfer", '{"amount": 100, "account": "12345678"}', False, "allow"),
        ("transfer", '{"amount": 101, "account": "12345678"}', False, "block"),
        ("fetch", '{"url": "https://a.wiki.acme.example/"}', False, "allow"),
        ("fetch", '{"url": "https://wiki.acme.example/"}', False, "block"),
        ("read", '{"path": "/srv/data/x", "mode": "r", "size": 5}', False, "allow"),
        ("read", '{"path": "/srv/data/x", "mode": "w", "size": 5}', False, "block"),
        ("read", '{"path": "/srv/data/x", "mode": "r", "size": "5"}', False, "block"),
        ("search", "{}", True, "allow"),
        ("read_docs", "{}", False, "allow"),
        ("other", "{}", False, "block"),
    ],
)
def test_rules_say_what_is_written(tmp_path: Path, name: str, arguments: str, tainted: bool, verdict: str) -> None:
    assert judged(rules_of(tmp_path, RULES), name, arguments, tainted=tainted) == verdict


def test_what_is_told_beside_the_rules_is_kept(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, RULES)
    assert rules.tool_rules is not None
    assert rules.tool_rules.expires == 7200
    assert rules.tool_rules.denial == "No {tool}: {reason}"
    assert rules.loop_limits == LoopLimits(4, 100, 300.0)
    assert rules.tools == "block"


def test_a_rule_knows_its_line(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, RULES).tool_rules
    assert rules is not None
    sources = [re.sub(".*headgate.yaml", "headgate.yaml", each.source) for each in rules.rules]
    assert sources[:2] == ["headgate.yaml:4:13", "headgate.yaml:6:9"]


def test_the_rules_of_the_most_specific_section_are_the_rules(tmp_path: Path) -> None:
    text = "guards: {tools: {allow: [a]}, for: [{key: k, tools: {allow: [b]}}, {key: off, tools: off}]}\n"
    assert judged(rules_of(tmp_path, text), "a") == "allow"
    assert judged(rules_of(tmp_path, text, Caller(key="k")), "a") == "block"
    assert rules_of(tmp_path, text, Caller(key="off")).tools == "off"


def test_a_schema_may_be_written_here_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "to.json").write_text('{"required": ["to"]}')
    here = "{type: object, properties: {n: {type: integer, maximum: 3}}, additionalProperties: false}"
    text = (
        f"guards: {{tools: {{rules: [{{tool: a, then: allow, schema: {here}}}, "
        "{tool: b, then: allow, schema: file:to.json}]}}\n"
    )
    rules = rules_of(tmp_path, text)
    assert [judged(rules, "a", told) for told in ('{"n": 3}', '{"n": 4}', '{"m": 1}')] == ["allow", "block", "block"]
    assert [judged(rules, "b", told) for told in ('{"to": 1}', "{}")] == ["allow", "block"]


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ("rules: [{tool: a}]", "2:19: guards.tools.rules[0]: then is missing"),
        ("rules: [{then: allow}]", "guards.tools.rules[0]: tool is missing"),
        ("rules: [{tool: a, then: never}]", "2:35: guards.tools.rules[0].then: expected one of allow, approve, block"),
        ("rules: [{tool: a, then: approve, tainted: allow}]", "milder than `then: approve`"),
        ("rules: [{tool: a, then: block, schema: {type: object}}]", "needs no schema"),
        ("rules: [{tool: a, then: allow, schema: {type: nothing}}]", "is no JSON schema that can be used"),
        ("rules: [{tool: a, then: allow, schema: {$ref: https://x.example/y}}]", "is no JSON schema that can be used"),
        ("rules: [{tool: a, then: allow, schema: {pattern: '(?=a)b'}}]", "is no JSON schema that can be used"),
        ("rules: [{tool: a, then: allow, schema: file:none.json}]", "cannot be read: No such file"),
        ("rules: [{tool: a, then: allow, schema: 5}]", "expected a JSON schema, or file:path of one, not '5'"),
        ("rules: [{tool: a, then: allow, when: {x: {regex: '(?=a)'}}}]", "linear time: (? is not known"),
        ("rules: [{tool: a, then: allow, when: {x: {}}}]", "expected one or more of glob, regex"),
        ("rules: [{tool: a, then: allow, when: {x: {in: a}}}]", "expected a list of values, not 'a'"),
        ("rules: [{tool: a, then: allow, when: {x: []}}]", "expected at least one value"),
        ("rules: [{tool: a, then: allow, when: {x: {min: 2, max: 1}}}]", "is below min"),
        ("rules: [{tool: a, then: allow, when: {x: {max: lots}}}]", "expected a number"),
        ("rules: [{tool: a, then: allow, when: {x: {domain: https://a.example}}}]", "expected a host"),
        ("rules: [{tool: a, then: allow, when: {x..y: 1}}]", "expected an argument's name"),
        ("rules: [{tool: a, then: allow, when: {x: {like: 1}}}]", "unknown key 'like'"),
        ("{allow: [a], block: [a]}", "'a' is under allow or approve too: keep one"),
        ("denial: 'No {name}'", "a sentence with {tool} and {reason}"),
        ("expires: 5s", "expected a duration from 1m to 30d"),
        ("webhook: {url: https://a.example/x}", "secret is missing"),
        ("webhook: {url: 'https://u:p@a.example/x', secret: env:S}", "a URL with a credential in it"),
        ("key: literal", "literals are not accepted"),
    ],
)
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, tools: str, said: str) -> None:
    inside = tools if tools.startswith("{") else "{" + tools + "}"
    with pytest.raises(ConfigError) as caught:
        rules_of(tmp_path, f"guards:\n  tools: {inside}\n")
    assert said in str(caught.value)


def test_the_key_and_the_webhook_are_everybodys(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'webhook'"):
        rules_of(tmp_path, "guards: {for: [{key: k, tools: {webhook: {url: https://a.example}}}]}\n")
