"""What all tests have: how thoroughly Hypothesis looks, and one set of certificates for all the clients they make."""

from __future__ import annotations

import fcntl
import gc
import importlib.util
import os
import ssl
import sys
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook
from hypothesis import settings

# httpx2 and httpx give up after five seconds; what tests ask on loopback takes as long as a busy machine takes.
for _asking in (httpx, httpx2):
    for _name in ("request", "get", "options", "head", "post", "put", "patch", "delete"):
        getattr(_asking, _name).__kwdefaults__["timeout"] = 60.0

# `make test` looks briefly, `make test-long` at length. No deadline: on a busy machine an example takes as long as it
# takes. What asks for a number of examples of its own has a reason to, and keeps it.
settings.register_profile("brief", parent=settings.default, max_examples=30, deadline=None, derandomize=True)
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


# Headgate is a plugin's package too, and pytest would rewrite its 750 files as if they were tests.
for _hook in sys.meta_path:
    if isinstance(_hook, AssertionRewritingHook):
        _hook._must_rewrite.discard("headgate")

_share_certificates(httpx._transports.default)
_share_certificates(httpx2._transports.default)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """In a fresh clone one worker after the other: the second finds what pytest makes of 450 files on the disk.

    That takes a worker 15 s of CPU, while mypy has the other core.
    """
    with ExitStack() as stack:
        if hasattr(session.config, "workerinput") and not sys.dont_write_bytecode and not _rewritten():
            folder = session.config.rootpath / ".pytest_cache"
            folder.mkdir(exist_ok=True)
            fcntl.flock(stack.enter_context((folder / "collecting.lock").open("w")), fcntl.LOCK_EX)
        collected = yield
    gc.freeze()  # thirteen thousand tests, and all that they import: nothing that a collection would have to look at
    return collected


def _rewritten() -> bool:
    """Whether pytest has seen the tests here before: of the file that is collected last, it has kept what it made."""
    source = max(Path(__file__).parent.glob("*/test_*.py"))
    return any(Path(importlib.util.cache_from_source(str(source))).parent.glob(f"{source.stem}.*-pytest-*.pyc"))
