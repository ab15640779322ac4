"""`headgate prices`: what is shown, what is found, and what is taken over."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_commands import Run

from headgate.cli.prices_fetch import fetch
from headgate.core.errors import ConfigError
from headgate.policy.pricepins import PRICES_FILE, packaged

CONFIG = """\
providers:
  anthropic: {api_key: env:ANTHROPIC_API_KEY, discount: 12.5%}
  acme: {dialect: anthropic, base_url: "https://llm.acme.example", price: {input: 3, output: 15}}
models:
  fast: [openai/gpt-6-luna]
prices:
  openai/gpt-4o: {input: 2, output: 10}
"""


@pytest.fixture
def prices(run: Run, tmp_path: Path) -> Run:
    """`headgate prices`, with a data folder of this test's own."""

    def of(*arguments: str) -> Any:
        return run("prices", *arguments, XDG_DATA_HOME=str(tmp_path / "data"))

    return of


def configure(folder: Path, text: str) -> None:
    (folder / "headgate.yaml").write_text(text)


def newer(folder: Path, change: Callable[[Any], object], date: str = "2026-11-21") -> Path:
    """A price file like the package's, with a change, and its hash beside it."""
    top = json.loads(packaged(PRICES_FILE))
    top["date"] = date
    change(top)
    path = folder / "newer.json"
    path.write_text(json.dumps(top))
    path.with_name("newer.json.sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  newer.json\n")
    return path


def model(top: Any, provider: str, name: str) -> Any:
    return next(each for each in top["providers"][provider]["models"] if each["id"] == name)


def dearer(top: Any) -> None:
    model(top, "anthropic", "claude-opus-5-5")["p"][0][1]["i"] = 4_500_000


def absurd(top: Any) -> None:
    model(top, "anthropic", "claude-opus-5-5")["p"][0][1]["i"] = 4_000_000_000


def shorter(top: Any) -> None:
    models = top["providers"]["openai"]["models"]
    models.remove(model(top, "openai", "gpt-4"))


# show


def test_every_rate_of_a_model_is_shown_with_bands_and_services(prices: Run) -> None:
    done = prices("show", "gpt-6-luna")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("openai/gpt-6-luna ")]
    assert len(rows) == 10
    assert rows[0][:3] == ["openai/gpt-6-luna", "list", "standard"]
    assert rows[0][3:] == ["up", "to", "272,000", "0.1", "0.5", "0.01", "0.125", "0.25"]
    assert {row[2] for row in rows} == {"standard", "fast", "flex", "priority", "batch"}
    assert "context window 1,050,000" in done.stdout


def test_own_prices_and_discounts_are_applied_and_marked_with_their_line(prices: Run, tmp_path: Path) -> None:
    configure(tmp_path, CONFIG)
    found = json.loads(prices("show", "gpt-4o", "claude-opus-5-5", "acme/any", "fast", "--json").stdout)
    by_name = {each["model"]: each for each in found["models"]}
    assert by_name["gpt-4o"]["from"] == "headgate.yaml:7:3"
    assert by_name["gpt-4o"]["rates"][0]["usd_per_mtok"]["input"] == "2"
    assert by_name["any"]["from"].startswith("headgate.yaml:3:")
    assert by_name["claude-opus-5-5"]["from"] == "headgate.yaml:2:47"
    assert by_name["claude-opus-5-5"]["price_version"].endswith("+discount-12.5%")
    assert by_name["claude-opus-5-5"]["rates"][0]["usd_per_mtok"]["input"] == "3.5"
    assert (by_name["gpt-6-luna"]["from"], by_name["gpt-6-luna"]["source"]) == (None, "data")
    assert found["without_price"] == []


def test_an_own_price_is_marked_under_another_name_of_its_model(prices: Run, tmp_path: Path) -> None:
    configure(tmp_path, "prices:\n  anthropic/Claude-Haiku-4-5: {input: 0.9, output: 4.5}\n")
    found = json.loads(prices("show", "claude-haiku-4-5-20251001", "--json").stdout)
    assert found["models"][0]["from"] == "headgate.yaml:2:3"


def test_a_model_without_a_price_is_told_and_found(prices: Run) -> None:
    done = prices("show", "nonsense", "gemini-2.5-pro")
    assert done.returncode == 1
    assert "no price is known for nonsense." in done.stderr
    assert "The price file has it for" in done.stderr
    assert "google" in done.stderr


def test_patterns_and_other_providers_can_be_asked_for(prices: Run) -> None:
    found = json.loads(prices("show", "claude-opus-5*", "--json").stdout)
    assert {each["model"] for each in found["models"]} == {"claude-opus-5", "claude-opus-5-5"}
    found = json.loads(prices("show", "google/gemini-2.5-pro", "--json").stdout)
    assert found["models"][0]["provider"] == "google"
    assert len(json.loads(prices("show", "--provider", "mistral", "--json").stdout)["models"]) > 20
    assert prices("show", "--provider", "nobody").returncode == 2


