"""What is done to a request before it is sent, to spend less: `prompt_caching`."""

from __future__ import annotations

from headgate.settings.fields import Section
from headgate.settings.units import one_of


def read_prompt_caching(section: Section, default: str = "auto") -> str:
    """`prompt_caching: auto` or `off`."""
    return section.take("prompt_caching", one_of(("auto", "off")), default)
