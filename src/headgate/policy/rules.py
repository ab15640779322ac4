"""Which model serves a call, by what is known of it without asking anybody: the rules of a virtual model.

A rule looks at the caller and at a few facts of the body, nothing else: the same call always takes the same way. The
size of a prompt is therefore a rule of thumb, and not what such prompts have been learned to weigh.
"""

from __future__ import annotations

from dataclasses import dataclass

from headgate.core.exchange import Request

BYTES_PER_TOKEN = 4
"""What a prompt is taken to weigh: JSON with English text."""

TOKENS_PER_IMAGE = 1_500
"""What an image in the body counts for, in place of its bytes: Anthropic's formula for about a megapixel."""

DIMENSIONS = ("task", "feature", "tenant", "user", "key", "environment")
"""What a rule may ask of a caller."""


def input_tokens(request: Request) -> int:
    """About how many tokens the prompt has: bytes of the body by `BYTES_PER_TOKEN`, images by `TOKENS_PER_IMAGE`."""
    facts = request.facts
    return (len(request.body) - facts.image_bytes) // BYTES_PER_TOKEN + facts.images * TOKENS_PER_IMAGE


@dataclass(frozen=True, slots=True)
class When:
    """What a call has to be. Every condition that is told must hold; `When()` holds always.

    Attributes:
        callers: (dimension, values) pairs: the caller's is one of the values.
        max_input_tokens, min_input_tokens: bounds of `input_tokens`, both included.
        max_output_tokens, min_output_tokens: of the output cap; a call without one meets neither.
        tools: it brings tools; False = it brings none.
        media: it carries images, documents or audio; False = nothing but text.
        stream: it asks for a stream.
    """

    callers: tuple[tuple[str, frozenset[str]], ...] = ()
    max_input_tokens: int | None = None
    min_input_tokens: int | None = None
    max_output_tokens: int | None = None
    min_output_tokens: int | None = None
    tools: bool | None = None
    media: bool | None = None
    stream: bool | None = None

    def holds(self, request: Request) -> bool:
        """Whether the call is as it has to be."""
        caller, facts = request.caller, request.facts
        for name, values in self.callers:
            if getattr(caller, name) not in values:
                return False
        return (
            self.tools in (None, facts.has_tools)
            and self.media in (None, facts.has_media)
            and self.stream in (None, facts.stream)
            and _within(self.min_output_tokens, facts.max_output_tokens, self.max_output_tokens)
            and (
                (self.min_input_tokens is None and self.max_input_tokens is None)
                or _within(self.min_input_tokens, input_tokens(request), self.max_input_tokens)
            )
        )


def _within(least: int | None, found: int | None, most: int | None) -> bool:
    if least is None and most is None:
        return True
    return found is not None and (least is None or found >= least) and (most is None or found <= most)


@dataclass(frozen=True, slots=True)
class Rule:
    """Calls that are as `when` says are served by the model `use`: a virtual model, or provider/model."""

    when: When
    use: str