def test_everything_of_the_configurations_providers_is_shown_without_a_name(prices: Run, tmp_path: Path) -> None:
    configure(tmp_path, CONFIG)
    found = json.loads(prices("show", "--json").stdout)["models"]
    assert {each["provider"] for each in found} == {"anthropic", "openai", "acme"}
    assert len(found) > 100


def test_prices_have_dates(prices: Run) -> None:
    services = {
        at: [
            rate["service"]
            for rate in json.loads(prices("show", "claude-opus-5-5", "--at", at, "--json").stdout)["models"][0]["rates"]
        ]
        for at in ("2026-10-13", "2026-10-14")
    }
    assert services == {"2026-10-13": ["standard", "fast mode"], "2026-10-14": ["standard", "fast mode", "batch"]}


# check


def test_nothing_is_found_in_the_defaults(prices: Run) -> None:
    done = prices("check", "--max-age", "3650")
    assert done.returncode == 0, done.stdout
    assert "SHA-256 verified" in done.stdout
    assert "Nothing is wrong." in done.stdout


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("models: {big: [openai/gpt-99]}", "FAIL  openai/gpt-99 in models.big (headgate.yaml:1:"),
        ("tasks: {t: {model: openai/gpt-99}}", "FAIL  openai/gpt-99 in tasks.t.model"),
        ("budgets: [{usd: 1, then: degrade gpt-99}]", "FAIL  openai/gpt-99 in budgets[0].then"),
        (
            "keys: [{name: k, key: env:K, budgets: [{usd: 1, then: degrade gpt-99}]}]",
            "FAIL  openai/gpt-99 in keys[0].budgets[0].then",
        ),
        (
            "unknown_price: {ceiling_usd_per_mtok: 100}\nmodels: {big: [openai/gpt-99]}",
            "WARN  openai/gpt-99 in models.big (headgate.yaml:2:",
        ),
        ("prices: {openai/gpt-4: {input: 30, output: 60, cache_read: 30, cache_write: 30}}", "says what the list says"),
        ("prices: {openai/gpt-4: {input: 0.03, output: 0.06}}", "contradicts the list by more than 10x: input 0.03"),
        ("prices: {openai/gpt-4: free}", "contradicts the list"),
        (
            "prices: {openai/gpt-4o: {input: 1, output: 2}, openai/gpt-4o-2024-11-20: {input: 2, output: 2}}",
            "are one model, gpt-4o, with two prices",
        ),
        ("providers: {openai: {price: {input: 1, output: 2}}}", "stands in for"),
        (
            "providers: {acme: {dialect: openai, base_url: 'https://a.example/v1', discount: 5%}}",
            "5% off the list prices of acme",
        ),
    ],
)
def test_what_cannot_be_relied_on_is_found_with_its_line(prices: Run, tmp_path: Path, config: str, told: str) -> None:
    configure(tmp_path, config)
    done = prices("check", "--max-age", "3650")
    assert done.returncode == 1, done.stdout + done.stderr
    assert told in done.stdout
    assert "headgate.yaml:" in done.stdout


def test_a_price_near_the_lists_is_a_contracts_and_no_finding(prices: Run, tmp_path: Path) -> None:
    configure(tmp_path, "prices: {openai/gpt-4o: {input: 2, output: 8, cache_read: 1}}")
    done = prices("check", "--max-age", "3650")
    assert done.returncode == 0, done.stdout
    assert "input 2 (list 2.5), output 8 (list 10)" in done.stdout


