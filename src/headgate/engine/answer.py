"""What goes back to the caller besides the provider's bytes: our headers, our errors, the trailing comment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter

from headgate.core.errors import HeadgateError, RateExceeded, Refusal, UpstreamError
from headgate.core.exchange import Attempt, Exchange, Headers
from headgate.core.guards import worst
from headgate.core.money import usd_bytes, usd_text
from headgate.engine.crossing import error_back
from headgate.policy.gcra import ratelimit_headers
from headgate.wire.dialect import Dialect

HeaderList = list[tuple[bytes, bytes]]
_PAUSE = re.compile("([:;,]) ")

# RFC 9110, section 7.6.1, and what is computed anew. Alt-Svc names the provider's origin, not ours; a date is the
# server's own.
NOT_PASSED_ON = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
        b"alt-svc",
        b"date",
    }
)
SIMULATED = b"x-headgate-simulated"
EXCHANGE = b"x-headgate-exchange"

ACCOUNTS_LIMITS = (b"x-ratelimit-", b"anthropic-ratelimit-", b"anthropic-priority-", b"anthropic-fast-")
"""How the provider's headers about its limits begin (wire-formats 1.2, 2.3)."""
LONGEST_RETRY = 60.0
"""Seconds: official SDKs on httpx (anthropic 0.x, openai 1.x and 2.x) wait no longer than that for a `retry-after`, and
send again too early instead."""

NO_PROVIDER = "The AI service is not available right now. Please try again in a few minutes."


@dataclass(slots=True)
class ErrorAnswer:
    """A complete answer for an exchange that has none of its own."""

    status: int
    headers: HeaderList
    body: bytes


def passed_on(headers: Headers, exchange: Exchange) -> HeaderList:
    """A provider's response headers as the caller gets them: all but the hop-by-hop ones and a Headgate's own.

    A caller with limits of ours sees those, and not the account's, which it shares with others and cannot pace by.
    """
    passes = _to_limited if exchange.limit_headers else _to_others
    return list(compress(headers, map(passes.__getitem__, map(_NAME, headers))))


_NAME = itemgetter(0)
_MOST_KEPT = 1024
_LONGEST_KEPT = 64


class _Passes(dict[bytes, bool]):
    """By name, whether a response header passes: to callers without limits of ours, or to those with some. Providers
    send the same few again and again."""

    def __init__(self, stays: tuple[bytes, ...] = ()) -> None:
        """`stays`: what the names of more headers begin with that do not pass."""
        self._stays = stays

    def __missing__(self, name: bytes) -> bool:
        ours = name.startswith(b"x-headgate-") and name != SIMULATED
        found = not (ours or name in NOT_PASSED_ON or name.startswith(self._stays))
        if len(self) < _MOST_KEPT and len(name) <= _LONGEST_KEPT:
            self[name] = found
        return found


_to_others, _to_limited = _Passes(), _Passes(ACCOUNTS_LIMITS)


class _Models(dict[str, tuple[bytes, bytes]]):
    """The header that names a model: a handful serve nearly all calls."""

    def __missing__(self, model: str) -> tuple[bytes, bytes]:
        made = b"x-headgate-model", _header_value(model)
        if len(self) < _MOST_KEPT and len(model) <= _LONGEST_KEPT:
            self[model] = made
        return made


_models = _Models()
_NO_ATTEMPT = b"x-headgate-attempts", b"0"
_ONE_ATTEMPT = b"x-headgate-attempts", b"1"
_NOT_WAITED = b"x-headgate-waited-ms", b"0"


