"""What one process's pace has to say to the one that all replicas share (`core.ports.SharedPace`). Pure.

wait = pace.ask(need, now)
if wait == 0.0 and shared is not None:
    wait = await shared.take(place, taken(pace, need))
    if wait > 0.0:
        pace.give_back(need, now)               # and queue again, for that long
...
pace.observe(facts, status, now, need=need)     # 429: also give_back(place, taken(...)), and block
shared.learn(place, told(pace, now))
...
shared.correct(place, corrected(pace, need, usage)); pace.correct(need, usage, now)
"""

from __future__ import annotations

from headgate.core.limits import Amount
from headgate.core.usage import Usage
from headgate.policy.pace import CEILINGS, INPUT, KINDS, OUTPUT, Pace
from headgate.policy.pace_need import Need


def taken(pace: Pace, need: Need) -> tuple[Amount, ...]:
    """What `need`, which `pace` has let go, has taken: for `take` and `give_back`.

    Kinds whose limit this process has not been told of are named as well, for others may have been.
    """
    amounts = pace.taken(need)
    _, told_input, output, _ = amounts
    return _amounts(pace, amounts, 1.0, told_input + output)


def corrected(pace: Pace, need: Need, actual: Usage | None) -> tuple[Amount, ...]:
    """How much more (negative: less) was counted than `need` had taken: for `correct`. () = nothing to correct."""
    if actual is None:
        return ()
    more = pace.corrections(need, actual)
    return tuple(each for each in _amounts(pace, more, 0.0, more[INPUT] + more[OUTPUT]) if each.amount)


def told(pace: Pace, now: float) -> tuple[Amount, ...]:
    """What the answer that `pace` has observed at `now` tells: for `learn`. () = nothing."""
    return tuple(
        Amount(name, bucket.most, bucket.capacity, bucket.rate)
        for name, bucket in pace.limits()
        if bucket.told_at == now and name not in CEILINGS
    )


def _amounts(
    pace: Pace, by_kind: tuple[float, float, float, float], requests: float, tokens: float
) -> tuple[Amount, ...]:
    known = {name: (bucket.capacity, bucket.rate) for name, bucket in pace.limits()}
    made = [Amount(kind, amount, *known.get(kind, (0.0, 0.0))) for kind, amount in zip(KINDS, by_kind, strict=True)]
    for name, amount in zip(CEILINGS, (requests, tokens), strict=True):
        if name in known:
            made.append(Amount(name, amount, *known[name]))
    return tuple(made)
