"""Price files that `headgate prices update` installed, in a folder of the user's; each pinned by its hash.

Files are only added, so that history can be computed again under any version that was ever in use. `installed.json` in
the same folder says which there are, and which is in use.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headgate.core.errors import ConfigError
from headgate.policy.pricepins import PRICES_FILE, PRICES_SHA256, file_version, packaged, pinned_files, verify

INDEX = "installed.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Installed:
    """One price file that can be used.

    Attributes:
        version: how ledger rows name it.
        date: the date of its prices, YYYY-MM-DD.
        file: its name in the folder, or in the package.
        sha256: the pin.
        origin: "package", or where it was taken from.
    """

    version: str
    date: str
    file: str
    sha256: str
    origin: str


def prices_folder(env: Mapping[str, str]) -> Path | None:
    """`$XDG_DATA_HOME/headgate/prices`, else in `~/.local/share` (Windows: `%LOCALAPPDATA%`); None without a home."""
    for variable, below in (("XDG_DATA_HOME", ""), ("LOCALAPPDATA", ""), ("HOME", ".local/share")):
        base = env.get(variable, "")
        if base and Path(base).is_absolute():
            return Path(base) / below / "headgate" / "prices"
    return None


def _of_package(name: str, sha256: str) -> Installed:
    date = name.removeprefix("prices-").removesuffix(".json")
    return Installed(file_version(date, sha256), date, name, sha256, "package")


PACKAGE = _of_package(PRICES_FILE, PRICES_SHA256)


class PriceFiles:
    """The package's price files and those of a folder."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def in_use(self) -> Installed:
        """The file that prices come from: the installed one that is in use, or the package's where that is as new.

        Raises:
            ConfigError: the folder's index cannot be read. Falling back to other prices would not be noticed.
        """
        index = self._index()
        active = next((each for each in self._listed(index) if each.version == index.get("in_use")), None)
        return PACKAGE if active is None or active.date <= PACKAGE.date else active

    def all(self) -> list[Installed]:
        """Every file, the package's first."""
        shipped = [_of_package(name, sha256) for name, sha256 in reversed(list(pinned_files().items()))]
        return [*shipped, *self._listed(self._index())]

    def find(self, version: str) -> Installed | None:
        """The file with this version; a date alone also means the one installed file of that date.

        Raises:
            ConfigError: several have that date.
        """
        files = self.all()
        for each in files:
            if each.version == version:
                return each
        dated = [each for each in files if each.date == version]
        if len(dated) > 1:
            raise ConfigError(f"several price files are of {version}: {', '.join(each.version for each in dated)}")
        return dated[0] if dated else None

    def read(self, installed: Installed) -> bytes:
        """A file's content, verified.

        Raises:
            ConfigError: it is not there, or not the one that was pinned.
        """
        if installed.origin == PACKAGE.origin:
            content = packaged(installed.file)
        else:
            path = self._place() / installed.file
            try:
                content = path.read_bytes()
            except OSError as error:
                raise ConfigError(
                    f"the price file {path} cannot be read: {error.strerror}. Install it anew with `headgate prices "
                    "update`, or go back to the package's prices with `headgate prices update --builtin`"
                ) from None
        verify(content, installed.sha256)
        return content

    def install(self, content: bytes, *, date: str, sha256: str, origin: str) -> Installed:
        """Keep a file that has been validated, and use it from the next start on.

        Raises:
            ConfigError: the folder cannot be written.
        """
        verify(content, sha256)
        version = file_version(date, sha256)
        made = Installed(version, date, f"prices-{version}.json", sha256, origin)
        index = self._index()
        others = [each for each in self._listed(index) if each.version != version]
        self._write(made.file, content)
        self._write_index(version, [*others, made])
        return made

    def use_package(self) -> None:
        """Take prices from the package again. What was installed stays."""
        index = self._index()
        if index.get("in_use"):
            self._write_index("", self._listed(index))

    def _place(self) -> Path:
        if self.folder is None:
            raise ConfigError("there is no place for price files: set HOME or XDG_DATA_HOME to a folder's full path")
        return self.folder

    def _index(self) -> Mapping[str, Any]:
        if self.folder is None:
            return {}
        path = self.folder / INDEX
        try:
            found = json.loads(path.read_bytes())
            if found["format"] != _FORMAT:
                raise ValueError
            if found["in_use"] not in ("", *(each.version for each in self._listed(found))):
                raise ValueError
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(f"the list of installed prices, {path}, cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ConfigError(
                f"the list of installed prices, {path}, is damaged. Remove it, and install again what you need with "
                "`headgate prices update`; without it, prices are the package's"
            ) from None
        return dict(found)

    @staticmethod
    def _listed(index: Mapping[str, Any]) -> list[Installed]:
        found = [Installed(**{key: str(value) for key, value in each.items()}) for each in index.get("files", ())]
        if any(Path(each.file).name != each.file for each in found):
            raise ValueError("a price file outside of the folder")
        return found

    def _write_index(self, version: str, files: list[Installed]) -> None:
        index = {"format": _FORMAT, "in_use": version, "files": [asdict(each) for each in files]}
        self._write(INDEX, json.dumps(index, indent=2).encode() + b"\n")

    def _write(self, name: str, content: bytes) -> None:
        """Whole or not at all: a gateway that starts meanwhile reads the old file or the new one."""
        folder = self._place()
        half = folder / f".{name}.{os.getpid()}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            half.write_bytes(content)
            half.replace(folder / name)
        except OSError as error:
            raise ConfigError(f"{folder / name} cannot be written: {error.strerror}") from None
        finally:
            with suppress(OSError):
                half.unlink()