def exchange_headers(exchange: Exchange, now: float, *, final: bool) -> HeaderList:
    """Our `x-headgate-*` response headers. What is known only at the end is left out unless `final`."""
    attempts, request = exchange.attempts, exchange.request
    headers = [(EXCHANGE, exchange.id.encode()), *exchange.limit_headers]
    if request.correlation_id:
        headers.append((b"x-headgate-correlation-id", _header_value(request.correlation_id)))
    if exchange.parked:
        headers.append((b"x-headgate-approval", approvals_of(exchange).encode()))
    if exchange.cache:
        headers.append((b"x-headgate-cache", exchange.cache.encode()))
        if exchange.cache_why:
            headers.append((b"x-headgate-cache-why", exchange.cache_why.encode()))
        if exchange.recalled is not None and exchange.recalled.model:
            headers.append(_models[exchange.recalled.model])
    waited = exchange.waited
    cost, spent = 0, now - exchange.started - waited
    for attempt in attempts:
        cost += attempt.cost_nano
        spent -= (attempt.ended or now) - attempt.started
        if attempt.waited:
            waited += attempt.waited
            spent -= attempt.waited
    if final:
        headers.append((b"x-headgate-cost-usd", usd_bytes(cost)))
    if exchange.findings:
        headers.append((b"x-headgate-guard", _header_value(guard_words(exchange))))
    if not attempts:
        headers.append(_NO_ATTEMPT)
        if exchange.degraded:
            headers.append((b"x-headgate-degraded", _header_value(exchange.degraded)))
        return headers
    last = attempts[-1]
    if exchange.degraded or last.lost:
        degraded = exchange.degradation
        if degraded:
            headers.append((b"x-headgate-degraded", _header_value(degraded)))
    if last.claims:
        headers += _budget_headers(last, final=final)
    if not exchange.stood_in:
        served = last.model_served or last.route.model or request.facts.model
        if served:
            headers.append(_models[served])
    headers += (
        _ONE_ATTEMPT if last is attempts[0] else (b"x-headgate-attempts", b"%d" % len(attempts)),
        (b"x-headgate-waited-ms", b"%d" % (waited * 1000)) if waited else _NOT_WAITED,
        (b"x-headgate-overhead-ms", b"%.3f" % (spent * 1000 if spent > 0 else 0.0)),
    )
    return headers


def _budget_headers(attempt: Attempt, *, final: bool) -> HeaderList:
    """What is left in the tightest budget, with this call's hold taken, or its cost once that is known."""
    headers: HeaderList = []
    left = attempt.left_nano
    if left is not None:
        left += (attempt.bound_nano or 0) - attempt.cost_nano if final else 0
        headers.append((b"x-headgate-budget-left-usd", usd_bytes(max(0, left))))
    if attempt.warning:
        headers.append((b"x-headgate-budget-warning", _header_value(attempt.warning)))
    return headers


def served_model(exchange: Exchange) -> str:
    """The model that answered, as the provider names it; else the one it was asked for; "" where none has."""
    if exchange.recalled is not None:
        return exchange.recalled.model
    if not exchange.attempts or exchange.stood_in:
        return ""
    last = exchange.attempts[-1]
    return last.model_served or last.route.model or exchange.request.facts.model


def guard_words(exchange: Exchange) -> str:
    """What guards had to say: the most severe verdict, and ``guard:reason`` for each reason, none twice."""
    found = exchange.findings
    reasons = (f"{each.guard}:{reason}" for each in found for reason in each.reasons or ("found",))
    return f"{worst([each.verdict for each in found])} {','.join(dict.fromkeys(reasons))}"


def trailing_comment(exchange: Exchange) -> bytes:
    """The last SSE comment: what was known only at the end. Behind the terminal event, where every parser skips it."""
    last = exchange.last
    parts = [f"x-headgate-exchange={exchange.id}", f"x-headgate-cost-usd={usd_text(exchange.cost_nano)}"]
    if exchange.estimated:
        parts.append("x-headgate-cost-estimated=true")
    if exchange.cache:
        parts.append(f"x-headgate-cache={exchange.cache}")
    if exchange.parked:
        parts.append(f"x-headgate-approval={approvals_of(exchange)}")
    degraded = exchange.degradation  # of a stream that was mended its headers could not say it
    if degraded:
        word = _PAUSE.sub(r"\1", degraded[:256]).replace(" ", "_")
        parts.append(f"x-headgate-degraded={word}")
    if exchange.findings:
        verdict, _, reasons = guard_words(exchange)[:256].partition(" ")
        parts.append(f"x-headgate-guard={verdict}:{reasons.replace(' ', '_')}")
    if last is not None and last.stop_reason:
        parts.append(f"x-headgate-stop-reason={last.stop_reason[:64]}")
    return (": " + " ".join(parts).replace("\n", " ").replace("\r", " ") + "\n\n").encode()


def approvals_of(exchange: Exchange) -> str:
    """The tokens of its tool calls that wait for a person, in the order of their answer."""
    return ",".join(parked.token for parked in exchange.parked)


