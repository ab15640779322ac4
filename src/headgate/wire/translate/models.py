"""What the models that a request is translated for take, as far as their names tell.

Sources: wire-formats 1.3 and 4; Anthropic's pages on effort, thinking and mid-conversation system messages; OpenAI's
API reference on `reasoning_effort`, `stop` and `temperature`, and what `/v1/chat/completions` answers to function tools
with reasoning (openai-openapi issue 541, litellm pull request 34569). A name that is not known is taken to be the
simplest model of its dialect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

LADDER = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Every effort, least first."""

_UP_TO_HIGH = ("low", "medium", "high")
_ALL = (*_UP_TO_HIGH, "xhigh", "max")

_CLAUDE = re.compile(r"claude-(?P<line>[a-z]+)-(?P<major>\d)(?:-(?P<minor>\d{1,2})(?!\d))?")
_OLD_CLAUDE = re.compile(r"claude-(?:\d|instant|v\d)")
_GPT = re.compile(r"(?:^|/)gpt-(?P<major>\d+)(?:\.(?P<minor>\d+))?(?P<rest>[-a-z0-9]*)")
_O_SERIES = re.compile(r"(?:^|/)o(?P<major>\d)(?:-|$)")
_NOT_FORCED = {("opus", (5, 5)), ("fable", (5, 1))}


@dataclass(frozen=True, slots=True)
class Claude:
    """What a model of the Anthropic dialect takes.

    Attributes:
        prefill: it continues a last assistant turn.
        system_turns: `role: system` behind a user turn.
        forced_tools: `tool_choice` any and tool.
        structured: `output_config.format`.
        efforts: of `output_config.effort`.
        off: the `thinking.type` that turns thinking off; "" = it cannot be.
    """

    prefill: bool = True
    system_turns: bool = False
    forced_tools: bool = True
    structured: bool = False
    efforts: tuple[str, ...] = ()
    off: str = ""


@dataclass(frozen=True, slots=True)
class Gpt:
    """What a model of the OpenAI dialect takes.

    Attributes:
        sampling: `temperature` and `top_p`.
        stop: stop sequences.
        efforts: of `reasoning_effort`; () = none.
        with_tools: what `reasoning_effort` has to be beside function tools: "any", "absent" or "none".
    """

    sampling: bool = True
    stop: bool = True
    efforts: tuple[str, ...] = ()
    with_tools: str = "any"


@lru_cache(maxsize=256)
def claude(model: str) -> Claude:
    """Facts of a model by its name, dated or not, with a cloud's prefix or not."""
    named = _CLAUDE.search(model)
    if named is None:
        return Claude(off="disabled") if _OLD_CLAUDE.search(model) else Claude()
    line, version = named["line"], (int(named["major"]), int(named["minor"] or 0))
    if version >= (4, 7):
        efforts: tuple[str, ...] = _ALL
    elif version == (4, 6):
        efforts = (*_UP_TO_HIGH, "max")
    else:
        efforts = _UP_TO_HIGH if (line, version) == ("opus", (4, 5)) else ()
    if line in ("fable", "mythos") or (line, version) == ("opus", (5, 5)):
        off = ""
    else:
        off = "between_tools" if (line, version) == ("sonnet", (5, 5)) else "disabled"
    return Claude(
        prefill=version < (4, 6),
        system_turns=version >= (4, 8),
        forced_tools=(line, version) not in _NOT_FORCED,
        structured=version >= (4, 5),
        efforts=efforts,
        off=off,
    )


@lru_cache(maxsize=256)
def gpt(model: str) -> Gpt:
    """Facts of a model by its name, dated or not."""
    series = _O_SERIES.search(model)
    if series is not None:
        return Gpt(sampling=False, stop=int(series["major"]) < 3, efforts=_UP_TO_HIGH)
    named = _GPT.search(model)
    if named is None or "-chat" in named["rest"]:
        return Gpt()
    version = (int(named["major"]), int(named["minor"] or 0))
    if version < (5, 0):
        return Gpt()
    if version >= (5, 6):
        return Gpt(sampling=False, efforts=("none", *_ALL), with_tools="none")
    if version >= (5, 2):
        return Gpt(sampling=False, efforts=("none", *_UP_TO_HIGH, "xhigh"), with_tools="absent")
    return Gpt(sampling=False, efforts=("none" if version == (5, 1) else "minimal", *_UP_TO_HIGH))


def nearest(effort: str, efforts: tuple[str, ...]) -> str:
    """The effort that comes closest: the same, else the next lower one, else the lowest. `efforts` is not empty."""
    rank = LADDER.index(effort)
    lower = [each for each in efforts if LADDER.index(each) <= rank]
    return max(lower or efforts[:1], key=LADDER.index)
