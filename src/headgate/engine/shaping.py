"""What is left out of a request before it is sent, in its caller's dialect.

Behind the cache, whose key is of what the caller sent (decisions 17), and in front of the attempts: routes of the other
dialect get a translation of what is left. What is told to providers' prompt caches is per attempt (`engine.prompting`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headgate.core.exchange import Exchange
from headgate.policy.compacting import compact
from headgate.policy.shaping import History, turns_to_drop
from headgate.wire.pruning import pruned, turns, whole_turns
from headgate.wire.segments import PROSE, segments
from headgate.wire.splicing import splice

if TYPE_CHECKING:
    from headgate.engine.plan import Plan, Policies

PRUNED = frozenset({"messages", "chat", "responses"})


def shape(exchange: Exchange, plan: Plan, policies: Policies) -> None:
    """Change `exchange.request` as its task wants it; `exchange.pruned` says what is gone. Never raises for a body that
    its dialect has accepted."""
    shape = plan.shape
    request = exchange.request
    if shape is None or request.endpoint not in PRUNED or request.of_guard:
        return
    body = request.body
    # What the provider keeps, and continues, is not in the body: its calls may have their results here.
    if shape.history is not None and not request.facts.state:
        body = _pruned(exchange, shape.history, body)
    if shape.compact:
        body = _compacted(exchange, body)
    if body is request.body:
        return
    facts = policies.dialects(request.dialect).read_request(request.endpoint, body, keep_text=policies.keep_text)
    facts.max_output_tokens = request.facts.max_output_tokens  # the task's own cap is in it by now
    exchange.request = replace(request, body=body, facts=facts)


def _pruned(exchange: Exchange, history: History, body: bytes) -> bytes:
    endpoint = exchange.request.endpoint
    if history.tokens is not None and len(body) <= history.tokens:
        return body  # a token is a byte at least
    found = turns(endpoint, body)
    if found is None:
        return body
    drop = turns_to_drop(history, [found.tokens(n) for n in range(len(found.starts))], found.kept_tokens)
    drop = whole_turns(found, drop)
    left = pruned(endpoint, body, found, drop)
    if left == body:
        return body
    tokens = sum(found.tokens(n) for n in range(drop))
    exchange.pruned = f"{drop} of {len(found.starts)} turns, about {tokens} tokens"
    return left


def _compacted(exchange: Exchange, body: bytes) -> bytes:
    request = exchange.request
    edits = []
    for each in segments(request.dialect, request.endpoint, body):
        if each.channel == "system" and each.form == PROSE and each.marks is None:
            text = compact(each.text)
            if text != each.text:
                edits.append((*each.span, text))
                exchange.compacted += len(each.text) - len(text)
    return splice(body, edits) if edits else body
