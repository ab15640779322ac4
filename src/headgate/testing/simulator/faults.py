"""The faults a scenario may inject, and the error each answers with.

Sources: wire-formats 1.5, 1.6, 2.3, 2.4. Each kind takes only the parameters that mean something to it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from headgate.testing.simulator.asked import Fail
from headgate.testing.simulator.wrongusage import STYLES

_ERROR = {"message", "should_retry", "html"}
_WAIT = {"retry_after", "retry_after_ms", "retry_after_date"}

KINDS: dict[str, frozenset[str]] = {
    # Answered before generation, never billed.
    "rate_limit": frozenset(_ERROR | _WAIT | {"code"}),
    "spend_limit": frozenset(_ERROR | {"code", "status"}),
    "overloaded": frozenset(_ERROR | _WAIT),
    "server_error": frozenset(_ERROR | _WAIT | {"status"}),
    "auth": frozenset(_ERROR | {"status"}),
    "error": frozenset(_ERROR | _WAIT | {"status", "type", "code"}),
    # Before the response's headers; billed only where `generated` is true.
    "drop": frozenset({"generated", "how"}),
    # During the answer; what was shown is billed.
    "slow_first_token": frozenset({"seconds", "before"}),
    "stall": frozenset({"seconds", "after_events"}),
    "cut": frozenset({"after_events", "how"}),
    "no_terminal": frozenset({"keep_usage"}),
    "error_event": frozenset({"after_events", "type", "message"}),
    "malformed_event": frozenset({"after_events"}),
    "truncate": frozenset({"keep", "after_events"}),
    "refusal": frozenset({"style", "after_tokens"}),
    "failed": frozenset({"after_tokens", "code", "message"}),
    "stop_reason": frozenset({"reason"}),
    "says": frozenset({"message"}),
    # A whole answer that lies about what it cost.
    "wrong_usage": frozenset({"usage"}),
}
"""Every fault and its parameters."""

BEFORE_GENERATION = frozenset({"rate_limit", "spend_limit", "overloaded", "server_error", "auth", "error"})
_TEXTS = {
    500: "Internal server error",
    501: "Not implemented",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Gateway timeout",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. See docs/simulator.md for which parameters go with which kind.

    Attributes:
        kind: one of :data:`KINDS`.
        status, type, code, message: of the error, where the kind leaves a choice; of `says`, all that is answered.
        html: an HTML page as a proxy in between would send it, instead of the API's JSON.
        should_retry: sends `x-should-retry`.
        retry_after: seconds; retry_after_ms: milliseconds; retry_after_date: seconds from now, sent as an HTTP date.
        seconds: how long to be slow; None in a stall means until the client leaves.
        before: "headers" or "content": where a slow first token waits.
        after_events: stream events written before the fault.
        how: "reset" (RST) or "fin" (a clean close).
        generated: the dropped answer had been generated, and is billed.
        keep_usage: the stream misses only its terminal event, not its final usage.
        keep: the part of a JSON body that is sent, 0 to below 1.
        style: "empty" or "message": an OpenAI refusal's form.
        after_tokens: output tokens shown before a refusal or a failure; 0 = none.
        reason: how an answer ends, in its vendor's words; what another vendor calls so is left alone.
        usage: one of :data:`STYLES`: how the usage is wrong.
    """

    kind: str
    status: int = 0
    type: str = ""
    code: str = ""
    message: str = ""
    html: bool = False
    should_retry: bool | None = None
    retry_after: float | None = None
    retry_after_ms: float | None = None
    retry_after_date: float | None = None
    seconds: float | None = None
    before: str = "headers"
    after_events: int = 6
    how: str = "reset"
    generated: bool = False
    keep_usage: bool = False
    keep: float = 0.5
    style: str = "empty"
    after_tokens: int = 0
    reason: str = ""
    usage: str = "missing"

    def __post_init__(self) -> None:
        mistakes = self.mistakes()
        if mistakes:
            raise ValueError("; ".join(mistakes))

    def mistakes(self) -> list[str]:
        """What is wrong with it, in sentences; empty if nothing is."""
        if self.kind not in KINDS:
            return [f"unknown fault {self.kind!r}; known: {', '.join(KINDS)}"]
        allowed = KINDS[self.kind]
        wrong = [
            f"a {self.kind} fault takes no {field.name!r}; it takes: {', '.join(sorted(allowed))}"
            for field in fields(self)
            if field.name != "kind" and getattr(self, field.name) != field.default and field.name not in allowed
        ]
        for name, choices in (
            ("how", ("reset", "fin")),
            ("before", ("headers", "content")),
            ("style", ("empty", "message")),
            ("usage", STYLES),
        ):
            if getattr(self, name) not in choices:
                wrong.append(f"{name} is one of {', '.join(choices)}")
        if not 0 <= self.keep < 1:
            wrong.append("keep is a fraction from 0 to below 1")
        if self.kind == "error" and not 400 <= self.status <= 599:
            wrong.append("an error fault needs a status from 400 to 599")
        if self.status and not 400 <= self.status <= 599:
            wrong.append("status is from 400 to 599")
        return wrong


def error_of(fault: Fault, dialect: str) -> Fail:
    """The error of a fault that answers before generation."""
    status, kind, code, message = _shape(fault, dialect)
    return Fail(
        fault.status or status,
        fault.type or kind,
        fault.message or message,
        code=fault.code or code,
        html=fault.html,
    )


def _shape(fault: Fault, dialect: str) -> tuple[int, str, str, str]:
    """(status, type, code, message) as the vendor sends them."""
    anthropic = dialect == "anthropic"
    if fault.kind == "rate_limit":
        text = "Rate limit reached (simulated). Please slow down."
        return (429, "rate_limit_error", "", text) if anthropic else (429, "requests", "rate_limit_exceeded", text)
    if fault.kind == "spend_limit":
        return _money(fault, anthropic)
    if fault.kind in ("overloaded", "error_event"):
        if anthropic:
            return 529, "overloaded_error", "", "Overloaded"
        return 503, "service_unavailable_error", "server_is_overloaded", "The server is overloaded, try again later."
    if fault.kind == "auth":
        if fault.status == 403:
            kind = "permission_error" if anthropic else "invalid_request_error"
            return 403, kind, "", "Your API key does not have permission for this request."
        if anthropic:
            return 401, "authentication_error", "", "invalid x-api-key"
        return 401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."
    status = fault.status or 500
    text = _TEXTS.get(status, "Error")
    if not anthropic:
        return status, "server_error", "", text
    return status, "timeout_error" if status == 504 else "api_error", "", text


def _money(fault: Fault, anthropic: bool) -> tuple[int, str, str, str]:
    if not anthropic:
        text = "You exceeded your current quota, please check your plan and billing details."
        return 429, "insufficient_quota", "insufficient_quota", text
    if fault.status == 400:
        text = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
        return 400, "invalid_request_error", "", text
    if fault.status == 402:
        return 402, "billing_error", "", "There is an issue with your organization's billing."
    return 429, "rate_limit_error", "enforced_spend_limit_reached", "This organization's spend limit has been reached."


def fault_from(told: dict[str, Any]) -> Fault:
    """A fault from a scenario file's mapping.

    Raises:
        ValueError: an unknown kind or parameter, or a value out of range.
    """
    known = {field.name for field in fields(Fault)}
    unknown = [name for name in told if name not in known]
    if unknown:
        raise ValueError(f"unknown fault parameter {', '.join(map(repr, unknown))}")
    if not isinstance(told.get("kind"), str):
        raise ValueError("a fault needs a kind")
    return Fault(**told)
