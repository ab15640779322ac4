"""References to secrets, and the shapes of live keys that must never be written in a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headgate.core.errors import ConfigError
from headgate.core.secret import Secret
from headgate.settings.secret_stores import NotAsked, NotThere, Unfitting
from headgate.settings.secret_stores import read as read_store
from headgate.settings.secret_stores.places import SCHEMES as STORES
from headgate.settings.secret_stores.places import parse_place

LOCAL = ("env", "file", "dotenv")
"""Schemes that are read without asking anybody: at once, and as often as wanted."""

SCHEMES = (*LOCAL, *STORES)
"""Known reference schemes, as `scheme:name`; see docs/secrets.md."""

MAX_SECRET_BYTES = 64 * 1024

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Prefixes that vendors document for their keys (Anthropic, OpenAI, AWS, GitHub, Google, Slack, Stripe) and our own.
# Only whole words: "task-..." holds "sk-" and is no key.
_LIVE_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-(?:ant-|proj-|svcacct-|(?=[A-Za-z0-9_-]*[0-9]))[A-Za-z0-9_-]{12,}"
    r"|hg-[A-Za-z0-9]{4,}-[A-Za-z0-9_-]{12,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{12,}"
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}"
    r"|AIza[A-Za-z0-9_-]{20,}"
    r"|gsk_[A-Za-z0-9]{16,}|xai-[A-Za-z0-9]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|[sr]k_live_[A-Za-z0-9]{10,}"
    r")"
)


def looks_live(text: str) -> bool:
    """True where `text` holds something of the shape of a vendor's key or of ours."""
    return _LIVE_KEY.search(text) is not None


def live_keys(text: str) -> list[tuple[int, str]]:
    """Everything in `text` of a live key's shape: where it begins, and what it is. Never print it."""
    return [(found.start(), found.group()) for found in _LIVE_KEY.finditer(text)]


def scrub(text: str) -> str:
    """`text` with everything of a live key's shape replaced by ``***``."""
    return _LIVE_KEY.sub("***", text)


class SecretMissing(ConfigError):
    """The place was looked at, and there is no secret: not set, empty, deleted."""


class SecretUnreachable(ConfigError):
    """The place could not be looked at: a store that is down or refuses us, a file we may not read."""


SIMULATED = "HEADGATE_SIMULATOR_CREDENTIAL"
"""The variable that providers' keys refer to where the built-in simulator stands in for every one of them."""


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is kept; never the secret itself, so it may be printed.

    Attributes:
        scheme: one of `SCHEMES`.
        name: a variable's name (`env`), a path (`file`), ``NAME`` or ``path#NAME`` (`dotenv`), or what the store of
            that scheme calls it (`secret_stores.places`).
        base: the directory that relative paths start from: that of headgate.yaml, "" = the working directory.
        where: who refers to it, for messages: "headgate.yaml:3:15: providers.acme.api_key".
    """

    scheme: str
    name: str
    base: str = field(default="", compare=False)
    where: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}"

    @property
    def local(self) -> bool:
        """Read without asking anybody."""
        return self.scheme in LOCAL

    def is_set(self, env: Mapping[str, str]) -> bool:
        """True where `resolve` would return a secret; never raises.

        A store is not asked: that a key is kept there is what the reference says, and a store that is down today must
        not look like a provider without a key.
        """
        if not self.local:
            return True
        try:
            self.resolve(env)
        except ConfigError:
            return False
        return True

    def resolve(self, env: Mapping[str, str]) -> Secret:
        """Read the secret, now. Of a store's it blocks, for some seconds at worst; `secrets_live` keeps what it reads.

        Raises:
            SecretMissing: there is none.
            SecretUnreachable: whether there is one cannot be told now.
            ConfigError: what is there is no secret (more than one line, no text), or a package is not installed.
        """
        if self.scheme == "env":
            return self._secret(env.get(self.name, ""), f"set the environment variable {self.name}")
        if self.scheme == "file":
            text = self._read(Path(self.base) / self.name)
            return self._secret(text, f"put the secret in {self.name}")
        if self.scheme == "dotenv":
            path, _, name = self.name.rpartition("#")
            value = parse_dotenv(self._read(Path(self.base) / (path or ".env"))).get(name, "")
            return self._secret(value, f"put {name}=... in {path or '.env'}")
        return self._secret(self._ask(env), "put one there")

    def _ask(self, env: Mapping[str, str]) -> str:
        try:
            return read_store(parse_place(self.scheme, self.name), env)
        except NotThere as error:
            raise SecretMissing(self._said(f"{self} {error}")) from None
        except NotAsked as error:
            raise SecretUnreachable(self._said(f"{self} cannot be read: the store {error}")) from None
        except (Unfitting, ValueError) as error:
            raise self._error(f"{self} {error}") from None

    def _secret(self, text: str, remedy: str) -> Secret:
        value = text.strip()
        if not value:
            raise SecretMissing(self._said(f"{self} is not set or empty; {remedy}"))
        if any(ch < " " or ch == "\x7f" for ch in value):
            raise self._error(f"{self} holds control characters or more than one line; {remedy}, on one line")
        return Secret(value)

    def _read(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_SECRET_BYTES + 1)
        except FileNotFoundError as error:
            raise SecretMissing(self._said(f"{self} cannot be read: {error.strerror}")) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a readable path"
            raise SecretUnreachable(self._said(f"{self} cannot be read: {reason}")) from None
        if len(data) > MAX_SECRET_BYTES:
            raise self._error(f"{self} is larger than {MAX_SECRET_BYTES} bytes")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise self._error(f"{self} is not UTF-8 text") from None

    def _said(self, what: str) -> str:
        return f"{self.where}: {what}" if self.where else what

    def _error(self, what: str) -> ConfigError:
        return ConfigError(self._said(what))


def parse_reference(text: str, *, base: str = "", where: str = "") -> SecretRef:
    """Read `scheme:name`.

    Raises:
        ValueError: `text` is no reference. The message never repeats `text`.
    """
    if looks_live(text):
        raise ValueError(
            "this looks like a live key; never write one in a file: revoke it if the file was shared, "
            "and refer to it, like env:NAME"
        )
    scheme, colon, name = text.partition(":")
    if not colon or scheme not in SCHEMES:
        raise ValueError(
            f"expected a reference to a secret, like env:NAME (schemes: {', '.join(SCHEMES)}); "
            "literals are not accepted and not shown"
        )
    if not name or any(ch <= " " or ch == "\x7f" for ch in name):
        raise ValueError(f"{scheme}: needs a name behind it without spaces")
    variable = name.rpartition("#")[2] if scheme == "dotenv" else name
    if scheme in ("env", "dotenv") and not _ENV_NAME.fullmatch(variable):
        raise ValueError(f"{scheme}: needs a variable's name: letters, digits and _")
    if scheme in STORES:
        parse_place(scheme, name)
    return SecretRef(scheme, name, base=base, where=where)


def parse_dotenv(text: str) -> dict[str, str]:
    """``NAME=value`` lines: optional ``export``, ``#`` comments, single or double quotes; no expansion."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not _ENV_NAME.fullmatch(name):
            continue
        if value[:1] in ("'", '"') and (end := value.find(value[0], 1)) > 0:
            found[name] = value[1:end]
        else:
            found[name] = value.partition(" #")[0].rstrip()
    return found
