"""What a ledger row says of a request for the audit, without saying what was asked.

Digests are Python's own hashes of bytes (SipHash), keyed anew in each process: they cost almost nothing where every
exchange pays for them, mean nothing outside of the process, and nobody who reads the ledger can confirm a guess with
them. What the audit looks for (the same request, the same system prompt) happens within minutes or an hour.
"""

from __future__ import annotations

from typing import NamedTuple

from headgate.core.exchange import Request

_64 = 2**64 - 1


class Asked(NamedTuple):
    """What is kept of a request.

    Attributes:
        digest: the same for the same body; "" where it was not held in memory.
        system: the same for the same system prompt; "" = none.
        system_bytes, body_bytes: their lengths.
        cap: the output cap it asked with; 0 = none.
        batch: it was of priority batch.
    """

    digest: str = ""
    system: str = ""
    system_bytes: int = 0
    body_bytes: int = 0
    cap: int = 0
    batch: bool = False


def asked_text(request: Request) -> str:
    """As the ledger keeps it: "digest/system/system bytes/body bytes/cap/batch", numbers in hexadecimal."""
    body, facts = request.body, request.facts
    system = facts.system
    told = f"{hash(system) & _64:x}/{len(system):x}" if system else "0/0"
    cap, batch = facts.max_output_tokens or 0, 1 if request.batch else 0
    return f"{hash(body) & _64 if body else 0:x}/{told}/{len(body):x}/{cap:x}/{batch}"


def read_asked(text: str) -> Asked:
    """What `asked_text` wrote; nothing known of what it did not."""
    try:
        digest, system, system_bytes, body_bytes, cap, batch = text.split("/")
        return Asked(
            digest if digest != "0" else "",
            system if system != "0" else "",
            int(system_bytes, 16),
            int(body_bytes, 16),
            int(cap, 16),
            batch == "1",
        )
    except ValueError:
        return Asked()
