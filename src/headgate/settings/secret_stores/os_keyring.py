"""`keyring:`: the operating system's key store (macOS Keychain, Windows Credential Manager, Secret Service), through
the keyring package. Which backend it uses is keyring's own configuration."""

from __future__ import annotations

from collections.abc import Mapping

from headgate.settings.secret_stores import NotAsked, NotThere
from headgate.settings.secret_stores.asking import need
from headgate.settings.secret_stores.places import Place


def read(place: Place, env: Mapping[str, str]) -> str:
    """See `secret_stores.read`."""
    keyring = need("keyring", "keyring", "keyring")
    errors = need("keyring.errors", "keyring", "keyring")
    service, _, user = place.path.rpartition("/")
    try:
        found = keyring.get_password(service, user)
    except errors.NoKeyringError:
        raise NotAsked("found no key store of the operating system") from None
    except errors.KeyringLocked:
        raise NotAsked("is locked") from None
    except Exception as error:  # a backend's own errors have no common parent
        raise NotAsked(f"failed ({type(error).__name__})") from None
    if found is None:
        raise NotThere("is not there")
    return str(found)
