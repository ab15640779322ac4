"""`headgate.canary()`: a word for a system prompt, that no answer may hold."""

from __future__ import annotations

import secrets


def canary() -> str:
    """A new canary. Put it into a system prompt; where the `leaks` guard is on, an answer that holds it, in whatever
    form, is stopped.

    Make one for each prompt, once, and not for each call: providers keep prompts that stay the same, and a word that
    changes makes another prompt of each.
    """
    return f"canary-{secrets.token_hex(10)}"
