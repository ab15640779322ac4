"""Bytes in, facts and events out. No I/O, no clock; one file per provider dialect, tested one byte at a time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from headgate.wire.anthropic import ANTHROPIC
from headgate.wire.dialect import Dialect
from headgate.wire.openai import OPENAI

DIALECTS: Mapping[str, Dialect] = MappingProxyType({dialect.name: dialect for dialect in (ANTHROPIC, OPENAI)})
"""Every dialect by its name, as routes and requests name it."""

__all__ = ["ANTHROPIC", "DIALECTS", "OPENAI"]