def error_answer(
    dialect: Dialect, exchange: Exchange, error: HeadgateError, *, owns_retries: bool, now: float
) -> ErrorAnswer:
    """The answer for an exchange that ended in `error`, in the caller's dialect.

    A provider's own error is passed on untouched where it is the caller's fault, or where the caller owns the retries;
    otherwise ours, with the cause in the log (product.md, "Gateway"). Where Headgate may retry, the final error says
    `x-should-retry: false`, so that nobody multiplies our attempts.
    """
    error.exchange_id = exchange.id
    if isinstance(error, UpstreamError) and passes_on(error, exchange, owns_retries=owns_retries):
        return _providers_own(exchange, error, owns_retries=owns_retries, now=now)
    code, message = _said(error)
    headers: HeaderList = [(b"content-type", b"application/json"), (b"x-should-retry", _again(error, owns_retries))]
    told = getattr(error, "retry_after", None)
    if told is not None:
        headers.append((b"retry-after", b"%d" % max(1, -int(-told // 1))))
    unit = ""
    if isinstance(error, RateExceeded):
        unit = error.unit
        headers += _rate_headers(error)
    last = exchange.last
    if last is not None and last.simulated:
        headers.append((SIMULATED, b"true"))
    headers += exchange_headers(exchange, now, final=True)
    body = dialect.error_body(error.status_hint, code, message, exchange.id, unit=unit)
    return ErrorAnswer(error.status_hint, headers, body)


def _rate_headers(error: RateExceeded) -> HeaderList:
    headers = ratelimit_headers(error.figures)
    if error.retry_after is not None:  # both SDKs take this one first: whole seconds would be up to one too many
        headers.append((b"retry-after-ms", b"%d" % max(1, -int(-error.retry_after * 1000 // 1))))
    return headers


def passes_on(error: UpstreamError, exchange: Exchange, *, owns_retries: bool) -> bool:
    """Whether the provider's own answer goes to the caller."""
    if not error.status:
        return False
    if not owns_retries or error.kind in ("caller", "too_long", "missing"):
        return True
    last = exchange.last
    # In process the credential and the account are the caller's own: what the provider says of them is theirs to read.
    return error.kind in ("auth", "money") and last is not None and last.route.credential is None


def error_behind(piece: bytes, dialect: Dialect, exchange: Exchange, code: str, message: str) -> bytes:
    """Our own error as the next event of a stream of which its caller got `piece` last."""
    request = exchange.request
    meter = dialect.meter(request.endpoint, request.facts)  # the stream's own is wherever it is read
    meter.feed(piece)
    return dialect.error_event(code, message, exchange.id, behind=meter)


def answered_status(error: HeadgateError, exchange: Exchange, *, owns_retries: bool) -> int:
    """The HTTP status that `error_answer` gives."""
    if isinstance(error, UpstreamError) and passes_on(error, exchange, owns_retries=owns_retries):
        return error_back(exchange, error)[0]
    return error.status_hint


def _providers_own(exchange: Exchange, error: UpstreamError, *, owns_retries: bool, now: float) -> ErrorAnswer:
    status, told, body = error_back(exchange, error)
    headers = passed_on(told, exchange)
    if owns_retries:
        headers = [(n, v) for n, v in headers if n != b"x-should-retry"]
        headers.append((b"x-should-retry", b"false"))
    headers += exchange_headers(exchange, now, final=True)
    return ErrorAnswer(status, headers, body)


def _said(error: HeadgateError) -> tuple[str, str]:
    """(code, message) of our own error; a cause inside the provider or inside us stays in the log."""
    if isinstance(error, Refusal):
        return error.code, error.told
    if isinstance(error, UpstreamError):
        return error.code, NO_PROVIDER
    return error.code, f"Headgate could not finish this call ({error.code})."


def _again(error: HeadgateError, owns_retries: bool) -> bytes:
    """What `x-should-retry` says: no, but where the caller owns the retries and the failure may pass.

    A rate of the caller's own passes (decisions 12): yes, where an SDK waits as long as it has to.
    """
    if isinstance(error, RateExceeded):
        return b"true" if error.retry_after is not None and error.retry_after <= LONGEST_RETRY else b"false"
    return b"true" if isinstance(error, UpstreamError) and not owns_retries and error.retryable else b"false"


def _header_value(text: str) -> bytes:
    if len(text) <= 256 and text.isascii() and text.isprintable():
        return text.encode()
    return "".join(c if " " <= c <= "~" else "?" for c in text[:256]).encode()
