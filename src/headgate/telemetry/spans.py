"""A settled exchange as spans: one for it, and one for each of its attempts (docs/tracing.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from headgate.core.exchange import Attempt, Ending, Exchange
from headgate.core.usage import Usage
from headgate.policy.tracing import Trace, attempt_span
from headgate.telemetry import names
from headgate.telemetry.names import GenAI
from headgate.telemetry.otlp import CLIENT, INTERNAL, SERVER, Event, Shared, Span, Value

_NANO = 1e9
_FAILURES = frozenset({Ending.FAILED, Ending.CUT, Ending.KILLED})
_TRACES_ITSELF = (b"Anthropic/Python ", b"AsyncAnthropic/Python ")
"""How the `user-agent` of an SDK begins that makes a span of its own for each call, with the tokens in it."""
_SHARED = 1_024  # combinations of what spans have in common, kept encoded
_LEAST_WAIT = 0.0005  # seconds: what is below is the rest of a subtraction
_MOST_NAME = 200  # characters of a model's name: callers can ask for anything


@dataclass(frozen=True, slots=True)
class SpanRules:
    """What is in spans: see `settings.telemetry.TraceSettings`.

    Attributes:
        clean: takes out of texts what must not be told; None: there are no texts in spans.
    """

    names: GenAI = names.LATEST
    usage: str = "auto"
    openinference: bool = False
    clean: Callable[[str], str] | None = None


def spans_of(exchange: Exchange, trace: Trace, rules: SpanRules) -> list[Span]:
    """The exchange's span first."""
    attempts = exchange.attempts
    root = _exchange_span(exchange, trace, rules)
    counts = rules.usage == "always" or (rules.usage == "auto" and not _counted_elsewhere(exchange, trace))
    return [root, *(_attempt_span(exchange, attempt, trace, rules, counts=counts) for attempt in attempts)]


def is_failure(exchange: Exchange) -> bool:
    """Whether it is kept whatever the sample says."""
    return exchange.ending in _FAILURES


def _counted_elsewhere(exchange: Exchange, trace: Trace) -> bool:
    """Its tokens are in a span that is not ours: that of the caller's SDK, or of a Headgate upstream."""
    if exchange.upstream_gateway:
        return True
    if trace.parent is None:
        return False
    agent = next((value for name, value in exchange.request.headers if name == b"user-agent"), b"")
    if not agent.startswith(_TRACES_ITSELF):
        return False
    major = agent.partition(b"/Python ")[2].partition(b".")[0]
    return major.isdigit() and int(major) >= 2


def _exchange_span(exchange: Exchange, trace: Trace, rules: SpanRules) -> Span:
    request, caller, error, attempts = exchange.request, exchange.request.caller, exchange.error, exchange.attempts
    last, failed, parent = attempts[-1] if attempts else None, is_failure(exchange), trace.parent
    own: dict[str, Value] = {
        names.EXCHANGE_ID: exchange.id,
        names.COST: exchange.cost_nano / _NANO,
        names.ATTEMPTS: len(attempts),
    }
    for name, value in (
        (names.USER, caller.user),
        (rules.names.conversation, caller.session),
        (names.CORRELATION, request.correlation_id),
        (names.DEGRADED, exchange.degradation),
        (names.OI_SESSION if rules.openinference else "", caller.session),
    ):
        if value and name:
            own[name] = value
    for name, value in caller.tags.items():
        own[names.TAG + name] = value
    return Span(
        trace.trace,
        trace.span,
        "" if parent is None else parent.span,
        names.EXCHANGE_SPAN,
        SERVER if request.way_in == "gateway" else INTERNAL,
        exchange.started,
        exchange.ended or exchange.started,
        own,
        _findings(exchange) if exchange.findings else [],
        failed,
        "" if parent is None else parent.state,
        parent is not None and request.way_in == "gateway",
        _of_exchanges(
            "" if exchange.ending is None else exchange.ending.value,
            exchange.status,
            request.facts.model[:_MOST_NAME],
            "" if last is None else last.model_served or last.route.model,
            caller.tenant,
            caller.key,
            caller.task,
            caller.feature,
            caller.environment,
            exchange.cache,
            exchange.verdict if exchange.guarded else "",
            "" if error is None else error.code,
            failed,
            rules.openinference,
        ),
    )


