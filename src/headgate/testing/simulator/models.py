"""The models the simulator serves, with the facts of their providers' pages (wire-formats 1.3, 1.8, 2.2 and 5).

Where the sources give no number (the smallest cached prefix of Haiku 5.5 and Fable 5.2, some output caps) a round one
stands in; docs/simulator.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """One model. Sizes are in tokens.

    Attributes:
        id: the undated id; prices are kept by it.
        kind: "chat" (everything that generates text), "embedding" or "moderation".
        dimensions: of an embedding; the longest that may be asked for.
        served: the id the response names (dated where the provider dates it).
        family: rate limits are pooled by it.
        min_cache: the shortest prefix that is cached.
        cache_writes: cache writes are billed (always on Anthropic, from GPT-5.6 on OpenAI).
        prefill, budget_thinking, geo, sampling, forced_tools, fast: what the request may ask for.
        reasoning: OpenAI's reasoning models, which refuse `max_tokens`.
        flex, priority: OpenAI service tiers the model is sold in.
    """

    id: str
    dialect: str
    served: str
    family: str
    created: str  # a date, ISO 8601
    context: int
    max_output: int
    min_cache: int = 1024
    cache_writes: bool = True
    prefill: bool = False
    budget_thinking: bool = False
    geo: bool = True
    sampling: bool = True
    forced_tools: bool = True
    fast: bool = False
    reasoning: bool = True
    flex: bool = True
    priority: bool = True
    deprecated: bool = False
    kind: str = "chat"
    dimensions: int = 0


def _claude(
    name: str,
    created: str,
    *,
    min_cache: int,
    date: str = "",
    old: bool = False,
    prefill: bool = False,
    budget_thinking: bool = False,
    sampling: bool = False,
    forced_tools: bool = True,
    fast: bool = False,
    deprecated: bool = False,
) -> Model:
    """`old`: the 4.5 generation, with a 200k window and no `inference_geo`."""
    return Model(
        id=f"claude-{name}",
        dialect="anthropic",
        served=f"claude-{name}-{date}" if date else f"claude-{name}",
        family=f"claude-{name.split('-')[0]}-{name.split('-')[1]}",
        created=created,
        context=200_000 if old else 1_000_000,
        max_output=64_000 if old else 128_000,
        min_cache=min_cache,
        geo=not old,
        prefill=prefill,
        budget_thinking=budget_thinking,
        sampling=sampling,
        forced_tools=forced_tools,
        fast=fast,
        deprecated=deprecated,
    )


def _gpt(
    name: str,
    created: str,
    context: int,
    max_output: int = 128_000,
    *,
    date: str = "",
    cache_writes: bool = True,
    reasoning: bool = True,
) -> Model:
    return Model(
        id=f"gpt-{name}",
        dialect="openai",
        served=f"gpt-{name}-{date}" if date else f"gpt-{name}",
        family=f"gpt-{name}",
        created=created,
        context=context,
        max_output=max_output,
        cache_writes=cache_writes,
        reasoning=reasoning,
        flex=reasoning,
    )


def _tool(name: str, kind: str, created: str, served: str, context: int, dimensions: int = 0) -> Model:
    """A model that generates no text."""
    return Model(
        id=name,
        dialect="openai",
        served=served,
        family=name,
        created=created,
        context=context,
        max_output=0,
        cache_writes=False,
        reasoning=False,
        flex=False,
        priority=False,
        kind=kind,
        dimensions=dimensions,
    )


_ALL = (
    _claude("fable-5-2", "2026-11-04", min_cache=512, fast=True),
    _claude("mythos-5-2", "2026-11-04", min_cache=512, fast=True),
    _claude("fable-5-1", "2026-08-27", min_cache=512, forced_tools=False),
    _claude("fable-5", "2026-05-21", min_cache=512),
    _claude("opus-5-5", "2026-09-24", min_cache=512, forced_tools=False, fast=True),
    _claude("opus-5", "2026-06-18", min_cache=512, fast=True),
    _claude("opus-4-8", "2026-04-30", min_cache=1024, sampling=True, fast=True),
    _claude("opus-4-7", "2026-03-19", min_cache=2048, sampling=True),
    _claude("opus-4-6", "2026-02-05", min_cache=4096, sampling=True, budget_thinking=True),
    _claude(
        "opus-4-5",
        "2025-11-24",
        min_cache=4096,
        date="20251101",
        old=True,
        prefill=True,
        budget_thinking=True,
        sampling=True,
    ),
    _claude("sonnet-5-5", "2026-09-29", min_cache=512),
    _claude("sonnet-5", "2026-06-11", min_cache=1024),
    _claude("sonnet-4-6", "2026-02-17", min_cache=1024, sampling=True, budget_thinking=True),
    _claude(
        "sonnet-4-5",
        "2025-09-29",
        min_cache=1024,
        date="20250929",
        old=True,
        prefill=True,
        budget_thinking=True,
        sampling=True,
        deprecated=True,
    ),
    _claude("haiku-5-5", "2026-10-15", min_cache=1024),
    _claude(
        "haiku-4-5",
        "2025-10-15",
        min_cache=4096,
        date="20251001",
        old=True,
        prefill=True,
        budget_thinking=True,
        sampling=True,
    ),
    _gpt("6-astra", "2026-09-10", 1_050_000),
    _gpt("6.1-sol", "2026-10-29", 1_050_000),
    _gpt("6-sol", "2026-09-10", 1_050_000),
    _gpt("6.1-terra", "2026-10-29", 1_050_000),
    _gpt("6-luna", "2026-09-10", 1_050_000),
    _gpt("5.6-sol", "2026-06-25", 1_050_000),
    _gpt("5.6-terra", "2026-06-25", 1_050_000),
    _gpt("5.6-luna", "2026-06-25", 1_050_000),
    _gpt("5.5", "2026-04-23", 1_050_000, cache_writes=False),
    _gpt("5.4", "2026-03-05", 1_050_000, cache_writes=False),
    _gpt("5.4-mini", "2026-03-17", 400_000, cache_writes=False),
    _gpt("5", "2025-08-07", 400_000, date="2025-08-07", cache_writes=False),
    _gpt("4.1", "2025-04-14", 1_047_576, 32_768, date="2025-04-14", cache_writes=False, reasoning=False),
    _gpt("4.1-mini", "2025-04-14", 1_047_576, 32_768, date="2025-04-14", cache_writes=False, reasoning=False),
    _gpt("4o", "2024-08-06", 128_000, 16_384, date="2024-08-06", cache_writes=False, reasoning=False),
    _gpt("4o-mini", "2024-07-18", 128_000, 16_384, date="2024-07-18", cache_writes=False, reasoning=False),
    _tool("text-embedding-3-small", "embedding", "2024-01-22", "text-embedding-3-small", 8192, 1536),
    _tool("text-embedding-3-large", "embedding", "2024-01-22", "text-embedding-3-large", 8192, 3072),
    _tool("omni-moderation-latest", "moderation", "2024-11-15", "omni-moderation-2024-09-26", 32_768),
)

MODELS: dict[str, Model] = {name: model for model in _ALL for name in (model.id, model.served)}
"""Every id that is answered, undated and dated."""


def of_dialect(dialect: str) -> list[Model]:
    """The models of one dialect, newest first."""
    return sorted((m for m in _ALL if m.dialect == dialect), key=lambda m: m.created, reverse=True)
