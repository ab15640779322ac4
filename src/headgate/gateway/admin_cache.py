"""The control API's cache: how it does, and forgetting.

GET  /admin/api/cache
POST /admin/api/cache/forget     {"tenant": "acme"}, {"key": "dev"} or {"everything": true}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from headgate.cache_report import forget, whose_answers
from headgate.core.errors import BadRequest, NotServed

if TYPE_CHECKING:
    from headgate.build import Built


class CacheApi:
    """Answers for the paths `cache` and `cache/forget`."""

    __slots__ = ("_built",)

    def __init__(self, built: Built) -> None:
        self._built = built

    async def answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """One request.

        Raises:
            BadRequest: the body cannot be used.
            NotServed: an unknown method.
            Unavailable: the place where answers are kept cannot be reached.
        """
        if path.endswith("/cache") and method == "GET":
            return self._built.caching.report()
        if path.endswith("/forget") and method == "POST":
            whose = _whose(body)
            return await forget(self._built, whose, by="gateway")
        raise NotServed("The control API has no such path or method.")


def _whose(body: bytes) -> dict[str, str]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    try:
        return whose_answers(fields)
    except ValueError as error:
        raise BadRequest(str(error)) from None