def test_old_prices_are_found(prices: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.cli.prices_check.time.time", lambda: 1_800_000_000.0)  # 2027-01-15
    assert "56 days old, more than 30" in prices("check", "--max-age", "30").stdout
    assert prices("check", "--max-age", "60").returncode == 0


def test_a_changed_file_is_found_by_its_hash(prices: Run, tmp_path: Path) -> None:
    assert prices("update", str(newer(tmp_path, dearer))).returncode == 0
    (installed,) = (tmp_path / "data" / "headgate" / "prices").glob("prices-*.json")
    installed.write_bytes(installed.read_bytes().replace(b"4500000", b"450"))
    done = prices("check", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)["findings"]
    assert [each["level"] for each in found if "SHA-256 does not begin" in each["what"]] == ["problem"]
    done = prices("show", "claude-opus-5-5")
    assert done.returncode == 2
    assert "headgate prices update --builtin" in done.stderr


# update


def test_a_newer_file_is_compared_installed_and_charged_from(prices: Run, tmp_path: Path) -> None:
    path = newer(tmp_path, dearer)
    done = prices("update", str(path))
    assert done.returncode == 0, done.stderr
    version = f"2026-11-21@{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    line = next(line for line in done.stdout.splitlines() if line.startswith("anthropic/claude-opus-5-5"))
    assert line.split() == ["anthropic/claude-opus-5-5", "-", "input", "4", "4.5", "+12.5%"]
    assert f"{version} was installed" in done.stdout
    shown = json.loads(prices("show", "claude-opus-5-5", "--json").stdout)
    assert (shown["version"], shown["models"][0]["rates"][0]["usd_per_mtok"]["input"]) == (version, "4.5")
    assert "in use already" in prices("update", str(path)).stdout
    assert "again" in prices("update", "--builtin").stdout
    assert json.loads(prices("show", "claude-opus-5-5", "--json").stdout)["version"] == "2026-11-20"


def test_a_dry_run_installs_nothing(prices: Run, tmp_path: Path) -> None:
    done = prices("update", str(newer(tmp_path, dearer)), "--dry-run", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["installed"] is False
    assert [(c["model"], c["class"], c["old"], c["new"]) for c in found["changes"]] == [
        ("claude-opus-5-5", "input", "4", "4.5")
    ]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("change", "date", "told"),
    [
        (absurd, "2026-11-21", "change by more than 10x (anthropic/claude-opus-5-5)"),
        (shorter, "2026-11-21", "models without a price from now on: 1"),
        (dearer, "2026-11-19", "older than what is in use"),
        (dearer, "2126-11-19", "is in the future"),
    ],
)
def test_what_nobody_should_pass_over_needs_a_persons_word(
    prices: Run, tmp_path: Path, change: Callable[[Any], object], date: str, told: str
) -> None:
    path = newer(tmp_path, change, date)
    done = prices("update", str(path))
    assert done.returncode == 1
    assert told in done.stdout
    assert "Nothing was installed" in done.stdout
    assert not (tmp_path / "data").exists()
    done = prices("update", str(path), "--accept")
    assert done.returncode == 0
    assert "was installed" in done.stdout


def test_a_price_that_begins_later_is_shown_with_its_day(prices: Run, tmp_path: Path) -> None:
    def later(top: Any) -> None:
        entry = model(top, "anthropic", "claude-opus-5-5")
        entry["p"].append(["2099-01-01", {**entry["p"][0][1], "o": 25_000_000}])

    assert "from 2099-01-01" in prices("update", str(newer(tmp_path, later)), "--dry-run").stdout


def test_a_file_with_another_hash_is_not_installed(prices: Run, tmp_path: Path) -> None:
    path = newer(tmp_path, dearer)
    done = prices("update", str(path), "--sha256", "0" * 64)
    assert done.returncode == 1
    assert "Nothing was installed" in done.stderr
    path.write_bytes(path.read_bytes() + b" ")
    assert prices("update", str(path)).returncode == 1
    assert not (tmp_path / "data").exists()


def test_a_file_without_a_hash_or_of_another_kind_is_misuse(prices: Run, tmp_path: Path) -> None:
    path = newer(tmp_path, dearer)
    path.with_name("newer.json.sha256").unlink()
    done = prices("update", str(path))
    assert done.returncode == 2
    assert "--sha256" in done.stderr
    assert prices("update", str(path), "--sha256", "abc").returncode == 2
    other = tmp_path / "other.json"
    other.write_text('{"format": 7}')
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    done = prices("update", str(other), "--sha256", digest)
    assert done.returncode == 2
    assert "format 1" in done.stderr
    assert prices("update").returncode == 2
    assert prices("update", str(path), "--builtin").returncode == 2


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback over `tmp_path`; /away redirects to another scheme."""

    class Answers(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def do_GET(self) -> None:
            if self.path == "/away":
                self.send_response(302)
                self.send_header("location", "http://prices.example/newer.json")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_is_fetched_with_its_hash_beside_it(prices: Run, tmp_path: Path, site: str) -> None:
    path = newer(tmp_path, dearer)
    done = prices("update", f"{site}/newer.json")
    assert done.returncode == 0, done.stderr
    content, _ = fetch(f"{site}/newer.json", None)
    assert content == path.read_bytes()


@pytest.mark.parametrize("path", ["/away", "/none.json"])
def test_a_redirect_to_an_open_connection_is_not_followed_and_nothing_is_a_traceback(site: str, path: str) -> None:
    with pytest.raises(ConfigError, match=r"https only|answered 404"):
        fetch(f"{site}{path}", "0" * 64)


@pytest.mark.parametrize("url", ["http://prices.example/x.json", "ftp://prices.example/x", "file:///etc/hostname"])
def test_prices_are_fetched_over_https_only(url: str) -> None:
    with pytest.raises(ConfigError, match="https only"):
        fetch(url, "0" * 64)
