"""What can go wrong, by whose fault.

`Refusal`: Headgate said no. `UpstreamError`: the provider failed. `ConfigError`: the configuration is wrong, raised at
start-up only. Every class has a stable `code` for programs and a `status_hint` for HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.budget import Claim
from headgate.core.limits import Figure


class HeadgateError(Exception):
    """The parent of everything Headgate raises on purpose.

    `str(error)` is a sentence for people: what happened, where, what to do. It never holds a credential or a body.
    """

    code = "headgate_error"
    status_hint = 500

    def __init__(self, message: str, *, code: str | None = None, status_hint: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.exchange_id = ""
        if code is not None:
            self.code = code
        if status_hint is not None:
            self.status_hint = status_hint

    @property
    def told(self) -> str:
        """The sentence for callers: as `message`, without what is the operator's alone (paths, addresses)."""
        return self.message


class Refusal(HeadgateError):
    """Headgate said no, to the request or to the answer. Answered with `x-should-retry: false` unless it is a rate."""

    code = "refused"
    status_hint = 400
    retry_after: float | None = None  # seconds


class BadRequest(Refusal):
    """The request cannot be understood: malformed JSON, wrong types, bad UTF-8, a missing field."""

    code = "invalid_request"
    status_hint = 400


class Denied(Refusal):
    """No valid key, a revoked key, or a key without the right."""

    code = "invalid_api_key"
    status_hint = 401


class NotServed(Refusal):
    """A path or a model that this gate does not serve."""

    code = "not_found"
    status_hint = 404


class TooLarge(Refusal):
    """A body, a header block or a nesting above the limit."""

    code = "request_too_large"
    status_hint = 413


class UnknownPrice(Refusal):
    """The model has no price and `unknown_price` is `refuse`."""

    code = "unknown_price"
    status_hint = 400


class BudgetExceeded(Refusal):
    """The money is spent, or set aside for others.

    Attributes:
        claim: the account that said no; None = a ceiling per call.
        why: "spent", "too_large", "held", "waited", "period" (see `policy.accounts.Denial`), "unbounded", "unpriced",
            "ceiling" (`max_usd_per_call`).
        room_nano: what the account had left, nano-dollars; None = not known, or it caps tokens only.
        room_tokens: likewise in tokens; None = not known, or it caps dollars only.
        not_before: of "period": when the ledger's newest call was over, seconds since the epoch, where this machine's
            clock is behind that; 0 = it is not.
    """

    code = "budget_exceeded"
    status_hint = 429

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status_hint: int | None = None,
        claim: Claim | None = None,
        why: str = "",
        room_nano: int | None = None,
        room_tokens: int | None = None,
        not_before: float = 0.0,
    ) -> None:
        super().__init__(message, code=code, status_hint=status_hint)
        self.not_before = not_before
        self.claim = claim
        self.why = why
        self.room_nano = room_nano
        self.room_tokens = room_tokens


class RateExceeded(Refusal):
    """A limit of the caller's own has no room for the call now. Only this refusal may be sent again (decisions 12).

    Attributes:
        retry_after: seconds after which there is room; None: it would never fit, alone it is larger than the limit.
        unit: "requests" or "tokens"; "" = not known.
        source: where the limit is written, "headgate.yaml:12:5"; "" = not known.
        figures: how the caller stands with its limits.
        queues: a call that may be deferred goes on the queue of jobs instead.
    """

    code = "rate_limit_exceeded"
    status_hint = 429

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status_hint: int | None = None,
        retry_after: float | None = None,
        unit: str = "",
        source: str = "",
        figures: Sequence[Figure] = (),
        queues: bool = False,
    ) -> None:
        super().__init__(message, code=code, status_hint=status_hint)
        self.retry_after = retry_after
        self.unit = unit
        self.source = source
        self.figures = tuple(figures)
        self.queues = queues


class ContentBlocked(Refusal):
    """A guard said no, to what goes in or to what came out. The message names the guard and its reasons,
    never the text.

    Attributes:
        guard, reasons: as `core.guards.Finding` has them.
    """

    code = "content_blocked"
    status_hint = 400

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status_hint: int | None = None,
        guard: str = "",
        reasons: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, code=code, status_hint=status_hint)
        self.guard = guard
        self.reasons = reasons


class AnswerInvalid(Refusal):
    """What came is not what the task's answers have to be (`tasks.<name>.answer`). The message says in what, by places
    in the schema or in the code; never in words of the answer. What it has cost is charged.

    Attributes:
        reasons: see `policy.guards.answers.Problem.word`.
    """

    code = "answer_invalid"
    status_hint = 422

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status_hint: int | None = None,
        reasons: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, code=code, status_hint=status_hint)
        self.reasons = reasons


