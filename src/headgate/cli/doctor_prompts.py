"""Secrets in system prompts: in files of prompts that git tracks, and in what callers have sent, as the log has it.

A model tells its prompt to whoever asks in the right words, so what is secret does not belong there. Nothing here ever
shows a secret, nor the words around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headgate.checklist.files import prompt_files, secrets_in
from headgate.cli.doctor_report import OK, WARNING, Finding
from headgate.cli.text import count, safe
from headgate.core.errors import ConfigError
from headgate.policy.guards.incoming import IN_SYSTEM_PROMPT

if TYPE_CHECKING:
    from headgate.settings.model import Settings

MAX_LOG = 16 * 1024 * 1024
"""Bytes of the log's end that are read."""

_WORD = f"secrets:{IN_SYSTEM_PROMPT}"
_REMEDY = "take it out (a model tells its prompt to whoever asks cleverly), and change it where it was made"


def check_prompt_files(top: Path) -> Iterator[Finding]:
    """Files that git tracks and that are called prompts.

    Args:
        top: of the repository.
    """
    names = prompt_files(top)
    found = False
    for name in names:
        for line, column, kind in secrets_in(top, name):
            found = True
            yield Finding("secrets", WARNING, f"{name}:{line}:{column}: a prompt with a secret in it ({kind})", _REMEDY)
    if names and not found:
        yield Finding("secrets", OK, f"files of prompts with a secret in them: none of {count(len(names))}")


class _Line(msgspec.Struct):
    exchange_id: str = ""
    task: str = ""
    guards: tuple[str, ...] = ()


def check_prompts_sent(settings: Settings) -> Iterator[Finding]:
    """System prompts of the exchanges that were logged last."""
    from headgate.stores.opening import log_file

    try:
        lines = _end_of(log_file(settings.storage))
    except (OSError, ConfigError):
        return  # nothing was logged yet, or `check_ledger` says what is wrong
    decoder = msgspec.json.Decoder(_Line)
    tasks: Counter[str] = Counter()
    newest: dict[str, _Line] = {}
    for raw in lines:
        if _WORD.encode() not in raw:
            continue
        try:
            line = decoder.decode(raw)
        except msgspec.MsgspecError:
            continue
        if _WORD in line.guards:
            tasks[line.task] += 1
            newest[line.task] = line
    for task, times in tasks.most_common(20):
        last = newest[task]
        kinds = safe(", ".join(w[8:] for w in last.guards if w.startswith("secrets:") and w != _WORD))
        of = f"of the task {safe(task)}" if task else "without a task"
        what = f"{count(times)} calls {of} had a secret in the system prompt ({kinds}), the last of them "
        what += safe(last.exchange_id)
        yield Finding("secrets", WARNING, what, _REMEDY)


def _end_of(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - MAX_LOG))
        return file.read(MAX_LOG).splitlines()