@lru_cache(maxsize=_SHARED)
def _of_exchanges(
    outcome: str,
    status: int,
    asked: str,
    served: str,
    tenant: str,
    key: str,
    task: str,
    feature: str,
    environment: str,
    cache: str,
    verdict: str,
    code: str,
    failed: bool,
    openinference: bool,
) -> Shared:
    told: dict[str, Value] = {
        names.OUTCOME: outcome,
        names.HTTP_STATUS: status,
        names.MODEL_ASKED: asked,
        names.MODEL_SERVED: served,
        names.TENANT: tenant,
        names.KEY: key,
        names.TASK: task,
        names.FEATURE: feature,
        names.ENVIRONMENT: environment,
        names.CACHE: cache,
        names.VERDICT: verdict,
        names.ERROR_CODE: code,
        names.ERROR_TYPE: code if failed else "",
        names.OI_KIND: names.OI_CHAIN if openinference else "",
    }
    return Shared({name: value for name, value in told.items() if value != ""})


def _findings(exchange: Exchange) -> list[Event]:
    """What guards have found: by guard, verdict and rule, never the text."""
    return [
        Event(
            names.FINDING_EVENT,
            exchange.started,
            {
                names.GUARD: finding.guard,
                names.VERDICT: finding.verdict.value,
                names.REASONS: finding.reasons,
                names.CHANNEL: finding.channel,
            },
        )
        for finding in exchange.findings
    ]


def _attempt_span(exchange: Exchange, attempt: Attempt, trace: Trace, rules: SpanRules, *, counts: bool) -> Span:
    request, route, facts = exchange.request, attempt.route, exchange.request.facts
    operation = names.OPERATIONS.get(request.endpoint, "")
    model = (route.model or facts.model)[:_MOST_NAME]
    own: dict[str, Value | None] = {
        names.ATTEMPT_NUMBER: attempt.number,
        names.COST: attempt.cost_nano / _NANO,
        names.BOUND: None if attempt.bound_nano is None else attempt.bound_nano / _NANO,
        names.REQUEST_ID: attempt.request_id,
    }
    if operation:
        own[rules.names.conversation] = request.caller.session
        if facts.stream and attempt.first_content is not None:
            own[rules.names.response_first_chunk] = attempt.first_content - attempt.started
    usage = attempt.usage
    if usage is not None:
        own |= _own_usage(usage)
        if counts and operation:
            own |= _usage(usage, rules.names)
            if rules.openinference:
                own |= _openinference(attempt, usage)
    events = _moments(attempt)
    if rules.clean is not None and operation == names.CHAT and attempt is exchange.last:
        _tell_content(exchange, attempt, rules, rules.clean, own, events)
    error = attempt.error
    return Span(
        trace.trace,
        attempt_span(exchange, attempt.number),
        trace.span,
        f"{operation} {model}".rstrip() if operation else names.ATTEMPT_SPAN,
        CLIENT,
        attempt.started,
        attempt.ended or exchange.ended or attempt.started,
        {name: value for name, value in own.items() if value is not None and value != "" and name},
        events,
        error is not None or (attempt is exchange.last and is_failure(exchange)),
        shared=_of_attempts(
            rules.names,
            rules.openinference,
            operation,
            route.provider,
            route.dialect,
            route.base_url,
            model,
            facts.max_output_tokens or attempt.output_cap,
            facts.choices,
            facts.stream,
            attempt.model_served,
            attempt.stop_reason,
            attempt.status,
            attempt.estimated,
            attempt.simulated,
            "" if error is None else error.kind or error.code,
            "" if error is None else error.provider_code,
        ),
    )


@lru_cache(maxsize=_SHARED)
def _of_attempts(
    name: GenAI,
    openinference: bool,
    operation: str,
    provider: str,
    dialect: str,
    base_url: str,
    model: str,
    max_tokens: int,
    choices: int,
    stream: bool,
    served: str,
    stop_reason: str,
    status: int,
    estimated: bool,
    simulated: bool,
    failure: str,
    code: str,
) -> Shared:
    host, port = _address(base_url)
    told: dict[str, Value | None] = {
        names.HTTP_STATUS: status or None,
        names.SERVER_ADDRESS: host,
        names.SERVER_PORT: port,
        names.ESTIMATED: estimated or None,
        names.SIMULATED: simulated or None,
        names.ERROR_TYPE: failure,
        names.ERROR_CODE: code,
    }
    if operation:
        told |= {
            name.operation: operation,
            name.provider: provider,
            name.request_model: model,
            name.request_max_tokens: max_tokens or None,
            name.request_choices: choices if choices != 1 else None,
            name.request_stream: stream,
            name.response_model: served,
            name.response_finish_reasons: (stop_reason,) if stop_reason else None,
        }
        if openinference:
            told |= {
                names.OI_KIND: names.OI_LLM if operation == names.CHAT else names.OI_EMBEDDING,
                names.OI_MODEL: served or model,
                names.OI_PROVIDER: provider,
                names.OI_SYSTEM: dialect,
            }
    return Shared({key: value for key, value in told.items() if key and value is not None and value != ""})


