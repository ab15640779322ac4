"""Changes to what is asked: not at all (exact cache), shorter (pruning, length limits), capped answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from headgate.core.usage import Usage
from headgate.policy.audit.calls import Advice, Kept, Prices, by, named, quantile, with_prompt

CACHE_SECONDS = 3600.0  # how long an answer is kept: `cache: 1h`
LEAST_CALLS = 20  # of a task, before its lengths say anything
_ODD_PROMPT = 3.0  # a prompt this many times as long as half of its task's others is an outlier worth a limit
_HISTORY_TOKENS = 4_000  # of a conversation, besides its system prompt
_HISTORY_BLOCK = 5  # turns that go at once, so that cached prefixes survive (decisions 17); the default of `history`
_SHARE_CUT = 0.02  # of answers that a cap may cut short


def exact_cache(calls: list[Kept], prices: Prices) -> list[Advice]:
    """Requests of the same bytes, of the same tenant or key, while a complete answer to them would be kept."""
    found: list[Advice] = []
    for (task,), group in by(calls, lambda each: (each.call.task,)).items():
        saved = hits = 0
        kept_until: dict[tuple[str, str, str], float] = {}
        for each in group:
            call = each.call
            if not call.digest or not each.movable:
                continue
            key = (call.owner, call.model, call.digest)
            if call.at < kept_until.get(key, 0.0):
                saved += each.nano
                each.nano, each.made = 0, False
                hits += 1
            elif call.whole:
                kept_until[key] = call.at + CACHE_SECONDS
        if hits:
            where = ("tasks", task, "cache", "1h") if task else ("cache", "default", "1h")
            found.append(
                Advice(
                    "cache",
                    "Keep answers for an hour",
                    named(task),
                    hits,
                    saved,
                    "The same request gets the same answer for an hour: wrong where answers should differ each time, "
                    "or depend on the moment.",
                    ("requests count as the same where their bytes are", "identical calls at once wait for one answer"),
                    (where,),
                )
            )
    return found


def length_limits(calls: list[Kept], prices: Prices) -> list[Advice]:
    """Prompts far longer than their task's others, shortened to a limit."""
    found: list[Advice] = []
    for (task,), group in _tasks(calls).items():
        lengths = sorted(each.usage.prompt_tokens for each in group)
        limit = _rounded(quantile(lengths, 0.5) * _ODD_PROMPT)
        over = [each for each in group if each.usage.prompt_tokens > limit]
        if not over:
            continue
        saved = sum(_shorten(each, limit, prices) for each in over)
        if saved > 0:
            found.append(
                Advice(
                    "length",
                    f"Send at most {limit:,} input tokens",
                    named(task),
                    len(over),
                    saved,
                    f"{len(over):,} of {len(group):,} prompts were longer, up to {lengths[-1]:,}: what is cut off "
                    "cannot be answered from.",
                    ("the application shortens such prompts and calls all the same; refused, they save more",),
                    (("tasks", task, "guards", "limits", "tokens", limit),) if task else (),
                )
            )
    return found


def _shorten(each: Kept, tokens: int, prices: Prices) -> int:
    return _change(each, with_prompt(each.usage, tokens), prices)


def _change(each: Kept, usage: Usage, prices: Prices) -> int:
    """Nano-dollars saved by another usage."""
    before = each.nano
    each.usage, each.nano = usage, prices.now(each, usage=usage)
    return before - each.nano


def pruning(calls: list[Kept], prices: Prices) -> list[Advice]:
    """Conversations whose prompt grows with each call, cut down to a limit in blocks."""
    found: list[Advice] = []
    for (task,), group in by(calls, lambda each: (each.call.task,)).items():
        saved = touched = 0
        for each, keep in _grown(group):
            gain = _shorten(each, keep, prices)
            if gain > 0:
                saved += gain
                touched += 1
        if touched:
            limit = _HISTORY_TOKENS
            found.append(
                Advice(
                    "pruning",
                    f"Keep {limit:,} tokens of a conversation's history",
                    named(task),
                    touched,
                    saved,
                    "The model no longer sees what was said before that.",
                    (
                        "the system prompt stays, where its length is known",
                        f"the oldest {_HISTORY_BLOCK} turns go at once, and the last turn stays",
                    ),
                    (("tasks", task, "history", "tokens", limit),) if task else (),
                )
            )
    return found


