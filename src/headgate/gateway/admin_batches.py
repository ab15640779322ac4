"""The control API's batches: files that the gateway reads and runs, since it alone writes the ledger.

    POST   /admin/api/batches                  {"file": "/absolute/path.jsonl", "via": "auto", …}: read, nothing is sent
    GET    /admin/api/batches/batch_...
    POST   /admin/api/batches/batch_.../run    {"retry_failed": false, "concurrency": 512}   (each of them optional)
    POST   /admin/api/batches/batch_.../cancel
    DELETE /admin/api/batches/batch_...

The file is read with the gateway's rights: whoever has the control token is the machine's owner.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.jobs.served import ServedBatches, terms_of

_MOST_AT_ONCE = 10_000


class BatchesApi:
    """Answers for the paths under `batches`."""

    __slots__ = ("_served",)

    def __init__(self, served: ServedBatches) -> None:
        self._served = served

    async def answer(self, method: str, rest: str, body: bytes) -> dict[str, Any]:
        """One request.

        Args:
            rest: of the path, behind ``batches``.

        Raises:
            BadRequest: the body or the file cannot be used, or the batch is in no state for it.
            NotServed: an unknown method or batch.
            Unavailable: the store cannot be read or written.
        """
        name, _, action = rest.removeprefix("/").partition("/")
        if method == "POST" and not name:
            return await self._submit(_fields(body))
        if method == "GET" and name and not action:
            return await self._served.status(name)
        if method == "POST" and action == "run":
            return await self._run(name, _fields(body))
        if method == "POST" and action == "cancel":
            return await self._served.cancel(name)
        if method == "DELETE" and name and not action:
            await self._served.remove(name)
            return {"id": name, "removed": True}
        raise NotServed("The control API has no such path or method.")

    async def _submit(self, told: dict[str, Any]) -> dict[str, Any]:
        file = told.pop("file", None)
        if not isinstance(file, str) or not Path(file).is_absolute():
            raise BadRequest("file has to be the absolute path of a file of this machine.")
        terms = terms_of(told)
        try:
            found = await self._served.submit(file, terms)
        except ConfigError as error:
            raise BadRequest(str(error)) from None
        return {"submitted": asdict(found), **await self._served.status(found.id)}

    async def _run(self, name: str, told: dict[str, Any]) -> dict[str, Any]:
        again, most = told.pop("retry_failed", False), told.pop("concurrency", 512)
        fits = type(again) is bool and type(most) is int and 1 <= most <= _MOST_AT_ONCE
        if told or not fits:
            raise BadRequest(f"retry_failed is true or false, concurrency is from 1 to {_MOST_AT_ONCE}.")
        return await self._served.run(name, retry_failed=again, concurrency=most)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(told, dict):
        raise BadRequest("The body has to be a JSON object.")
    return told
