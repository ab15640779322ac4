"""How a provider's traffic stands, in words, from the rows of `traffic_report.providers_report`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headgate.policy.rate_facts import CONTRADICTORY, FAR, PAST, SILENT_ANSWERS, TWICE, UNREADABLE
from headgate.policy.turn import CAUSES

Row = Mapping[str, Any]

_FAULTS = {
    PAST: "a reset in the past",
    FAR: "a reset days away",
    UNREADABLE: "a value that is no number",
    CONTRADICTORY: "more left than their limit",
    TWICE: "a limit told twice, differently",
}
_LEFT = {
    "requests": "requests",
    "tokens": "tokens",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "requests_ceiling": "requests of your ceiling",
    "tokens_ceiling": "tokens of your ceiling",
}


def time_text(seconds: float) -> str:
    """A duration for people: ``42 s``, ``4 min 12 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def open_text(each: Row) -> str:
    """A breaker that is open: of what, why, for how long."""
    key = f" ({each['credential']})" if each["credential"] else ""
    subject = {"route": f"route {each['model'] or 'without a model'}{key}", "account": f"account{key}"}
    what = subject.get(each["what"], f"credential{key}")
    why = CAUSES.get(each["cause"], each["cause"])
    left = each["retry_after"]
    if each["probing"]:
        return f"{what}: {why}; a probe is on its way"
    return f"{what}: {why}; probed {f'in {time_text(left)}' if left else 'by the next call'}"


def at_once_text(row: Row) -> str:
    """The cap on concurrency, and who waits."""
    cap, waiting = row["cap"], row["waiting"]
    how = "no cap" if cap is None else f"of {cap:,}, {'follows its capacity' if row['cap_adapts'] else 'fixed'}"
    return f"{row['in_flight']:,} in flight ({how}), {waiting:,} waiting"


def rates_text(row: Row) -> str:
    """Errors of attempts beside those that callers see."""
    if not row["attempts"]:
        return "no errors to tell: no call in the last 5 minutes"
    attempts = f"{row['attempt_error_rate']:.1%} of {row['attempts']:,} attempts"
    exchanges = f"{row['exchange_error_rate']:.1%} of {row['exchanges']:,} exchanges"
    return f"in 5 minutes {attempts} failed, and {exchanges if row['exchanges'] else 'no exchange ended here'}"


def retries_text(row: Row) -> str:
    """What is left of the retry budget."""
    left = row["retries_left"]
    return "any number of retries" if left is None else f"{left:.0f} retries left now"


def pace_lines(pace: Row) -> Iterator[str]:
    """What is known of one pace: each limit, then what is on its way."""
    if not pace["paced"]:
        yield f"not paced; {pace['waiting']:,} waiting"
        return
    for each in pace["limits"]:
        name = _LEFT.get(each["name"], each["name"])
        yield f"{each['left']:,} of {each['limit']:,} {name} left, {_rate(each['per_second'])}"
    if not pace["limits"]:
        yield "no limit is known: after 429s it waits as told, else 1, 2, 4, ... s"
    share = f", our share {pace['share']:.0%}" if pace["share"] < 1 else ""
    blocked = f", nobody goes for {time_text(pace['blocked'])}" if pace["blocked"] else ""
    yield f"{pace['in_flight']:,} in flight of {pace['window']:,}, {pace['waiting']:,} waiting{share}{blocked}"


def _rate(per_second: float) -> str:
    return f"+{per_second:,.0f}/s" if per_second >= 10 else f"+{per_second:.2g}/s"


def header_lines(row: Row) -> Iterator[str]:
    """What was wrong with its headers about rate limits, and with its clock."""
    headers = row["headers"]
    answers = headers["answers"]
    if answers >= SILENT_ANSWERS and not headers["told"]:
        yield f"none of {answers:,} answers told a rate limit: only ceilings, 429s and caps slow calls down"
    for fault, times in sorted(headers["dropped"].items(), key=lambda each: -each[1]):
        yield f"{times:,} of {answers:,} answers had {_FAULTS.get(fault, fault)}"
    ahead = headers["clock_ahead"]
    if ahead:
        yield f"its clock is {time_text(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} ours"
