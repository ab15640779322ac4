"""Files that may hold secrets: git repositories, files of prompts, who may read what. Nothing here ever shows one."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from headgate.policy.guards.incoming import in_pieces
from headgate.policy.guards.secrets import find_secrets

MAX_FILES = 500
MAX_FILE = 256 * 1024

_PREFIX = re.compile(
    r"sk-(?:ant-|proj-|svcacct-)?|hg-|AKIA|ASIA|gh[pousr]_|github_pat_|AIza|gsk_|xai-|xox[abprs]-|[sr]k_live_"
)
_PLACEHOLDER = re.compile(
    r"(?i)example|fake|dummy|placeholder|your|change.?me|redacted|test|not.?(?:a.?)?real|x{4}|0{5}|\*{3}|12345|abcde"
)
_FEW = 6  # different characters; a random key of any length has more
_NAMED = re.compile(r"(?i)prompt|(?:^|[/_.-])system[_.-]?(?:message|instructions?)")
_KINDS = re.compile(
    r"(?i)\.(?:txt|md|markdown|jinja2?|j2|tmpl|mustache|hbs|prompt|ya?ml|json|toml|py|ts|js)\Z|(?:^|/)[^.]+\Z"
)


def masked(key: str) -> str:
    """A key for people: whose it is, how long, and a fingerprint (`printf %s "$KEY" | sha256sum` compares)."""
    found = _PREFIX.match(key)
    prefix = found.group() if found else ""
    return f"{prefix}*** ({len(key)} characters, sha256 {hashlib.sha256(key.encode()).hexdigest()[:8]})"


def looks_invented(key: str) -> bool:
    """True for placeholders and test keys: words that a random key does not hold, or hardly any variety."""
    found = _PREFIX.match(key)
    tail = key[found.end() :] if found else key
    return bool(_PLACEHOLDER.search(tail)) or len(set(tail)) < _FEW


def too_open(path: Path) -> bool:
    """Whether others than the owner may read a file. Windows has no such bits."""
    try:
        return os.name != "nt" and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except OSError:
        return False


def mode(path: Path) -> str:
    """A file's rights, in octal."""
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def repository(folder: Path) -> Path | None:
    """The top of the git repository that `folder` is in; None without one, or without git."""
    top = git(folder, "rev-parse", "--show-toplevel")
    return Path(top) if top else None


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints, stripped; "" where it fails. Nothing of the repository's configuration is run."""
    try:
        done = subprocess.run(  # noqa: S603 -- fixed arguments, no shell
            git_command(*arguments), cwd=folder, capture_output=True, timeout=30, check=False, env=git_environment()
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


def git_command(*arguments: str) -> list[str]:
    """A git command line without the repository's hooks, pagers and monitors."""
    return ["git", "-c", "core.fsmonitor=false", "-c", "core.quotepath=off", "-c", "core.pager=cat", *arguments]


def git_environment() -> dict[str, str]:
    """No locks, no prompts, words in English."""
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def prompt_files(top: Path) -> list[str]:
    """Files that git tracks and that are called prompts, at most `MAX_FILES`.

    Args:
        top: of the repository.
    """
    names = [name for name in git(top, "ls-files", "-z").split("\0") if _NAMED.search(name) and _KINDS.search(name)]
    return names[:MAX_FILES]


def secrets_in(top: Path, name: str) -> Iterator[tuple[int, int, str]]:
    """(Line, column, kind) of every secret in a file of prompts; placeholders are none."""
    path = top / name
    try:
        if path.is_symlink() or path.stat().st_size > MAX_FILE:
            return
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    for start, end, kind in _secrets(text):
        if not looks_invented(text[start:end]):
            line = text.count("\n", 0, start) + 1
            yield line, start - (text.rfind("\n", 0, start) + 1) + 1, kind


def _secrets(text: str) -> Iterator[tuple[int, int, str]]:
    looking = in_pieces(find_secrets, text)
    while True:
        try:
            next(looking)
        except StopIteration as done:
            yield from ((span.start, span.end, span.type) for span in done.value)
            return
