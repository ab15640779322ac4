"""Attempts at routes that cannot take the caller's request as it is: another dialect, or a model that another model's
thinking is refused by. The request is translated before it is sent, and the answer on its way back.

What the provider bills is metered from its own bytes, in its own dialect; only what goes to the caller is translated.
A direct attempt comes no further than one comparison in the engine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from headgate._version import __version__
from headgate.core.errors import BadRequest
from headgate.core.exchange import Attempt, Exchange, Facts, Headers, Request, Route
from headgate.engine.coded import legible
from headgate.wire.dialect import Meter, ProviderError
from headgate.wire.translate import AnswerStream, LossPolicy, translate_answer, translate_error, translate_request
from headgate.wire.translate.report import Report

if TYPE_CHECKING:
    from headgate.core.errors import UpstreamError
    from headgate.engine.plan import Plan, Policies

TRANSLATED = {"messages": ("openai", "chat", "/chat/completions"), "chat": ("anthropic", "messages", "/v1/messages")}
"""Endpoints that routes of the other dialect can serve: by the caller's, the other dialect, and what it is there."""

_JSON = (b"content-type", b"application/json")
_SENT = {
    # The oldest version that is served: every imitator understands it, and what we write has not changed since.
    "anthropic": [_JSON, (b"accept", b"application/json"), (b"anthropic-version", b"2023-06-01")],
    "openai": [_JSON, (b"accept", b"application/json")],
}
_AGENT = (b"user-agent", b"headgate/" + __version__.encode())
_TRACES = frozenset({b"traceparent", b"tracestate", b"baggage"})
"""Of the caller's headers all that go to another vendor: they are W3C's, and nobody's in particular."""

_REQUEST_ID = {"anthropic": b"request-id", "openai": b"x-request-id"}
_COMES_BACK = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry", b"x-headgate-simulated"})
_MAX_ERROR_BYTES = 1024 * 1024


class Crossed(NamedTuple):
    """A request as one route gets it.

    Attributes:
        request: in the route's dialect, for its model, without a credential.
        lost: what could not be said there, by the words of `wire.translate.FEATURES`.
    """

    request: Request
    lost: tuple[str, ...]


class Crossings:
    """Prepares what is sent to such routes. Shared by all exchanges of an engine."""

    __slots__ = ("_policies",)

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def passes(self, exchange: Exchange, plan: Plan, place: int) -> bool:
        """Whether the route at `place` can serve: what it gets is in `plan.crossed` then, where it differs from the
        caller's request.

        A route that cannot is taken out of the plan.

        Raises:
            BadRequest: no other is left, and none was tried. `not_translatable`, or the request is wrong in itself.
            UpstreamError: no other is left; the one that was tried last has failed with it.
            UnknownPrice: see `Charges.check`.
        """
        route, request = plan.routes[place], plan.follows or exchange.request
        if route is plan.direct:
            return True
        key = (route.provider, route.model)
        if plan.crossed is not None and key in plan.crossed:
            return True
        try:
            crossed = self.crossed(request, plan, route, exchange.started)
        except BadRequest as error:
            plan.routes = [r for r in plan.routes if (r.provider, r.model) != key]
            if plan.routes:
                return False
            raise exchange.attempts[-1].error or error if exchange.attempts else error from None
        if crossed is None and plan.follows is not None:
            crossed = Crossed(plan.follows, ())
        if crossed is not None:
            if plan.crossed is None:
                plan.crossed = {}
            plan.crossed[key] = crossed
        return True

    def crossed(self, request: Request, plan: Plan, route: Route, now: float) -> Crossed | None:
        """`request` for `route`; None where it goes there as it is. Raises as `passes`."""
        if route.dialect == request.dialect:
            return self._hop(request, plan, route) if _is_hop(request, plan, route) else None
        policies = self._policies
        policy = policies.lossy(request.caller.task, plan.asked.facts.model)
        # A caller of OpenAI's may leave the cap out, and Anthropic requires one: the most that the model can.
        most = policies.charges.most_output(route, now)
        translated = translate_request(
            request.dialect,
            route.dialect,
            request.body,
            model=route.model,
            max_output_tokens_default=most,
            max_output_tokens_limit=most,
            policy=policy,
            newest=route.provider == "openai",
        )
        dialect, endpoint, path = TRANSLATED[request.endpoint]
        facts = _capped(policies.dialects(dialect).read_request(endpoint, translated.body), plan)
        sent = replace(
            request,
            dialect=dialect,
            endpoint=endpoint,
            path=path,
            headers=_headers(request, dialect),
            body=translated.body,
            facts=facts,
            direct=None,
            own_url="",
            prepared=None,
        )
        return Crossed(sent, _with_betas(request, policy, translated.report))

    def _hop(self, request: Request, plan: Plan, route: Route) -> Crossed | None:
        policies = self._policies
        policy = policies.lossy(request.caller.task, plan.asked.facts.model)
        dialect = request.dialect
        translated = translate_request(dialect, dialect, request.body, model=route.model, policy=policy)
        if not translated.report:
            return None  # the word stood in a text
        facts = _capped(policies.dialects(dialect).read_request(request.endpoint, translated.body), plan)
        return Crossed(replace(request, body=translated.body, facts=facts), translated.report)


