"""`headgate audit`: a ledger, somebody's CSV, a page that hostile names cannot break."""

from __future__ import annotations

import json
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from headgate.cli import audit as command
from headgate.cli.audit_csv import read_log
from headgate.cli.audit_html import page
from headgate.cli.audit_text import money, written, yaml_lines
from headgate.cli.group import cli
from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Request, Route
from headgate.core.usage import Usage
from headgate.policy.audit.calls import Call
from headgate.policy.audit.run import KINDS, audit
from headgate.policy.pricebook import PriceBook
from headgate.policy.pricing import cost_nano
from headgate.settings import load
from headgate.stores.asked import Asked, asked_text, read_asked
from headgate.stores.sqlite import SqliteLedger

NOW = 1_795_000_000.0
MODEL = "claude-sonnet-5-5"
ROUTE = Route("anthropic", MODEL, "anthropic", "https://api.anthropic.com")
BOOK = PriceBook.load()
HOSTILE = "</td><script>alert(1)</script>\x1b[31m"


def request(body: bytes, *, task: str = "answer", system: bytes = b"", batch: bool = False) -> Request:
    facts = Facts(model=MODEL, system=system, max_output_tokens=4_096)
    caller = Caller(tenant="acme", user="ada", task=task, session="s")
    return Request("anthropic", "messages", "POST", "/v1/messages", (), body, facts, caller, "gateway", batch=batch)


def exchange(number: int, asked: Request, usage: Usage) -> Exchange:
    price = BOOK.find("anthropic", MODEL, NOW)
    assert price is not None
    at = NOW + number
    attempt = Attempt(
        1,
        ROUTE,
        at,
        sent=True,
        first_byte=at + 0.2,
        ended=at + 1.0,
        status=200,
        usage=usage,
        model_served=MODEL,
        cost_nano=cost_nano(price, usage, at=at),
        price_version=price.version,
        stop_reason="end_turn",
    )
    return Exchange(f"hgx-{number}", asked, at, [attempt], Ending.COMPLETE, None, at + 1.0, 200)


def write(path: Path, *exchanges: Exchange) -> None:
    ledger = SqliteLedger(f"sqlite:///{path}")
    ledger.open()
    port = ledger.blocking()
    for each in exchanges:
        port.settle(each)
    ledger.close()