class CacheMiss(Refusal):
    """Only a kept answer was wanted (`x-headgate-cache: only`), and there is none. Nothing was sent."""

    code = "cache_miss"
    status_hint = 504


class IncidentStopped(Refusal):
    """Somebody has stopped this on purpose, for a while: incident mode (docs/incidents.md)."""

    code = "incident_stopped"
    status_hint = 503


class Unavailable(Refusal):
    """Headgate itself cannot take the call now: the ledger is closed or its disk is full, or it is shutting down."""

    code = "headgate_unavailable"
    status_hint = 503

    def __init__(
        self, message: str, *, code: str | None = None, status_hint: int | None = None, told: str = ""
    ) -> None:
        """
        Args:
            message: for the operator: the log and the command line.
            told: for callers; "" = the same.
        """
        super().__init__(message, code=code, status_hint=status_hint)
        self._told = told

    @property
    def told(self) -> str:
        """See the parent."""
        return self._told or self.message


class Gone(HeadgateError):
    """The caller left before the answer began."""

    code = "caller_gone"
    status_hint = 499


class UpstreamError(HeadgateError):
    """The provider failed, or said no.

    Attributes:
        retryable: another attempt at the same route may work.
        elsewhere: another route may work where this one does not (money, credentials, a missing model).
        retry_after: seconds the provider told us to wait, or None.
        maybe_billed: the provider may charge for the failed attempt.
        status, headers, body: the provider's own answer, if there was one; `status` is 0 otherwise.
        kind: one word for logs and policies: busy, overloaded, server, timeout, connect, broken, truncated, money,
            auth, missing, too_long, caller, config, saturated, refusal (a model's, where
            other models are to follow it).
        provider_code: the provider's own error code or type, "" if none.
        request_id: the provider's request id, "" if none.
    """

    code = "provider_error"
    status_hint = 503

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        retryable: bool = False,
        elsewhere: bool = False,
        retry_after: float | None = None,
        maybe_billed: bool = False,
        status: int = 0,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        provider_code: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
        self.elsewhere = elsewhere
        self.retry_after = retry_after
        self.maybe_billed = maybe_billed
        self.status = status
        self.headers = tuple(headers)
        self.body = body
        self.provider_code = provider_code
        self.request_id = request_id


class UpstreamBusy(UpstreamError):
    """Too many requests, or overloaded: 429, 503, 529 and their kin."""

    code = "provider_busy"


class NoTurn(UpstreamBusy):
    """Nothing was sent, on purpose: a breaker is open, or the call could not have gone before its deadline.

    Attributes:
        kind: "open", "paced", or "retries" (a caller's own, beyond the retry budget).
        cause: of an open breaker: failures, slow, money, auth, forbidden; of an incident: stopped, slowed; "" else.
        retry_after: seconds after which it may work, >= 0.
        provider: whose turn it would have been; "" = not known.
    """

    def __init__(self, message: str, *, kind: str, retry_after: float, cause: str = "", provider: str = "") -> None:
        super().__init__(message, kind=kind, elsewhere=True, retry_after=retry_after)
        self.cause = cause
        self.provider = provider


class UpstreamTimeout(UpstreamError):
    """A timer of ours ran out: connect, first byte, idle or total.

    Attributes:
        by_caller: it was the silence that the caller bears, which is shorter than ours.
    """

    code = "provider_timeout"
    status_hint = 504
    by_caller = False


class UpstreamBroken(UpstreamError):
    """The connection or the answer broke: reset, cut, truncated, malformed, 5xx."""

    code = "provider_broken"


class UpstreamRejected(UpstreamError):
    """The provider said no and means it: the caller's mistake, a bad credential, no money, no such model."""

    code = "provider_rejected"


class ConfigWarning(UserWarning):
    """Something in the configuration is likely not meant; `headgate doctor` and `headgate serve` say the same."""


class ConfigError(HeadgateError):
    """The configuration is wrong. All mistakes at once, each with file:line:column, one per line."""

    code = "config_error"

    def __init__(self, mistakes: Sequence[str] | str) -> None:
        self.mistakes = (mistakes,) if isinstance(mistakes, str) else tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


_CHAIN = 16
"""Causes of causes that are looked at: a chain may lead back to itself."""


def without_frames(error: BaseException | None) -> None:
    """Forget where an error that nobody raises any more came from.

    An exchange keeps its error, whose traceback keeps the frames that have the exchange: only the collector, which
    comes seldom, would free any of them, bodies included.
    """
    for _ in range(_CHAIN):
        if error is None:
            return
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
