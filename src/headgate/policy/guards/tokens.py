"""Tokens of approvals: signed with HMAC-SHA-256, so that a forged one is told without a look at what is kept.

There are two kinds: with the caller's, an approved call is had, once; with the decider's, a webhook may approve or deny
it. Neither can be made from the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from headgate.core.approvals import PREFIX, Parked
from headgate.core.caller import Caller

ID_LENGTH = 26
_ID = re.compile(f"{PREFIX}[a-z2-7]{{{ID_LENGTH}}}")
_TOKEN = re.compile(f"hg([ad])_([a-z2-7]{{{ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})")
_USE, _DECIDE = "a", "d"


def is_id(text: str) -> bool:
    """Whether it is written as an approval's id is."""
    return _ID.fullmatch(text) is not None


def use_token(key: bytes, approval: str, caller: Caller, digest: str) -> str:
    """For whoever asked: it holds for this call, this caller (key and tenant) and this request.

    Args:
        digest: of the request.
    """
    return _signed(key, _USE, approval, caller.key, caller.tenant, digest)


def read_use_token(key: bytes, token: str, caller: Caller, digest: str) -> str | None:
    """The approval that a token is for; None where it is forged, or another caller's or request's."""
    return _read(key, _USE, token, caller.key, caller.tenant, digest)


def decide_token(key: bytes, parked: Parked) -> str:
    """For whoever decides."""
    return _signed(key, _DECIDE, parked.id)


def read_decide_token(key: bytes, token: str) -> str | None:
    """The approval that a token may decide; None where it is forged."""
    return _read(key, _DECIDE, token)


def _signed(key: bytes, kind: str, approval: str, *bound: str) -> str:
    # Lengths before texts: no two lists of texts are written alike.
    told = b"".join(
        b"%d:" % len(each) + each
        for each in (part.encode("utf-8", "surrogatepass") for part in (f"approval-{kind}", approval, *bound))
    )
    mac = base64.urlsafe_b64encode(hmac.digest(key, told, hashlib.sha256)).rstrip(b"=").decode()
    return f"hg{kind}_{approval.removeprefix(PREFIX)}_{mac}"


def _read(key: bytes, kind: str, token: str, *bound: str) -> str | None:
    found = _TOKEN.fullmatch(token)
    if found is None or found[1] != kind:
        return None
    approval = PREFIX + found[2]
    return approval if hmac.compare_digest(_signed(key, kind, approval, *bound), token) else None
