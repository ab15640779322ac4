"""Which price files came with this version, by hash: a price file that was changed is refused, whoever changed it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from headgate.core.errors import ConfigError

# Written by `scripts/compile_prices.py`; docs/prices.md says how to renew them.
PRICES_FILE = "prices-2026-11-20.json"
PRICES_SHA256 = "7ce83e4c9ab2916ab006a4684ca7841221344ea4a3acae44d3eb63628c4be8f8"
EARLIER: Mapping[str, str] = {}
"""Price files of earlier versions that are still in the package, by name, with their SHA-256: ledger rows name them,
and `headgate usage --reprice` needs them."""


def verify(content: bytes, sha256: str) -> None:
    """Raises ConfigError where a price file is not the one that was pinned."""
    if hashlib.sha256(content).hexdigest() == sha256:
        return
    for name, pinned in pinned_files().items():
        if sha256 == pinned:
            raise ConfigError(
                f"the price file {name} is not the one this version of Headgate was tested with (its SHA-256 "
                "differs). Prices are changed in headgate.yaml under `prices:`; reinstall headgate to restore the file"
            )
    raise ConfigError(
        f"a price file is not the one that was installed: its SHA-256 does not begin with {sha256[:8]}. Install it "
        "anew with `headgate prices update`, or go back to the package's prices with `headgate prices update --builtin`"
    )


def file_version(date: str, sha256: str) -> str:
    """How ledger rows name a price file: its date, and for a file that did not come with the package "@" and 8 hex
    digits of its hash, so that two files of one date are two versions."""
    return date if sha256 in pinned_files().values() else f"{date}@{sha256[:8]}"


def pinned_files() -> Mapping[str, str]:
    """The package's price files and their SHA-256, the newest last."""
    return {**EARLIER, PRICES_FILE: PRICES_SHA256}


def packaged(name: str) -> bytes:
    """A price file of the package, by its file name. It has not been verified."""
    import pkgutil

    try:
        content = pkgutil.get_data("headgate", f"data/{name}")
    except OSError:
        content = None
    if content is None:
        raise ConfigError(f"the price file {name} is missing from the installation; reinstall headgate")
    return content
