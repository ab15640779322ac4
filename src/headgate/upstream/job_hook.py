"""Tells somebody of a deferred job's answer, once: a signed POST. Who tries again, and when, is in `jobs.telling`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from headgate.core.errors import HeadgateError
from headgate.core.secret import Secret
from headgate.upstream.signing import signed

SECONDS = 10.0
GONE = "410"
"""What `send` says of a receiver that wants to hear nothing more."""
_LOOKED_AT = 64 * 1024  # bytes of an answer, which says nothing that is read


@dataclass(frozen=True, slots=True)
class JobHook:
    """One of `jobs.webhooks`.

    Attributes:
        secret: asked for at each delivery, so that a new one counts at once.
    """

    name: str
    url: str = field(repr=False)
    secret: Callable[[], Secret] = field(repr=False)

    def send(self, event: str, body: bytes, now: float) -> str:
        """POST it; "" where it has arrived, else what went wrong. Blocks, for 10 s a step at most; never raises.

        Redirects are not followed: they would take the answer to a place that nobody has configured.

        Args:
            event: its id, the same however often it is sent.
            now: seconds since the epoch.
        """
        import httpx2

        try:
            headers = signed(self.secret(), event, now, body, path=f"jobs.webhooks.{self.name}.secret")
            with (
                httpx2.Client(timeout=SECONDS) as client,
                client.stream("POST", self.url, content=body, headers=headers) as answer,
            ):
                read = 0
                for piece in answer.iter_raw():
                    read += len(piece)
                    if read > _LOOKED_AT:
                        break
                if answer.status_code < 300:
                    return ""
                return GONE if answer.status_code == 410 else f"answered {answer.status_code}"
        except HeadgateError as error:
            return error.code
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return type(error).__name__
