"""Installed price files: pinned, kept, preferred while they are newer than the package's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.policy.pricepins import PRICES_SHA256
from headgate.settings import load
from headgate.settings.price_book import price_book
from headgate.stores.price_files import INDEX, PACKAGE, Installed, PriceFiles, prices_folder


def content(date: str = "2026-12-01", rate: int = 7) -> bytes:
    models = [{"id": "one", "m": ["=", "one"], "p": [[None, {"i": rate, "o": rate}]]}]
    providers = {"anthropic": {"fallback": [], "models": models}}
    return json.dumps({"format": 1, "date": date, "source": "a test", "providers": providers}).encode()


def install(files: PriceFiles, date: str = "2026-12-01", rate: int = 7) -> Installed:
    made = content(date, rate)
    return files.install(made, date=date, sha256=hashlib.sha256(made).hexdigest(), origin="a test")


@pytest.fixture
def files(tmp_path: Path) -> PriceFiles:
    return PriceFiles(tmp_path / "data" / "headgate" / "prices")


def test_without_anything_installed_prices_are_the_packages(files: PriceFiles) -> None:
    assert files.in_use() == PACKAGE == PriceFiles(None).in_use()
    assert files.all() == [PACKAGE]
    assert hashlib.sha256(files.read(PACKAGE)).hexdigest() == PRICES_SHA256


def test_an_installed_file_is_used_and_found_by_its_version_or_its_date(files: PriceFiles) -> None:
    made = install(files)
    assert files.in_use() == made
    assert files.find(made.version) == files.find("2026-12-01") == made
    assert files.find("2026-11-20") == PACKAGE
    assert files.find("2026-12-02") is None
    assert files.read(made) == content()


def test_a_file_that_the_package_has_caught_up_with_is_not_used_but_kept(files: PriceFiles) -> None:
    made = install(files, date=PACKAGE.date)
    assert files.in_use() == PACKAGE
    assert files.find(made.version) == made
    assert files.find(PACKAGE.date) == PACKAGE


def test_earlier_files_stay_for_repricing_and_one_date_may_have_two(files: PriceFiles) -> None:
    first, second = install(files, rate=7), install(files, rate=8)
    assert first.version != second.version
    assert files.in_use() == second
    assert files.read(first) == content(rate=7)
    with pytest.raises(ConfigError, match="several price files are of 2026-12-01"):
        files.find("2026-12-01")


def test_the_packages_prices_can_be_taken_again(files: PriceFiles) -> None:
    made = install(files)
    files.use_package()
    assert files.in_use() == PACKAGE
    assert files.find(made.version) == made
    assert install(files) == made
    assert len(files.all()) == 2


def test_a_file_that_was_changed_in_its_folder_is_refused_and_never_passed_over(files: PriceFiles) -> None:
    made = install(files)
    assert files.folder is not None
    (files.folder / made.file).write_bytes(content(rate=1))
    with pytest.raises(ConfigError, match="not the one that was installed"):
        files.read(files.in_use())
    (files.folder / made.file).unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        files.read(files.in_use())


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b'{"format": 2}',
        b'{"format": 1, "in_use": "gone", "files": []}',
        b'{"format": 1, "in_use": "", "files": [{"file": "x"}]}',
        b'{"format": 1, "in_use": "", "files": '
        b'[{"version": "1", "date": "1", "file": "../x", "sha256": "", "origin": ""}]}',
    ],
)
def test_a_damaged_list_is_an_error_not_other_prices(files: PriceFiles, damage: bytes) -> None:
    install(files)
    assert files.folder is not None
    (files.folder / INDEX).write_bytes(damage)
    with pytest.raises(ConfigError, match="is damaged"):
        files.in_use()


def test_what_is_half_written_is_not_there(files: PriceFiles) -> None:
    made = install(files)
    assert files.folder is not None
    assert {path.name for path in files.folder.iterdir()} == {INDEX, made.file}
    blocked = PriceFiles(files.folder / made.file)  # a file where the folder should be
    with pytest.raises(ConfigError, match="cannot be"):
        install(blocked)


def test_the_folder_is_where_the_environment_says(tmp_path: Path) -> None:
    assert prices_folder({"XDG_DATA_HOME": "/x", "HOME": "/h"}) == Path("/x/headgate/prices")
    assert prices_folder({"HOME": "/h"}) == Path("/h/.local/share/headgate/prices")
    assert prices_folder({"XDG_DATA_HOME": "relative"}) is None
    assert prices_folder({}) is None
    with pytest.raises(ConfigError, match="set HOME"):
        install(PriceFiles(None))


def test_a_configuration_is_charged_by_the_file_in_use_with_its_own_discounts(tmp_path: Path) -> None:
    env = {"XDG_DATA_HOME": str(tmp_path)}
    folder = prices_folder(env)
    made = install(PriceFiles(folder))
    settings = load(None, env=env, overrides={"providers": {"anthropic": {"discount": "50%"}}})
    price = price_book(settings, env).price_for("anthropic", "one", 1.8e9)
    assert price.version == f"{made.version}+discount-50%"
    assert price.schedule.standard[0][1].input == 4  # 3.5, half-up
    assert price_book(settings, {}).version == PACKAGE.version
