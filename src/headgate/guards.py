"""Guards alone, without a call: ``headgate.guards.scan(text, channel="user")``, ``headgate.guards.find_pii(text)``.

Pure: no network, no store. What a guard looks for, what it misses: docs/guards.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from headgate.core.guards import CHANNELS, Scan, Span, Verdict
from headgate.policy.guards.incoming import Incoming, Memory
from headgate.policy.guards.pii import find_pii
from headgate.policy.guards.rules import MODES, OFF, PROFILES, GuardRules, profile_rules
from headgate.policy.guards.secrets import find_secrets

__all__ = ["ONLY", "Scan", "Span", "Verdict", "find_pii", "find_secrets", "scan"]

ONLY = ("injection", "pii", "secrets")

_KNOWN = Memory()


def scan(
    text: str, channel: str = "user", *, profile: str = "standard", only: str = "", rules: GuardRules | None = None
) -> Scan:
    """What the guards say of one text.

    Args:
        text: of any length; looked at in time linear in it.
        channel: whose words they are, one of `core.guards.CHANNELS`. In `system` and `assistant` no injection is
            looked for.
        profile: "observe", "standard" or "strict"; see docs/guards.md.
        only: "injection", "pii" or "secrets": ask one guard alone. What it finds is flagged at least; without it, what
            a profile takes out of logs alone is told (reasons and spans), and allowed.
        rules: the modes, in place of a profile's.

    Raises:
        ValueError: there is no such channel, profile or guard.
    """
    _known("channel", channel, CHANNELS)
    _known("profile", profile, PROFILES)
    if only:
        _known("guard", only, ONLY)
    rules = rules or profile_rules(profile)
    if only:
        mode = getattr(rules, only)
        asked = dict.fromkeys(MODES, OFF) | {only: "flag" if mode in (OFF, "redact-logs") else mode}
        rules = replace(rules, **asked)
    look = Incoming(rules, [_Words(channel, text)], _KNOWN)
    for _ in look.slices():
        pass
    findings = sorted(look.findings, key=lambda finding: -finding.verdict.severity)
    spans = sorted({span for finding in findings for span in finding.spans})
    return Scan(
        findings[0].verdict if findings else Verdict.ALLOW,
        round(look.suspicion, 4),
        tuple(word for finding in findings for word in finding.words),
        tuple(spans),
    )


@dataclass(frozen=True, slots=True)
class _Words:
    channel: str
    plain: str
    place: str = ""


def _known(what: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise ValueError(f"no {what} is named {word!r}: one of {', '.join(words)}")
