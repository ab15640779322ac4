"""What looking for anomalies costs: run it with `python tests/policy/measure_anomalies.py`.

Microseconds of CPU per exchange, the least of many rounds, in a stream in which nothing is unusual.
"""

from __future__ import annotations

import time

from headgate.core.caller import Caller
from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Request, Route
from headgate.core.usage import Usage
from headgate.policy.anomalies import Anomalies, Rules

START = 20_800 * 86_400.0
EXCHANGES = 400
ROUNDS = 500
SETS = 3  # apart from each other, because a machine that is busy is not busy all the time


def stream(users: int, *, sessions: bool) -> list[Exchange]:
    """Calls of so many users, in turn, a hundred per second."""
    route = Route("anthropic", "", "anthropic", "https://api.anthropic.example")
    found = []
    for n in range(EXCHANGES):
        user, at = n % users, START + n / 100
        caller = Caller(key="k1", tenant="acme", user=f"user-{user}", session=f"s-{user}" if sessions else "")
        asked = Request("anthropic", "messages", "POST", "/v1/messages", (), b"{}", Facts(), caller, "gateway")
        attempt = Attempt(1, route, at, sent=True, status=200)
        attempt.usage = Usage(input_tokens=900 + n * 37 % 101, output_tokens=90 + n * 17 % 23)
        attempt.model_served, attempt.cost_nano = "claude-haiku-4-5-20251001", 1_400_000
        found.append(Exchange(f"ex_{n}", asked, at, [attempt], Ending.COMPLETE, None, at + 0.5, 200))
    return found


def least(exchanges: list[Exchange]) -> float:
    look = Anomalies(Rules(session_nano=10**15)).look
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for exchange in exchanges:
            look(exchange)
        best = min(best, time.perf_counter() - began)
    return best / len(exchanges) * 1e6


if __name__ == "__main__":
    for sessions in (False, True):
        for users in (32, 400):
            cost = min(least(stream(users, sessions=sessions)) for _ in range(SETS))
            print(f"{users:4} users, {'a session each' if sessions else 'no sessions   '}  {cost:.2f} us per exchange")
