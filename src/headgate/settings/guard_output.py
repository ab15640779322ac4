"""`guards.links`, `guards.canaries` and `guards.answer_characters`: what is written, and what becomes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from headgate.core.errors import ConfigError
from headgate.policy.guards.leaks import SHORTEST_CANARY, Canaries, squashed
from headgate.policy.guards.output_rules import NO_OUTPUT_RULES, OutputRules
from headgate.policy.guards.rules import MODES
from headgate.settings.fields import Section
from headgate.settings.secrets import SecretRef
from headgate.settings.tree import Scalar
from headgate.settings.units import one_of, whole

if TYPE_CHECKING:
    from headgate.settings.guard_model import GuardSettings

LINK_KEYS = ("mode", "allow")
OUTPUT_KEYS = ("canaries", "answer_characters")

_mode = one_of(("on", *MODES["links"]))
_HOST = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def read_links(section: Section) -> tuple[str, tuple[str, ...] | None]:
    """(mode, hosts) of `links`: a mode, or a mapping of both; ("", None) where there is nothing."""
    if isinstance(section.table.entries.get("links"), Scalar):
        return section.take("links", _mode, ""), None
    told = section.section("links", LINK_KEYS)
    if not told.given:
        return "", None
    mode = told.take("mode", _mode, "on")
    return mode, told.texts("allow", _host) if "allow" in told.table.entries else None


def _host(text: str) -> str:
    host = text.lower()
    if len(host) > 253 or not _HOST.fullmatch(host):  # RFC 1035
        raise ValueError("expected a host like acme.example, or *.acme.example for all below it")
    return host


def read_canaries(section: Section) -> tuple[SecretRef, ...] | None:
    """The references under `canaries`; None where there are none."""
    found = section.secrets("canaries")
    return (found,) if isinstance(found, SecretRef) else found


def read_answer_characters(section: Section) -> int | None:
    """The longest answer; None where it is not told."""
    return section.take("answer_characters", whole(1, 1_000_000_000), None)


def output_rules_of(levels: Sequence[GuardSettings], env: Mapping[str, str] | None) -> OutputRules:
    """What the most specific section says, of each by itself.

    Args:
        levels: the most specific first.
        env: where canaries are read from; None: they are not read.

    Raises:
        ConfigError: a canary cannot be had (`SecretRef.resolve`), or is too short to be told from a word.
    """
    allow = next((each.link_allow for each in levels if each.link_allow is not None), ())
    longest = next((each.answer_characters for each in levels if each.answer_characters is not None), None)
    words = next((each.canaries for each in levels if each.canaries is not None), ())
    if not (allow or longest or (words and env is not None)):
        return NO_OUTPUT_RULES
    return OutputRules(allow, Canaries(_words(words, env)) if env is not None else Canaries(()), longest)


def _words(refs: Sequence[SecretRef], env: Mapping[str, str]) -> list[str]:
    found = []
    for ref in refs:
        word = ref.resolve(env).reveal()
        if len(squashed(word)) < SHORTEST_CANARY:
            raise ConfigError(
                f"guards.canaries: {ref} has less than {SHORTEST_CANARY} letters and digits: write a longer word, "
                "that occurs nowhere else"
            )
        found.append(word)
    return found