@dataclass(slots=True)
class _Talk:
    """A conversation: what always stays of it, its last prompt and answer, its turns' tokens, and how many are gone."""

    base: int
    last: int
    answered: int
    turns: list[int]
    gone: int = 0


def _grown(group: list[Kept]) -> list[tuple[Kept, int]]:
    """The calls of conversations that are too long, and how many tokens of their prompts to keep."""
    talks: dict[tuple[str, str, str], _Talk] = {}
    found: list[tuple[Kept, int]] = []
    for each in group:
        call, prompt = each.call, each.usage.prompt_tokens
        if not call.session or not each.movable:
            continue
        key = (call.tenant, call.user, call.session)
        talk = talks.get(key)
        if talk is None or prompt < talk.last:  # shorter than before: another conversation, or pruned already
            base = min(call.system_tokens, prompt)
            talks[key] = _Talk(base, prompt, each.usage.output_tokens, [prompt - base])
            continue
        grown = prompt - talk.last
        answer = min(grown, talk.answered)  # it goes with the turn that it answers
        talk.turns[-1] += answer
        talk.turns.append(grown - answer)
        talk.last, talk.answered = prompt, each.usage.output_tokens
        left = sum(talk.turns[talk.gone :])
        while left > _HISTORY_TOKENS and talk.gone < len(talk.turns) - 1:
            going = min(_HISTORY_BLOCK, len(talk.turns) - 1 - talk.gone)
            left -= sum(talk.turns[talk.gone : talk.gone + going])
            talk.gone += going
        if talk.gone:
            found.append((each, talk.base + left))
    return found


def caps(calls: list[Kept], prices: Prices) -> list[Advice]:
    """Output caps just above what a task's answers need: what runs on behind them is cut."""
    found: list[Advice] = []
    for (task,), group in _tasks(calls).items():
        # A cap counts thinking, which is longer than what is said: such answers are left alone.
        spoken = [each for each in group if not each.usage.reasoning_tokens]
        lengths = sorted(each.usage.output_tokens for each in spoken)
        if len(spoken) < LEAST_CALLS or not lengths[-1]:
            continue
        cap = _rounded(quantile(lengths, 1.0 - _SHARE_CUT) * 1.1)
        over = [each for each in spoken if each.usage.output_tokens > cap]
        saved = 0
        for each in over:
            saved += _change(each, replace(each.usage, output_tokens=cap), prices)
        highest = max((each.call.cap for each in spoken), default=0)
        if saved > 0:
            also = f" Held per call until it settles: {cap:,} tokens, not {highest:,}." if highest > cap else ""
            found.append(
                Advice(
                    "caps",
                    f"Cap answers at {cap:,} tokens.{also}",
                    named(task),
                    len(over),
                    saved,
                    f"{len(over):,} of {len(spoken):,} answers were longer, and would have ended there unfinished.",
                    ("answers up to the cap stay as they are",),
                    (("tasks", task, "max_tokens", cap),) if task else (),
                )
            )
    return found


def _tasks(calls: list[Kept]) -> dict[tuple[str, ...], list[Kept]]:
    """Movable calls by task, of tasks with enough of them."""
    groups = by((each for each in calls if each.movable), lambda each: (each.call.task,))
    return {task: group for task, group in groups.items() if len(group) >= LEAST_CALLS}


def _rounded(tokens: float) -> int:
    """Up to two digits: a number that a person would write."""
    step = 10
    while tokens > step * 100:
        step *= 10
    return max(step, ceil(tokens / step) * step)
