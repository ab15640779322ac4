"""Configuration: one typed, frozen object, and the loader that reports every mistake at once."""

from headgate.settings.loader import load
from headgate.settings.model import Settings

__all__ = ["Settings", "load"]
