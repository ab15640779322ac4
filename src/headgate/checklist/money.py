"""Usage, budgets, limits of users, and what makes calls cheaper."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from headgate.checklist.drills import drill, target
from headgate.checklist.facts import Facts
from headgate.checklist.items import FAIL, NOT_APPLICABLE, PASS, WARN, Result
from headgate.checklist.watching import ONLY_CRITICAL
from headgate.core.budget import WARN_AT
from headgate.core.money import usd_text
from headgate.settings.model import BudgetSettings
from headgate.stores.memory import MEMORY

_PERSONAL = frozenset({"user", "session", "address"})
_OWNERS = _PERSONAL | {"key", "tenant"}
TRUNCATED_SHARE = 0.05
"""Of the answers; from here on caps are too low."""
LONG_PROMPT = 20_000
"""Tokens of a prompt within a session, from which on its history is worth a bound."""

_NOTHING_SEEN = "Nothing was logged in the last 7 days: make a call, and look again."


def usage(facts: Facts) -> Result:
    """What the ledger has."""
    storage = facts.settings.storage
    if storage == MEMORY:
        what = f"storage: memory{facts.at('storage')}: what was spent is forgotten when the process ends."
        return Result(WARN, what, "storage: sqlite:///headgate.db")
    spent = facts.spent
    if spent is None or not spent.exchanges:
        return Result(PASS, f"Every call is recorded in the ledger{facts.at('storage')}. {_NOTHING_SEEN}")
    estimated = f", ${usd_text(spent.estimated_nano)} of it estimated" if spent.estimated_nano else ""
    what = f"The ledger has {spent.exchanges:,} exchanges of the last 7 days, ${usd_text(spent.cost_nano)}{estimated}."
    nameless = sum(not (row.user or row.tenant or row.key or row.session) for row in facts.sample)
    if facts.sample and nameless * 2 > len(facts.sample):
        what += f" {nameless} of the last {len(facts.sample)} name nobody: no user, session, tenant or key."
        return Result(WARN, what, "with headgate.caller(user=..., task=...):   # or the header x-headgate-user")
    if spent.estimated_nano * 10 > spent.cost_nano > 0:
        return Result(WARN, what, "headgate reconcile")
    return Result(PASS, what)


def _hard(facts: Facts) -> list[tuple[int, BudgetSettings]]:
    """Budgets that refuse, with their place in the list."""
    told = enumerate(facts.settings.budgets)
    return [(place, each) for place, each in told if each.usd_nano is not None or each.tokens is not None]


_NO_BUDGET = "There is no budget: nothing stops spending."
_A_BUDGET = "budgets:\n  - {usd: 50, every: day}\n  - {per: user, usd: 5, every: day}"


def budget_alerts(facts: Facts) -> Result:
    """Whether there is a mark at 80% or before, and somebody to tell."""
    settings = facts.settings
    if not settings.budgets:
        return Result(FAIL, _NO_BUDGET, _A_BUDGET)
    late = [n for n, each in enumerate(settings.budgets) if not any(m <= WARN_AT for m in each.alert_at_basis_points)]
    if late:
        named = ", ".join(f"budgets[{n}]{facts.at(f'budgets[{n}]')}" for n in late)
        return Result(WARN, f"No alert at 80% or before: {named}.", "alert_at: [80%, 100%]")
    if not settings.alert_rules["budget_near"].on:
        return Result(WARN, f"The rule budget_near is off{facts.at('alert_rules.budget_near')}.", "remove that line")
    what = f"{_many(len(settings.budgets), 'budget')} with a mark at 80% or before"
    if not settings.alerts:
        return Result(WARN, f"{what}, and nobody is told: `alerts` is empty.", _AN_ALERT)
    to = ", ".join(facts.told_of(("budget_near",)))
    if not to:
        return Result(WARN, f"{what}; {ONLY_CRITICAL}{facts.at('alerts')}.", _AN_ALERT)
    return Result(PASS, f"{what}; told: {to}{facts.at('alerts')}.")


_AN_ALERT = "alerts:\n  - {to: env:ALERT_WEBHOOK_URL}"


def budget_stop(facts: Facts) -> Result:
    """A call, with every cap of everything together as good as spent."""
    hard = _hard(facts)
    if not hard:
        what = "The budgets only warn: none of them has a hard cap." if facts.settings.budgets else _NO_BUDGET
        return Result(FAIL, what, _A_BUDGET)
    everybody = [(place, each) for place, each in hard if not each.per and not each.only]
    if not everybody:
        first = facts.at(f"budgets[{hard[0][0]}]")
        what = f"{_many(len(hard), 'hard cap')}, the first{first}; none of them is on everything together, so more "
        return Result(WARN, what + "callers spend more.", "budgets:\n  - {usd: 50, every: day}")
    spent = tuple(replace(each, usd_nano=1, tokens=None, soft_usd_nano=None) for _, each in everybody)
    model, dialect = target(facts.settings)
    done = drill(facts.settings, facts.env, lambda _name, _attempt: None, model=model, dialect=dialect, budgets=spent)
    place, _ = everybody[0]
    where = facts.at(f"budgets[{place}]")
    code = "" if done.played.error is None else done.played.error.code
    if done.asked or done.answered:
        return Result(FAIL, f"Drill, with the cap spent: the call was sent all the same{where}.", "headgate explain")
    return Result(
        PASS, f"Drill, with the cap{where} spent: refused with {done.played.status} {code}, nothing was sent."
    )


def user_limits(facts: Facts) -> Result:
    """Limits and budgets per user, session or address; else per key or tenant."""
    settings = facts.settings
    limits = [n for n, each in enumerate(settings.limits) if _PERSONAL & set(each.per)]
    budgets = [n for n, each in enumerate(settings.budgets) if _PERSONAL & set(each.per)]
    told = [f"limits[{n}] per {' and '.join(settings.limits[n].per)}{facts.at(f'limits[{n}]')}" for n in limits]
    told += [f"budgets[{n}] per {' and '.join(settings.budgets[n].per)}{facts.at(f'budgets[{n}]')}" for n in budgets]
    named = sum(bool(row.user) for row in facts.sample)
    seen = f" {named} of the last {len(facts.sample)} calls name a user." if facts.sample else ""
    remedy = "limits:\n  - {per: user, requests_per_minute: 60, tokens_per_minute: 100000}"
    if not told:
        coarse = [each.per for each in settings.limits] + [each.per for each in settings.budgets]
        if any(_OWNERS & set(per) for per in coarse) or any(key.limits or key.budgets for key in settings.keys):
            return Result(WARN, f"There are bounds per key or tenant, and none per user.{seen}", remedy)
        return Result(FAIL, f"No limit and no budget is per user: one of them can spend it all.{seen}", remedy)
    what = f"{'; '.join(told)}.{seen}"
    if facts.sample and not named and not any("session" in each for each in told):
        advice = "with headgate.caller(user=...):   # or the header x-headgate-user"
        return Result(WARN, f"{what} Calls without one share one account.", advice)
    if not limits:
        return Result(WARN, f"{what} None of them bounds how fast.", remedy)
    return Result(PASS, what)


def routing(facts: Facts) -> Result:
    """Virtual models and tasks with a model of their own; which models have served."""
    settings = facts.settings
    tasks = [name for name, task in settings.tasks.items() if task.model]
    by = {value: row for value, row in facts.by("model").items() if value}
    cost = sum(row.cost_nano for row in by.values())
    seen = ""
    if by:
        dearest, row = max(by.items(), key=lambda each: each[1].cost_nano)
        share = f" ({row.cost_nano / cost:.0%} of ${usd_text(cost)})" if cost else ""
        seen = f" {_many(len(by), 'model')} served in the last 7 days, {dearest} for the most money{share}."
    if not tasks and not any(each.rules for each in settings.virtual.values()):
        what = "No task has a model of its own: every call goes to the model that it asks for."
        return Result(WARN, what + seen, "tasks:\n  classify: {model: fast, max_tokens: 50}")
    named = f"tasks with a model: {', '.join(tasks)}" if tasks else "virtual models with rules"
    return Result(PASS, f"{named[:1].upper()}{named[1:]}{facts.at('tasks')}.{seen}")


def caps(facts: Facts) -> Result:
    """Tasks' output caps, the defaults, and how many answers they have cut off."""
    settings = facts.settings
    week = facts.week
    seen, share = "", 0.0
    if week is not None:
        share = week.truncated / week.exchanges
        seen = f" {share:.1%} of the last 7 days' answers were cut off by one."
    if share > TRUNCATED_SHARE:
        return Result(WARN, f"Output caps are too low.{seen}", "headgate audit")
    without = [name for name, task in settings.tasks.items() if task.max_tokens is None]
    if settings.caps != "off":
        return Result(PASS, f"caps: {settings.caps}{facts.at('caps')}; tasks may have their own.{seen}")
    if settings.max_usd_per_call_nano is not None:
        most = usd_text(settings.max_usd_per_call_nano)
        return Result(PASS, f"No call may cost more than ${most}{facts.at('max_usd_per_call')}.{seen}")
    if settings.tasks and not without:
        return Result(PASS, f"Each of {_many(len(settings.tasks), 'task')} has max_tokens{facts.at('tasks')}.{seen}")
    named = f"without max_tokens: {', '.join(without)}" if without else "there are no tasks"
    return Result(WARN, f"caps: off{facts.at('caps')}, and {named}: the caller decides.{seen}", "caps: defaults")


