"""Where secrets are kept besides the environment and files: one module per store, imported when one is asked.

Every store answers `read(place, env)`: the secret's text as it is kept. What the names mean is `places.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from headgate.settings.secret_stores.places import Place

_MODULES = {"vault": "vault", "aws-sm": "aws", "gcp-sm": "gcp", "keyring": "os_keyring"}


class NotThere(Exception):
    """The store answered: there is no such secret, or it was deleted. The message says which, and never a value."""


class NotAsked(Exception):
    """The store could not be asked, or would not tell. Whether the secret is still there is not known."""


class Unfitting(Exception):
    """There is something, but no secret that this reference could mean."""


def read(place: Place, env: Mapping[str, str]) -> str:
    """The text kept at `place`. Blocks, for some seconds at worst; never call it on an event loop.

    Args:
        env: where the store's address and our access to it are configured, as its vendor's clients do.

    Raises:
        NotThere, NotAsked, Unfitting: as they say.
    """
    store = import_module(f"{__name__}.{_MODULES[place.scheme]}")
    text: str = store.read(place, env)
    return text
