"""Sending a body while it arrives: one piece in memory at a time, and no further than the answer asks for."""

from __future__ import annotations

import asyncio
import contextlib

from headgate.core.exchange import Upload
from headgate.upstream.connection import Answer, Connection


async def send_upload(connection: Connection, answer: Answer, heard: asyncio.Future[None], upload: Upload) -> None:
    """Send `upload` behind the head that `Connection.begin_upload` has sent.

    Returns at its end, or where an error answer or a fault came first: the rest is not wanted then (RFC 9112, section
    9.5). Raises what reading raises; the caller then closes the answer, which drops the connection, so that a body cut
    short cannot pass for a whole one.

    Args:
        heard: done when the answer has its headers, or a fault.
    """
    while (piece := await _piece(upload, answer, heard)) is not None:
        if not piece:
            if upload.length is None:
                await connection.upload(b"0\r\n\r\n")
            connection.end_upload()
            return
        await connection.upload(piece if upload.length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))


def _unwanted(answer: Answer) -> bool:
    return answer.status >= 400 or answer.connection is None  # answered in full, or broken


async def _piece(upload: Upload, answer: Answer, heard: asyncio.Future[None]) -> bytes | None:
    """The next piece, b"" at the end; None if the answer makes the rest unwanted before it comes."""
    if heard.done():
        return None if _unwanted(answer) else await upload.read()
    reading = asyncio.ensure_future(upload.read())
    try:
        await asyncio.wait((reading, heard), return_when=asyncio.FIRST_COMPLETED)
        if heard.done() and _unwanted(answer):
            await _stop(reading)
            return None
        return await reading
    except asyncio.CancelledError:
        await _stop(reading)
        raise


async def _stop(reading: asyncio.Future[bytes]) -> None:
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await reading