def run(*arguments: str, folder: Path) -> tuple[int, str, str]:
    (folder / "headgate.yaml").write_text(f"storage: sqlite:///{folder / 'headgate.db'}\n")
    told = ["audit", *arguments, "--config", str(folder / "headgate.yaml")]
    result = CliRunner().invoke(cli, told, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return int(result.return_value or 0), result.stdout, result.stderr


def test_the_kinds_of_the_command_are_those_of_the_policy() -> None:
    assert tuple(KINDS) == command.KINDS


def test_a_ledger_tells_of_repeated_requests_and_system_prompts_without_their_words(tmp_path: Path) -> None:
    system = b'"You are the secret handbook. ' + b"x" * 36_000 + b'"'
    same = request(b'{"system":' + system + b',"messages":["same"]}', system=system)
    other = [request(b'{"system":' + system + b',"n":%d}' % n, system=system) for n in range(8)]
    usage = Usage(input_tokens=9_100, output_tokens=20)
    write(tmp_path / "headgate.db", *(exchange(n, each, usage) for n, each in enumerate([same, same, *other])))
    code, out, _ = run("--json", "--only", "cache,prompt_caching", folder=tmp_path)
    told = json.loads(out)
    assert code == 0
    assert [each["kind"] for each in told["advice"]] == ["cache", "prompt_caching"]
    assert told["advice"][0]["calls"] == 1
    assert told["before_usd"] == told["charged_usd"]
    assert Decimal(told["saved_usd"]) == sum(Decimal(each["saved_usd"]) for each in told["advice"])
    assert b"handbook" not in (tmp_path / "headgate.db").read_bytes()


def test_the_table_says_what_each_change_saves_and_risks(tmp_path: Path) -> None:
    asked = [request(b'{"n":%d}' % n, task="classify", batch=True) for n in range(25)]
    write(
        tmp_path / "headgate.db",
        *(exchange(n, each, Usage(input_tokens=900, output_tokens=9)) for n, each in enumerate(asked)),
    )
    code, out, _ = run(folder=tmp_path)
    assert code == 0
    assert "Cheaper model" in out
    assert "Batches" in out
    assert "Answers may be worse" in out
    assert "all together" in out
    assert "model: anthropic/claude-haiku-4-5" in out


def test_a_filter_leaves_the_calls_of_others_out(tmp_path: Path) -> None:
    asked = [request(b'{"n":%d}' % n, task="a" if n % 3 else "b") for n in range(9)]
    write(tmp_path / "headgate.db", *(exchange(n, each, Usage(input_tokens=9)) for n, each in enumerate(asked)))
    _, out, _ = run("--json", "--task", "b", folder=tmp_path)
    assert json.loads(out)["calls"] == 3


def test_a_mistake_in_a_csv_is_told_by_its_line_and_the_rest_is_audited(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(
        "Timestamp,Model Name,Prompt Tokens,Completion-Tokens,cached_tokens\n"
        "2026-11-20T08:00:00Z,claude-opus-5-5,100,20,0\n"
        "2026-11-20T08:00:00Z,claude-opus-5-5,many,20,0\n"
        "yesterday,claude-opus-5-5,100,20,0\n"
        "2026-11-20T08:00:00Z,gpt-6-luna,100,20,400\n"
        "\n"
        "1763625600000,gpt-6-luna,1000,20,400\n"
    )
    code, out, err = run("--csv", str(log), "--json", folder=tmp_path)
    assert code == 1
    assert json.loads(out)["calls"] == 2
    assert "line 3: prompt_tokens: 'many'" in err
    assert "line 4: time" in err or "line 4: timestamp" in err
    assert "line 5: 400 cached tokens of 100 in all" in err


def test_prompt_tokens_hold_what_was_cached_and_input_tokens_of_anthropic_do_not(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("model,prompt_tokens,output_tokens,cached_tokens\nclaude-opus-5-5,1000,20,400\n")
    assert read_log(log, NOW).calls[0].usage.input_tokens == 600
    log.write_text("model,input_tokens,output_tokens,cached_tokens\nclaude-opus-5-5,1000,20,400\n")
    assert read_log(log, NOW).calls[0].usage.input_tokens == 1_000


def test_a_log_with_semicolons_a_mark_of_its_order_of_bytes_and_groups_of_digits_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes("\ufeffmodel;input_tokens;output_tokens;cost\nopenai/gpt-6-luna;1,000;20.0;$0.5\n".encode())
    (call,) = read_log(log, NOW).calls
    assert (call.provider, call.model, call.charged_nano) == ("openai", "gpt-6-luna", 500_000_000)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"model,input_tokens,output_tokens\n\xff\xfe,1,2\n"])
def test_what_is_no_such_log_is_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(content)
    with pytest.raises(ConfigError, match="--csv"):
        read_log(log, NOW)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_no_text_behind_the_columns_names_ends_in_anything_but_calls_and_told_lines(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    log = tmp_path_factory.mktemp("csv") / "log.csv"
    log.write_bytes(b"model,input_tokens,output_tokens,time,cost\n" + text.encode())
    found = read_log(log, NOW)
    assert len(found.mistakes) <= found.left_out


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)


def test_hostile_names_neither_run_in_the_page_nor_reach_the_terminal_raw(tmp_path: Path) -> None:
    calls = [
        Call(
            at=NOW + n,
            provider="anthropic",
            model=MODEL,
            usage=Usage(input_tokens=5_000, output_tokens=9),
            task=HOSTILE,
            feature=HOSTILE,
            tenant=HOSTILE,
        )
        for n in range(30)
    ]
    text = page(audit(calls, BOOK), "UTC")
    parsed = _Page()
    parsed.feed(text)
    assert "script" not in parsed.tags
    assert "svg" in parsed.tags
    assert "\x1b" not in text
    log = tmp_path / "log.csv"
    log.write_text(f'model,input_tokens,output_tokens,task\n{MODEL},5000,9,"{HOSTILE}"\n')
    assert "\x1b" not in run("--csv", str(log), folder=tmp_path)[1]


def test_the_page_is_written_and_without_calls_says_so(tmp_path: Path) -> None:
    write(tmp_path / "headgate.db")
    code, out, _ = run("--html", str(tmp_path / "a.html"), folder=tmp_path)
    assert code == 0
    assert "Nothing was recorded" in out
    assert "Nothing was recorded" in (tmp_path / "a.html").read_text()


def test_names_are_quoted_in_yaml_where_they_have_to_be() -> None:
    assert yaml_lines({"tasks": {"a: b": {"max_tokens": 50, "cache": "1h"}}}) == [
        "tasks:",
        f"  {json.dumps('a: b')}:",
        "    max_tokens: 50",
        "    cache: 1h",
    ]


def test_what_the_ledger_keeps_of_a_request_is_read_back() -> None:
    asked = request(b"{}", system=b'"s"', batch=True)
    found = read_asked(asked_text(asked))
    assert (found.system_bytes, found.body_bytes, found.cap, found.batch) == (3, 2, 4_096, True)
    assert found.digest
    assert found.system
    assert found == read_asked(asked_text(request(b"{}", system=b'"s"', batch=True)))


@given(st.text(max_size=60))
def test_what_no_headgate_wrote_of_a_request_is_nothing_known_or_numbers(text: str) -> None:
    assert isinstance(read_asked(text), Asked)


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (99_999, "$0.000099999"),
        (100_000, "$0.0001"),
        (55_060_000, "$0.0551"),
        (999_949_999, "$0.9999"),
        (999_950_000, "$1.00"),
        (1_234_565_000_000, "$1,234.57"),
        (-55_060_000, "-$0.0551"),
    ],
)
def test_money_is_shown_to_the_cent_and_small_amounts_finer(nano: int, shown: str) -> None:
    assert money(nano) == shown


def test_the_lines_for_the_configuration_are_lines_that_it_reads(tmp_path: Path) -> None:
    calls = [
        Call(
            at=NOW + n,
            provider="anthropic",
            model=MODEL,
            usage=Usage(
                input_tokens=90_000 if n == 3 else 9_000 + 900 * (n % 20), output_tokens=900 if n == 100 else 30
            ),
            task=HOSTILE if n % 2 else "classify",
            session="s" if n != 3 else "",
            digest=str(n // 4) if n != 3 else "",
            system="s",
            system_tokens=8_000,
            dialect="anthropic",
        )
        for n in range(300)
    ]
    found = audit(calls, BOOK)
    assert {"cache", "model", "caps", "pruning", "length", "prompt_caching"} == {each.kind for each in found.advice}
    told = tmp_path / "headgate.yaml"
    told.write_text("\n".join(yaml_lines(written(found))))
    settings = load(told, env={})
    assert settings.tasks["classify"].max_tokens
    assert settings.tasks["classify"].model == "anthropic/claude-haiku-4-5"
