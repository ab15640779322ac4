"""What a translation loses: every feature by a short word, what happens to it, and what has happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

from headgate.core.errors import BadRequest, ConfigError

Choice = Literal["refuse", "drop"]


class Feature(NamedTuple):
    """One thing that the other dialect, or the other model, cannot say.

    Attributes:
        default: what happens where the policy does not say.
        why: why it is lost, as the end of a sentence.
    """

    default: Choice
    why: str


_REFUSED = {
    "audio": "audio cannot be translated",
    "custom_tools": "only tools with a JSON schema can be translated",
    "files": "the other provider cannot fetch it",
    "functions": "`functions` is the old form of `tools`; send `tools`",
    "inference_geo": "the other provider does not promise where it computes",
    "logprobs": "the other provider reports no log probabilities",
    "moderation": "the other provider does not moderate inline",
    "n": "the other provider gives one answer per request",
    "server_state": "it is kept by the provider that made it",
    "server_tools": "they run at the provider that defines them",
    "stop": "the other provider does not take these stop sequences",
    "unknown_blocks": "this kind of content is not known",
}
_DROPPED = {
    "beta_features": "the other provider has no such feature",
    "cache_control": "prompt caches are each provider's own",
    "citations": "citations cannot be translated",
    "effort": "the other model does not take this effort here",
    "frequency_penalty": "the other provider does not take it",
    "image_detail": "the other provider does not take it",
    "json_mode": "the other provider has no JSON mode; an instruction stands in for it",
    "json_schema": "the other provider's schemas are stricter, or it takes none",
    "logit_bias": "tokens differ between providers",
    "max_tokens": "the other model cannot answer at such length",
    "metadata": "the other provider keeps none",
    "name": "messages have no author's name there",
    "prediction": "the other provider does not take it",
    "prefill": "the other model does not continue an answer",
    "presence_penalty": "the other provider does not take it",
    "prompt_cache": "prompt caches are each provider's own",
    "seed": "the other provider does not take it",
    "service_tier": "tiers and their prices differ between providers",
    "speed": "tiers and their prices differ between providers",
    "store": "the other provider keeps no answers",
    "system_position": "the other model takes no instructions at that place of a conversation",
    "temperature": "the other model does not take it",
    "thinking": "thinking belongs to the model that wrote it",
    "tool_arguments": "they are not a JSON object",
    "tool_choice": "the other model cannot be forced to call a tool; an instruction stands in for it",
    "tool_options": "the other provider's tools have no such option",
    "top_k": "the other provider does not take it",
    "top_p": "the other model does not take it",
    "unknown_fields": "it is not known what it means",
    "verbosity": "the other provider does not take it",
}

FEATURES: Mapping[str, Feature] = MappingProxyType(
    {word: Feature("refuse", why) for word, why in _REFUSED.items()}
    | {word: Feature("drop", why) for word, why in _DROPPED.items()}
)
"""Every feature of a request that can be lost, by its word."""

NOT_TRANSLATABLE = "not_translatable"
"""The code of a `BadRequest` for a body that is fine in its own dialect: another route may still serve it."""


@dataclass(frozen=True, slots=True)
class LossPolicy:
    """What to do with what cannot be mapped.

    Attributes:
        lossy: for every feature that `features` does not name; None = each feature's own default.
        features: by a word of `FEATURES`.

    Raises:
        ConfigError: a word that is none of `FEATURES`, or a choice that is neither "refuse" nor "drop".
    """

    lossy: Choice | None = None
    features: Mapping[str, Choice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [f"translation knows no feature `{word}`" for word in self.features if word not in FEATURES]
        given = [*self.features.values(), *([] if self.lossy is None else [self.lossy])]
        wrong += [f"`{choice}` is neither refuse nor drop" for choice in given if choice not in ("refuse", "drop")]
        if wrong:
            raise ConfigError(wrong)

    def choice(self, word: str) -> Choice:
        """What happens to a feature."""
        return self.features.get(word) or self.lossy or FEATURES[word].default


DEFAULT = LossPolicy()


class Report:
    """Collects what was lost, each word once, in order."""

    __slots__ = ("_policy", "_words")

    def __init__(self, policy: LossPolicy = DEFAULT) -> None:
        self._policy = policy
        self._words: dict[str, None] = {}

    def lose(self, word: str, where: str) -> None:
        """A feature of the request, at this place of its body, cannot be mapped.

        Raises:
            BadRequest: the policy is to refuse; its code is `NOT_TRANSLATABLE`.
        """
        if self._policy.choice(word) == "refuse":
            raise BadRequest(
                f"`{where}` cannot be translated for the model that would serve: {FEATURES[word].why}. Leave it out, "
                f"call a model of its own dialect, or allow the loss (`lossy: {{{word}: drop}}`)",
                code=NOT_TRANSLATABLE,
            )
        self._words[word] = None

    def note(self, word: str) -> None:
        """Something of an answer was lost, about which there is nothing to decide any more."""
        self._words[word] = None

    @property
    def words(self) -> tuple[str, ...]:
        """What was lost."""
        return tuple(self._words)


@dataclass(frozen=True, slots=True)
class Translated:
    """A translated body, and what was lost on the way: words for `x-headgate-degraded` and the log."""

    body: bytes
    report: tuple[str, ...] = ()
