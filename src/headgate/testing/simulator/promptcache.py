"""Prompt-cache accounting: what is read from the cache, what is written to it, and for how long.

Anthropic (wire-formats 1.8): explicit breakpoints, 5 minutes or 1 hour, a lookback of 20 blocks, a smallest prefix per
model. OpenAI (wire-formats 2.5): automatic, prompts of 1,024 tokens and more, exact prefix, in steps of 128 tokens.
An entry counts only once the first response has begun, so parallel cold requests all pay for their writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headgate.testing.simulator.tokens import count

LOOKBACK = 20
_OPENAI_MIN = 1024
_OPENAI_STEP = 512  # characters: 128 tokens of ASCII text
_OPENAI_TTL = 1800.0
_ANTHROPIC_TTL = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True, slots=True)
class PromptBlock:
    """One block of a prompt in cache order: tools, system, messages. `ttl`: "" or the breakpoint's "5m" or "1h"."""

    text: str
    tokens: int
    ttl: str = ""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens of one prompt by what the cache did with them. `commit` makes the writes readable for later requests."""

    fresh: int
    read: int
    write: int
    write_1h: int
    commit: Callable[[float], None]


def _nothing(_now: float) -> None:
    return None


class PromptCache:
    """What is cached, by prefix digest, with the time it expires (seconds since the epoch)."""

    def __init__(self) -> None:
        self._kept: dict[bytes, float] = {}

    def _alive(self, digest: bytes, now: float) -> bool:
        until = self._kept.get(digest)
        return until is not None and until > now

    def _committer(self, touched: Sequence[tuple[bytes, float]]) -> Callable[[float], None]:
        def commit(now: float) -> None:
            for digest, ttl in touched:
                self._kept[digest] = max(self._kept.get(digest, 0.0), now + ttl)
            if len(self._kept) > 50_000:
                self._kept = {d: until for d, until in self._kept.items() if until > now}

        return commit

    def anthropic(self, scope: str, blocks: Sequence[PromptBlock], smallest: int, now: float) -> CacheUse:
        """Account a prompt with breakpoints. `scope` (credential and model) is what entries are isolated by."""
        total = sum(block.tokens for block in blocks)
        digests, sums = _prefixes(scope, blocks)
        points = [i for i, block in enumerate(blocks) if block.ttl and sums[i] >= smallest]
        if not points:
            return CacheUse(total, 0, 0, 0, _nothing)
        hit = max(
            (i for p in points for i in range(max(0, p - LOOKBACK), p + 1) if self._alive(digests[i], now)), default=-1
        )
        read = sums[hit] if hit >= 0 else 0
        written = {"5m": 0, "1h": 0}
        reached = read
        for p in points:
            if p > hit:
                written[blocks[p].ttl] += sums[p] - reached
                reached = sums[p]
        touched = [(digests[p], _ANTHROPIC_TTL[blocks[p].ttl]) for p in points]
        if hit >= 0:
            touched.append((digests[hit], _ANTHROPIC_TTL["5m"]))  # a hit refreshes its entry for free
        return CacheUse(total - reached, read, written["5m"], written["1h"], self._committer(touched))

    def openai(self, scope: str, prompt: str, total: int, *, writes_billed: bool, now: float) -> CacheUse:
        """Account a prompt under automatic caching. `total` is the whole prompt in tokens."""
        if total < _OPENAI_MIN:
            return CacheUse(total, 0, 0, 0, _nothing)
        running = hashlib.sha256(scope.encode())
        steps: list[tuple[bytes, int]] = []
        reached = 0  # may run a token ahead where a step cuts a run of ASCII in two
        for start in range(0, len(prompt) - _OPENAI_STEP + 1, _OPENAI_STEP):
            chunk = prompt[start : start + _OPENAI_STEP]
            running.update(chunk.encode("utf-8", "surrogatepass"))
            reached += count(chunk)
            steps.append((running.digest(), min(reached, total)))
        reached = min(reached, total)
        read = max((tokens for digest, tokens in steps if self._alive(digest, now)), default=0)
        if read < _OPENAI_MIN:
            read = 0
        write = max(0, reached - read) if writes_billed and reached >= _OPENAI_MIN else 0
        commit = self._committer([(digest, _OPENAI_TTL) for digest, _ in steps])
        return CacheUse(total - read - write, read, write, 0, commit)


def _prefixes(scope: str, blocks: Sequence[PromptBlock]) -> tuple[list[bytes], list[int]]:
    running = hashlib.sha256(scope.encode())
    digests: list[bytes] = []
    sums: list[int] = []
    total = 0
    for block in blocks:
        encoded = block.text.encode("utf-8", "surrogatepass")
        running.update(b"%d:" % len(encoded))
        running.update(encoded)
        total += block.tokens
        digests.append(running.digest())
        sums.append(total)
    return digests, sums
