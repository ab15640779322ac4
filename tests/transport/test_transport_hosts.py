"""Whose prices apply at a base URL that the configuration does not name."""

from __future__ import annotations

import pytest

from headgate.transport.hosts import provider_at


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("us.api.openai.com:443", "openai"),
        ("acme.openai.azure.com", "azure"),
        ("openrouter.ai", "openrouter"),
        ("127.0.0.1:8485", "openai"),
        ("[::1]:8485", "openai"),
        ("localhost", "openai"),
        ("10.1.2.3", "openai"),
        ("simulator:8485", "openai"),
        ("gate.internal", "openai"),
        ("llm.example.com:8443", "llm.example.com"),
        ("api.openai.com.example.org", "api.openai.com.example.org"),
        ("8.8.8.8", "8.8.8.8"),
    ],
)
def test_a_host_has_the_prices_of_its_vendor_or_of_nobody(host: str, provider: str) -> None:
    assert provider_at(host, "openai") == provider
