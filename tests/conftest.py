"""What all tests have: how thoroughly Hypothesis looks, and one set of certificates for all the clients they make."""

from __future__ import annotations

import os
import ssl
from typing import Any

import httpx
import httpx2
from hypothesis import settings

# `make test` looks briefly, `make test-long` at length. No deadline: on a busy machine an example takes as long as it
# takes. What asks for a number of examples of its own has a reason to, and keeps it.
settings.register_profile("brief", parent=settings.default, max_examples=50, deadline=None)
settings.register_profile("long", parent=settings.default, max_examples=1000, deadline=None)
settings.load_profile("brief")


def _share_certificates(transports: Any) -> None:
    """Reading the public authorities takes 30 ms of CPU for each of the thousands of clients that tests make.

    Only what a client has by itself is shared: who names authorities or a certificate has a context of its own.
    """
    make = transports.create_ssl_context
    kept: dict[tuple[Any, ...], ssl.SSLContext] = {}

    def shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is not True or cert is not None:
            return make(verify=verify, cert=cert, trust_env=trust_env)
        told = (trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        if told not in kept:
            kept[told] = make(verify=True, cert=None, trust_env=trust_env)
        return kept[told]

    transports.create_ssl_context = shared


_share_certificates(httpx._transports.default)
_share_certificates(httpx2._transports.default)
