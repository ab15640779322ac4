"""Every mistake is reported, all at once, each at its own place, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.settings import load

WRONG = Path(__file__).parent / "everything_wrong.yaml"

# (line:column, path, the beginning of what is said)
EXPECTED = [
    ("1:1", "", "unknown key 'provders'; did you mean 'providers'?"),
    ("3:24", "providers.anthropic.dialect", "anthropic speaks anthropic: give a provider of another dialect another"),
    ("3:32", "providers.anthropic", "unknown key 'apikey'; did you mean 'api_key'?"),
    ("4:10", "providers.local.base_url", "a provider of your own needs base_url"),
    ("4:20", "providers.local.dialect", "expected anthropic or openai, not 'opena'; did you mean 'openai'?"),
    ("5:40", "providers.acme.base_url", "expected a URL that starts with http:// or https://"),
    ("5:65", "providers.acme.api_key", "expected a reference to a secret, like env:NAME"),
    ("5:81", "providers.acme.price.output", "is missing: USD per million tokens"),
    ("5:92", "providers.acme.price", "unknown key 'outptu'; did you mean 'output'?"),
    ("6:3", "providers.Web", "a provider's name is lower-case letters, digits, - and _"),
    ("6:36", "providers.Web.base_url", "a URL with a credential in it"),
    ("6:64", "providers.Web.api_key[0]", "expected a reference to a secret, like env:NAME"),
    ("6:75", "providers.Web.price", "expected `free`, or {input: 3, output: 15}"),
    ("8:38", "models.fast[1]", "no provider is named 'opnai'; did you mean 'openai'?"),
    ("9:9", "models.both", "names one route twice"),
    ("10:3", "models", "duplicate key 'both': the first is at"),
    ("11:3", "models.a/b", "a virtual model's name has 1 to 128 characters and no /, : or space"),
    ("11:8", "models.a/b", "expected a list ([a, b], or one `- ` line each), not 'x'"),
    ("12:9", "models.none", "a virtual model needs at least one route"),
    ("14:14", "tasks.t.model", "no virtual model is named 'fsat'; did you mean 'fast'?"),
    ("14:32", "tasks.t.max_tokens", "expected a whole number from 1 to 10_000_000, not '1.5'"),
    ("14:44", "tasks.t.cache", "expected a duration from 1s to 365d"),
    ("14:60", "tasks.t.timeout", "expected a duration from 1ms to 1d"),
    ("14:79", "tasks.t.on_cut", "expected one of error, buffer, restart, not 'bufer'; did you mean 'buffer'?"),
    ("15:25", "tasks.u.retry.attempts", "expected a whole number from 1 to 20, not '21'"),
    ("15:29", "tasks.u.retry", "unknown key 'backoff'; known keys: attempts, deadline"),
    ("15:51", "tasks.u.timeout", "is the same as timeouts.total, which is set too: keep one"),
    ("17:11", "budgets[0].per", "expected one of tenant, key, user, session, task, feature, model, provider, env"),
    ("17:21", "budgets[0].usd", "expected an amount from 0 to 1_000_000_000 in USD, with at most 9 decimals"),
    ("17:33", "budgets[0].every", "expected one of minute, hour, day, week, month, year, not 'fortnight'"),
    ("17:55", "budgets[0].alert_at[0]", "expected a percentage above 0% and up to 100%, like 80%, not '80'"),
    ("17:59", "budgets[0].alert_at[1]", "expected a percentage above 0% and up to 100%, like 80%, not '120%'"),
    ("17:72", "budgets[0].then", "no virtual model is named 'slow'; virtual models: a/b, both, fast, none"),
    ("18:5", "budgets[1]", "a budget needs a cap: usd, soft_usd or tokens"),
    ("19:5", "budgets[2]", "expected a mapping ({key: value}), not a single value"),
    ("20:9", "limits", "expected a list ([a, b], or one `- ` line each), not a mapping"),
    ("21:10", "prices.gpt-6", "expected provider/model, like anthropic/claude-haiku-4-5, not 'gpt-6'"),
    ("21:45", "prices.openai/gpt-6.input", "expected an amount from 0 to 1_000_000 in USD per million tokens"),
    ("22:39", "unknown_price.ceiling_usd_per_mtok", "must be above 0: an unknown model is never free"),
    ("23:19", "retry.attempts", "expected a whole number from 1 to 20, not 'four'"),
    ("23:35", "retry.deadline", "expected a duration from 1ms to 1d"),
    ("24:11", "timeouts", "expected a mapping ({key: value}), not a single value"),
    ("25:15", "guards.pii", "expected one of on, off, flag, redact-logs, redact, block, not 'redct'"),
    ("25:51", "guards.tools.approve", "'x' is under allow too: keep one"),
    ("26:10", "storage", "expected sqlite:///path, postgresql://host/database or memory"),
    ("27:9", "shared", "a password in the file"),
    ("28:38", "keys[1].name", "two keys have this name; the other is at"),
    ("28:46", "keys[1].key", "key 'a' refers to the same secret"),
    ("28:54", "keys[2].name", "is missing, like name: dev"),
    ("28:60", "keys[2].key", "expected a reference to a secret, like env:NAME"),
    ("29:15", "log.bodies", "expected one of off, redacted, full, not 'some'"),
    ("29:26", "log.keep", "expected one value, and nothing is here"),
    ("30:15", "alerts[0].to", "expected a URL that starts with http:// or https://"),
    ("30:25", "alerts[1].to", "is missing: an http(s) URL, mailto:somebody@example.com, log, or a reference to a URL"),
    ("31:16", "server.port", "expected a whole number from 0 to 65_535, not '70000'"),
    ("31:33", "server.max_body", "expected a size from 1024 to 1073741824 bytes"),
    ("32:1", "", "duplicate key 'retry': the first is at"),
]


def test_a_file_with_everything_wrong_gets_every_mistake_at_its_place_in_one_error() -> None:
    with pytest.raises(ConfigError) as caught:
        load(WRONG, env={})
    for found, (place, path, what) in zip(caught.value.mistakes, EXPECTED, strict=False):
        assert found.startswith(f"{WRONG}:{place}: {path + ': ' if path else ''}{what}"), found
    assert len(caught.value.mistakes) == len(EXPECTED)
    assert "hunter2" not in str(caught.value)
    assert "pw@" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        (b"- a\n- b", "1:1", "expected a mapping of settings"),
        (b"retry", "1:1", "expected a mapping of settings"),
        (b"retry:\n\tattempts: 3", "2:1", "a tab: YAML is indented with spaces"),
        (b"retry: {attempts: 3", "1:20", "a bracket that is not closed"),
        (b"a: b: c", "1:5", "a second `: ` on this line"),
        (b"retry: 'x", "1:10", "a quote that is not closed"),
        (b"retry:\n  attempts: 3\n deadline: 1s", "3:2", "does not line up"),
        (b"log:\n  bodies: \xff", "2:11", "byte 0xff is not UTF-8"),
        (b"\xff\xfea\x00", "1:1", "UTF-16"),
        (b"log: x\x07", "1:7", "a control character"),
        (b"retry: !!python/object:os.system {}", "1:8", "YAML tags (!...) are not supported"),
        (b"a: &x [1]\nretry: *y", "2:8", "refers to nothing before it"),
        (b"retry: &x {a: *x}", "1:15", "refers to nothing before it"),
        (b"a: {}\n---\nb: {}", "2:1", "a second document"),
        (b"retry:\n  <<: {}\n", "2:3", "merge keys (<<) are not supported"),
        (b"? [a]\n: b", "1:3", "a key must be a name"),
        (b"log: {bodies: |\n x\n y\n}", "1:15", "a character that cannot start a value"),
        (b"shared: |\n  a\n  b\n", "1:9", "control characters or several lines"),
        (b'shared: "\\u0000"', "1:9", "control characters or several lines"),
        (b'shared: "\\ud800"', "1:9", "control characters or several lines"),
        (b'shared: "\\UFFFFFFFF"', "", "not YAML"),
        (b"%YAML " + b"9" * 5000 + b".1\n---\n{}", "", "not YAML"),
        (b"a: " + b"[" * 50_000, "1:23", "nested deeper than 20 levels"),
        (b"#" * (1024 * 1024 + 1), "", "larger than 1048576 bytes"),
        (b"limits: [" + b"1," * 30_000 + b"1]", "", "more than 20000 values"),
    ],
)
def test_what_is_no_headgate_yaml_is_refused_at_its_place(tmp_path: Path, text: bytes, place: str, what: str) -> None:
    path = tmp_path / "headgate.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        load(path, env={})
    lines = [line for line in caught.value.mistakes if what in line]
    assert lines, caught.value.mistakes
    assert lines[0].startswith(f"{path}:{place}")


def test_an_alias_bomb_stops_before_it_expands(tmp_path: Path) -> None:
    path = tmp_path / "headgate.yaml"
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(ConfigError, match="with its aliases expanded"):
        load(path, env={})


def test_a_thousand_mistakes_are_counted_not_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "headgate.yaml"
    path.write_text("limits:\n" + "  - nope\n" * 1000, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, env={})
    assert len(caught.value.mistakes) == 201
    assert caught.value.mistakes[-1] == "and 800 more"


def test_a_file_that_is_given_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml: no such file"):
        load(tmp_path / "nope.yaml", env={})
    with pytest.raises(ConfigError, match=r"nope\.yaml: no such file"):
        load(env={"HEADGATE_CONFIG": str(tmp_path / "nope.yaml")})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, env={})


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("tasks: {t: {model: zzz/x}}", "tasks.t.model: no provider is named 'zzz'; providers: anthropic, openai"),
        ("budgets: [{usd: 1, then: degrade}]", "budgets[0].then: expected `refuse`, `queue`, or `degrade <model>`"),
        ("budgets: [{per: 'tag:', usd: 1}]", "budgets[0].per: expected one of"),
        ("storage: sqlite://x.db", "storage: expected the path of a file, like sqlite:///headgate.db"),
        ("storage: 'sqlite:///:memory:'", "storage: expected the path of a file"),
        ("storage: 'sqlite:///h-{host}.db'", "storage: the only placeholder in a path is {pid}"),
        ("storage: env:NOPE", "storage: the environment variable NOPE is not set"),
        ("refusal_status: {budget: 200}", "refusal_status.budget: expected 402 or 429, not '200'"),
        ("cache: {default: forever}", "cache.default: expected a duration"),
        ("server: {host: 'a b'}", "server.host: expected a host name or an address"),
        ("unknown_price: free", "unknown_price: expected `refuse`, or {ceiling_usd_per_mtok: 100}, not 'free'"),
        ("unknown_price: {}", "unknown_price.ceiling_usd_per_mtok: is missing"),
        (
            "keys: [{name: a, key: env:K, may_speak_for_tenants: maybe}]",
            "may_speak_for_tenants: expected true or false",
        ),
        ("prices: {acme/x: free}", "prices.acme/x: no provider is named 'acme'"),
    ],
)
def test_references_and_values_are_checked_across_sections(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, env={})
    assert len(caught.value.mistakes) == 1, caught.value.mistakes
    assert what in caught.value.mistakes[0]