def _capped(facts: Facts, plan: Plan) -> Facts:
    """With the task's output cap, which is put into the body as it is sent."""
    most, asked = plan.output_cap, facts.max_output_tokens
    return replace(facts, max_output_tokens=most) if most and (asked is None or asked > most) else facts


def _is_hop(request: Request, plan: Plan, route: Route) -> bool:
    """Whether the conversation holds thinking of another model: of the plan's first route of this dialect, as far as
    anybody can tell."""
    home = plan.home
    if home is None or (home.provider, home.model) == (route.provider, route.model):
        return False
    return request.endpoint == "messages" and b'thinking"' in request.body


def _headers(request: Request, dialect: str) -> Headers:
    """None of the caller's own but its trace: what its SDK says of itself is for its own vendor."""
    return [*_SENT[dialect], _AGENT, *(h for h in request.headers if h[0] in _TRACES)]


def _with_betas(request: Request, policy: LossPolicy, lost: tuple[str, ...]) -> tuple[str, ...]:
    """With the features that a header has asked for."""
    if not any(name == b"anthropic-beta" and value.strip() for name, value in request.headers):
        return lost
    report = Report(policy)
    report.lose("beta_features", "anthropic-beta")
    return tuple(dict.fromkeys((*lost, *report.words)))


def is_crossed(exchange: Exchange, attempt: Attempt) -> bool:
    """The attempt speaks another dialect than the exchange's caller."""
    return attempt.sent_as is not None and attempt.sent_as.dialect != exchange.request.dialect


def answer_back(exchange: Exchange, attempt: Attempt, body: bytes, now: float) -> bytes:
    """A provider's whole answer in the caller's dialect. What it lost is added to `attempt.lost`.

    Args:
        body: decoded.
        now: seconds since the epoch.

    Raises:
        UpstreamBroken: it is none that can be translated. It may have been billed.
    """
    translated = translate_answer(exchange.request.dialect, attempt.route.dialect, body, created=int(now))
    _add(attempt, translated.report)
    return translated.body


def headers_back(exchange: Exchange, attempt: Attempt, headers: Headers) -> list[tuple[bytes, bytes]]:
    """A provider's response headers for a caller of the other dialect: what concerns its retries, and the provider's
    request id where the caller's SDK looks for one. Rate limits and whatever else is the vendor's own stay away."""
    kind = next((value for name, value in headers if name == b"content-type"), b"application/json")
    found = [(b"content-type", kind), *(h for h in headers if h[0] in _COMES_BACK)]
    if attempt.request_id:
        found.append((_REQUEST_ID[exchange.request.dialect], attempt.request_id.encode("ascii", "replace")))
    return found


def error_back(exchange: Exchange, error: UpstreamError) -> tuple[int, Headers, bytes]:
    """(status, headers, body) of a provider's own error as the caller gets it: in its dialect."""
    attempt = next((a for a in exchange.attempts if a.error is error), None) or exchange.last
    if attempt is None or not is_crossed(exchange, attempt):
        return error.status, error.headers, error.body
    coding = next((value.strip().lower() for name, value in error.headers if name == b"content-encoding"), b"")
    body = legible(error.body, b"" if coding == b"identity" else coding, _MAX_ERROR_BYTES)
    told = translate_error(exchange.request.dialect, attempt.route.dialect, error.status, body)
    headers = [h for h in headers_back(exchange, attempt, error.headers) if h[0] != b"content-type"]
    return told.status, [_JSON, *headers], told.body


def meter_back(exchange: Exchange, attempt: Attempt, meter: Meter, now: float) -> Meter:
    """A meter of the provider's stream that hands on what it reads in the caller's dialect."""
    # mypy does not see what `__getattr__` gives: everything else is the provider's meter's own.
    return cast("Meter", _MeterBack(exchange, attempt, meter, now))


class _MeterBack:
    """A `Meter`. It counts what the provider sends, and returns it translated.

    `ended` and `error` are also those of the translation: where an answer cannot be translated further, its caller has
    been told so, in the dialect's error event, and nothing follows.
    """

    __slots__ = ("_attempt", "_meter", "_stream")

    def __init__(self, exchange: Exchange, attempt: Attempt, meter: Meter, now: float) -> None:
        request = exchange.request
        asked = request.facts.include_usage
        self._meter = meter
        self._attempt = attempt
        self._stream = AnswerStream(request.dialect, attempt.route.dialect, include_usage=asked, created=int(now))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._meter, name)  # `over` as well: that is the provider's own

    @property
    def ended(self) -> bool:
        """See `Meter`."""
        return self._meter.ended or self._stream.ended

    @property
    def error(self) -> ProviderError | None:
        """See `Meter`."""
        return self._meter.error or self._stream.error

    def feed(self, piece: bytes) -> bytes:
        """See `Meter.feed`."""
        out = self._stream.feed(self._meter.feed(piece))
        if self._meter.ended and not self._stream.ended:
            out += self._stream.finish()  # the provider's ending without the frame that the other dialect ends with
        if self.ended:
            _add(self._attempt, self._stream.report)
        return out

    def finish(self) -> bytes:
        """See `Meter.finish`."""
        out = self._stream.feed(self._meter.finish()) + self._stream.finish()
        _add(self._attempt, self._stream.report)
        return out


def _add(attempt: Attempt, words: tuple[str, ...]) -> None:
    if words:
        attempt.lost = tuple(dict.fromkeys((*attempt.lost, *words)))
