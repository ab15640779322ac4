"""For the clients' programs: runs checks one after the other, and prints what each saw as a line of JSON.

It runs in the environments of the clients, so it needs nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ASKED: dict[str, Any] = json.loads(Path(os.environ["HG_ASKED"]).read_text(encoding="utf-8"))
TEXT: str = ASKED["text"]
KEY = os.environ["HG_KEY"]
URL, ONE_URL = os.environ["HG_URL"], os.environ["HG_ONE_URL"]
"""The gateway at its defaults, and one that leaves the retries to its callers (`attempts: 1`)."""
CLIENT_SECONDS = 20.0
"""What clients are told as their timeout: far above what anything takes here, and below the run's own."""
HOLD = "tokens: 120 hold:stream"
_CONTROL = os.environ["HG_CONTROL"]
_checks: dict[str, Callable[[], Any]] = {}
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    """Mark a check: sync or async, without arguments; what it returns is what it saw."""
    _checks[function.__name__] = function
    return function


def control(order: str) -> dict[str, Any]:
    """Tell the provider `release`, or ask it to wait until a request has `arrived`."""
    with _direct.open(f"{_CONTROL}/{order}", timeout=30) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def told_of(error: BaseException) -> dict[str, Any]:
    """What an SDK's error tells."""
    response = getattr(error, "response", None)
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else {}
    return {
        "error": type(error).__name__,
        "family": [kind.__name__ for kind in type(error).__mro__],
        "status": getattr(error, "status_code", None),
        "retry_after": response.headers.get("retry-after") if response is not None else None,
        "should_retry": response.headers.get("x-should-retry") if response is not None else None,
        "request_id": getattr(error, "request_id", None)
        or (response.headers.get("request-id") if response is not None else None),
        "kind": inner.get("type") if isinstance(inner, dict) else None,
        "code": inner.get("code") if isinstance(inner, dict) else None,
        "message": str(error)[:300],
    }


def squeezed(kinds: list[str]) -> list[str]:
    """Without repetitions of what came last."""
    return [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]


def main() -> None:
    """Run all checks, or those named on the command line."""
    wanted = sys.argv[1:] or list(_checks)
    for name in wanted:
        control(f"begin/{name}")
        try:
            saw = _checks[name]()
            if inspect.isawaitable(saw):
                saw = asyncio.run(saw)  # type: ignore[arg-type]  # a coroutine: what an async check returns
        except BaseException:
            saw = {"wrong": traceback.format_exc()}
        sys.stdout.write(json.dumps({"check": name, "saw": saw}) + "\n")
        sys.stdout.flush()
    control("begin/end")
