"""What the guards of one call are to do: modes by profile, and what the configuration says in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headgate.core.checks import Check
from headgate.policy.guards.input_limits import NO_LIMITS, InputLimits
from headgate.policy.guards.loops import DEFAULT_LIMITS, LoopLimits
from headgate.policy.guards.output_rules import NO_OUTPUT_RULES, OutputRules
from headgate.policy.guards.tools import ToolRules

PROFILES = ("off", "observe", "standard", "strict")

OFF, FLAG, REDACT_LOGS, REDACT, BLOCK = "off", "flag", "redact-logs", "redact", "block"

MODES: dict[str, tuple[str, ...]] = {
    "injection": (OFF, FLAG, BLOCK),
    "pii": (OFF, FLAG, REDACT_LOGS, REDACT, BLOCK),
    "secrets": (OFF, FLAG, REDACT_LOGS, REDACT, BLOCK),
    "leaks": (OFF, FLAG, BLOCK),
    "links": (OFF, FLAG, REDACT, BLOCK),
    "tools": (OFF, FLAG, BLOCK),
    "loops": (OFF, FLAG, BLOCK),
    "floods": (OFF, FLAG, BLOCK),
    "extraction": (OFF, FLAG),
    "unread": (OFF, FLAG, BLOCK),
}
"""Guards that need nothing but a mode, and the modes of each. `flag` lets everything pass and says so in the log.

injection: instructions in words that are not the application's. pii, secrets: in what goes in and in what comes out;
`redact-logs` changes only what is logged, `redact` puts placeholders in what the provider gets. leaks: the system
prompt or a canary in an answer. links: links and images in an answer that carry data out. tools: calls of tools that no
rule allows. loops: agents that repeat themselves. floods: texts made to fill a context or to spend money.
extraction: queries that taken together look like those of somebody who copies a model; it only flags. unread: requests
whose bodies no guard reads, such as files, batches and calls of paths that are not known."""

_BY_PROFILE: dict[str, dict[str, str]] = {
    "off": dict.fromkeys(MODES, OFF),
    "observe": dict.fromkeys(MODES, FLAG),
    "standard": {
        "injection": BLOCK,  # what is near certain; the rest is flagged
        "pii": REDACT_LOGS,
        "secrets": REDACT_LOGS,
        "leaks": BLOCK,  # a canary or a long verbatim piece; the rest is flagged
        "links": FLAG,
        "tools": BLOCK,  # what a rule blocks; tools that no rule names pass, and are logged
        "loops": BLOCK,
        "floods": FLAG,
        "extraction": FLAG,
        "unread": FLAG,
    },
    "strict": {
        "injection": BLOCK,  # whatever would be flagged
        "pii": REDACT,
        "secrets": BLOCK,
        "leaks": BLOCK,
        "links": REDACT,
        "tools": BLOCK,  # tools that no rule names, too
        "loops": BLOCK,
        "floods": BLOCK,
        "extraction": FLAG,
        "unread": BLOCK,
    },
}


@dataclass(frozen=True, slots=True)
class GuardRules:
    """What the guards of one call do. Complete: nothing is left to a default elsewhere.

    Attributes:
        profile: one of `PROFILES`; it decides how sure a guard has to be before it acts.
        rule_set: of injection's text rules: "standard", or "classic" for the well-known few.
        look_behind: characters of an answer that are held back at most while they are looked at, 16 to 4,096.
        tool_rules: which tools may be called; None = nothing is configured.
        loop_limits: from when on an agent runs away.
        isolate: how what third parties say in a request is marked, one of `provenance.ISOLATE`.
        limits: on what a request may bring; over one it is blocked, whatever the profile.
        output: of the guards of answers, beside their modes.
        checks: guards that ask somebody over the network.
        The others are modes, see `MODES`.
    """

    profile: str = "off"
    injection: str = OFF
    pii: str = OFF
    secrets: str = OFF
    leaks: str = OFF
    links: str = OFF
    tools: str = OFF
    loops: str = OFF
    floods: str = OFF
    extraction: str = OFF
    unread: str = OFF
    rule_set: str = "standard"
    look_behind: int = 64
    tool_rules: ToolRules | None = None
    loop_limits: LoopLimits = DEFAULT_LIMITS
    isolate: str = OFF
    limits: InputLimits = NO_LIMITS
    output: OutputRules = NO_OUTPUT_RULES
    checks: tuple[Check, ...] = ()

    @property
    def strict(self) -> bool:
        """Whether a guard acts on what it would otherwise flag."""
        return self.profile == "strict"

    @property
    def watches_calls(self) -> bool:
        """Whether anything is to be said of the tool calls of an answer."""
        return self.judges_calls or self.loops != OFF

    @property
    def judges_calls(self) -> bool:
        """Whether calls are judged one by one."""
        return self.tools != OFF and (self.tool_rules is not None or self.strict or self.tools == FLAG)

    @property
    def active(self) -> bool:
        """Whether any guard is on."""
        configured = self.isolate != OFF or self.limits != NO_LIMITS or self.output.answer_characters is not None
        return configured or bool(self.checks) or any(getattr(self, name) != OFF for name in MODES)


def profile_rules(profile: str) -> GuardRules:
    """What a profile, one of `PROFILES`, does where nothing else was told."""
    return replace(GuardRules(profile), **_BY_PROFILE[profile])  # type: ignore[arg-type]  # all of them are str


def mode_of(profile: str, guard: str) -> str:
    """A guard's mode where only the profile was told."""
    return _BY_PROFILE[profile][guard]


def resolve(guard: str, levels: Sequence[tuple[str, str]]) -> str:
    """A guard's mode from what was told, the most specific level first: (profile, mode), "" = not told.

    A level that tells a mode decides; one that tells a profile alone decides by that. `on` is the profile's mode, of
    the first profile told.
    """
    for place, (profile, mode) in enumerate(levels):
        if mode == "on":
            named = next((p for p, _ in levels[place:] if p), "standard")
            found = mode_of(named, guard)
            return found if found != OFF else mode_of("standard", guard)
        if mode:
            return mode
        if profile:
            return mode_of(profile, guard)
    return mode_of("standard", guard)
