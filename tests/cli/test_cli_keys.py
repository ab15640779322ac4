"""`headgate keys`, with and without a running gateway."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cli_commands import LAST_WORDS, Run, headgate, started


def test_a_key_is_shown_once_alone_on_standard_output_and_never_again(run: Run, tmp_path: Path) -> None:
    made = run("keys", "create", "ci", "--tenant", "acme")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.startswith("hg-")
    assert "shown this once" in made.stderr
    assert key not in made.stderr
    for form in ((), ("--json",)):
        listed = run("keys", "list", *form)
        assert "ci" in listed.stdout
        assert key[:20] not in listed.stdout
    assert key.encode() not in (tmp_path / "headgate.db").read_bytes()


def test_a_name_that_is_taken_is_a_sentence(run: Run) -> None:
    run("keys", "create", "ci")
    again = run("keys", "create", "ci")
    assert again.returncode == 2
    assert "'ci' already" in again.stderr
    assert "Traceback" not in again.stderr


def test_rotate_and_revoke_take_a_name_and_say_what_became_of_it(run: Run) -> None:
    first = json.loads(run("keys", "create", "ci", "--json").stdout)
    second = json.loads(run("keys", "rotate", "ci", "--json").stdout)
    assert second["id"] == first["id"]
    assert second["key"] != first["key"]
    assert run("keys", "revoke", first["id"]).returncode == 0
    assert run("keys", "revoke", "ci").returncode == 2
    listed = json.loads(run("keys", "list", "--json").stdout)["keys"]
    assert [key["revoked"] is not None for key in listed] == [True]
    assert set(listed[0]) >= {"id", "name", "tenant", "environment", "last4", "created", "rotated", "source"}


def test_keys_of_the_configuration_are_listed_and_not_changed_here(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text("keys: [{name: dev, key: env:DEV_KEY}]\n")
    listed = json.loads(run("keys", "list", "--json").stdout)["keys"]
    assert [(key["name"], key["source"]) for key in listed] == [("dev", "env:DEV_KEY")]
    refused = run("keys", "revoke", "dev")
    assert refused.returncode == 2
    assert "in the configuration" in refused.stderr


def _status(url: str, key: str) -> int:
    request = urllib.request.Request(f"{url}/v1/models", headers={"authorization": f"Bearer {key}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_running_gateway_takes_a_change_at_once(tmp_path: Path) -> None:
    with started("serve", "--port", "0", cwd=tmp_path, until=LAST_WORDS) as gateway:
        assert _status(gateway.url, "anything") == 200
        made = headgate("keys", "create", "ci", cwd=tmp_path)
        assert made.returncode == 0, made.stderr
        assert "asks every caller for a key" in made.stderr
        key = made.stdout.strip()
        assert _status(gateway.url, "anything") == 401
        assert _status(gateway.url, key) == 200
        rotated = headgate("keys", "rotate", "ci", cwd=tmp_path).stdout.strip()
        assert _status(gateway.url, key) == 401
        assert _status(gateway.url, rotated) == 200
        assert headgate("keys", "revoke", "ci", cwd=tmp_path).returncode == 0
        assert _status(gateway.url, rotated) == 401
        unknown = headgate("keys", "revoke", "no such/../key", cwd=tmp_path)
        assert unknown.returncode == 2
        assert "Traceback" not in unknown.stderr


@pytest.mark.parametrize("name", ["", "a\x1b[2J", "x" * 201])
def test_a_name_nobody_could_read_is_misuse(run: Run, name: str) -> None:
    assert run("keys", "create", name).returncode == 2
