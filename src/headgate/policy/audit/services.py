"""Changes to how it is served: a cheaper model, the provider's batches, the provider's prompt cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from headgate.core.usage import Usage
from headgate.policy.audit.calls import Advice, Kept, Prices, by, named, quantile
from headgate.policy.audit.requests import LEAST_CALLS

SIMPLE_TOKENS = 400
"""A task whose answers (95 of 100) are no longer is simple: labels, extraction, summaries."""

TTL_SECONDS = 300.0
TTL_LONG_SECONDS = 3600.0

# The next smaller model of the same line, by what a name begins with; the longest wins. Prices decide whether it pays.
_SMALLER = (
    (re.compile(r"claude-(opus|fable|mythos)-[45]"), "claude-sonnet-5-5"),
    (re.compile(r"claude-sonnet-"), "claude-haiku-4-5"),
    (re.compile(r"gpt-6(\.1)?-(astra|sol|terra)"), "gpt-6-luna"),
    (re.compile(r"gpt-5\.6-(sol|terra)"), "gpt-5.6-luna"),
    (re.compile(r"gpt-5\.[45](?!-(mini|nano|pro|cyber))"), "gpt-5.4-mini"),
    (re.compile(r"gpt-5(-2025-08-07)?$"), "gpt-5-mini"),
    (re.compile(r"gpt-4\.1(?!-(mini|nano))"), "gpt-4.1-mini"),
    (re.compile(r"gpt-4o(?!-mini|-audio|-realtime|-search|-trans)"), "gpt-4o-mini"),
)

# The shortest prefix that Anthropic caches (wire-formats 1.8), by what a name begins with. Others: the longest of all.
_LEAST_PREFIX = (
    (re.compile(r"claude-(opus-5|sonnet-5-5|fable-5|mythos-5)"), 512),
    (re.compile(r"claude-(opus-4-8|sonnet-5|sonnet-4-[56]|haiku-5-5)"), 1024),
    (re.compile(r"claude-opus-4-7"), 2048),
)
_LEAST_PREFIX_ELSE = 4096


def smaller(model: str) -> str:
    """The next smaller model of the same vendor; "" where none is known."""
    return next((name for pattern, name in _SMALLER if pattern.match(model)), "")


def least_prefix(model: str) -> int:
    """Tokens: what is shorter is not cached, silently."""
    return next((tokens for pattern, tokens in _LEAST_PREFIX if pattern.match(model)), _LEAST_PREFIX_ELSE)


def cheaper_model(calls: list[Kept], prices: Prices, cheap: Mapping[str, str]) -> list[Advice]:
    """Simple tasks by a smaller model of the same provider.

    Args:
        cheap: the model to take in place of any dearer one, by provider: the configuration's own, or the one asked for.
    """
    found: list[Advice] = []
    groups = by((each for each in calls if each.movable), lambda each: (each.call.task, each.call.provider, each.model))
    for (task, provider, model), group in groups.items():
        lengths = sorted(each.usage.output_tokens for each in group)
        if not task or len(group) < LEAST_CALLS or quantile(lengths, 0.95) > SIMPLE_TOKENS:
            continue
        target = cheap.get(provider, "") or smaller(model)
        if not target or target == model or any(each.usage.iterations for each in group):
            continue
        told = [(each, prices.cost(each.call, target, each.usage)) for each in group]
        if any(nano is None for _, nano in told):
            continue
        saved = sum(each.nano - (nano or 0) for each, nano in told)
        if saved <= 0:
            continue
        for each, nano in told:
            each.model, each.nano = target, nano or 0
        found.append(
            Advice(
                "model",
                f"{target} in place of {model}",
                named(task),
                len(group),
                saved,
                "Answers may be worse: compare them on a sample before you switch.",
                (
                    f"simple: 95 of 100 answers have at most {SIMPLE_TOKENS} tokens",
                    "the smaller model takes and gives as many tokens",
                ),
                (("tasks", task, "model", f"{provider}/{target}"),),
            )
        )
    return found


def batches(calls: list[Kept], prices: Prices, tasks: frozenset[str]) -> list[Advice]:
    """Calls that nobody waits for, at the provider's batch rates.

    Args:
        tasks: besides calls of priority `batch`, all calls of these.
    """
    found: list[Advice] = []
    groups = by((each for each in calls if each.movable), lambda each: (each.call.task,))
    for (task,), group in groups.items():
        patient = [each for each in group if each.call.batch or (task and task in tasks)]
        saved = moved = 0
        for each in patient:
            if each.usage.service_tier == "batch":
                continue
            nano = prices.now(each, batch=True)
            if nano < each.nano:
                saved += each.nano - nano
                each.nano, each.in_batch = nano, True
                moved += 1
        if moved:
            found.append(
                Advice(
                    "batch",
                    "Send as a provider's batch (`headgate batch submit --via provider`)",
                    named(task),
                    moved,
                    saved,
                    "Answers come within 24 hours, most within one; what expires has to be sent again.",
                    (
                        "nobody waits for these: priority batch, or a task you named",
                        "no prompt cache is hit in a batch",
                    ),
                )
            )
    return found


def prompt_caching(calls: list[Kept], prices: Prices) -> list[Advice]:
    """System prompts that come again while the provider would still have them."""
    found: list[Advice] = []
    able = (each for each in calls if each.movable and each.call.system and each.call.system_tokens)
    groups = by(able, lambda each: (each.call.provider, each.model, each.call.system))
    kinds: dict[str, tuple[int, int, set[str], int]] = {}
    for (_, model, system), group in groups.items():
        if any(each.usage.prompt_tokens > each.usage.input_tokens for each in group):
            continue  # it is cached already
        size = max(each.call.system_tokens for each in group)
        if size < least_prefix(model) or not _pays(group[0], prices):
            continue
        best = min((_replayed(group, long, prices) for long in (False, True)), key=lambda tried: tried[0])
        now = sum(each.nano for each in group)
        if best[0] >= now:
            continue
        for each, (usage, nano) in zip(group, best[1], strict=True):
            each.usage, each.nano = usage, nano
        for task in {each.call.task for each in group}:
            mine = [each for each in group if each.call.task == task]
            saved, count, systems, most = kinds.get(task, (0, 0, set(), 0))
            gain = sum(prices.now(each, usage=_uncached(each.usage)) - each.nano for each in mine)
            kinds[task] = (saved + gain, count + len(mine), systems | {system}, max(most, size))
    for task, (saved, count, systems, most) in kinds.items():
        many = f"{len(systems):,} prompts" if len(systems) > 1 else "its system prompt"
        found.append(
            Advice(
                "prompt_caching",
                f"Cache {many} (about {most:,} tokens) at the provider",
                named(task),
                count,
                saved,
                "None to the answers: `prompt_caching: auto` marks only what has come before.",
                (
                    "the system prompt's length is estimated where no count of it is on record",
                    "all calls come with credentials of one account",
                ),
                (("prompt_caching", "auto"),),
            )
        )
    return found


def _pays(each: Kept, prices: Prices) -> bool:
    """Whether a read is cheaper than sending, and a write has a price of its own: else caching is not ours to place."""
    thousand = 1_000
    plain = prices.now(each, usage=Usage(input_tokens=thousand))
    read = prices.now(each, usage=Usage(cache_read_tokens=thousand))
    return read < plain and (each.call.dialect == "anthropic" or each.model.startswith("claude-"))


def _replayed(group: list[Kept], long: bool, prices: Prices) -> tuple[int, list[tuple[Usage, int]]]:
    """What the calls would have cost with `prompt_caching: auto` (docs/token-economy.md): the first time a prefix is
    sent as it is, the second writes it, and from when that answer has begun others read it, which renews it. Calls
    meanwhile pay for no second write."""
    ttl = TTL_LONG_SECONDS if long else TTL_SECONDS
    begins = ends = float("-inf")  # when the prefix can be read, once it has been written
    found: list[tuple[Usage, int]] = []
    total = 0
    for number, each in enumerate(group):
        call, usage = each.call, each.usage
        size = min(call.system_tokens, usage.input_tokens)
        rest = usage.input_tokens - size
        ready = max(call.ready, call.at)
        if number and begins <= call.at < ends:
            usage = replace(usage, input_tokens=rest, cache_read_tokens=size)
            ends = max(ends, ready + ttl)
        elif number and call.at >= ends:
            short, lasting = (0, size) if long else (size, 0)
            usage = replace(usage, input_tokens=rest, cache_write_tokens=short, cache_write_long_tokens=lasting)
            begins, ends = ready, ready + ttl
        nano = prices.now(each, usage=usage)
        total += nano
        found.append((usage, nano))
    return total, found


def _uncached(usage: Usage) -> Usage:
    """The same tokens, none of them cached."""
    return replace(
        usage,
        input_tokens=usage.prompt_tokens,
        cache_read_tokens=0,
        cache_write_tokens=0,
        cache_write_long_tokens=0,
    )
