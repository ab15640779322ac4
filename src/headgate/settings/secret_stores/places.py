"""What stands behind the colon of a store's reference: `path`, `?option=value`, `#field`. Nothing is asked here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

SCHEMES = ("vault", "aws-sm", "gcp-sm", "keyring")

_PATTERNS = {
    # A path of Vault's HTTP API behind /v1/, so KV version 2 has its `data/` in it.
    "vault": re.compile(r"[A-Za-z0-9_.@+-]+(?:/[A-Za-z0-9_.@+:=-]+)+"),
    # AWS, CreateSecret: letters, digits and /_+=.@- ; or an ARN.
    "aws-sm": re.compile(
        r"[A-Za-z0-9/_+=.@-]{1,512}|arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[!-~]{1,520}"
    ),
    "gcp-sm": re.compile(
        r"projects/[a-z0-9:.-]+(?:/locations/[a-z0-9-]+)?/secrets/[A-Za-z0-9_-]{1,255}(?:/versions/[A-Za-z0-9_-]{1,63})?"
    ),
    "keyring": re.compile(r".+/[^/]+"),
}
_EXAMPLES = {
    "vault": "vault:secret/data/llm#anthropic",
    "aws-sm": "aws-sm:prod/llm#anthropic_key",
    "gcp-sm": "gcp-sm:projects/p/secrets/llm/versions/latest",
    "keyring": "keyring:service/user",
}
_OPTIONS: dict[str, dict[str, re.Pattern[str]]] = {
    "vault": {"version": re.compile(r"[1-9]\d{0,9}")},
    "aws-sm": {"stage": re.compile(r"[!-~]{1,256}"), "version": re.compile(r"[A-Za-z0-9-]{32,64}")},
}


@dataclass(frozen=True, slots=True)
class Place:
    """One secret in a store.

    Attributes:
        scheme: one of `SCHEMES`.
        path: as the store names it.
        field: which of the secret's fields, "" = its only one, or the whole text.
        options: `version` (Vault: a number; AWS: an id) or `stage` (AWS).
    """

    scheme: str
    path: str
    field: str
    options: Mapping[str, str]


def parse_place(scheme: str, name: str) -> Place:
    """Read what stands behind `scheme:`.

    Raises:
        ValueError: it does not have the form that the store wants. The message never repeats it.
    """
    if scheme == "keyring":
        path, mark, wanted, query = name, "", "", ""
    else:
        rest, mark, wanted = name.partition("#")
        path, _, query = rest.partition("?")
    if not _PATTERNS[scheme].fullmatch(path) or ".." in path.split("/") or (mark and not wanted):
        raise ValueError(f"{scheme}: expected a reference like {_EXAMPLES[scheme]}")
    options: dict[str, str] = {}
    known = _OPTIONS.get(scheme, {})
    for part in query.split("&") if query else ():
        option, _, value = part.partition("=")
        if option not in known or option in options or not known[option].fullmatch(value):
            listed = " or ".join(f"?{each}=..." for each in known) or "none"
            raise ValueError(f"{scheme}: an option behind ? is not one it takes; it takes {listed}")
        options[option] = value
    return Place(scheme, path, wanted, options)
