"""`headgate doctor`: what it finds, what it leaves alone, and that it shows no secret."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_commands import Run
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.checklist.files import looks_invented, masked
from headgate.cli import doctor_history, doctor_machine, doctor_models
from headgate.cli.doctor_providers import _skew
from headgate.cli.doctor_report import Finding
from headgate.settings import load

if TYPE_CHECKING:
    from headgate.testing.server import SimulatorServer

# Of a live key's shape, and nobody's. In pieces, so that this file holds none.
LIVE = "sk-" + "ant-" + "api03-" + "Qm7Zr2Lk9Vw4Hs8Tb3Nc6Jp1Xd5Gf0Ye"
OTHER = "gh" + "p_" + "a8Kd73LmQz91XcVb20RtYu56WqEo48Ps"
INVENTED = "sk-" + "ant-" + "EXAMPLE-EXAMPLE-0001"


def _doctor(run: Run, *arguments: str, **env: str) -> tuple[int, dict[str, Any]]:
    result = run("doctor", "--json", *arguments, **env)
    assert LIVE not in result.stdout + result.stderr
    assert OTHER not in result.stdout + result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.returncode == (0 if found["ok"] else 1)
    return result.returncode, found


def _said(found: dict[str, Any], check: str, level: str = "") -> list[str]:
    return [f["what"] for f in found["findings"] if f["check"] == check and level in ("", f["level"])]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    _git(tmp_path, "init", "-q", "-b", "main")
    return tmp_path


def _git(folder: Path, *arguments: str) -> str:
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@a", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@a"}
    env = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(["git", *arguments], cwd=folder, env=env, check=True, capture_output=True, text=True).stdout


def _commit(folder: Path, name: str, text: str) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    _git(folder, "add", "-f", name)
    _git(folder, "commit", "-q", "-m", name)
    return _git(folder, "rev-parse", "HEAD").strip()


def test_nothing_wrong_is_exit_code_0_and_says_so(run: Run) -> None:
    result = run("doctor", "--offline")
    assert result.returncode == 0, result.stdout
    assert result.stdout.rstrip().endswith("Nothing is wrong.")
    assert "the defaults are used" in result.stdout


def test_a_mistake_in_the_configuration_is_found_and_the_rest_is_still_examined(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text("retry: {atempts: 3}\nstorage: 7\n")
    code, found = _doctor(run, "--offline")
    assert code == 1
    assert len(_said(found, "config", "problem")) == 2
    assert _said(found, "machine")
    assert "mistakes" in _said(found, "providers", "skipped")[0]


def test_misuse_is_exit_code_2(run: Run) -> None:
    assert run("doctor", "--history", "lots").returncode == 2
    assert run("doctor", "--timeout", "never").returncode == 2


def test_a_reference_that_cannot_be_read_is_as_bad_as_what_needs_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(
        "providers: {acme: {dialect: openai, base_url: https://a.example/v1, api_key: file:acme.key}}\n"
        "models: {fast: [anthropic/claude-haiku-5-5]}\n"
    )
    _, found = _doctor(run, "--offline")
    assert "ANTHROPIC_API_KEY" in _said(found, "secrets", "problem")[0]
    assert "acme.key" in _said(found, "secrets", "warning")[0]
    assert "OPENAI_API_KEY" in _said(found, "secrets", "note")[0]


def test_a_secrets_file_that_others_can_read_is_found(run: Run, tmp_path: Path) -> None:
    (tmp_path / "acme.key").write_text("canary\n")
    (tmp_path / "headgate.yaml").write_text(
        "providers: {acme: {dialect: openai, base_url: https://a.example/v1, api_key: file:acme.key}}\n"
    )
    (tmp_path / "acme.key").chmod(0o644)
    assert "0644" in _said(_doctor(run, "--offline")[1], "secrets", "warning")[0]
    (tmp_path / "acme.key").chmod(0o600)
    code, found = _doctor(run, "--offline")
    assert code == 0
    assert "1 of 3 references can be read" in _said(found, "secrets", "ok")[0]


def test_a_literal_key_in_a_comment_of_the_configuration_is_found_masked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(f"retry: {{attempts: 2}}\n# was {LIVE}\n# like {INVENTED}\n")
    _, found = _doctor(run, "--offline")
    (what,) = _said(found, "secrets", "problem")
    assert what.startswith("headgate.yaml:2:7: a literal key: sk-ant-***")


def test_a_literal_key_that_the_loader_reports_is_reported_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(f"providers: {{anthropic: {{api_key: {LIVE}}}}}\n")
    _, found = _doctor(run, "--offline")
    assert len(_said(found, "config", "problem")) == 1
    assert _said(found, "secrets", "problem") == []


def test_a_tracked_dotenv_with_a_live_key_is_a_problem(run: Run, repo: Path) -> None:
    _commit(repo, "app/.env", f"A=1\nTHE_KEY={LIVE}\n")
    _, found = _doctor(run, "--offline", "--history", "0")
    (what,) = _said(found, "secrets", "problem")
    assert what.startswith("app/.env:2: git tracks this file")


def test_a_tracked_dotenv_with_another_secret_is_a_warning_and_a_sample_is_fine(run: Run, repo: Path) -> None:
    _commit(repo, ".env.example", "DB_PASSWORD=hunter2hunter2\nA_KEY=your-key-here\n")
    assert _doctor(run, "--offline", "--history", "0")[0] == 0
    _commit(repo, ".env.production", "DB_PASSWORD=hunter2hunter2\n")
    (what,) = _said(_doctor(run, "--offline", "--history", "0")[1], "secrets", "warning")
    assert "DB_PASSWORD" in what
    assert "hunter2" not in what


def test_an_untracked_dotenv_that_git_does_not_ignore_is_a_warning(run: Run, repo: Path) -> None:
    (repo / ".env").write_text("A=1\n")
    (repo / ".env").chmod(0o600)
    assert ".env is not ignored by git" in _said(_doctor(run, "--offline")[1], "secrets", "warning")
    (repo / ".gitignore").write_text(".env\n")
    assert _doctor(run, "--offline")[0] == 0


def test_a_key_that_was_ever_committed_is_found_with_its_commit_file_and_line(run: Run, repo: Path) -> None:
    first = _commit(repo, "src/odd name.py", f"a = 1\n\nkey = '{LIVE}'\n")
    _commit(repo, "src/odd name.py", "a = 1\n")
    _git(repo, "checkout", "-q", "-b", "side")
    second = _commit(repo, "b.txt", f"{OTHER}\n{INVENTED}\n")
    _git(repo, "checkout", "-q", "main")
    _, found = _doctor(run, "--offline")
    said = _said(found, "history", "problem")
    assert len(said) == 2
    assert any(w.startswith(first[:12]) and "src/odd name.py:3:" in w and "sk-ant-***" in w for w in said)
    assert any(w.startswith(second[:12]) and "b.txt:1:" in w for w in said)
    assert "1 that look invented" in _said(found, "history", "note")[0]


def test_the_same_key_in_many_commits_is_one_finding_at_its_first_place(run: Run, repo: Path) -> None:
    first = _commit(repo, "a.txt", LIVE + "\n")
    _commit(repo, "b.txt", LIVE + "\n")
    (what,) = _said(_doctor(run, "--offline")[1], "history", "problem")
    assert what.startswith(f"{first[:12]} ")
    assert "and 1 more place:" in what


def test_content_that_looks_like_a_diffs_own_lines_misleads_nobody(run: Run, repo: Path) -> None:
    text = f"++ b/innocent.txt\n@@ -1 +99 @@\n-- a/x\n{LIVE}\nlast without a newline"
    _commit(repo, "real.txt", text)
    (what,) = _said(_doctor(run, "--offline")[1], "history", "problem")
    assert "real.txt:4:" in what


def test_the_search_of_the_history_is_bounded_and_says_so(run: Run, repo: Path) -> None:
    _commit(repo, "old.txt", LIVE + "\n")
    _commit(repo, "big.txt", "word word word\n" * 20_000)
    _, found = _doctor(run, "--offline", "--history", "100KB")
    assert _said(found, "history", "problem") == []
    assert "of 2 commits, the newest" in _said(found, "history", "note")[0]
    assert _said(_doctor(run, "--offline", "--history", "0")[1], "history", "skipped")


def test_lines_longer_than_a_read_keep_their_place(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_history, "_LONGEST", 100)
    _commit(repo, "min.js", "x" * 250 + "\n" + "y" * 330 + f" {LIVE}\n{OTHER}\n")
    scan = doctor_history.scan_history(repo, limit=10**6, seconds=60, total=1, advance=lambda _d, _t: None)
    assert scan.keys[OTHER][0].line == 3


@given(st.lists(st.sampled_from(["+++ b/x", "--- a/y", "@@ -1,2 +3,4 @@", "diff --git a/q b/q", "text", "", "\\ No"])))
@settings(max_examples=50, deadline=None)
def test_any_lines_before_a_key_give_its_line_number(before: list[str]) -> None:
    import io

    lines = [*before, LIVE]
    diff = f"\0{'a' * 40}\t2026-11-20\ndiff --git a/f b/f\n--- /dev/null\n+++ b/f\n@@ -0,0 +1,{len(lines)} @@\n"
    diff += "".join(f"+{line}\n" for line in lines)
    scan = doctor_history.Scan()
    doctor_history._read(io.BytesIO(diff.encode()), scan, 10**6, float("inf"), 1, lambda _d, _t: None)
    (place,) = scan.keys[LIVE]
    assert (place.file, place.line, place.commit) == ("f", len(lines), "a" * 40)


def test_a_mask_tells_keys_apart_and_shows_none() -> None:
    assert LIVE[8:] not in masked(LIVE)
    assert masked(LIVE) != masked(LIVE + "x")
    assert looks_invented(INVENTED)
    assert looks_invented("sk-" + "ant-" + "x" * 40)
    assert not looks_invented(LIVE)


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    from headgate.testing.server import SimulatorServer

    with SimulatorServer() as server:
        yield server


def _at(simulator: SimulatorServer) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": simulator.url,
        "OPENAI_BASE_URL": simulator.openai_url,
        "ANTHROPIC_API_KEY": "canary-a",
        "OPENAI_API_KEY": "canary-o",
    }


def test_providers_are_reached_with_their_keys_and_their_clock_is_compared(
    run: Run, simulator: SimulatorServer
) -> None:
    code, found = _doctor(run, **_at(simulator))
    assert code == 0, found
    said = _said(found, "providers", "ok")
    assert [w.partition(":")[0] for w in said] == ["anthropic", "openai"]
    assert all("key accepted" in w and "models" in w for w in said)
    assert not any("canary" in json.dumps(f) for f in found["findings"])


def test_a_provider_that_refuses_or_does_not_resolve_is_a_problem_with_a_remedy(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "headgate.yaml").write_text(
        f"providers:\n  down: {{dialect: openai, base_url: 'http://127.0.0.1:{port}/v1'}}\n"
        "  lost: {dialect: openai, base_url: 'http://no-such-host.invalid/v1'}\n"
    )
    result = run("doctor", "--json", "--timeout", "2s")
    findings = [f for f in json.loads(result.stdout)["findings"] if f["check"] == "providers"]
    problems = {f["what"].partition(":")[0]: f for f in findings if f["level"] == "problem"}
    assert "refused" in problems["down"]["what"]
    assert set(problems) == {"down", "lost"}
    assert all(f["remedy"] for f in problems.values())


@pytest.mark.parametrize(
    ("status", "level", "word"),
    [(401, "problem", "wants a key"), (404, "note", "no list"), (503, "warning", "503"), (301, "warning", "base_url")],
)
def test_what_a_provider_answers_is_judged(run: Run, tmp_path: Path, status: int, level: str, word: str) -> None:
    with _answering(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode()) as url:
        (tmp_path / "headgate.yaml").write_text(f"providers: {{p: {{dialect: openai, base_url: '{url}'}}}}\n")
        result = run("doctor", "--json", "--timeout", "5s")
    (found,) = [f for f in json.loads(result.stdout)["findings"] if f["what"].startswith("p:")]
    assert found["level"] == level
    assert word in f"{found['what']} {found['remedy']}"


def test_a_clock_that_is_wrong_and_models_that_a_provider_does_not_list_are_found(run: Run, tmp_path: Path) -> None:
    body = json.dumps({"data": [{"id": "m-1", "shutdown_date": "2020-01-01"}, {"id": "m-2-2026-01-01"}]}).encode()
    head = f"HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\ncontent-length: {len(body)}\r\n\r\n"
    with _answering(head.encode() + body) as url:
        (tmp_path / "headgate.yaml").write_text(
            f"providers: {{p: {{dialect: openai, base_url: '{url}', price: free}}}}\n"
            "models: {a: [p/m-1, p/m-2, p/m-3]}\n"
        )
        _, found = _doctor(run, "--timeout", "5s")
    assert "ahead of the providers'" in _said(found, "machine", "problem")[0]
    assert "p/m-1" in _said(found, "models", "problem")[0]
    assert "retired on 2020-01-01 (says p)" in _said(found, "models", "problem")[0]
    (missing,) = _said(found, "models", "warning")
    assert "does not list m-3" in missing


class _answering:  # noqa: N801 -- reads as a phrase
    """A server on loopback that gives every connection the same answer, under TLS where a context is given."""

    def __init__(self, answer: bytes, context: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._context = context
        self._server = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> str:
        threading.Thread(target=self._serve, daemon=True).start()
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.getsockname()[1]}/v1"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:  # whoever does not trust us hangs up
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                if connection.recv(65536):
                    connection.sendall(self._answer)
                connection.close()

    def __exit__(self, *_: object) -> None:
        self._server.close()


def test_a_date_that_is_none_tells_no_skew() -> None:
    assert _skew([(b"date", b"yesterday")], 0.0) is None
    assert _skew([], 0.0) is None
    assert _skew([(b"date", b"Thu, 01 Jan 1970 00:00:10 GMT")], 10.5) == 0.0


TODAY = date(2026, 11, 20)


def _models(tmp_path: Path, text: str) -> list[Finding]:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    return list(doctor_models.check_models(load(file, env={}), TODAY))


@pytest.mark.parametrize(
    ("model", "level", "date_", "successor"),
    [
        ("anthropic/claude-3-5-sonnet-20241022", "problem", "2025-10-28", "claude-sonnet-5-5"),
        ("anthropic/claude-3-7-sonnet-latest", "problem", "2026-02-19", "claude-sonnet-5-5"),
        ("anthropic/claude-sonnet-4-5", "warning", "2026-11-30", "claude-sonnet-5-5"),
        ("openai/gpt-4o", "warning", "2027-01-14", "gpt-6-luna"),
        ("openai/gpt-4o-2024-05-13", "problem", "2026-10-23", "gpt-5.6-sol"),
        ("openai/gpt-5-mini-2025-08-07", "warning", "2026-12-11", "gpt-5.6-terra"),
        ("openai/gpt-5.1", "note", "2027-04-01", "gpt-6.1-sol"),
    ],
)
def test_models_that_retire_are_found_with_date_and_successor(
    tmp_path: Path, model: str, level: str, date_: str, successor: str
) -> None:
    (found,) = _models(tmp_path, f"models: {{fast: [{model}]}}\n")
    assert found.level == level
    assert date_ in found.what
    assert "models.fast" in found.what
    assert successor in found.remedy


def test_tasks_and_budgets_name_models_too_and_todays_models_are_fine(tmp_path: Path) -> None:
    found = _models(
        tmp_path, "tasks: {a: {model: gpt-4o}}\nbudgets: [{usd: 1, then: degrade anthropic/claude-opus-4-1}]\n"
    )
    assert ["tasks.a.model" in f.what or "budgets[0].then" in f.what for f in found] == [True, True]
    (fine,) = _models(tmp_path, "models: {fast: [anthropic/claude-haiku-5-5, anthropic/claude-haiku-4-5]}\n")
    assert fine.level == "ok"


def test_lists_of_fallbacks_name_models_too(tmp_path: Path) -> None:
    text = "models: {m: {routes: [anthropic/claude-haiku-5-5], fallback: {overload: [openai/gpt-4o]}}}\n"
    found = _models(tmp_path, text + "fallback: anthropic/claude-opus-4-1\n")
    assert ["models.m.fallback.overload" in f.what or "fallback" in f.what for f in found] == [True, True]


def test_a_server_of_ones_own_has_no_vendors_dates(tmp_path: Path) -> None:
    (found,) = _models(
        tmp_path,
        "providers: {local: {dialect: openai, base_url: http://127.0.0.1:9/v1}}\nmodels: {a: [local/gpt-4o]}\n",
    )
    assert found.level == "ok"


def test_no_successor_of_the_data_file_retires_itself() -> None:
    _, known = doctor_models.retirements()
    for (vendor, name), each in known.items():
        assert doctor_models.retirement_of(vendor, each.successor.partition(" ")[0], known) is None, name
        assert each.source.startswith("https://")


def test_ledger_files_that_others_can_read_are_found(run: Run, tmp_path: Path) -> None:
    run("keys", "create", "one")
    assert _doctor(run, "--offline")[0] == 0
    (tmp_path / "headgate.db").chmod(0o644)
    (tmp_path / "headgate.db.lock").chmod(0o640)
    _, found = _doctor(run, "--offline")
    assert "headgate.db.lock" in _said(found, "ledger", "problem")[0]
    assert "headgate.db can be read" in _said(found, "ledger", "warning")[0]


def test_what_is_no_ledger_is_a_problem(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    (tmp_path / "headgate.db").chmod(0o600)
    assert "cannot be read" in _said(_doctor(run, "--offline")[1], "ledger", "problem")[0]


def test_a_folder_that_is_not_there_is_a_problem(run: Run) -> None:
    _, found = _doctor(run, "--offline", HEADGATE_STORAGE="sqlite:///nowhere/h.db")
    assert "nowhere is not a folder" in _said(found, "ledger", "problem")[0]


def test_an_old_sqlite_is_explained_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine.sqlite3, "sqlite_version_info", (3, 51, 2))
    found = doctor_machine.check_sqlite()
    assert found.level == "note"
    assert "3.51.3" in found.what
    monkeypatch.setattr(doctor_machine.sqlite3, "sqlite_version_info", (3, 51, 3))
    assert doctor_machine.check_sqlite().level == "ok"


def test_a_python_without_its_optimisations_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(base: str, arguments: object) -> list[str]:
        monkeypatch.setattr(doctor_machine.sys, "base_prefix", base)
        monkeypatch.setattr(doctor_machine.sysconfig, "get_config_var", lambda _: arguments)
        return [each.what for each in doctor_machine.check_packages() if "optimisations" in each.what]

    assert len(told("/home/ada/.pyenv/versions/3.12.1", "'--enable-shared'")) == 1
    assert told("/usr/local", "'--enable-optimizations' '--with-lto'") == []
    assert told("/usr", "'--enable-shared'") == []
    assert told("C:\\Python", None) == []


def test_little_room_and_a_network_file_system_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 50 * 1024**2})
    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda _folder: usage)
    monkeypatch.setattr(doctor_machine, "_file_system", lambda _folder: "nfs4")
    assert [f.level for f in doctor_machine._disk(tmp_path)] == ["problem", "warning"]


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / ext4 rw 0 0\nb {tmp_path} nfs4 rw 0 0\nc {tmp_path}/other tmpfs rw 0 0\n")
    assert doctor_machine._file_system(tmp_path, mounts) == "nfs4"
    assert doctor_machine._file_system(Path("/"), mounts) == "ext4"
    assert doctor_machine._file_system(tmp_path, tmp_path / "none") == ""


def test_doctor_changes_nothing(run: Run, tmp_path: Path) -> None:
    run("doctor", "--offline")
    assert list(tmp_path.iterdir()) == []


def _self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, with two days to live, and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "self.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(pem))
    return file


def test_a_certificate_that_is_not_trusted_is_a_problem_and_one_that_ends_soon_a_warning(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _self_signed(tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(file)
    body = b'{"data": []}'
    with _answering(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body, served) as url:
        (tmp_path / "headgate.yaml").write_text(f"providers: {{p: {{dialect: openai, base_url: '{url}'}}}}\n")
        (problem,) = _said(_doctor(run)[1], "providers", "problem")
        assert "certificate" in problem
        trusting = ssl.create_default_context(cafile=str(file))
        monkeypatch.setattr("headgate.upstream.tls.Trust._make", lambda _self: trusting)
        _, found = _doctor(run)
    assert _said(found, "providers", "problem") == []
    assert "its TLS certificate ends on" in _said(found, "providers", "warning")[0]


def test_a_prompt_with_a_secret_in_it_is_found_before_anybody_sends_it(run: Run, repo: Path) -> None:
    _commit(repo, "app/prompts/support.md", f"You are kind.\nThe key is {LIVE}, never tell it.\n")
    _commit(repo, "app/prompts/sample.md", f"The key is {INVENTED}.\n")
    _commit(repo, "app/other.md", f"The key is {OTHER}.\n")
    _, found = _doctor(run, "--offline", "--history", "0")
    (what,) = _said(found, "secrets", "warning")
    assert what == "app/prompts/support.md:2:12: a prompt with a secret in it (anthropic_key)"


def test_prompts_without_a_secret_are_fine(run: Run, repo: Path) -> None:
    _commit(repo, "prompts/support.md", "You are kind.\n")
    code, found = _doctor(run, "--offline", "--history", "0")
    assert code == 0
    assert "files of prompts with a secret in them: none of 1" in _said(found, "secrets", "ok")


def test_system_prompts_with_secrets_that_were_sent_are_found_in_the_log(run: Run, tmp_path: Path) -> None:
    lines = [
        {
            "event": "exchange",
            "exchange_id": "ex_1",
            "task": "support",
            "guards": ["secrets:jwt", "secrets:system_prompt"],
        },
        {"event": "exchange", "exchange_id": "ex_2", "task": "support", "guards": ["secrets:jwt"]},
        {
            "event": "exchange",
            "exchange_id": "ex_3",
            "task": "support",
            "guards": ["secrets:jwt", "secrets:system_prompt"],
        },
    ]
    text = "\n".join([*map(json.dumps, lines), '{"broken secrets:system_prompt', ""])
    (tmp_path / "headgate.db.log.jsonl").write_text(text)
    _, found = _doctor(run, "--offline")
    (what,) = [each for each in _said(found, "secrets", "warning") if "system prompt" in each]
    assert what == "2 calls of the task support had a secret in the system prompt (jwt), the last of them ex_3"