def _usage(usage: Usage, name: GenAI) -> dict[str, Value | None]:
    """As the conventions count: what was cached is part of the input, and reasoning of the output."""
    written = usage.cache_write_tokens + usage.cache_write_long_tokens
    return {
        name.input_tokens: usage.prompt_tokens,
        name.output_tokens: usage.output_tokens,
        name.cache_read_tokens: usage.cache_read_tokens or None,
        name.cache_write_tokens: written or None,
        name.cache_creation_tokens: written or None,
        name.reasoning_tokens: usage.reasoning_tokens or None,
    }


def _own_usage(usage: Usage) -> dict[str, Value | None]:
    return {
        names.USAGE + "input_tokens": usage.input_tokens,
        names.USAGE + "cache_read_tokens": usage.cache_read_tokens or None,
        names.USAGE + "cache_write_tokens": usage.cache_write_tokens + usage.cache_write_long_tokens or None,
        names.USAGE + "output_tokens": usage.output_tokens,
        names.USAGE + "reasoning_tokens": usage.reasoning_tokens or None,
    }


def _openinference(attempt: Attempt, usage: Usage) -> dict[str, Value | None]:
    return {
        names.OI_PROMPT: usage.prompt_tokens,
        names.OI_COMPLETION: usage.output_tokens,
        names.OI_TOTAL: usage.prompt_tokens + usage.output_tokens,
        names.OI_CACHE_READ: usage.cache_read_tokens or None,
        names.OI_CACHE_WRITE: usage.cache_write_tokens + usage.cache_write_long_tokens or None,
        names.OI_REASONING: usage.reasoning_tokens or None,
        names.OI_COST: attempt.cost_nano / _NANO,
    }


def _moments(attempt: Attempt) -> list[Event]:
    retry = attempt.waited - attempt.waited_turn - attempt.waited_money
    waits = (("retry", retry), ("turn", attempt.waited_turn), ("money", attempt.waited_money))
    events = [
        Event(names.WAIT_EVENT, attempt.started, {names.WAIT_FOR: kind, names.WAIT_MS: seconds * 1000.0})
        for kind, seconds in waits
        if seconds > _LEAST_WAIT
    ]
    if attempt.first_byte is not None:
        events.append(Event(names.FIRST_BYTE_EVENT, attempt.first_byte, {}))
    if attempt.first_content is not None:
        events.append(Event(names.FIRST_CONTENT_EVENT, attempt.first_content, {}))
    return events


def _tell_content(
    exchange: Exchange,
    attempt: Attempt,
    rules: SpanRules,
    clean: Callable[[str], str],
    told: dict[str, Value | None],
    events: list[Event],
) -> None:
    """The last user turn and the answer, as much of them as the log keeps."""
    name, facts = rules.names, exchange.request.facts
    asked, said = clean(facts.user_message[:_MOST_TEXT]), clean(exchange.response_text[:_MOST_TEXT])
    if name.user_event:
        events.append(
            Event(name.user_event, attempt.started, {name.provider: attempt.route.provider, "content": asked})
        )
        choice = {name.provider: attempt.route.provider, "content": said, "finish_reason": attempt.stop_reason}
        events.append(Event(name.choice_event, attempt.ended or attempt.started, choice))
    else:
        told[name.input_messages] = json.dumps([_message("user", asked)])
        told[name.output_messages] = json.dumps([_message("assistant", said) | {"finish_reason": attempt.stop_reason}])
    if rules.openinference:
        told |= {
            names.OI_INPUT: asked,
            names.OI_INPUT_TYPE: names.OI_TEXT,
            names.OI_OUTPUT: said,
            names.OI_OUTPUT_TYPE: names.OI_TEXT,
            names.OI_INPUT_ROLE: "user",
            names.OI_INPUT_CONTENT: asked,
            names.OI_OUTPUT_ROLE: "assistant",
            names.OI_OUTPUT_CONTENT: said,
        }


_MOST_TEXT = 64 * 1024
"""Characters, as in the log."""


def _message(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


@lru_cache(maxsize=256)
def _address(base_url: str) -> tuple[str, int | None]:
    """Host and port of a route, without anything else of its URL."""
    try:
        url = urlsplit(base_url)
        return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        return "", None
