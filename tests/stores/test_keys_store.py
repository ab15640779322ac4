"""Virtual keys: shown once, stored hashed, rotated, revoked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.stores.keys import key_hash
from headgate.stores.sqlite import SqliteLedger

Open = Callable[..., SqliteLedger]


def test_a_key_has_the_documented_form_and_works(ledgers: Open) -> None:
    keys = ledgers().keys
    new = keys.create("dev", tenant="acme", environment="staging", may_speak_for_tenants=True)
    whole = new.secret.reveal()
    assert re.fullmatch(r"hg-[a-z2-7]{8}-[A-Za-z0-9_-]{32,}", whole)
    found = keys.load_all()[key_hash(whole)]
    assert found == new.key
    assert (found.tenant, found.environment, found.may_speak_for_tenants) == ("acme", "staging", True)
    assert found.last4 == whole[-4:]
    assert found.hash == hashlib.sha256(whole.encode()).hexdigest()


def test_the_secret_is_not_on_disk_and_does_not_print(ledgers: Open, tmp_path: Path) -> None:
    ledger = ledgers()
    new = ledger.keys.create("dev")
    whole = new.secret.reveal()
    secret = whole.split("-", 2)[2]
    assert secret not in repr(new)
    ledger.flush()
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes(), file.name


def test_two_working_keys_never_share_a_name(ledgers: Open) -> None:
    keys = ledgers().keys
    keys.create("dev")
    with pytest.raises(ConfigError, match="named 'dev' already"):
        keys.create("dev")
    keys.revoke("dev")
    keys.create("dev")
    assert [key.name for key in keys.list()] == ["dev", "dev"]


def test_a_key_without_a_name_is_refused(ledgers: Open) -> None:
    with pytest.raises(ConfigError, match="needs a name"):
        ledgers().keys.create("  ")


def test_a_rotated_key_keeps_its_id_and_rights_and_its_old_secret_stops(ledgers: Open) -> None:
    keys = ledgers().keys
    old = keys.create("dev", tenant="acme")
    new = keys.rotate("dev")
    assert (new.key.id, new.key.tenant, new.key.created) == (old.key.id, "acme", old.key.created)
    assert new.key.rotated is not None
    assert set(keys.load_all()) == {key_hash(new.secret.reveal())}
    assert new.secret != old.secret


def test_a_revoked_key_is_listed_but_does_not_load(ledgers: Open) -> None:
    keys = ledgers().keys
    key = keys.create("dev").key
    keys.revoke(key.id)
    assert keys.load_all() == {}
    assert [each.revoked is not None for each in keys.list()] == [True]
    for change in (keys.revoke, keys.rotate):
        with pytest.raises(ConfigError, match="no working key"):
            change(key.id)


def test_a_key_named_after_another_keys_id_does_not_shadow_it(ledgers: Open) -> None:
    keys = ledgers().keys
    first = keys.create("first").key
    keys.create(first.id)
    assert keys.revoke(first.id).name == "first"


def test_keys_are_read_beside_the_writer(ledgers: Open) -> None:
    ledger = ledgers()
    key = ledger.keys.create("dev").key
    assert ledger.reader().keys() == [key]


def test_a_name_is_data_not_sql(ledgers: Open) -> None:
    keys = ledgers().keys
    name = "x'; DROP TABLE keys; --"
    keys.create(name)
    assert [key.name for key in keys.list()] == [name]
