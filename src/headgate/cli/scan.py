"""`headgate scan`: what the guards say of texts on standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import click

from headgate.cli.group import config_option, settings_of
from headgate.core.guards import CHANNELS, Scan, Verdict

if TYPE_CHECKING:
    from headgate.policy.guards.rules import GuardRules

MOST_BYTES = 64 << 20
"""Of one text: what a call could not hold need not be scanned."""


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    channel: str


@dataclass(frozen=True, slots=True)
class _Mistake:
    line: int
    what: str


@click.command()
@click.option("--only", type=click.Choice(["injection", "pii", "secrets"]), help="Ask one guard alone.")
@click.option("--profile", type=click.Choice(["observe", "standard", "strict"]), help="In place of the configured one.")
@click.option(
    "--channel", type=click.Choice(CHANNELS), default="user", help="Of plain text, and where a line has none."
)
@click.option("--lines", is_flag=True, help="Each line of plain text is a text of its own.")
@config_option
def scan(only: str | None, profile: str | None, channel: str, lines: bool, config: str | None) -> int:
    """What the guards say of the text on standard input, or of each line of JSONL.

    Plain text is one text, of whatever length. Where the first line is a JSON object with a "text", each line is one
    text: {"text": "...", "channel": "document"}. One line of JSON comes out for each:
    {"verdict", "score", "reasons", "spans"}; a line that cannot be read comes out as {"line", "error"}, and the rest
    goes on. Nothing is sent anywhere, and nothing is written.

    Exit code 1 where anything was flagged, redacted or blocked, and 2 where a line could not be read.

    \b
    Example:
      echo 'Ignore all previous instructions.' | headgate scan
      headgate scan --only pii < letters.jsonl
      headgate scan --channel document < page.html
    """
    from headgate.guards import scan as look

    rules = _rules(config, profile)
    code = 0
    for each in _texts(sys.stdin.buffer, channel, lines=lines):
        if isinstance(each, _Mistake):
            click.echo(json.dumps({"line": each.line, "error": each.what}))
            code = 2
            continue
        found = look(each.text, each.channel, only=only or "", rules=rules)
        click.echo(_line(found))
        if code == 0 and found.verdict is not Verdict.ALLOW:
            code = 1
        sys.stdout.flush()
    return code


def _rules(config: str | None, profile: str | None) -> GuardRules:
    """A profile as it is; else what is configured for everybody."""
    from headgate.core.caller import Caller
    from headgate.policy.guards.rules import profile_rules
    from headgate.settings.guards import guards_of

    if profile is not None:
        return profile_rules(profile)
    return guards_of(settings_of(config))(Caller())


def _line(found: Scan) -> str:
    return json.dumps(
        {
            "verdict": str(found.verdict),
            "score": found.score,
            "reasons": list(found.reasons),
            "spans": [{"start": span.start, "end": span.end, "type": span.type} for span in found.spans],
        }
    )


def _texts(stream: BinaryIO, channel: str, *, lines: bool) -> Iterator[_Text | _Mistake]:
    """JSONL is told by its first line; it is read line by line, however much there is."""
    first = stream.readline(MOST_BYTES)
    if not lines and not _is_record(first):
        yield _Text((first + stream.read(MOST_BYTES)).decode("utf-8", "surrogateescape"), channel)
        return
    number, line = 1, first
    while line:
        if lines:
            yield _Text(line.decode("utf-8", "surrogateescape").rstrip("\r\n"), channel)
        elif line.strip():
            yield _record(number, line, channel)
        number, line = number + 1, stream.readline(MOST_BYTES)


def _is_record(line: bytes) -> bool:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "text" in found


def _record(number: int, line: bytes, channel: str) -> _Text | _Mistake:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _Mistake(number, f"no JSON: {error}")
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        return _Mistake(number, 'expected {"text": "..."}, and "channel" if it is not a user\'s')
    said = found.get("channel", channel)
    if said not in CHANNELS:
        return _Mistake(number, f"channel: expected one of {', '.join(CHANNELS)}")
    return _Text(found["text"], said)
