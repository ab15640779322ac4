"""Secrets: whether references can be read, and literals where none should be. Nothing here ever shows one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.checklist.files import git, looks_invented, masked, mode, too_open
from headgate.cli.doctor_report import NOTE, OK, PROBLEM, SKIPPED, WARNING, Finding
from headgate.core.errors import ConfigError
from headgate.settings.fields import DEFAULT
from headgate.settings.secrets import SecretRef, live_keys, parse_dotenv

if TYPE_CHECKING:
    from headgate.settings.model import ProviderSettings, Settings

MAX_DOTENV = 1024 * 1024
_LOCAL = ("env", "file", "dotenv")

_SECRET_NAME = re.compile(r"(?i)(key|token|secret|password|passwd|credential)s?$")
_SAMPLE = re.compile(r"(?i)\.(example|sample|template|dist|defaults?)$")


def references(told: Any) -> tuple[SecretRef, ...]:
    """The references of a setting that holds none, one or several."""
    if isinstance(told, SecretRef):
        return (told,)
    return tuple(each for each in told if isinstance(each, SecretRef)) if isinstance(told, tuple) else ()


def _level(settings: Settings, provider: str) -> str:
    """How bad a provider's missing key is: does a virtual model route to it, does a line of the file name it?"""
    if any(route.provider == provider for routes in settings.models.values() for route in routes):
        return PROBLEM
    paths = (f"providers.{provider}", f"providers.{provider}.api_key")
    return WARNING if any(settings.origins.get(path, DEFAULT) != DEFAULT for path in paths) else NOTE


def check_references(settings: Settings, env: Mapping[str, str], *, offline: bool) -> Iterator[Finding]:
    """Every reference is read, and dropped; files that hold secrets are for their owner alone."""
    told: list[tuple[SecretRef, str]] = []
    for name, provider in settings.providers.items():
        told += [(ref, _level(settings, name)) for ref in references(provider.api_key)]
    told += [(ref, PROBLEM) for key in settings.keys for ref in references(key.key)]
    for alert in settings.alerts:
        password = None if alert.smtp is None else alert.smtp.password
        told += [(ref, WARNING) for each in (alert.to, alert.secret, password) for ref in references(each)]
    told += [(ref, PROBLEM) for ref in references(settings.guards.isolation_key)]
    readable = 0
    for reference, level in told:
        if offline and reference.scheme not in _LOCAL:
            yield Finding("secrets", SKIPPED, f"{reference}: not read (--offline)")
            continue
        try:
            reference.resolve(env)
        except ConfigError as error:
            yield Finding("secrets", level, error.message)
            continue
        readable += 1
        yield from _private(reference)
    if readable:
        yield Finding("secrets", OK, f"{readable} of {len(told)} references can be read")
    if not any(
        p.api_key is None or all(r.is_set(env) for r in references(p.api_key)) for p in _asked(settings, offline)
    ):
        what = "no provider has a key: on loopback `headgate serve` answers from the built-in simulator"
        yield Finding("secrets", NOTE, what, "set ANTHROPIC_API_KEY or OPENAI_API_KEY, or configure a provider")


def _asked(settings: Settings, offline: bool) -> list[ProviderSettings]:
    """The providers whose references may be read now."""
    return [
        p
        for p in settings.providers.values()
        if not offline or all(reference.scheme in _LOCAL for reference in references(p.api_key))
    ]


def _private(reference: SecretRef) -> Iterator[Finding]:
    if reference.scheme not in ("file", "dotenv"):
        return
    name = reference.name if reference.scheme == "file" else reference.name.rpartition("#")[0] or ".env"
    path = Path(reference.base) / name
    if too_open(path):
        yield Finding("secrets", WARNING, f"{path} can be read by other users ({mode(path)})", f"chmod 600 {path}")


def check_config_text(source: str, mistakes: tuple[str, ...] = ()) -> Iterator[Finding]:
    """Live keys anywhere in the configuration file, comments too; what the loader has reported is not repeated."""
    try:
        lines = Path(source).read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        for start, key in live_keys(line):
            told = any(m.startswith(f"{source}:{number}:") and "live key" in m for m in mistakes)
            if not told and not looks_invented(key):
                what = f"{source}:{number}:{start + 1}: a literal key: {masked(key)}"
                yield Finding("secrets", PROBLEM, what, "revoke it where it was made, and write a reference (env:NAME)")


def check_dotenv(top: Path) -> Iterator[Finding]:
    """`.env` files that git tracks, and those that the next `git add .` would."""
    tracked = git(top, "ls-files", "-z", "--", ":(glob)**/.env", ":(glob)**/.env.*", ":(glob)**/*.env")
    found = False
    for name in filter(None, tracked.split("\0")):
        for finding in _tracked(top, name):
            found = True
            yield finding
    if (top / ".env").is_file() and ".env" not in tracked.split("\0"):
        if not git(top, "check-ignore", ".env"):
            found = True
            yield Finding("secrets", WARNING, ".env is not ignored by git", "add a line `.env` to .gitignore")
        if too_open(top / ".env"):
            yield Finding(
                "secrets", WARNING, f".env can be read by other users ({mode(top / '.env')})", "chmod 600 .env"
            )
    if not found:
        yield Finding("secrets", OK, "git tracks no .env file with a secret in it")


def _tracked(top: Path, name: str) -> Iterator[Finding]:
    """What a tracked file of that kind holds, by the names of its variables and the shapes of its values."""
    try:
        with (top / name).open("rb") as file:
            text = file.read(MAX_DOTENV).decode("utf-8", "replace")
    except OSError:
        return
    live = [
        (number, key)
        for number, line in enumerate(text.splitlines(), 1)
        for _, key in live_keys(line)
        if not looks_invented(key)
    ]
    remedy = f"revoke it, git rm --cached {name}, and ignore the file"
    for number, key in live:
        yield Finding("secrets", PROBLEM, f"{name}:{number}: git tracks this file, and it holds {masked(key)}", remedy)
    if live or _SAMPLE.search(name):
        return
    values = parse_dotenv(text)
    named = sorted(v for v, value in values.items() if value and _SECRET_NAME.search(v) and not looks_invented(value))
    if named:
        listed = ", ".join(named[:5])
        what = f"{name}: git tracks this file, and it gives a value to {listed}"
        yield Finding("secrets", WARNING, what, f"git rm --cached {name}, ignore the file, and change what was in it")
