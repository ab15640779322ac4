"""LiteLLM's door for the benchmark: its own `custom_auth` hook. Runs inside LiteLLM's process, not in ours.

Keys with a budget come from LiteLLM's database; where it cannot run (see benchmarks/README.md) this hook hands out the
same object, so that everything after it is LiteLLM's own: the checks, the reservation, the spend counters. A key says
its cap: `sk-bench-<dollars>-<anything>`.
"""

from __future__ import annotations

from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.utils import hash_token

_NO_CAP = "none"


async def user_api_key_auth(request: object, api_key: str) -> UserAPIKeyAuth:
    """What the key may do: everything, up to its cap in USD."""
    cap = api_key.split("-")[2]
    return UserAPIKeyAuth(
        api_key=api_key,
        token=hash_token(api_key),
        max_budget=None if cap == _NO_CAP else float(cap),
        spend=0.0,
    )
