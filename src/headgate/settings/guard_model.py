"""What `guards:` says: everybody's, a task's, and that for some callers."""

from __future__ import annotations

from dataclasses import dataclass, field

from headgate.policy.guards.input_limits import InputLimits
from headgate.policy.guards.loops import LoopLimits
from headgate.settings.guard_network import CheckSettings
from headgate.settings.secrets import SecretRef

GUARDED_BY = ("key", "tenant", "user", "task", "environment")
"""Dimensions that `guards.for` picks callers by."""


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """Modes of the guards, see `policy.guards.rules.MODES`; "" = not told: the next more general section decides, and
    in the end the profile. `on` is the profile's mode."""

    profile: str = ""  # of `policy.guards.rules.PROFILES`; standard unless told otherwise
    injection: str = ""
    pii: str = ""
    secrets: str = ""
    leaks: str = ""
    links: str = ""
    tools: str = ""
    loops: str = ""
    floods: str = ""
    unread: str = ""
    extraction: str = ""
    rules: str = ""  # of the injection guard: "standard" | "classic"
    look_behind: int | None = None  # characters, 16..4,096
    tool_rules: ToolSettings | None = None  # `tools:` as a mapping
    loop_limits: LoopLimits | None = None
    isolate: str = ""  # of `policy.guards.provenance.ISOLATE`
    isolation_key: SecretRef | None = None  # only in the global section; None = random, for each process
    limits: InputLimits | None = None  # as written: `settings.guard_input.UNLIMITED` for `off`
    link_allow: tuple[str, ...] | None = None  # hosts of `links.allow`; None = not told
    canaries: tuple[SecretRef, ...] | None = None  # words that no answer may hold
    answer_characters: int | None = None  # the longest answer
    checks: tuple[CheckSettings, ...] = ()  # guards that ask somebody: those that are told of
    callers: tuple[CallerGuards, ...] = ()  # `for`: the first that fits a caller decides; only in the global section


@dataclass(frozen=True, slots=True)
class TestSettings:
    """One condition on an argument, see `policy.guards.argument_tests.ArgumentTest`."""

    path: tuple[str, ...]
    glob: str = ""
    regex: str = ""
    among: tuple[str | int | float | bool | None, ...] = ()
    prefixes: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class ToolRuleSettings:
    """One rule about tools, see `policy.guards.tools.ToolRule`. `schema` is JSON text, "" = none."""

    tool: str
    then: str
    when: tuple[TestSettings, ...] = ()
    tainted: str = ""
    schema: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Who is told of parked calls. The URL may be a credential, so it is not printed."""

    url: str = field(repr=False)
    secret: SecretRef | None = None


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """`guards.tools`, in the order in which rules are asked: `block`, `rules`, `approve`, `allow`.

    Attributes:
        expires: seconds that a call waits for its approval.
        denial: in the place of a blocked call, with {tool} and {reason}; "" = ours.
        key: signs approvals' tokens; only in the global section. None = a file beside the ledger.
        webhook: only in the global section.
    """

    rules: tuple[ToolRuleSettings, ...] = ()
    expires: float = 86_400.0
    denial: str = ""
    key: SecretRef | None = None
    webhook: WebhookSettings | None = None


@dataclass(frozen=True, slots=True)
class CallerGuards:
    """One entry of `guards.for`.

    Attributes:
        only: (dimension of `GUARDED_BY`, value); all of them have to fit.
    """

    only: tuple[tuple[str, str], ...]
    guards: GuardSettings
