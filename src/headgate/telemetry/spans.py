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
from headgate.telemetry.otlp import CLIENT, INTERNAL, SERVER, Event, Span, Value

_NANO = 1e9
_FAILURES = frozenset({Ending.FAILED, Ending.CUT, Ending.KILLED})
_TRACES_ITSELF = (b"Anthropic/Python ", b"AsyncAnthropic/Python ")
"""How the `user-agent` of an SDK begins that makes a span of its own for each call, with the tokens in it."""
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
    request, caller, error = exchange.request, exchange.request.caller, exchange.error
    last = exchange.last
    told: dict[str, Value] = {
        names.EXCHANGE_ID: exchange.id,
        names.OUTCOME: "" if exchange.ending is None else exchange.ending.value,
        names.COST: exchange.cost_nano / _NANO,
        names.ATTEMPTS: len(exchange.attempts),
        names.HTTP_STATUS: exchange.status,
        names.MODEL_ASKED: request.facts.model[:_MOST_NAME],
        names.MODEL_SERVED: "" if last is None else last.model_served or last.route.model,
        names.TENANT: caller.tenant,
        names.KEY: caller.key,
        names.USER: caller.user,
        names.TASK: caller.task,
        names.FEATURE: caller.feature,
        names.ENVIRONMENT: caller.environment,
        names.CORRELATION: request.correlation_id,
        names.CACHE: exchange.cache,
        names.VERDICT: exchange.verdict,
        names.DEGRADED: exchange.degradation,
        rules.names.conversation: caller.session,
    }
    for name, value in caller.tags.items():
        told[names.TAG + name] = value
    if error is not None:
        told[names.ERROR_CODE] = error.code
        if is_failure(exchange):
            told[names.ERROR_TYPE] = error.code
    if rules.openinference:
        told |= {names.OI_KIND: names.OI_CHAIN, names.OI_SESSION: caller.session}
    parent, ended = trace.parent, exchange.ended or exchange.started
    return Span(
        trace.trace,
        trace.span,
        "" if parent is None else parent.span,
        names.EXCHANGE_SPAN,
        SERVER if request.way_in == "gateway" else INTERNAL,
        exchange.started,
        ended,
        {name: value for name, value in told.items() if value not in ("", None)},
        _findings(exchange),
        is_failure(exchange),
        "" if parent is None else parent.state,
        parent is not None and request.way_in == "gateway",
    )


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
    request, route = exchange.request, attempt.route
    operation = names.OPERATIONS.get(request.endpoint)
    model = (route.model or request.facts.model)[:_MOST_NAME]
    host, port = _address(route.base_url)
    told: dict[str, Value | None] = {
        names.ATTEMPT_NUMBER: attempt.number,
        names.COST: attempt.cost_nano / _NANO,
        names.ESTIMATED: attempt.estimated or None,
        names.BOUND: None if attempt.bound_nano is None else attempt.bound_nano / _NANO,
        names.REQUEST_ID: attempt.request_id,
        names.SIMULATED: attempt.simulated or None,
        names.HTTP_STATUS: attempt.status or None,
        names.SERVER_ADDRESS: host,
        names.SERVER_PORT: port,
    }
    if operation is not None:
        told |= _inference(exchange, attempt, operation, model, rules.names)
    usage = attempt.usage
    if usage is not None:
        told |= _own_usage(usage)
        if counts and operation is not None:
            told |= _usage(usage, rules.names)
    error = attempt.error
    if error is not None:
        told[names.ERROR_TYPE] = error.kind or error.code
        told[names.ERROR_CODE] = error.provider_code
    if rules.openinference and operation is not None:
        told |= _openinference(attempt, operation, model, counts=counts)
    events = _moments(attempt)
    if rules.clean is not None and operation == names.CHAT and attempt is exchange.last:
        _tell_content(exchange, attempt, rules, rules.clean, told, events)
    ended = attempt.ended or exchange.ended or attempt.started
    return Span(
        trace.trace,
        attempt_span(exchange, attempt.number),
        trace.span,
        names.ATTEMPT_SPAN if operation is None else f"{operation} {model}".rstrip(),
        CLIENT,
        attempt.started,
        ended,
        {name: value for name, value in told.items() if name and value is not None and value != ""},
        events,
        error is not None or (attempt is exchange.last and is_failure(exchange)),
    )


def _inference(
    exchange: Exchange, attempt: Attempt, operation: str, model: str, name: GenAI
) -> dict[str, Value | None]:
    facts, first = exchange.request.facts, attempt.first_content
    return {
        name.operation: operation,
        name.provider: attempt.route.provider,
        name.conversation: exchange.request.caller.session,
        name.request_model: model,
        name.request_max_tokens: facts.max_output_tokens or attempt.output_cap or None,
        name.request_choices: facts.choices if facts.choices != 1 else None,
        name.request_stream: facts.stream,
        name.response_model: attempt.model_served,
        name.response_finish_reasons: (attempt.stop_reason,) if attempt.stop_reason else None,
        name.response_first_chunk: first - attempt.started if facts.stream and first is not None else None,
    }


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


def _openinference(attempt: Attempt, operation: str, model: str, *, counts: bool) -> dict[str, Value | None]:
    told: dict[str, Value | None] = {
        names.OI_KIND: names.OI_LLM if operation == names.CHAT else names.OI_EMBEDDING,
        names.OI_MODEL: attempt.model_served or model,
        names.OI_PROVIDER: attempt.route.provider,
        names.OI_SYSTEM: attempt.route.dialect,
    }
    usage = attempt.usage
    if usage is not None and counts:
        told |= {
            names.OI_PROMPT: usage.prompt_tokens,
            names.OI_COMPLETION: usage.output_tokens,
            names.OI_TOTAL: usage.prompt_tokens + usage.output_tokens,
            names.OI_CACHE_READ: usage.cache_read_tokens or None,
            names.OI_CACHE_WRITE: usage.cache_write_tokens + usage.cache_write_long_tokens or None,
            names.OI_REASONING: usage.reasoning_tokens or None,
            names.OI_COST: attempt.cost_nano / _NANO,
        }
    return told


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
