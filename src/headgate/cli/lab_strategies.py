"""The strategies that are compared: what a client does about a 429, from nothing to Headgate.

All but the last are tenacity's own wait strategies, as tutorials and the vendors' cookbooks use them; the randomness is
the standard library's global one, which is tenacity's, so an experiment seeds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

    Wait = Callable[[RetryCallState], float]

FIXED_SECONDS = 1.0
LEAST_SECONDS, MOST_SECONDS = 1.0, 60.0
"""Of an exponential wait, as in OpenAI's cookbook ("How to handle rate limits")."""


class Refused(Exception):
    """A 429.

    Attributes:
        retry_after: what its header said, in seconds; None where it said nothing.
    """

    def __init__(self, retry_after: float | None) -> None:
        super().__init__("429")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Strategy:
    """One of them.

    Attributes:
        what: in a few words, for people.
        wait: makes its tenacity wait strategy; None: it does not retry in the client.
        paced: its calls go through Headgate.
    """

    name: str
    what: str
    wait: Callable[[], Wait] | None = None
    paced: bool = False

    def retrying(self, attempts: int) -> AsyncRetrying:
        """The loop around one call.

        Args:
            attempts: in all, >= 1; then it gives up and raises the last `Refused`.
        """
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_none

        return AsyncRetrying(
            retry=retry_if_exception_type(Refused),
            wait=wait_none() if self.wait is None else self.wait(),
            stop=stop_after_attempt(1 if self.wait is None else attempts),
            reraise=True,
        )


def _fixed() -> Any:
    from tenacity import wait_fixed

    return wait_fixed(FIXED_SECONDS)


def _exponential() -> Any:
    from tenacity import wait_exponential

    return wait_exponential(multiplier=1, min=LEAST_SECONDS, max=MOST_SECONDS)


def _jitter() -> Any:
    from tenacity import wait_random_exponential

    return wait_random_exponential(multiplier=1, min=LEAST_SECONDS, max=MOST_SECONDS)


def _retry_after() -> Wait:
    """What the provider says; where it says nothing, exponential with jitter. As the vendors' SDKs do it."""
    otherwise: Wait = _jitter()

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        told = error.retry_after if isinstance(error, Refused) else None
        return otherwise(state) if told is None else told

    return wait


STRATEGIES = (
    Strategy("none", "no retry"),
    Strategy("fixed", f"again after {FIXED_SECONDS:g} s", _fixed),
    Strategy("exponential", f"again after 1, 2, 4, ... {MOST_SECONDS:g} s", _exponential),
    Strategy("jitter", "the same with full jitter", _jitter),
    Strategy("retry-after", "again when the provider says", _retry_after),
    Strategy("paced", "Headgate: waits before it sends", paced=True),
)
