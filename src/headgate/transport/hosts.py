"""Whose prices apply at a base URL that the configuration does not name."""

from __future__ import annotations

import ipaddress

# By the ending of the host's name: the providers of wire-formats 3 under the price file's names.
_KNOWN = {
    "api.anthropic.com": "anthropic",
    "api.openai.com": "openai",
    "openai.azure.com": "azure",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.deepseek.com": "deepseek",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "generativelanguage.googleapis.com": "google",
    "api.x.ai": "x-ai",
    "openrouter.ai": "openrouter",
}


def provider_at(host: str, dialect: str) -> str:
    """The provider's name for a host (with or without a port).

    A vendor's host is that vendor. A host inside (loopback, a private address, a name without a dot or under .local,
    .internal, .localhost) stands in for the dialect's own vendor: a gateway, a proxy, the simulator. Any other is
    nobody we know: its name is the provider's, so it has the prices that the configuration gives it and no other's.
    """
    name = host.rpartition("@")[2].lower()
    if not name.endswith("]"):
        name = name.partition(":")[0] if name.count(":") == 1 else name
    name = name.strip("[]")
    for ending, provider in _KNOWN.items():
        if name == ending or name.endswith("." + ending):
            return provider
    return dialect if _inside(name) else name


def _inside(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_private
    except ValueError:
        return "." not in name or name.endswith((".local", ".internal", ".localhost"))