def cache(facts: Facts) -> Result:
    """Whether answers are kept, and how often that helped."""
    settings, week = facts.settings, facts.week
    seen = ""
    if week is not None:
        seen = f" {week.hits:,} of {week.exchanges:,} calls of the last 7 days were answered from it."
    kept = [name for name, task in settings.tasks.items() if task.cache_seconds]
    told = settings.cache.default_seconds
    where = facts.at("cache.default") if facts.told("cache.default") else facts.at("cache")
    if told:
        return Result(PASS, f"Answers are kept for {told:g} s{where}.{seen}")
    if kept:
        return Result(PASS, f"Answers of these tasks are kept: {', '.join(kept)}{facts.at('tasks')}.{seen}")
    if told is None:
        return Result(PASS, f"Answers at temperature 0 are kept{where}; nothing else is.{seen}")
    return Result(WARN, f"The cache is off{where}.{seen}", "tasks:\n  classify: {cache: 1h}")


def prompt_caching(facts: Facts) -> Result:
    """Whether prompts are marked, and what share of them came from a provider's cache."""
    settings, week = facts.settings, facts.week
    seen = ""
    if week is not None and (prompt := week.input_tokens + week.cache_read_tokens + week.cache_write_tokens):
        share = week.cache_read_tokens / prompt
        seen = f" {share:.0%} of the last 7 days' prompt tokens came from providers' caches."
    off = [name for name, task in settings.tasks.items() if task.prompt_caching == "off"]
    if settings.prompt_caching == "off":
        what = f"prompt_caching: off{facts.at('prompt_caching')}.{seen}"
        return Result(WARN, what, "prompt_caching: auto")
    but = f", but not of these tasks: {', '.join(off)}" if off else ""
    return Result(PASS, f"Prompts are marked where it pays{facts.at('prompt_caching')}{but}.{seen}")


def history(facts: Facts) -> Result:
    """Whether tasks with conversations have a bound."""
    bounded = [name for name, task in facts.settings.tasks.items() if task.history is not None]
    turns = Counter((row.tenant, row.session) for row in facts.sample if row.session)
    talks = {each for each, times in turns.items() if times > 1}
    mine = [row for row in facts.sample if (row.tenant, row.session) in talks and row.task not in bounded]
    longest = max((r.input_tokens + r.cache_read_tokens + r.cache_write_tokens for r in mine), default=0)
    if bounded and not mine:
        return Result(PASS, f"A bound on what is sent of a conversation: {', '.join(bounded)}{facts.at('tasks')}.")
    if not talks:
        what = f"No conversation among the last {len(facts.sample)} calls." if facts.sample else _NOTHING_SEEN
        return Result(NOT_APPLICABLE, what)
    tasks = sorted({row.task or "(no task)" for row in mine})
    what = f"Conversations without a bound, of {', '.join(tasks[:5])}; the longest prompt had {longest:,} tokens."
    state = WARN if longest > LONG_PROMPT or not bounded else PASS
    return Result(state, what, "tasks:\n  chat: {history: {turns: 20}}")


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
