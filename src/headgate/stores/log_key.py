"""The random key of an installation's HMACs in the log."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from headgate.core.errors import ConfigError

KEY_BYTES = 32


def log_key(path: Path, *, of: str = "log") -> bytes:
    """The random key of this installation's HMACs, made on first use, mode 0600.

    In a file beside the ledger, not in it: hashes then agree between the processes of an installation even where each
    has a ledger of its own.

    Args:
        of: whose key it is, for messages.

    Raises:
        ConfigError: the file cannot be made, or is not such a key.
    """
    damaged = f"the {of}'s key file {path} is damaged; remove it to get a new key"
    try:
        if not path.exists():
            _make_key(path)
        key = bytes.fromhex(path.read_text("ascii"))
    except OSError as error:
        raise ConfigError(f"the {of}'s key file {path} cannot be used: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(damaged) from error
    if len(key) != KEY_BYTES:
        raise ConfigError(damaged)
    return key


def _make_key(path: Path) -> None:
    # Written aside and linked into place: another process sees the whole key or none, and the first to link wins.
    aside = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, secrets.token_hex(KEY_BYTES).encode())
        os.close(fd)
        os.link(aside, path)
    except FileExistsError:
        return
    finally:
        aside.unlink()
