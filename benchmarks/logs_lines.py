"""Lines of a log as an installation of some size writes them: a month of them, made quickly and the same each time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import accumulate

DAYS = 30
START = 1_790_035_200.0  # 2026-09-22
USERS = 20_000
SESSION = 6
_MODELS = ("claude-haiku-4-5", "claude-sonnet-5-5", "claude-opus-5", "gpt-6-luna", "gpt-6.1-sol", "gpt-6.1-terra")
_TASKS = ("chat", "summarise", "extract", "classify", "")
_VOCABULARY = 50_000
_MESSAGE, _ANSWER = 20, 35  # words
FREQUENT, MIDDLING, RARE = "w1", "w900", "w49000"
"""Words: of nearly every exchange, of one in a hundred or two, of a handful."""


class Lines:
    """Makes lines, in the order of time.

    Args:
        count: over the whole month.
        bodies: with what was asked and answered.
        users: so many, each with calls of all tenants.
    """

    def __init__(self, count: int, *, bodies: bool, seed: int = 7, users: int = USERS) -> None:
        self._step = DAYS * 86_400 / count
        self._dice = random.Random(seed)
        self._made = 0
        self._bodies = bodies
        words = [f"w{rank}" for rank in range(1, _VOCABULARY + 1)]
        weights = list(accumulate(1 / rank for rank in range(1, _VOCABULARY + 1)))
        # Drawn once and cut anew for each text: drawing them one by one would take longer than all the rest.
        self._stream = self._dice.choices(words, cum_weights=weights, k=400_000)
        user_weights = list(accumulate(1 / rank**0.8 for rank in range(1, users + 1)))
        self._users = self._dice.choices(range(1, users + 1), cum_weights=user_weights, k=200_000)
        self._tails = [self._tail() for _ in range(400)]

    def some(self, count: int) -> bytes:
        """So many lines."""
        return b"".join(self._line() for _ in range(count))

    def _tail(self) -> bytes:
        dice = self._dice
        model = dice.choices(_MODELS, (40, 25, 5, 15, 10, 5))[0]
        failed = dice.random() < 0.01
        told = {
            "key": f"k{dice.randrange(40)}",
            "tenant": f"t{dice.randrange(20)}",
            "task": dice.choice(_TASKS),
            "feature": "",
            "environment": "production",
            "way_in": "gateway",
            "dialect": "anthropic" if model.startswith("claude") else "openai",
            "endpoint": "messages",
            "stream": dice.random() < 0.5,
            "provider": "anthropic" if model.startswith("claude") else "openai",
            "model_asked": model,
            "model_served": model,
            "system_prompt_hash": f"{dice.randrange(30):064x}",
            "ending": "failed" if failed else "complete",
            "stop_reason": dice.choices(("end_turn", "max_tokens", "tool_use"), (90, 4, 6))[0],
            "attempts": 1 + (dice.random() < 0.05),
            "client_retries": 0,
            "estimated": False,
            "price_version": "2026-11-01",
            "status_code": 503 if failed else 200,
            "error_type": "provider_failed" if failed else "",
            "error_kind": "overloaded" if failed else "",
            "simulated": False,
            "verdict": "allow",
            "cache": dice.choices(("miss", "hit", ""), (60, 10, 30))[0],
        }
        return b"," + json.dumps(told, separators=(",", ":")).encode()[1:] + b"\n"

    def _line(self) -> bytes:
        number = self._made
        self._made = number + 1
        at = START + number * self._step
        dice = self._dice
        milliseconds = int(at * 1000)
        latency = dice.expovariate(1 / 2500) + 200
        cost = dice.randrange(20_000_000)
        texts = ""
        if self._bodies:
            place = dice.randrange(390_000)
            message = " ".join(self._stream[place : place + _MESSAGE])
            answer = " ".join(self._stream[place + 500 : place + 500 + _ANSWER])
            texts = f',"user_message":"{message}","response_text":"{answer}"'
        user = self._users[dice.randrange(200_000)]
        own = (
            f'{{"timestamp":"{_timestamp(milliseconds)}","event":"exchange",'
            f'"exchange_id":"ex_{milliseconds:012x}{number:016x}","request_id":"req_{dice.getrandbits(64):016x}",'
            f'"correlation_id":"c{number // 2}","session_id":"s-{number // SESSION}","user_id":"u{user}",'
            f'"input_tokens":{dice.randrange(4000)},"output_tokens":{dice.randrange(800)},"cache_read_tokens":0,'
            f'"cache_write_tokens":0,"latency_ms":{latency:.1f},"ttft_ms":{latency / 3:.1f},'
            f'"cost_usd":0.{cost:09d}{texts}'
        )
        return own.encode() + self._tails[dice.randrange(400)]


_minutes: dict[int, str] = {}


def _timestamp(milliseconds: int) -> str:
    minute, rest = divmod(milliseconds, 60_000)
    text = _minutes.get(minute)
    if text is None:
        from datetime import UTC, datetime

        _minutes.clear()
        text = _minutes[minute] = datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")
    return f"{text}{rest // 1000:02d}.{rest % 1000:03d}Z"


def days_back(days: float) -> float:
    """So many days before the end of the month."""
    return START + (DAYS - days) * 86_400


def queries(dice: random.Random) -> Iterator[tuple[str, dict[str, object]]]:
    """(kind, what `LogQuery` takes): by field, by words, by both; rare and frequent; narrow in time and not."""
    user, rare_user = f"u{dice.randrange(1, 50)}", f"u{dice.randrange(10_000, USERS)}"
    model = dice.choice(_MODELS)
    tenant = f"t{dice.randrange(20)}"
    word = f"w{dice.randrange(800, 1000)}"
    rare = f"w{dice.randrange(40_000, 50_000)}"
    yield "no condition", {}
    yield "frequent field", {"fields": {"model": model}}
    yield "user of thousands", {"fields": {"user": user}}
    yield "user of dozens", {"fields": {"user": rare_user}}
    yield "nobody's name", {"fields": {"user": "nobody"}}
    yield "three fields", {"fields": {"model": model, "tenant": tenant, "user": user}}
    yield "errors of a tenant", {"errors": True, "tenant": tenant}
    yield "session", {"fields": {"session": f"s-{dice.randrange(10_000)}"}}
    yield "dear ones", {"min_cost_nano": 19_990_000}
    yield "slow ones", {"min_latency_ms": 25_000.0}
    yield "frequent word", {"text": FREQUENT}
    yield "middling word", {"text": word}
    yield "rare word", {"text": rare}
    yield "two words", {"text": f"{word} {FREQUENT}"}
    yield "phrase", {"text": f'"{FREQUENT} w2"'}
    yield "word nobody says", {"text": "zebra"}
    yield "frequent word, user of dozens", {"text": FREQUENT, "fields": {"user": rare_user}}
    yield "frequent word, nobody", {"text": FREQUENT, "fields": {"user": "nobody"}}
    yield "middling word, user of thousands", {"text": word, "fields": {"user": user}}
    yield "rare word, tenant", {"text": rare, "tenant": tenant}
    yield "middling word, errors", {"text": word, "errors": True}
    yield "word in one day", {"text": word, "since": days_back(12), "until": days_back(11)}
    yield "field in one day", {"fields": {"user": user}, "since": days_back(25), "until": days_back(24)}
