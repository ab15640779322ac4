"""Calls through Headgate's pace and fair queue: what the strategy called "paced" sends through.

The decisions are `policy.pace` and `policy.fair_queue`; here is only their owner for one event loop and one account.
"""

from __future__ import annotations

import asyncio
import json

import httpx2

from headgate.core.usage import Usage
from headgate.policy.fair_queue import Entry, FairQueue
from headgate.policy.pace import Pace
from headgate.policy.pace_need import Need
from headgate.wire.ratelimits import read_limits

BYTES_PER_TOKEN = 4


class PacingTransport(httpx2.AsyncBaseTransport):
    """Lets requests wait in the queue until the pace lets them go. A refused one waits again, in its old place.

    Args:
        whose: the request header that names the user, between whom the queue is fair.
        epoch: seconds since the epoch at the loop's time 0.0.
    """

    def __init__(self, dialect: str, whose: str, epoch: float) -> None:
        self._dialect = dialect
        self._whose = whose
        self._epoch = epoch
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(dialect, self._loop.time())
        self._queue = FairQueue()
        self._inner = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=None), trust_env=False)
        self._timer: asyncio.TimerHandle | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Wait for a turn, send, learn from the answer; again after a 429."""
        need = _need(await request.aread())
        entry = Entry(user=request.headers.get(self._whose, ""), cost=self._pace.cost(need))
        turn: asyncio.Future[None] = self._loop.create_future()
        entry.bearer = need, turn
        self._queue.push(entry, self._loop.time())
        while True:
            self._pump()
            await turn
            response = await self._inner.handle_async_request(request)
            await response.aread()
            facts = read_limits(self._dialect, response.headers.raw, self._epoch + self._loop.time())
            self._pace.observe(facts, response.status_code, self._loop.time(), need=need)
            if response.status_code != 429:
                self._pace.correct(need, _usage(response), self._loop.time())
                self._pump()
                return response
            turn = self._loop.create_future()
            entry.bearer = need, turn
            self._queue.give_back(entry)

    async def aclose(self) -> None:
        """Close what it sends through."""
        await self._inner.aclose()

    def _pump(self) -> None:
        """Let everybody go who may, and come back when the next one may."""
        now = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (entry := self._queue.peek(now)) is not None:
            need, turn = entry.bearer
            wait = self._pace.ask(need, now)
            if wait > 0:
                self._timer = self._loop.call_later(wait, self._pump)
                return
            self._queue.pop(now)
            turn.set_result(None)


def _need(body: bytes) -> Need:
    asked = json.loads(body)
    cap = int(asked.get("max_tokens") or asked["max_completion_tokens"])
    prompt = len(body) // BYTES_PER_TOKEN
    return Need(prompt, cap, prompt + cap)


def _usage(response: httpx2.Response) -> Usage | None:
    if response.status_code != 200:
        return None
    told = response.json()["usage"]
    if "input_tokens" in told:
        return Usage(told["input_tokens"], 0, 0, 0, told["output_tokens"])
    return Usage(told["prompt_tokens"], 0, 0, 0, told["completion_tokens"])
